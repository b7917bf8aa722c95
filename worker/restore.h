#ifndef BF_WORKER_RESTORE_H
#define BF_WORKER_RESTORE_H

/*
 * Where a shard resumes, from what Kafka has committed for it and what its
 * state says; or why it must not. Pure; the rule for each lane is
 * schemas/resume.h's.
 */

#include "worker/item.h"
#include "worker/shard.h"

struct bf_restored {
    uint64_t seq;
    struct bf_resume lanes[BF_INPUT_LANES];
};

/* REJECT stops the shard until an operator confirms: bf_resume()'s. */
int bf_restore(const struct bf_query *facts, const struct bf_shard *shard,
               struct bf_restored *ret, struct bf_err *err);

#endif
