#include "worker/answer.h"

#include "schemas/err.h"
#include "schemas/json.h"

#define MAX_SECONDS 1e9

static struct bf_slice text(const json_t *doc, const char *name)
{
    return bf_json_slice(json_object_get(doc, name));
}

static int64_t micros(const json_t *doc, const char *name)
{
    double seconds = json_number_value(json_object_get(doc, name));

    return seconds > 0 && seconds < MAX_SECONDS ? (int64_t)(seconds * 1e6) : 0;
}

int bf_answer_read_head(const json_t *doc, struct bf_answer *ret,
                        struct bf_err *err)
{
    const json_t *success = json_object_get(doc, "success");
    struct bf_answer answer = {
        .success = json_is_true(success),
        .server_error = json_is_true(json_object_get(doc, "server_error")),
        .report = {
            .error = text(doc, "error"),
            .error_type = text(doc, "error_type"),
            .function_name = text(doc, "function_name"),
            .code_hash = text(doc, "code_hash"),
            .standard_output = text(doc, "stdout"),
            .standard_error = text(doc, "stderr"),
            .standard_output_truncated =
                json_is_true(json_object_get(doc, "stdout_truncated")),
            .standard_error_truncated =
                json_is_true(json_object_get(doc, "stderr_truncated")),
            .line_number =
                json_integer_value(json_object_get(doc, "line_number")),
            .execution_us = micros(doc, "execution_time_seconds"),
        }};

    /* Some failures come without "success", but never without an error. */
    if (!json_is_boolean(success) && !answer.report.error.ptr)
        return bf_err_set(err, BF_ERR_REJECT, "bad_answer",
                          "neither success nor error");
    if (answer.success && answer.server_error)
        return bf_err_set(err, BF_ERR_REJECT, "bad_answer",
                          "success and server_error");
    *ret = answer;
    return 0;
}

int bf_answer_read(const json_t *doc, struct bf_answer *ret, struct bf_err *err)
{
    struct bf_answer answer = {0};

    if (bf_answer_read_head(doc, &answer, err))
        return -1;
    answer.result = text(doc, "result");
    if (answer.success && !answer.result.ptr)
        return bf_err_set(err, BF_ERR_REJECT, "bad_answer",
                          "success without a result");
    *ret = answer;
    return 0;
}
