#include "worker/forward.h"

#include "config/clock.h"
#include "worker/sign_request.h"

_Static_assert(BF_REQUEST_SLICES <= BF_HTTP_SLICES, "a request fits a call");

/* The backend's own lines, then those that come with a signature. */
#define MAX_LINES 32

static int sign(const struct bf_forward *forward,
                const struct bf_run_input *input,
                const struct bf_request *request, struct bf_run_headers *ret,
                struct bf_err *err)
{
    struct bf_forwarded what = {
        .url = request->url,
        .body = request->body,
        .nbody = request->nbody,
        .run_id = input->run_id,
        .now_ms = bf_now_ms(),
        .timeout_ms = (int64_t)input->job->timeout_ms + request->grace_ms,
    };

    return bf_sign_request(&what, forward->signer, ret, err);
}

struct bf_http_call *bf_forward_send(const struct bf_forward *forward,
                                     const struct bf_run_input *input,
                                     const struct bf_request *request,
                                     void *opaque, struct bf_err *err)
{
    bf_autoheaders struct bf_run_headers headers = {.n = 0};
    const char *lines[MAX_LINES];
    struct bf_http_send what = {.method = request->method,
                                .url = request->url,
                                .headers = lines,
                                .secrets = request->secrets,
                                .nsecrets = request->nsecrets,
                                .body = request->body,
                                .nbody = request->nbody,
                                .version = request->version,
                                .idempotent = request->idempotent,
                                .max_reply_bytes = request->max_reply_bytes};

    bf_assert(request->by == BF_BY_HTTP && (input || !request->sign) &&
              request->nheaders + BF_RUN_HEADERS <= MAX_LINES);
    if (request->sign && sign(forward, input, request, &headers, err))
        return NULL;
    for (size_t i = 0; i < request->nheaders; i++)
        lines[what.nheaders++] = request->headers[i];
    for (size_t i = 0; i < headers.n; i++)
        lines[what.nheaders++] = headers.line[i];
    return bf_http_pool_send(forward->pool, &what, opaque, err);
}

struct bf_reply bf_forward_reply(const struct bf_http_done *done)
{
    static const enum bf_reply_kind kinds[] = {
        [BF_HTTP_ANSWERED] = BF_REPLY_OK,
        [BF_HTTP_UNSENT] = BF_REPLY_UNSENT,
        [BF_HTTP_LOST] = BF_REPLY_LOST,
        [BF_HTTP_TOO_LARGE] = BF_REPLY_TOO_LARGE,
    };

    return (struct bf_reply){
        .kind = kinds[done->end],
        .status = done->status,
        .body = done->body,
        .headers = done->headers,
        .error = done->error,
        .retry_after_ms = done->retry_after_ms,
    };
}

struct bf_reply bf_forward_kill(struct bf_http_call *call,
                                enum bf_reply_kind kind)
{
    return (struct bf_reply){
        .kind = kind,
        .unsent = bf_http_call_cancel(call) == BF_HTTP_UNSENT,
    };
}
