/*
 * A call that is read makes a job whose inputs are the call's, byte by byte,
 * and whose workspace is the one of the query; or it is refused.
 */

#include <stddef.h>
#include <stdint.h>

#include "dispatcher/intake.h"
#include "dispatcher/seam_call.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check(void *arg, struct bf_slice workspace,
                 struct bf_problem *problem)
{
    (void)arg;
    (void)problem;
    bf_assert(bf_slice_is(workspace, "ws"));
    return 0;
}

static void check_job(const struct bf_seam_call *call, struct bf_slice text)
{
    const struct bf_intake_ctx ctx = {.now_ms = 1763730000000,
                                      .default_timeout_ms = 20000,
                                      .spread = 4,
                                      .max_inputs_bytes = BF_MAX_INPUTS,
                                      .max_block_bytes = BF_MAX_BLOCK,
                                      .line = -1,
                                      .check = check};
    struct bf_problem problem;
    struct bf_intake in;

    if (bf_intake_read(text, &ctx, &in, &problem)) {
        bf_assert(problem.detail[0]);
        return;
    }
    bf_assert(in.job.inputs.len <= call->inputs.len);
    bf_assert(in.job.id_origin == BF_ID_SERVER);
    bf_assert(in.job.timeout_ms == 1000);
    bf_assert(!in.job.batch.ptr && !in.job.order_key.ptr);
    bf_intake_release(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bf_autoseam_call struct bf_seam_call call = {0};
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1U << 24);
    struct bf_seam_terms terms = {
        .workspace = BF_SLICE_LIT("ws"),
        .code = BF_SLICE_LIT("\"run_function_code\":\"x\""),
        .expires_at_ms = 1763730060000,
        .timeout_ms = 1000,
        .execution = BF_AT_MOST_ONCE};
    struct bf_problem problem;

    if (bf_seam_call_read((struct bf_slice){(const char *)data, size}, &call,
                          &problem)) {
        bf_assert(problem.detail[0] && !call.doc);
        return 0;
    }
    if (call.code.len > 0)
        terms.code = bf_buf_slice(&call.code);
    if (bf_seam_call_job(&call, &terms, &text, &problem) == 0)
        check_job(&call, bf_buf_slice(&text));
    return 0;
}
