#include "worker/backend/e2b_private.h"

#include "schemas/err.h"
#include "schemas/json.h"
#include "schemas/utf8.h"
#include "worker/backend/runner_words.h"
#include "worker/wire/connect.h"
#include "worker/wire/execute.h"

/* The result as base64, cut into marked lines, and the head. */
#define MAX_OUT ((size_t)BF_MAX_RESULT / 3 * 4 + (2U << 20))
#define MAX_ERR 65536
#define TIMEOUT_EXIT 124 /* what timeout(1) exits with when it had to kill */

void bf_e2b_answer_release(struct bf_e2b_answer *answer)
{
    bf_e2b_said_release(&answer->said);
    bf_block_answer_release(&answer->block);
}

/* The last of it: that is where a traceback says what went wrong. */
static void keep_words(struct bf_slice text, struct bf_e2b_answer *ret)
{
    bf_autobuf struct bf_buf clean = BF_BUF_INIT(sizeof(ret->words));
    size_t most = sizeof(ret->words) - 1;

    if (text.len > most) {
        text.ptr += text.len - most;
        text.len = most;
    }
    if (bf_utf8_clean(&clean, text, most, NULL) == 0 && clean.len > 0)
        memcpy(ret->words, clean.data, clean.len + 1);
}

/* ---- the kernel ---- */

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names; names++) {
        if (strcmp(name, *names) == 0)
            return true;
    }
    return false;
}

static enum bf_e2b_stream of_kernel(const struct bf_execute *execute,
                                    const struct bf_e2b_said *said)
{
    static const char *const dead[] = {
        "ContextRestarting",
        "UnexpectedEndOfExecution",
        "WebSocketError",
        NULL,
    };

    if (said->ended)
        return BF_E2B_STREAM_ANSWER;
    if (execute->broken || said->broken)
        return BF_E2B_STREAM_BROKEN;
    if (execute->out_cut)
        return BF_E2B_STREAM_TOO_LARGE;
    if (is_one_of(execute->error_name, dead))
        return BF_E2B_STREAM_KERNEL_DIED;
    if (!execute->whole)
        return BF_E2B_STREAM_CUT;
    if (said->begun)
        return BF_E2B_STREAM_SILENT;
    if (said->needs)
        return BF_E2B_STREAM_NEEDS;
    return strcmp(execute->error_name, "ExecutionAborted") == 0
               ? BF_E2B_STREAM_ABORTED
               : BF_E2B_STREAM_NOT_BEGUN;
}

static int read_kernel(const struct bf_reply *reply, const char *word,
                       struct bf_e2b_answer *ret,
                       struct bf_e2b_evidence *evidence, struct bf_err *err)
{
    struct bf_execute execute = {.out = BF_BUF_INIT(MAX_OUT),
                                 .err = BF_BUF_INIT(MAX_ERR)};
    int rc = bf_execute_read(reply->body, &execute, err);

    if (rc == 0)
        rc =
            bf_e2b_said_read(bf_buf_slice(&execute.out), word, &ret->said, err);
    if (rc == 0)
        evidence->stream = of_kernel(&execute, &ret->said);
    if (execute.failed)
        snprintf(ret->words, sizeof(ret->words), "%s: %s", execute.error_name,
                 execute.error_value);
    bf_execute_release(&execute);
    return rc;
}

/* ---- envd ---- */

static enum bf_e2b_stream of_process(const struct bf_process *process,
                                     const struct bf_e2b_said *said)
{
    enum bf_connect_code code = process->error.code;

    if (said->ended)
        return BF_E2B_STREAM_ANSWER;
    if (process->broken || said->broken)
        return BF_E2B_STREAM_BROKEN;
    if (process->out_cut)
        return BF_E2B_STREAM_TOO_LARGE;
    if (!process->whole)
        return BF_E2B_STREAM_CUT;
    if (said->needs && !said->begun)
        return BF_E2B_STREAM_NEEDS;
    if (!said->begun)
        return BF_E2B_STREAM_NOT_BEGUN;
    return code == BF_CONNECT_DEADLINE_EXCEEDED ||
                   process->exit_code == TIMEOUT_EXIT
               ? BF_E2B_STREAM_DEADLINE
               : BF_E2B_STREAM_SILENT;
}

static int read_process(const struct bf_reply *reply, const char *word,
                        struct bf_e2b_answer *ret,
                        struct bf_e2b_evidence *evidence, struct bf_err *err)
{
    struct bf_process process = {.out = BF_BUF_INIT(MAX_OUT),
                                 .err = BF_BUF_INIT(MAX_ERR)};
    int rc = bf_process_read(reply->body, &process, err);

    if (rc == 0)
        rc =
            bf_e2b_said_read(bf_buf_slice(&process.out), word, &ret->said, err);
    if (rc == 0)
        evidence->stream = of_process(&process, &ret->said);
    keep_words(process.err.len > 0 ? bf_buf_slice(&process.err)
                                   : bf_slice_str(process.error.message),
               ret);
    bf_process_release(&process);
    return rc;
}

int bf_e2b_answer_read(enum bf_e2b_path path, const struct bf_reply *reply,
                       const char *word, struct bf_e2b_answer *ret,
                       struct bf_e2b_evidence *evidence, struct bf_err *err)
{
    if (reply->kind != BF_REPLY_OK)
        return 0;
    if (path == BF_E2B_BY_SERVER) {
        evidence->stream =
            reply->status == 200 ? BF_E2B_STREAM_ANSWER : BF_E2B_STREAM_NONE;
        return 0;
    }
    if (reply->status != 200)
        return 0;
    return path == BF_E2B_BY_EXECUTE
               ? read_kernel(reply, word, ret, evidence, err)
               : read_process(reply, word, ret, evidence, err);
}

/* ---- how the run ended ---- */

static struct bf_verdict_case judge_done(const struct bf_run_input *input,
                                         struct bf_e2b_answer *answer,
                                         struct bf_run_end *end)
{
    struct bf_answer read;
    struct bf_verdict_case which;
    struct bf_err why = {0};
    bool of_no_use = false;

    if (bf_answer_read_head(answer->said.head, &read, &why)) {
        bf_block_answer_say(&answer->block, end,
                            "the runner's answer is of no use: ", why.msg);
        return bf_verdict_of(input, BF_TRY_NOBODY_KNOWS);
    }
    end->report = read.report;
    end->duration_us = bf_done_duration_us(answer->said.head);
    if (read.success && answer->said.body.len > 0) {
        end->result = bf_buf_slice(&answer->said.body);
        return bf_verdict_of(input, BF_TRY_SUCCEEDED);
    }
    which = bf_done_judge(input, answer->said.head, &read, &of_no_use);
    if (of_no_use)
        bf_block_answer_say(&answer->block, end,
                            "the runner's answer contradicts itself", "");
    return which;
}

struct bf_verdict_case bf_e2b_answer_judge(const struct bf_run_input *input,
                                           enum bf_e2b_path path,
                                           const struct bf_reply *reply,
                                           struct bf_e2b_answer *answer,
                                           struct bf_run_end *end)
{
    if (path != BF_E2B_BY_SERVER)
        return judge_done(input, answer, end);
    return bf_verdict_of(
        input, bf_block_answer_take(&answer->block, reply->body, end));
}
