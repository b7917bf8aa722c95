#include "worker/backend/block_request.h"

#include <stdio.h>

#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/json.h"
#include "schemas/utf8.h"
#include "worker/answer.h"

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

size_t bf_block_request_weigh(const struct bf_run_input *input)
{
    const struct bf_job *job = input->job;

    return quoted_bytes(job->inputs) + 2 * job->block.len + job->context.len +
           1024;
}

int bf_block_request_check(const struct bf_run_input *input,
                           enum bf_block_wire wire, struct bf_err *err)
{
    if (!bf_utf8_ok(input->job->inputs))
        return bf_err_set(err, BF_ERR_REJECT, "bad_record",
                          "inputs: this backend takes only UTF-8");
    if (wire == BF_WIRE_WEBEXEC && bf_block_init_code(input->block))
        return bf_err_set(err, BF_ERR_REJECT, "bad_block",
                          "init_function_code: the webexec dialect has no "
                          "place for it");
    return 0;
}

/* What names the code to an endpoint that has it already. */
static void put_code_or_name(const struct bf_block *block, bool with_code,
                             enum bf_block_wire wire, struct bf_json_out *out)
{
    char init_hash[BF_INIT_HASH_SIZE];

    if (wire == BF_WIRE_WEBEXEC) {
        if (with_code)
            bf_block_put_run_code(block, out);
        return;
    }
    if (with_code) {
        bf_block_put_code(block, out);
        return;
    }
    bf_block_init_hash(block, init_hash);
    if (init_hash[0])
        bf_json_str(out, "init_hash", init_hash);
}

int bf_block_request_put(const struct bf_run_input *input,
                         enum bf_block_wire wire, bool with_code,
                         struct bf_buf *buf, struct bf_err *err)
{
    const struct bf_job *job = input->job;
    const struct bf_block *block = input->block;
    struct bf_json_out out;

    if (bf_buf_reserve(buf, bf_block_request_weigh(input), err))
        return -1;
    bf_json_start(&out, buf, err);
    bf_json_open(&out, NULL, '{');
    bf_json_str(&out, "code_hash", bf_block_code_hash(block));
    bf_json_str(&out, "run_function_name", bf_block_run_function(block));
    bf_json_text(&out, "inputs_json",
                 job->inputs.ptr           ? job->inputs
                 : wire == BF_WIRE_WEBEXEC ? BF_SLICE_LIT("{}")
                                           : BF_SLICE_LIT(""));
    /* Strict JSON already: checked with the job's headers. */
    bf_json_raw(&out, "workflow_context",
                job->context.ptr ? job->context : BF_SLICE_LIT("{}"));
    put_code_or_name(block, with_code, wire, &out);
    if (wire == BF_WIRE_BLOCKFLEET) {
        bf_json_seconds(&out, "timeout_seconds",
                        (int64_t)job->timeout_ms * 1000);
        bf_json_text(&out, "workspace_id", job->workspace);
        bf_json_str(&out, "run_id", input->run_id);
    }
    bf_json_close(&out, '}');
    return bf_json_done(&out);
}

/* ---- the answer ---- */

/*
 * error_type is text that user code can choose, so it means something only
 * beside server_error, which user code cannot set.
 */
static const struct block_fault {
    const char *error_type; /* NULL: any */
    enum bf_try what;
} faults[] = {
    {"UnknownCodeHash", BF_TRY_NOT_STARTED},
    {"InvalidRequest", BF_TRY_REFUSED},
    {"ResponseTooLarge", BF_TRY_TOO_LARGE},
    {NULL, BF_TRY_NOBODY_KNOWS},
};

static enum bf_try try_of_fault(struct bf_slice error_type)
{
    size_t i = 0;

    while (faults[i].error_type &&
           !(error_type.ptr && bf_slice_is(error_type, faults[i].error_type)))
        i++;
    return faults[i].what;
}

void bf_block_answer_release(struct bf_block_answer *answer)
{
    json_decref(answer->doc);
    answer->doc = NULL;
}

void bf_block_answer_say(struct bf_block_answer *answer, struct bf_run_end *end,
                         const char *what, const char *why)
{
    snprintf(answer->message, sizeof(answer->message), "%s%s", what, why);
    end->report.message = bf_slice_str(answer->message);
}

static void take_duration(const json_t *doc, struct bf_run_end *end)
{
    const json_t *duration = json_object_get(doc, "duration_us");

    if (json_is_integer(duration) && json_integer_value(duration) >= 0)
        end->duration_us = json_integer_value(duration);
}

/* Endpoints that are not ours say no more than that it failed. */
static enum bf_try try_of_failure(struct bf_block_answer *answer)
{
    enum bf_try what = BF_TRY_FAILED;

    (void)bf_verdict_word(bf_json_slice(json_object_get(answer->doc, "reason")),
                          &what, &answer->reason);
    return what;
}

static enum bf_try no_answer(struct bf_block_answer *answer,
                             struct bf_run_end *end, const char *why)
{
    bf_block_answer_say(answer, end,
                        "the endpoint's answer is of no use: ", why);
    return BF_TRY_NOBODY_KNOWS;
}

static void parse(struct bf_block_answer *answer, struct bf_slice body,
                  struct bf_err *err)
{
    bf_block_answer_release(answer);
    answer->wants_code = false;
    answer->reason = BF_REASON_NONE;
    answer->doc = bf_json_parse_nul(body, BF_MAX_ANSWER, err);
}

static enum bf_try take_read(struct bf_block_answer *answer,
                             const struct bf_answer *read,
                             struct bf_run_end *end)
{
    end->report = read->report;
    take_duration(answer->doc, end);
    if (read->success) {
        end->result = read->result;
        return BF_TRY_SUCCEEDED;
    }
    if (!read->server_error)
        return try_of_failure(answer);
    answer->wants_code =
        read->report.error_type.ptr &&
        bf_slice_is(read->report.error_type, "UnknownCodeHash");
    bf_block_answer_say(answer, end, "the endpoint failed to run the block",
                        "");
    return try_of_fault(read->report.error_type);
}

enum bf_try bf_block_answer_take(struct bf_block_answer *answer,
                                 struct bf_slice body, struct bf_run_end *end)
{
    struct bf_answer read;
    struct bf_err err = {0};

    parse(answer, body, &err);
    if (!answer->doc || bf_answer_read(answer->doc, &read, &err))
        return no_answer(answer, end, err.msg);
    return take_read(answer, &read, end);
}

/*
 * Not a run's answer: the app says that there was none, or that it does not
 * know. Over HTTP the status says so.
 */
static enum bf_try try_of_problem(struct bf_block_answer *answer,
                                  struct bf_slice error, struct bf_run_end *end)
{
    struct bf_slice delivery =
        bf_json_slice(json_object_get(answer->doc, "delivery"));
    char why[160];

    snprintf(why, sizeof(why), "%.*s", BF_SLICE_ARG(error));
    bf_block_answer_say(answer, end, "the app: ", why);
    return delivery.ptr && bf_slice_is(delivery, "did_not_run")
               ? BF_TRY_NOT_STARTED
               : BF_TRY_NOBODY_KNOWS;
}

enum bf_try bf_block_answer_take_head(struct bf_block_answer *answer,
                                      struct bf_slice head,
                                      struct bf_slice result,
                                      struct bf_run_end *end)
{
    struct bf_answer read;
    struct bf_err err = {0};

    parse(answer, head, &err);
    if (!answer->doc || bf_answer_read_head(answer->doc, &read, &err))
        return no_answer(answer, end, err.msg);
    if (!json_is_boolean(json_object_get(answer->doc, "success")))
        return try_of_problem(answer, read.report.error, end);
    if (read.success && !result.ptr)
        return no_answer(answer, end, "success without a result");
    read.result = result;
    return take_read(answer, &read, end);
}
