#ifndef BF_WORKER_SKIP_H
#define BF_WORKER_SKIP_H

/*
 * Where a batch ends that cannot be unpacked. librdkafka tells where it begins
 * and tries it for ever, so we look at other offsets: further and further away
 * until one is outside of it, then between the last one inside and the first
 * one outside. What lies between is lost, and no record more. Pure.
 */

#include <stdint.h>

struct bf_skip {
    int tries;                      /* of the batch, before it is given up */
    int64_t bad;                    /* where it begins */
    int64_t start, inside, outside; /* outside -1: not known */
    int64_t at;                     /* where we look now; -1: we do not */
    int64_t here;                   /* where we read, when above next */
};

void bf_skip_init(struct bf_skip *skip);

/*
 * The batch that begins at bad cannot be read; next is where we read, unless
 * we are looking around already. Where to look now, or -1: let it be tried
 * again, it may have been the network.
 */
int64_t bf_skip_unreadable(struct bf_skip *skip, int64_t next, int64_t bad);

/*
 * There is something else at the place where we look: a record, an end, or
 * nothing at all. Where to look now, or -1: go on from here.
 */
int64_t bf_skip_readable(struct bf_skip *skip);

#endif
