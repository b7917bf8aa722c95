#include "worker/backend.h"

#include "schemas/check.h"
#include "schemas/err.h"
#include "worker/backend/block_request.h"

/*
 * One plain endpoint that runs blocks: POST the whole execute_block request,
 * take its answer (PROTOCOL.md §9). What the statuses mean is said there.
 */

#define HTTP_MAGIC 0x48545450U

struct http_run {
    struct bf_run run; /* first, see http_from() */
    const struct bf_run_input *input;
    const char *url;
    struct bf_buf request;
    struct bf_block_answer answer;
};

static struct http_run *http_from(struct bf_run *run)
{
    bf_assert(run && run->magic == HTTP_MAGIC);
    return (struct http_run *)run;
}

static void http_free(struct bf_run *run)
{
    struct http_run *http;

    if (!run)
        return;
    http = http_from(run);
    bf_buf_release(&http->request);
    bf_block_answer_release(&http->answer);
    http->run.magic = 0;
    free(http);
}

static struct bf_run *http_begin(const struct bf_backend_config *config,
                                 const struct bf_run_input *input,
                                 struct bf_err *err)
{
    struct http_run *run;

    if (!config->http_url || !config->http_url[0]) {
        bf_err_set(err, BF_ERR_REJECT, "no_backend", "http.url is not set");
        return NULL;
    }
    if (bf_block_request_check(input, BF_WIRE_BLOCKFLEET, err))
        return NULL;
    run = calloc(1, sizeof(*run));
    if (!run) {
        bf_err_oom(err);
        return NULL;
    }
    run->run.magic = HTTP_MAGIC;
    run->run.backend = &bf_backend_http;
    run->input = input;
    run->url = config->http_url;
    run->request.max = BF_MAX_BLOCK_REQUEST;
    if (bf_block_request_put(input, BF_WIRE_BLOCKFLEET, true, &run->request,
                             err)) {
        http_free(&run->run);
        return NULL;
    }
    return &run->run;
}

/* ---- the answer ---- */

/* The first that fits. 200 is not here: its body says more. */
static const struct http_status {
    int from, to;
    enum bf_try what;
} statuses[] = {
    {300, 399, BF_TRY_REFUSED},     /* redirects are not followed */
    {408, 408, BF_TRY_NOT_STARTED}, /* the request did not arrive whole */
    {425, 425, BF_TRY_NOT_STARTED}, /* too early */
    {429, 429, BF_TRY_NOT_STARTED}, /* too many */
    {400, 499, BF_TRY_REFUSED},
    {503, 503, BF_TRY_NOT_STARTED}, /* overloaded, or going down */
    {100, 599, BF_TRY_NOBODY_KNOWS},
};

static enum bf_try try_of_status(int status)
{
    for (size_t i = 0; i < bf_countof(statuses); i++) {
        if (status >= statuses[i].from && status <= statuses[i].to)
            return statuses[i].what;
    }
    return BF_TRY_NOBODY_KNOWS;
}

static void say(struct http_run *run, struct bf_run_end *end, const char *what,
                const char *why)
{
    bf_block_answer_say(&run->answer, end, what, why);
}

static enum bf_try take_status(struct http_run *run,
                               const struct bf_reply *reply,
                               struct bf_run_end *end)
{
    char status[16];

    if (reply->status == 200)
        return bf_block_answer_take(&run->answer, reply->body, end);
    snprintf(status, sizeof(status), "%d", reply->status);
    say(run, end, "the endpoint answered with HTTP status ", status);
    return try_of_status(reply->status);
}

static enum bf_try take_reply(struct http_run *run,
                              const struct bf_reply *reply,
                              struct bf_run_end *end)
{
    const char *error = reply->error ? reply->error : "";

    switch (reply->kind) {
    case BF_REPLY_OK:
        return take_status(run, reply, end);
    case BF_REPLY_UNSENT:
        say(run, end, "the endpoint was not reached: ", error);
        return BF_TRY_NOT_STARTED;
    case BF_REPLY_LOST:
        /* A status that says it all needs no body. */
        if (reply->status != 0 && reply->status != 200)
            return take_status(run, reply, end);
        say(run, end, "the endpoint's answer was lost: ", error);
        return BF_TRY_NOBODY_KNOWS;
    case BF_REPLY_TOO_LARGE:
        say(run, end, "the endpoint's answer is too large", "");
        /* Any other status says that it is no result. */
        return reply->status == 200 ? BF_TRY_TOO_LARGE
                                    : try_of_status(reply->status);
    case BF_REPLY_DEADLINE:
        say(run, end, "no answer within the job's timeout", "");
        return reply->unsent ? BF_TRY_NEVER_LEFT : BF_TRY_TIMED_OUT;
    case BF_REPLY_LATE: /* its only request has the run's own deadline */
    case BF_REPLY_NONE:
        break;
    }
    bf_assert(!"a reply of no kind");
    return BF_TRY_NOBODY_KNOWS;
}

static int http_step(struct bf_run *run, const struct bf_reply *reply,
                     struct bf_request *ret_request, struct bf_run_end *ret_end,
                     struct bf_err *err)
{
    struct http_run *http = http_from(run);
    struct bf_run_end end = {.isolation = "remote", .duration_us = -1};
    struct bf_verdict_case which;

    (void)err;
    if (reply->kind == BF_REPLY_NONE) {
        *ret_request = (struct bf_request){
            .by = BF_BY_HTTP,
            .runs = true,
            .sign = true,
            .url = http->url,
            .body = {bf_buf_slice(&http->request)},
            .nbody = 1,
        };
        return BF_STEP_SEND;
    }
    /* Nobody sends it any more; the answer may stay for a while. */
    bf_buf_release(&http->request);
    which = bf_verdict_of(http->input, take_reply(http, reply, &end));
    which.reason = http->answer.reason;
    bf_verdict(&which, &end);
    if (end.again)
        end.again_after_ms = reply->retry_after_ms;
    *ret_end = end;
    return BF_STEP_DONE;
}

const struct bf_backend bf_backend_http = {
    .name = "http",
    .weigh = bf_block_request_weigh,
    .begin = http_begin,
    .step = http_step,
    .free = http_free,
};
