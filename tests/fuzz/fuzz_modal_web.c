/*
 * A whole hostile answer of Modal's edge to a run: status, header lines, body;
 * then others to whatever the run asks next. It ends, or asks the same host.
 */

#include <stddef.h>
#include <stdint.h>

#include "schemas/err.h"
#include "worker/backend/modal.h"

#define ORIGIN "https://acme--web.modal.run"
#define STEPS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char block_text[] = "{\"run_function_code\":\"x\"}";

/* Up to the next NUL; what is behind it is the rest. */
static struct bf_slice cut(struct bf_slice *rest)
{
    const char *end = rest->len ? memchr(rest->ptr, '\0', rest->len) : NULL;
    size_t len = end ? (size_t)(end - rest->ptr) : rest->len;
    struct bf_slice part = {rest->ptr, len};

    rest->ptr += end ? len + 1 : len;
    rest->len -= end ? len + 1 : len;
    return part;
}

/* Kind, status / 4 and two bits of it; then headers and body. */
static struct bf_reply next_reply(struct bf_slice *rest, int64_t now_ms)
{
    static const enum bf_reply_kind kinds[] = {
        BF_REPLY_OK,   BF_REPLY_OK,   BF_REPLY_OK,       BF_REPLY_UNSENT,
        BF_REPLY_LOST, BF_REPLY_LATE, BF_REPLY_DEADLINE, BF_REPLY_TOO_LARGE};
    struct bf_slice line = cut(rest);
    unsigned first = line.len > 0 ? (unsigned char)line.ptr[0] : 0;
    unsigned second = line.len > 1 ? (unsigned char)line.ptr[1] : 50;
    struct bf_reply reply = {.kind = kinds[first & 7],
                             .status = (int)(second * 4 + (first >> 6)),
                             .unsent = first & 8,
                             .now_ms = now_ms,
                             .mono_ms = now_ms};

    reply.headers = cut(rest);
    reply.body = cut(rest);
    return reply;
}

static void check_request(const struct bf_request *request)
{
    size_t len = strlen(ORIGIN);

    if (request->by == BF_BY_TIMER)
        return;
    bf_assert(strncasecmp(request->url, ORIGIN, len) == 0);
    bf_assert(request->url[len] == '\0' || strchr("/?:", request->url[len]));
    bf_assert(request->runs == (request->method == BF_POST));
}

static void drive(struct bf_run *run, struct bf_slice rest)
{
    struct bf_reply reply = {.kind = BF_REPLY_NONE};
    int64_t now = 1000000;

    for (int i = 0; i < STEPS; i++) {
        struct bf_request request = {0};
        struct bf_run_end end = {0};
        struct bf_err err = {0};
        int step = bf_backend_modal.step(run, &reply, &request, &end, &err);

        bf_assert(step >= 0);
        if (step == BF_STEP_DONE) {
            bf_assert(end.cause);
            return;
        }
        bf_assert(reply.kind != BF_REPLY_DEADLINE);
        check_request(&request);
        now += request.by == BF_BY_TIMER ? request.delay_ms : 100;
        reply = request.by == BF_BY_TIMER
                    ? (struct bf_reply){.kind = BF_REPLY_OK,
                                        .now_ms = now,
                                        .mono_ms = now}
                    : next_reply(&rest, now);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct bf_modal_config options = {.url = ORIGIN};
    struct bf_err err = {0};
    struct bf_job job = {.workspace = BF_SLICE_LIT("w"),
                         .execution = BF_AT_LEAST_ONCE,
                         .timeout_ms = 1000,
                         .max_attempts = 2,
                         .block = BF_SLICE_LIT(block_text)};
    struct bf_backend_config config = {
        .modal = bf_modal_new(&options, NULL, NULL, &err)};
    struct bf_run_input input = {.job = &job,
                                 .block = bf_block_parse(job.block, &err),
                                 .run_id = "0123456789abcdef0123456789abcdef",
                                 .attempt = 1};
    struct bf_run *run;

    bf_assert(config.modal && input.block);
    run = bf_backend_modal.begin(&config, &input, &err);
    bf_assert(run);
    drive(run, (struct bf_slice){(const char *)data, size});
    bf_backend_modal.free(run);
    bf_block_free((struct bf_block *)(uintptr_t)input.block);
    bf_modal_free(config.modal);
    return 0;
}
