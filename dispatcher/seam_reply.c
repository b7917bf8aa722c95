#include "dispatcher/seam_reply.h"

#include "schemas/json.h"

/* ---- whose fault ----------------------------------------------------------*/

/*
 * What a 503 says, did certainly not run; what may have run is a 500
 * (PROTOCOL.md §9).
 */
static const struct fault {
    enum bf_outcome outcome;
    enum bf_reason reason; /* NONE: any other */
    enum bf_problem_code problem;
    const char *text;
} faults[] = {
    {BF_OUTCOME_EXPIRED, BF_REASON_NONE, BF_PROBLEM_UNAVAILABLE,
     "no worker was free to run the block in time"},
    {BF_OUTCOME_CANCELLED, BF_REASON_NONE, BF_PROBLEM_INTERNAL,
     "the run was cancelled"},
    {BF_OUTCOME_REJECTED, BF_REASON_NOT_TRUSTED, BF_PROBLEM_FORBIDDEN,
     "the workers do not run blocks of this workspace"},
    {BF_OUTCOME_REJECTED, BF_REASON_TOO_LARGE, BF_PROBLEM_TOO_LARGE,
     "the block or its inputs are larger than the workers take"},
    {BF_OUTCOME_REJECTED, BF_REASON_NONE, BF_PROBLEM_BAD_FIELD,
     "the workers do not take this block"},
    {BF_OUTCOME_UNKNOWN, BF_REASON_NONE, BF_PROBLEM_INTERNAL,
     "a worker was lost; the block may have run or not"},
    {BF_OUTCOME_DEAD, BF_REASON_NONE, BF_PROBLEM_INTERNAL,
     "the block could not be run or answered"},
};

static const struct fault *fault_of(const struct bf_seam_end *end)
{
    for (size_t i = 0; i < bf_countof(faults); i++) {
        if (faults[i].outcome == end->outcome &&
            (faults[i].reason == BF_REASON_NONE ||
             faults[i].reason == end->reason))
            return &faults[i];
    }
    return NULL;
}

bool bf_seam_is_users(const struct bf_seam_end *end, struct bf_problem *problem)
{
    const struct fault *fault = fault_of(end);
    enum bf_problem_code code;

    if (!fault)
        return true;
    code = fault->problem;
    if (code == BF_PROBLEM_INTERNAL && end->delivery == BF_DELIVERY_DID_NOT_RUN)
        code = BF_PROBLEM_UNAVAILABLE;
    bf_problem_set(problem, code, NULL, "%s", fault->text);
    return false;
}

/* ---- the body -------------------------------------------------------------*/

/* What a failure is called when the runner gave it no name. */
static const char *type_of(const struct bf_seam_end *end)
{
    static const char *const by_reason[BF_REASONS] = {
        [BF_REASON_OOM] = "MemoryError",
        [BF_REASON_CPU_LIMIT] = "CpuLimitExceeded",
        [BF_REASON_CRASHED] = "BlockCrashed",
        [BF_REASON_OUTPUT_TOO_LARGE] = "ResultTooLarge",
        [BF_REASON_BAD_OUTPUT] = "BadResult",
    };

    if (end->outcome == BF_OUTCOME_TIMED_OUT)
        return "CustomPythonBlockTimeout";
    return by_reason[end->reason] ? by_reason[end->reason] : "RuntimeError";
}

static struct bf_slice text_of(const json_t *report, const char *name)
{
    return bf_json_slice(json_object_get(report, name));
}

static struct bf_slice error_of(const struct bf_seam_end *end,
                                const json_t *report)
{
    struct bf_slice text = text_of(report, "error");

    if (!text.ptr)
        text = text_of(report, "message");
    if (!text.ptr)
        text = bf_slice_str(end->outcome == BF_OUTCOME_TIMED_OUT
                                ? "the block was killed at its deadline"
                                : "the block failed");
    return text;
}

static size_t digits_at(struct bf_slice text, size_t at)
{
    size_t n = 0;

    while (at + n < text.len && text.ptr[at + n] >= '0' &&
           text.ptr[at + n] <= '9')
        n++;
    return n;
}

/* Of JSON's numbers those without a sign and an exponent. */
static bool is_decimal(struct bf_slice text)
{
    size_t whole = digits_at(text, 0);
    size_t part;

    if (whole == 0 || (whole > 1 && text.ptr[0] == '0'))
        return false;
    if (whole == text.len)
        return true;
    part = digits_at(text, whole + 1);
    return text.ptr[whole] == '.' && part > 0 && whole + 1 + part == text.len;
}

/* "0.250000" on our wire, a number on theirs; what is none is left out. */
static void put_seconds(struct bf_json_out *out, const json_t *report)
{
    struct bf_slice text = text_of(report, "execution_time_seconds");

    if (text.len < 32 && is_decimal(text))
        bf_json_raw(out, "execution_time_seconds", text);
}

static void put_line(struct bf_json_out *out, const json_t *report)
{
    const json_t *line = json_object_get(report, "line_number");

    if (json_is_integer(line))
        bf_json_int(out, "line_number", json_integer_value(line));
    else
        bf_json_null(out, "line_number");
}

static void put_failure(struct bf_json_out *out, const struct bf_seam_end *end,
                        const json_t *report)
{
    struct bf_slice type = text_of(report, "error_type");

    bf_json_text(out, "error", error_of(end, report));
    bf_json_text(out, "error_type",
                 type.len > 0 ? type : bf_slice_str(type_of(end)));
    put_line(out, report);
    bf_json_text(out, "function_name", text_of(report, "function_name"));
    bf_json_str(out, "code_hash", end->code_hash);
}

static void put_reply(struct bf_json_out *out, const struct bf_seam_end *end,
                      const json_t *report)
{
    bool success = end->outcome == BF_OUTCOME_SUCCEEDED;

    bf_json_open(out, NULL, '{');
    bf_json_bool(out, "success", success);
    if (success)
        bf_json_text(out, "result", end->result);
    else
        put_failure(out, end, report);
    bf_json_text(out, "stdout", text_of(report, "stdout"));
    bf_json_text(out, "stderr", text_of(report, "stderr"));
    put_seconds(out, report);
    bf_json_close(out, '}');
}

static int no_report(struct bf_problem *problem)
{
    return bf_problem_set(problem, BF_PROBLEM_INTERNAL, NULL,
                          "the run's report cannot be read");
}

int bf_seam_reply(const struct bf_seam_end *end, struct bf_buf *out,
                  struct bf_problem *problem)
{
    bf_autojson json_t *report = NULL;
    struct bf_json_out json;

    if (!bf_seam_is_users(end, problem))
        return -1;
    report = bf_json_parse_nul(end->report, BF_MAX_REPORT, NULL);
    if (!report)
        return no_report(problem);
    /* What it takes when nothing is escaped; or else more than once. */
    if (bf_buf_reserve(out, end->result.len + end->report.len + 512, NULL))
        return bf_problem_set(problem, BF_PROBLEM_INTERNAL, NULL,
                              "out of memory for the result");
    bf_json_start(&json, out, NULL);
    put_reply(&json, end, report);
    if (bf_json_done(&json))
        return bf_problem_set(problem, BF_PROBLEM_INTERNAL, NULL,
                              "out of memory for the result");
    return 0;
}

int bf_seam_unknown_code(const char *code_hash, struct bf_buf *out)
{
    struct bf_json_out json;

    bf_json_start(&json, out, NULL);
    bf_json_open(&json, NULL, '{');
    bf_json_bool(&json, "success", false);
    bf_json_str(&json, "error", "the code of this hash is not known here");
    bf_json_str(&json, "error_type", "UnknownCodeHash");
    /* Without it, a class of that name in the user's code would do the same. */
    bf_json_bool(&json, "server_error", true);
    bf_json_str(&json, "code_hash", code_hash);
    bf_json_close(&json, '}');
    return bf_json_done(&json);
}
