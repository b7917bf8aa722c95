#ifndef BF_DISPATCHER_CONTEXTS_H
#define BF_DISPATCHER_CONTEXTS_H

/*
 * What the threads of the pools have of their own: a connection to the view,
 * a consumer for single records. Both are opened when they are first needed.
 */

#include "config/fleet_topics.h"

struct bf_err;
struct bf_fetch;
struct bf_reader_db;

/* Borrowed for the pools' life; the arg of both begins. */
struct bf_contexts {
    const char *view_path;
    const struct bf_topics *topics;
    rd_kafka_conf_t *(*kafka)(void *arg, struct bf_err *err);
    void *kafka_arg;
};

/* Of a pool that reads the view: begin, end, and the way to the reader. */
void *bf_read_begin(void *arg);
void bf_read_end(void *context_arg);
/* NULL: the view cannot be opened now. */
struct bf_reader_db *bf_read_context(void *context_arg);

/* Of a pool that fetches records. */
void *bf_fetch_begin(void *arg);
void bf_fetch_end(void *context_arg);
struct bf_fetch *bf_fetch_context(void *context_arg);

#endif
