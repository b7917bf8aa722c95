#include "worker/backend.h"

#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/json.h"
#include "schemas/utf8.h"
#include "worker/answer.h"
#include "worker/verdict.h"

/*
 * One plain endpoint that runs blocks: POST the whole execute_block request,
 * take its answer (PROTOCOL.md §9). What the statuses mean is said there.
 */

#define HTTP_MAGIC 0x48545450U

/* The worst case: every byte becomes a \u00XX. */
#define MAX_REQUEST                                                            \
    ((size_t)6 * (BF_MAX_INPUTS + BF_MAX_BLOCK) + BF_MAX_CONTEXT + 4096)

struct http_run {
    struct bf_run run; /* first, see http_from() */
    const struct bf_run_input *input;
    const char *url;
    struct bf_buf request;
    json_t *doc; /* the answer; what ended the run borrows from it */
    char message[320];
};

static struct http_run *http_from(struct bf_run *run)
{
    bf_assert(run && run->magic == HTTP_MAGIC);
    return (struct http_run *)run;
}

/* ---- the request ---- */

/* Of valid UTF-8, so that a large one is allocated once. */
static size_t quoted_bytes(struct bf_slice text)
{
    size_t bytes = 2;

    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (c < 0x20)
            bytes += c == '\b' || (c >= '\t' && c <= '\r' && c != '\v') ? 2 : 6;
        else
            bytes += c == '"' || c == '\\' ? 2 : 1;
    }
    return bytes;
}

/* The request at its largest; the block's strings were escaped before, too. */
static size_t http_weigh(const struct bf_run_input *input)
{
    const struct bf_job *job = input->job;

    return quoted_bytes(job->inputs) + 2 * job->block.len + job->context.len +
           1024;
}

static int put_request(struct http_run *run, struct bf_err *err)
{
    const struct bf_job *job = run->input->job;
    const struct bf_block *block = run->input->block;
    struct bf_json_out out;

    if (bf_buf_reserve(&run->request, http_weigh(run->input), err))
        return -1;
    bf_json_start(&out, &run->request, err);
    bf_json_open(&out, NULL, '{');
    bf_json_str(&out, "code_hash", bf_block_code_hash(block));
    bf_json_str(&out, "run_function_name", bf_block_run_function(block));
    bf_json_text(&out, "inputs_json",
                 job->inputs.ptr ? job->inputs : BF_SLICE_LIT(""));
    /* Strict JSON already: checked with the job's headers. */
    bf_json_raw(&out, "workflow_context",
                job->context.ptr ? job->context : BF_SLICE_LIT("{}"));
    bf_block_put_code(block, &out);
    bf_json_seconds(&out, "timeout_seconds", (int64_t)job->timeout_ms * 1000);
    bf_json_text(&out, "workspace_id", job->workspace);
    bf_json_str(&out, "run_id", run->input->run_id);
    bf_json_close(&out, '}');
    return bf_json_done(&out);
}

static void http_free(struct bf_run *run)
{
    struct http_run *http;

    if (!run)
        return;
    http = http_from(run);
    bf_buf_release(&http->request);
    json_decref(http->doc);
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
    /* A JSON string carries characters; others would come back changed. */
    if (!bf_utf8_ok(input->job->inputs)) {
        bf_err_set(err, BF_ERR_REJECT, "bad_record",
                   "inputs: the http backend takes only UTF-8");
        return NULL;
    }
    run = calloc(1, sizeof(*run));
    if (!run) {
        bf_err_oom(err);
        return NULL;
    }
    run->run.magic = HTTP_MAGIC;
    run->run.backend = &bf_backend_http;
    run->input = input;
    run->url = config->http_url;
    run->request.max = MAX_REQUEST;
    if (put_request(run, err)) {
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

/*
 * error_type is text that user code can choose, so it means something only
 * beside server_error, which user code cannot set.
 */
static const struct http_fault {
    const char *error_type; /* NULL: any */
    enum bf_try what;
} faults[] = {
    {"UnknownCodeHash", BF_TRY_NOT_STARTED},
    {"InvalidRequest", BF_TRY_REFUSED},
    {"ResponseTooLarge", BF_TRY_TOO_LARGE},
    {NULL, BF_TRY_NOBODY_KNOWS},
};

static enum bf_try try_of_status(int status)
{
    for (size_t i = 0; i < bf_countof(statuses); i++) {
        if (status >= statuses[i].from && status <= statuses[i].to)
            return statuses[i].what;
    }
    return BF_TRY_NOBODY_KNOWS;
}

static enum bf_try try_of_fault(struct bf_slice error_type)
{
    size_t i = 0;

    while (faults[i].error_type &&
           !(error_type.ptr && bf_slice_is(error_type, faults[i].error_type)))
        i++;
    return faults[i].what;
}

static enum bf_try try_of_answer(const struct bf_answer *answer)
{
    if (answer->success)
        return BF_TRY_SUCCEEDED;
    return answer->server_error ? try_of_fault(answer->report.error_type)
                                : BF_TRY_FAILED;
}

static void say(struct http_run *run, struct bf_run_end *end, const char *what,
                const char *why)
{
    snprintf(run->message, sizeof(run->message), "%s%s", what, why);
    end->report.message = bf_slice_str(run->message);
}

static enum bf_try take_answer(struct http_run *run,
                               const struct bf_reply *reply,
                               struct bf_run_end *end)
{
    struct bf_answer answer;
    struct bf_err err = {0};
    enum bf_try what;

    run->doc = bf_json_parse_nul(reply->body, BF_MAX_ANSWER, &err);
    if (!run->doc || bf_answer_read(run->doc, &answer, &err)) {
        say(run, end, "the endpoint's answer is of no use: ", err.msg);
        return BF_TRY_NOBODY_KNOWS;
    }
    what = try_of_answer(&answer);
    end->report = answer.report;
    if (answer.success)
        end->result = answer.result;
    else if (answer.server_error)
        say(run, end, "the endpoint failed to run the block", "");
    return what;
}

static enum bf_try take_status(struct http_run *run,
                               const struct bf_reply *reply,
                               struct bf_run_end *end)
{
    char status[16];

    if (reply->status == 200)
        return take_answer(run, reply, end);
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
    bf_verdict(&which, &end);
    if (end.again)
        end.again_after_ms = reply->retry_after_ms;
    *ret_end = end;
    return BF_STEP_DONE;
}

const struct bf_backend bf_backend_http = {
    .name = "http",
    .weigh = http_weigh,
    .begin = http_begin,
    .step = http_step,
    .free = http_free,
};
