#ifndef BF_WORKER_RESTORE_H
#define BF_WORKER_RESTORE_H

/*
 * Where a shard resumes, from what Kafka has committed for it and what its
 * state says; or why it must not. Nothing vanishes silently: design.md §4.6.
 * Pure.
 */

#include "worker/item.h"
#include "worker/shard.h"

struct bf_restored {
    uint64_t seq;
    struct bf_resume {
        struct bf_meta meta; /* what is complete */
        int64_t start;       /* where to read from */
        int64_t lost;        /* offsets in [meta.base, start) that were not
                                complete and are not in the log any more */
        bool from_base;      /* the committed offset had expired */
    } lanes[BF_INPUT_LANES];
};

/*
 * REJECT stops the shard until an operator confirms: "no_base",
 * "corrupt_metadata", "older_than_base", "ahead_of_log".
 */
int bf_restore(const struct bf_query *facts, const struct bf_shard *shard,
               struct bf_restored *ret, struct bf_err *err);

#endif
