#include "worker/backend.h"

#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/json.h"
#include "worker/backend/runner_words.h"

/*
 * The runners of this machine. Source of the protocol:
 * worker/runner/README.md. A runner is no security boundary, so only the
 * operator's own workspaces are served.
 */

#define LOCAL_MAGIC 0x4c4f434cU
#define MAX_ANSWER_HEAD (256U << 10)

/*
 * Up to here code goes with every run: reading and hashing it costs a runner
 * no more than the second round trip (0.1 ms) after asking in vain by its hash.
 */
#define ALWAYS_SENT (16U << 10)

struct local_run {
    struct bf_run run; /* first, see local_from() */
    const struct bf_run_input *input;
    size_t stdout_bytes;
    bool with_code; /* in the request that is under way */
    struct bf_buf head;
    json_t *doc; /* the answer; the end of the run borrows from it */
    char *result;
    char message[320];
};

static struct local_run *local_from(struct bf_run *run)
{
    bf_assert(run && run->magic == LOCAL_MAGIC);
    return (struct local_run *)run;
}

static bool is_trusted(char *const *workspaces, struct bf_slice workspace)
{
    for (; workspaces && *workspaces; workspaces++) {
        if (bf_slice_is(workspace, *workspaces))
            return true;
    }
    return false;
}

static struct bf_run *local_begin(const struct bf_backend_config *config,
                                  const struct bf_run_input *input,
                                  struct bf_err *err)
{
    struct local_run *run;

    if (!is_trusted(config->workspaces, input->job->workspace)) {
        bf_err_set(err, BF_ERR_REJECT, "workspace_not_trusted",
                   "workspace \"%.*s\" is not in local.trusted_workspaces",
                   BF_SLICE_ARG(input->job->workspace));
        return NULL;
    }
    run = calloc(1, sizeof(*run));
    if (!run) {
        bf_err_oom(err);
        return NULL;
    }
    run->run.magic = LOCAL_MAGIC;
    run->run.backend = &bf_backend_local;
    run->input = input;
    run->stdout_bytes = config->stdout_bytes;
    run->head.max = BF_MAX_RUN_HEAD;
    run->with_code = input->job->block.len <= ALWAYS_SENT;
    return &run->run;
}

static void local_free(struct bf_run *run)
{
    struct local_run *local;

    if (!run)
        return;
    local = local_from(run);
    bf_buf_release(&local->head);
    json_decref(local->doc);
    free(local->result);
    local->run.magic = 0;
    free(local);
}

/* ---- the request ---- */

static int ask(struct local_run *run, struct bf_request *ret_request,
               struct bf_err *err)
{
    bf_buf_clear(&run->head);
    if (bf_run_head_put(run->input, run->with_code, &run->head, err))
        return -1;
    *ret_request = (struct bf_request){.by = BF_BY_RUNNER,
                                       .runs = true,
                                       .head = bf_buf_slice(&run->head),
                                       .body = {run->input->job->inputs},
                                       .nbody = 1};
    return BF_STEP_SEND;
}

/* ---- the answer ---- */

static void say(struct local_run *run, struct bf_run_end *end, const char *what,
                const char *why)
{
    snprintf(run->message, sizeof(run->message), "%s%s", what, why);
    end->report.message = bf_slice_str(run->message);
}

static struct bf_verdict_case useless(struct local_run *run,
                                      struct bf_run_end *end, const char *why)
{
    say(run, end, "the runner's answer is of no use: ", why);
    return bf_verdict_of(run->input, BF_TRY_NOBODY_KNOWS);
}

static int keep_result(struct local_run *run, struct bf_slice body,
                       struct bf_run_end *end, struct bf_err *err)
{
    run->result = malloc(body.len);
    if (!run->result)
        return bf_err_oom(err);
    memcpy(run->result, body.ptr, body.len);
    end->result = (struct bf_slice){run->result, body.len};
    return 0;
}

/* Shortened to whole characters. */
static void cut_stream(struct bf_slice *text, bool *cut, size_t max)
{
    if (text->len <= max)
        return;
    while (max > 0 && ((unsigned char)text->ptr[max] & 0xc0) == 0x80)
        max--;
    text->len = max;
    *cut = true;
}

static void take_report(struct local_run *run, const struct bf_answer *answer,
                        struct bf_run_end *end)
{
    end->report = answer->report;
    cut_stream(&end->report.standard_output,
               &end->report.standard_output_truncated, run->stdout_bytes);
    cut_stream(&end->report.standard_error,
               &end->report.standard_error_truncated, run->stdout_bytes);
    end->duration_us = bf_done_duration_us(run->doc);
}

static struct bf_verdict_case failed(struct local_run *run,
                                     const struct bf_answer *answer,
                                     struct bf_run_end *end)
{
    bool of_no_use;
    struct bf_verdict_case which =
        bf_done_judge(run->input, run->doc, answer, &of_no_use);

    if (of_no_use)
        return useless(run, end, "no reason that is known");
    if (answer->server_error)
        say(run, end, "the runner did not run the block", "");
    return which;
}

static int take_answer(struct local_run *run, const struct bf_reply *reply,
                       struct bf_run_end *end, struct bf_verdict_case *which,
                       struct bf_err *err)
{
    struct bf_answer answer;
    struct bf_err why = {0};

    json_decref(run->doc);
    run->doc = bf_json_parse_nul(reply->head, MAX_ANSWER_HEAD, &why);
    if (!run->doc || bf_answer_read_head(run->doc, &answer, &why)) {
        *which = useless(run, end, why.msg);
        return 0;
    }
    take_report(run, &answer, end);
    if (!answer.success) {
        *which = failed(run, &answer, end);
        return 0;
    }
    if (reply->body.len == 0) {
        *which = useless(run, end, "success without a result");
        return 0;
    }
    *which = bf_verdict_of(run->input, BF_TRY_SUCCEEDED);
    return keep_result(run, reply->body, end, err);
}

static int take_reply(struct local_run *run, const struct bf_reply *reply,
                      struct bf_run_end *end, struct bf_verdict_case *which,
                      struct bf_err *err)
{
    const char *error = reply->error ? reply->error : "";

    switch (reply->kind) {
    case BF_REPLY_OK:
        return take_answer(run, reply, end, which, err);
    case BF_REPLY_UNSENT:
        say(run, end, "no runner took it: ", error);
        *which = bf_verdict_of(run->input, BF_TRY_NOT_STARTED);
        return 0;
    case BF_REPLY_LOST:
        say(run, end, "the run was lost: ", error);
        *which = bf_verdict_of(run->input, BF_TRY_NOBODY_KNOWS);
        return 0;
    case BF_REPLY_DEADLINE:
        say(run, end, "the runner did not end it at its deadline", "");
        *which = bf_verdict_of(run->input, reply->unsent ? BF_TRY_NEVER_LEFT
                                                         : BF_TRY_TIMED_OUT);
        return 0;
    case BF_REPLY_TOO_LARGE:
        say(run, end, "the runner's answer is too large", "");
        *which = bf_verdict_of(run->input, BF_TRY_TOO_LARGE);
        return 0;
    case BF_REPLY_LATE: /* its only request has the run's own deadline */
    case BF_REPLY_NONE:
        break;
    }
    bf_assert(!"a reply of no kind");
    return -1;
}

static int local_step(struct bf_run *run, const struct bf_reply *reply,
                      struct bf_request *ret_request,
                      struct bf_run_end *ret_end, struct bf_err *err)
{
    struct local_run *local = local_from(run);
    struct bf_run_end end = {.isolation = "process", .duration_us = -1};
    struct bf_verdict_case which;

    if (reply->kind == BF_REPLY_NONE)
        return ask(local, ret_request, err);
    if (take_reply(local, reply, &end, &which, err))
        return -1;
    if (reply->kind == BF_REPLY_OK && !local->with_code &&
        bf_done_wants_code(local->doc)) {
        local->with_code = true;
        return ask(local, ret_request, err);
    }
    bf_verdict(&which, &end);
    *ret_end = end;
    return BF_STEP_DONE;
}

const struct bf_backend bf_backend_local = {
    .name = "local",
    .begin = local_begin,
    .step = local_step,
    .free = local_free,
};
