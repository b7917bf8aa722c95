#include "worker/forward.h"

#include "config/clock.h"
#include "worker/sign_request.h"

_Static_assert(BF_REQUEST_SLICES <= BF_HTTP_SLICES, "a request fits a call");

struct bf_http_call *bf_forward_send(const struct bf_forward *forward,
                                     const struct bf_run_input *input,
                                     const struct bf_request *request,
                                     void *opaque, struct bf_err *err)
{
    bf_autoheaders struct bf_run_headers headers = {.n = 0};
    struct bf_forwarded what = {
        .url = request->url,
        .body = request->body,
        .nbody = request->nbody,
        .run_id = input->run_id,
        .now_ms = bf_now_ms(),
        .timeout_ms = input->job->timeout_ms,
    };
    const char *lines[BF_RUN_HEADERS];
    struct bf_http_post post = {.url = request->url,
                                .headers = lines,
                                .body = request->body,
                                .nbody = request->nbody};

    bf_assert(request->by == BF_BY_HTTP);
    if (bf_sign_request(&what, forward->signer, &headers, err))
        return NULL;
    post.nheaders = headers.n;
    for (size_t i = 0; i < headers.n; i++)
        lines[i] = headers.line[i];
    return bf_http_pool_send(forward->pool, &post, opaque, err);
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
        .error = done->error,
        .retry_after_ms = done->retry_after_ms,
    };
}

struct bf_reply bf_forward_kill(struct bf_http_call *call)
{
    return (struct bf_reply){
        .kind = BF_REPLY_DEADLINE,
        .unsent = bf_http_call_cancel(call) == BF_HTTP_UNSENT,
    };
}
