/*
 * Whatever an endpoint answers: the run ends, by a row of the table, and its
 * result record can be built and read again. The first byte is the status.
 */

#include <stddef.h>
#include <stdint.h>

#include "schemas/err.h"
#include "worker/backend.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const int statuses[] = {200, 200, 200, 200, 201, 307,
                               404, 429, 500, 503, 0};

static const struct bf_backend_config config = {.http_url = "http://h/"};

static struct bf_job job = {
    .workspace = {"w", 1},
    .id = {"j", 1},
    .timeout_ms = 1000,
    .max_attempts = 2,
    .block = {"{\"run_function_code\":\"x\"}", 25},
    .inputs = {"{}", 2},
};

/* What every end must hold, and that a record can be made of it. */
static void check(const struct bf_run_end *run_end)
{
    static const char run_id[] = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";
    struct bf_record source, rec;
    struct bf_err err = {0};
    struct bf_end end = {.job = &job,
                         .source = &source,
                         .attempt = 1,
                         .outcome = run_end->outcome,
                         .reason = run_end->reason,
                         .delivery = run_end->delivery,
                         .result = run_end->result,
                         .report = run_end->report,
                         .run_id = run_id,
                         .backend = "http",
                         .isolation = run_end->isolation,
                         .worker = "bf-host-0",
                         .ended_at_ms = 1};

    bf_assert(!run_end->again || !run_end->more);
    bf_assert(!run_end->again || run_end->delivery == BF_DELIVERY_DID_NOT_RUN);
    bf_assert(!run_end->more || run_end->delivery == BF_DELIVERY_UNKNOWN);
    bf_assert((run_end->outcome == BF_OUTCOME_SUCCEEDED) ==
              (run_end->result.ptr != NULL));
    bf_record_init(&source, "bf.jobs", 0);
    source.offset = 0;
    bf_record_init(&rec, "bf.results", 0);
    bf_assert(bf_result_build(&end, "main", &rec, &err) == 0);
    bf_record_release(&rec);
    bf_record_release(&source);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bf_autoblock struct bf_block *block = NULL;
    struct bf_run_input input = {.job = &job,
                                 .run_id = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"};
    struct bf_reply first = {.kind = BF_REPLY_NONE};
    struct bf_reply reply = {.kind = BF_REPLY_OK};
    struct bf_request request;
    struct bf_run_end end = {0};
    struct bf_err err = {0};
    struct bf_run *run;

    if (size == 0)
        return 0;
    reply.status = statuses[data[0] % bf_countof(statuses)];
    reply.body = (struct bf_slice){(const char *)data + 1, size - 1};
    block = bf_block_parse(job.block, &err);
    bf_assert(block);
    input.attempt = 1;
    input.block = block;
    run = bf_backend_http.begin(&config, &input, &err);
    bf_assert(run);
    bf_assert(bf_backend_http.step(run, &first, &request, &end, &err) ==
              BF_STEP_SEND);
    bf_assert(bf_backend_http.step(run, &reply, &request, &end, &err) ==
              BF_STEP_DONE);
    check(&end);
    bf_backend_http.free(run);
    return 0;
}
