#ifndef BF_DISPATCHER_RECENT_H
#define BF_DISPATCHER_RECENT_H

/*
 * Texts that were used lately, by workspace and key: what a workspace keeps is
 * its own to find, and takes no more than its share. What was not used for the
 * longest goes first. Pure; one thread.
 */

#include "schemas/buf.h"

struct bf_err;
struct bf_recent;

/* A text counts with its key and some 100 bytes besides. */
struct bf_recent_conf {
    size_t workspace_bytes; /* of one workspace */
    size_t total_bytes;
    int64_t max_age_ms; /* since it was put; 0: any */
};

struct bf_recent *bf_recent_new(const struct bf_recent_conf *conf,
                                struct bf_err *err);
void bf_recent_free(struct bf_recent *recent);
BF_DEFINE_CLEANUP(bf_recent_freep_, struct bf_recent *, bf_recent_free)
#define bf_autorecent bf_cleanup(bf_recent_freep_)

/* ptr NULL: not there. Borrowed until the next put. */
struct bf_slice bf_recent_get(struct bf_recent *recent,
                              struct bf_slice workspace, struct bf_slice key,
                              int64_t now_ms);

/*
 * In place of what was there. One that is larger than a workspace's share is
 * not kept, nor is any without memory.
 */
void bf_recent_put(struct bf_recent *recent, struct bf_slice workspace,
                   struct bf_slice key, int64_t now_ms, struct bf_slice text);

size_t bf_recent_bytes(const struct bf_recent *recent);

#endif
