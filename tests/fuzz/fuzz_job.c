/*
 * Whatever a job record holds: it is refused with the name of a reason, and can
 * be answered to or says that it cannot; or it builds the same record again.
 */

#include "schemas/job.h"
#include "tests/fuzz/record_input.h"

static void check_refused(const struct bf_job *job, const struct bf_err *err)
{
    bf_assert(err->kind == BF_ERR_REJECT);
    bf_assert(bf_reason_parse(bf_slice_str(err->code)) > 0);
    bf_assert(!job->workspace.ptr || bf_workspace_ok(job->workspace));
    bf_assert(!job->id.ptr || bf_job_id_ok(job->id));
    bf_assert(!job->order_key.ptr || bf_order_key_ok(job->order_key));
}

static void check_taken(const struct bf_job *job)
{
    bf_autorecord struct bf_record rec, again;
    struct bf_job back;

    bf_record_init(&rec, "bf.jobs", 3);
    bf_record_init(&again, "bf.jobs", 3);
    bf_assert(bf_job_build(job, "fuzz", &rec, NULL) == 0);
    bf_assert(bf_job_parse(&rec, &back, NULL) == 0);
    bf_assert(bf_job_build(&back, "fuzz", &again, NULL) == 0);
    bf_assert(records_same(&rec, &again));
    bf_assert(bf_slice_eq(back.inputs, job->inputs));
    bf_assert(bf_slice_eq(back.block, job->block));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bf_autorecord struct bf_record rec;
    struct bf_err err = {0};
    struct bf_job job;

    if (input_record(data, size, "bf.jobs", &rec))
        return 0;
    if (bf_job_parse(&rec, &job, &err))
        check_refused(&job, &err);
    else
        check_taken(&job);
    if (bf_job_placed(&rec, &job, 4, 12))
        bf_assert(bf_slice_eq(rec.key, job.workspace));
    return 0;
}
