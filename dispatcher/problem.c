#include "dispatcher/problem.h"

#include <stdarg.h>

#include "schemas/json.h"

#define MAX_INSTANCE 1024 /* a path may be longer than any answer */

static const struct {
    const char *code;
    unsigned status;
    const char *title;
} table[] = {
#define X(id, code, status, title) [BF_PROBLEM_##id] = {code, status, title},
    BF_PROBLEM_TABLE(X)
#undef X
};
_Static_assert(bf_countof(table) == BF_PROBLEMS, "a row each");

unsigned bf_problem_status(enum bf_problem_code code)
{
    bf_assert(code < BF_PROBLEMS);
    return table[code].status;
}

const char *bf_problem_name(enum bf_problem_code code)
{
    bf_assert(code < BF_PROBLEMS);
    return table[code].code;
}

const char *bf_problem_title(enum bf_problem_code code)
{
    bf_assert(code < BF_PROBLEMS);
    return table[code].title;
}

unsigned bf_problem_retry_after(const struct bf_problem *problem)
{
    unsigned status = bf_problem_status(problem->code);

    if (status != 429 && status != 503)
        return 0;
    return problem->retry_after_s > 0 ? problem->retry_after_s : 1;
}

int bf_problem_set(struct bf_problem *problem, enum bf_problem_code code,
                   const char *field, const char *fmt, ...)
{
    va_list ap;

    if (!problem)
        return -1;
    problem->code = code;
    problem->retry_after_s = 0;
    snprintf(problem->field, sizeof(problem->field), "%s", field ? field : "");
    va_start(ap, fmt);
    vsnprintf(problem->detail, sizeof(problem->detail), fmt, ap);
    va_end(ap);
    return -1;
}

int bf_problem_err(struct bf_problem *problem, enum bf_problem_code code,
                   const char *field, const struct bf_err *err)
{
    return bf_problem_set(problem, code, field, "%s", err->msg);
}

int bf_problem_json(const struct bf_problem *problem, const char *instance,
                    struct bf_buf *out, struct bf_err *err)
{
    struct bf_json_out json;
    char type[96];

    snprintf(type, sizeof(type), "urn:blockfleet:problem:%s",
             table[problem->code].code);
    bf_json_start(&json, out, err);
    bf_json_open(&json, NULL, '{');
    bf_json_str(&json, "type", type);
    bf_json_str(&json, "title", table[problem->code].title);
    bf_json_int(&json, "status", table[problem->code].status);
    bf_json_str(&json, "detail", problem->detail);
    if (instance && strlen(instance) <= MAX_INSTANCE)
        bf_json_str(&json, "instance", instance);
    if (problem->field[0])
        bf_json_str(&json, "field", problem->field);
    bf_json_close(&json, '}');
    return bf_json_done(&json);
}
