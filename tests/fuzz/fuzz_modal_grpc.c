/*
 * Whatever Modal's API answers to the gRPC transport, at each of its calls: the
 * run ends, by a row of the tables, or goes on asking for what it started.
 * The first bytes say where it stands, how the replies come and their status.
 */

#include <stddef.h>
#include <stdint.h>

#include "schemas/err.h"
#include "worker/backend/modal_grpc_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define URL "https://api.modal.com"
#define STEPS 40

static const struct bf_modal_grpc_config config = {
    .url = URL, .name = {"blockfleet", "Executor", "call", ""}};

static struct bf_job job = {
    .workspace = {"w", 1},
    .id = {"j", 1},
    .timeout_ms = 1000,
    .max_attempts = 2,
    .block = {"{\"run_function_code\":\"x\"}", 25},
    .inputs = {"{}", 2},
};

/* Where a run stands: so much is known, or done, already. */
static void stand(struct bf_modal_grpc *modal, struct bf_modal_grpc_run *run,
                  unsigned at)
{
    const struct bf_modal_function function = {
        .id = {"fu-1", 4}, .max_inline_bytes = at == 4 ? 0 : 1 << 20};

    if (at > 0)
        bf_assert(bf_modal_grpc_set_token(modal, BF_SLICE_LIT("t"), 1, NULL) ==
                  0);
    if (at > 1)
        bf_modal_cache_put_class(modal->cache, &function, 1);
    if (at > 2)
        bf_modal_cache_put_bound(modal->cache, job.workspace, &function, 1);
    if (at > 4)
        memcpy(run->call_id, "fc-1", 5);
    if (at > 5) {
        memcpy(run->blob_id, "bl-1", 5);
        run->ended = true;
    }
}

static struct bf_reply reply_of(const uint8_t *data, size_t size,
                                const struct bf_request *request)
{
    static const enum bf_reply_kind kinds[] = {
        BF_REPLY_OK,   BF_REPLY_OK,   BF_REPLY_OK,        BF_REPLY_UNSENT,
        BF_REPLY_LOST, BF_REPLY_LATE, BF_REPLY_TOO_LARGE, BF_REPLY_DEADLINE,
    };
    static const char *const lines[] = {
        "grpc-status: 0\r\n",  "grpc-status: 0\r\n",
        "grpc-status: 5\r\n",  "grpc-status: 8\r\n",
        "grpc-status: 14\r\n", "grpc-status: 16\r\n",
        "grpc-status: 3\r\n",  "",
    };
    struct bf_reply reply = {.kind = BF_REPLY_OK, .mono_ms = 2, .now_ms = 2};

    if (request->by == BF_BY_TIMER)
        return reply;
    reply.kind = kinds[data[1] % bf_countof(kinds)];
    reply.status = data[1] & 0x80 ? 503 : 200;
    reply.headers = bf_slice_str(lines[data[2] % bf_countof(lines)]);
    reply.body = (struct bf_slice){(const char *)data + 3, size - 3};
    return reply;
}

static void drive(struct bf_run *run, const uint8_t *data, size_t size)
{
    struct bf_reply reply = {.kind = BF_REPLY_NONE, .mono_ms = 2, .now_ms = 2};
    struct bf_request request = {.by = BF_BY_TIMER};
    struct bf_run_end end = {0};
    struct bf_err err = {0};

    for (int i = 0; i < STEPS; i++) {
        int step = bf_modal_grpc_step(run, &reply, &request, &end, &err);

        bf_assert(step >= 0);
        if (step == BF_STEP_DONE) {
            bf_assert(end.cause);
            bf_assert(!end.again || !end.more);
            bf_assert(!end.again || end.delivery == BF_DELIVERY_DID_NOT_RUN);
            bf_assert((end.outcome == BF_OUTCOME_SUCCEEDED) ==
                      (end.result.ptr != NULL));
            return;
        }
        bf_assert(request.by == BF_BY_TIMER || request.url);
        reply = reply_of(data, size, &request);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bf_autoblock struct bf_block *block = NULL;
    struct bf_run_input input = {.job = &job,
                                 .run_id = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
                                 .attempt = 1};
    struct bf_backend_config backend = {0};
    struct bf_err err = {0};
    struct bf_run *run;

    if (size < 3)
        return 0;
    block = bf_block_parse(job.block, &err);
    bf_assert(block);
    input.block = block;
    backend.modal_grpc =
        bf_modal_grpc_new(&config, bf_secret_new(BF_SLICE_LIT("a"), URL, &err),
                          bf_secret_new(BF_SLICE_LIT("b"), URL, &err), &err);
    bf_assert(backend.modal_grpc);
    run = bf_backend_modal_grpc.begin(&backend, &input, &err);
    bf_assert(run);
    stand(backend.modal_grpc, bf_modal_grpc_from(run), data[0] % 7);
    drive(run, data, size);
    bf_backend_modal_grpc.free(run);
    bf_modal_grpc_free(backend.modal_grpc);
    return 0;
}
