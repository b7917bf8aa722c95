#ifndef BF_WORKER_ADMIT_H
#define BF_WORKER_ADMIT_H

/*
 * What a record of a jobs topic is: ours to run, or why not. The table is
 * PROTOCOL.md §5.5. Pure, but for what the verifier remembers.
 */

#include "schemas/blocks.h"
#include "schemas/job.h"
#include "schemas/sign.h"

enum bf_admission {
    BF_ADMIT_RUN,
    BF_ADMIT_UNTRUSTED, /* dead letter, no result */
    BF_ADMIT_NOBODY,    /* the same, but trusted: no id to answer to */
    BF_ADMIT_REJECTED,  /* result and dead letter; err's code is the reason */
    BF_ADMIT_EXPIRED,   /* result */
};

struct bf_admit_rules {
    struct bf_verifier *verifier;
    struct bf_blocks *blocks; /* NULL: each is parsed anew */
    uint32_t shards;
    int64_t now_ms;
};

/*
 * Fills *ret_job as far as it can be read; it borrows from rec. *ret_block is
 * the caller's to free, and set for BF_ADMIT_RUN only. err tells why not.
 */
enum bf_admission bf_admit(const struct bf_admit_rules *rules,
                           const struct bf_record *rec, struct bf_job *ret_job,
                           struct bf_block **ret_block, struct bf_err *err);

#endif
