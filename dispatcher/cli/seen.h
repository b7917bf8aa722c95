#ifndef BF_DISPATCHER_CLI_SEEN_H
#define BF_DISPATCHER_CLI_SEEN_H

/*
 * Texts that were there before, each in 8 bytes of its hash: of ten million,
 * that two are taken for one has a chance of one in 300,000. One thread.
 */

#include "schemas/buf.h"

struct bf_err;

struct bf_seen {
    uint64_t *slots; /* private; 0: free */
    size_t size;     /* a power of two, or 0 */
    size_t count;
};

/* 1: it is new and now in it; 0: it was before; -1: RETRY "oom". */
int bf_seen_add(struct bf_seen *seen, struct bf_slice text, struct bf_err *err);
void bf_seen_release(struct bf_seen *seen);

#endif
