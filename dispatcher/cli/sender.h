#ifndef BF_DISPATCHER_CLI_SENDER_H
#define BF_DISPATCHER_CLI_SENDER_H

/*
 * Jobs of our own making to the dispatcher, in parts; refusals are told and
 * counted. Blocking, one thread.
 */

#include "dispatcher/cli/upload.h"

struct bf_cli;

/* What a number stands for, to people: "frame 7". */
typedef void bf_sender_name_fn(void *arg, uint64_t number, char *out,
                               size_t size);

struct bf_sender {
    struct bf_cli *cli; /* borrowed, like what follows */
    struct bf_client *client;
    bf_sender_name_fn *name;
    void *arg;
    size_t part_lines; /* a part goes out when it has so many */
    size_t part_bytes;
    uint64_t accepted;
    uint64_t refused;
    bool closed; /* the batch takes no more jobs: sending on is in vain */
    struct bf_part part; /* private */
};

/* The members above have been set, or are 0. */
int bf_sender_init(struct bf_sender *sender, struct bf_err *err);
void bf_sender_release(struct bf_sender *sender);

/* One job, a line without its end; sends when there is enough. */
int bf_sender_put(struct bf_sender *sender, uint64_t number,
                  struct bf_slice line, struct bf_err *err);

/* What is left. */
int bf_sender_flush(struct bf_sender *sender, struct bf_err *err);

/* It is not sent, for this reason. */
void bf_sender_refuse(struct bf_sender *sender, uint64_t number,
                      const char *why);

#endif
