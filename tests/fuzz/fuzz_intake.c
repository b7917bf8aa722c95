/*
 * What intake accepts, no worker refuses: the record that is made of it parses
 * into the same job, and its block into a block.
 */

#include <stddef.h>
#include <stdint.h>

#include "dispatcher/intake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check(void *arg, struct bf_slice workspace,
                 struct bf_problem *problem)
{
    (void)arg;
    (void)workspace;
    (void)problem;
    return 0;
}

static void check_record(const struct bf_job *job)
{
    bf_autorecord struct bf_record rec;
    bf_autoblock struct bf_block *block = NULL;
    struct bf_job again;
    struct bf_err err;

    bf_record_init(&rec, "bf.jobs", 0);
    bf_assert(bf_job_build(job, "fuzz", &rec, &err) == 0);
    bf_assert(bf_job_parse(&rec, &again, &err) == 0);
    bf_assert(bf_slice_eq(again.inputs, job->inputs));
    bf_assert(bf_slice_eq(again.id, job->id));
    bf_assert(again.expires_at_ms == job->expires_at_ms);
    block = bf_block_parse(job->block, &err);
    bf_assert(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bf_intake_ctx ctx = {.now_ms = 1763730000000,
                                .default_timeout_ms = 20000,
                                .spread = 4,
                                .max_inputs_bytes = BF_MAX_INPUTS,
                                .max_block_bytes = BF_MAX_BLOCK,
                                .line = -1,
                                .check = check};
    struct bf_slice body = {(const char *)data, size};
    struct bf_problem problem;
    struct bf_intake in;

    if (bf_intake_read(body, &ctx, &in, &problem)) {
        bf_assert(problem.detail[0]);
        return 0;
    }
    check_record(&in.job);
    bf_intake_release(&in);
    return 0;
}
