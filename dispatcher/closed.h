#ifndef BF_DISPATCHER_CLOSED_H
#define BF_DISPATCHER_CLOSED_H

/*
 * Batches that take no more jobs, or will not after a time: found without
 * asking the view. By a hash of 64 bits; at most BF_CLOSED_MAX, those that come
 * later are not remembered and stay open. No locks.
 */

#include <stdint.h>

#include "schemas/buf.h"

#define BF_CLOSED_MAX ((size_t)1 << 20)

/* All zeros is an empty one. */
struct bf_closed {
    struct bf_closed_slot *slots; /* private from here on */
    size_t cap, count;
};
void bf_closed_release(struct bf_closed *closed);

/* why: a literal, closed now; NULL: closed from until_ms on. */
void bf_closed_set(struct bf_closed *closed, uint64_t key, const char *why,
                   int64_t until_ms);

/* Why it is closed, or NULL. */
const char *bf_closed_find(const struct bf_closed *closed, uint64_t key,
                           int64_t now_ms);

#endif
