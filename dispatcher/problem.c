#include "dispatcher/problem.h"

#include <stdarg.h>

#include <jansson.h>

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

int bf_problem_set(struct bf_problem *problem, enum bf_problem_code code,
                   const char *field, const char *fmt, ...)
{
    va_list ap;

    if (!problem)
        return -1;
    problem->code = code;
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

/* A field is the user's word and may have been cut inside a character. */
static json_t *text_or_question(const char *text)
{
    json_t *value = json_string(text);

    return value ? value : json_string("?");
}

int bf_problem_json(const struct bf_problem *problem, const char *instance,
                    struct bf_buf *out, struct bf_err *err)
{
    json_auto_t *doc = NULL;
    bf_autofree char *text = NULL;
    char type[96];

    snprintf(type, sizeof(type), "urn:blockfleet:problem:%s",
             table[problem->code].code);
    doc = json_pack("{s:s,s:s,s:i,s:o*}", "type", type, "title",
                    table[problem->code].title, "status",
                    (int)table[problem->code].status, "detail",
                    text_or_question(problem->detail));
    if (!doc ||
        (instance &&
         json_object_set_new(doc, "instance", text_or_question(instance))) ||
        (problem->field[0] &&
         json_object_set_new(doc, "field", text_or_question(problem->field))))
        return bf_err_oom(err);
    text = json_dumps(doc, JSON_COMPACT);
    if (!text)
        return bf_err_oom(err);
    return bf_buf_adds(out, text, err);
}
