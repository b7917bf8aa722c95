#include "support.h"

#include <stdio.h>

#include "dispatcher/intake.h"
#include "dispatcher/scan.h"
#include "dispatcher/seam_call.h"

#define NOW 1795266000000

/* blocks.md's vectors, which are Python's hashlib.md5. */
#define CODE "def run(a, b):\\n    return {\\\"sum\\\": a + b}\\n"
#define HASH "4468363b689be6b561105846d2fdaf99"
#define HASH_IMPORTS "8c0f79ce50523d99e7af1cf17464374f"

static int allow(void *arg, struct bf_slice workspace,
                 struct bf_problem *problem)
{
    (void)arg;
    (void)workspace;
    (void)problem;
    return 0;
}

/* The job of a call, as a worker will have it; released by the caller. */
static void make(const char *body, struct bf_seam_call *call,
                 struct bf_buf *text, struct bf_intake *ret)
{
    const struct bf_intake_ctx ctx = {.now_ms = NOW,
                                      .default_timeout_ms = 20000,
                                      .spread = 4,
                                      .max_inputs_bytes = BF_MAX_INPUTS,
                                      .max_block_bytes = BF_MAX_BLOCK,
                                      .line = -1,
                                      .check = allow};
    struct bf_seam_terms terms = {.workspace = S("ws"),
                                  .expires_at_ms = NOW + 60000,
                                  .timeout_ms = 700000,
                                  .execution = BF_AT_MOST_ONCE};
    struct bf_problem problem;

    if (bf_seam_call_read(bf_slice_str(body), call, &problem))
        fail_msg("%s", problem.detail);
    terms.code = bf_buf_slice(&call->code);
    if (bf_seam_call_job(call, &terms, text, &problem))
        fail_msg("%s", problem.detail);
    if (bf_intake_read(bf_buf_slice(text), &ctx, ret, &problem))
        fail_msg("%s: %s", text->data, problem.detail);
}

static void a_call_is_a_job(void **state)
{
    bf_autoseam_call struct bf_seam_call call = {0};
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1U << 20);
    bf_autointake struct bf_intake intake;
    const struct bf_job *job = &intake.job;

    (void)state;
    make("{\"code_hash\":\"" HASH_IMPORTS "\",\"code_str\":\"" CODE "\","
         "\"imports\":[\"import re\",\"import math\"],"
         "\"run_function_name\":\"run\","
         "\"inputs_json\":\" {\\\"a\\\": NaN, \\\"a\\\": \\\"\\\\u0000\\\"} \","
         "\"workflow_context\":{\"step_name\":\"s\",\"block_type\":\"t\","
         "\"workflow_execution_id\":null,\"new\":[1]},\"new\":{}}",
         &call, &text, &intake);
    assert_string_equal(call.code_hash, HASH_IMPORTS);
    assert_false(call.is_validation);
    assert_slice(job->workspace, "ws");
    assert_slice(job->inputs, "{\"a\": NaN, \"a\": \"\\u0000\"}");
    assert_slice(job->block, "{\"run_function_code\":\"" CODE "\","
                             "\"run_function_name\":\"run\","
                             "\"imports\":[\"import re\",\"import math\"],"
                             "\"block_type\":\"t\"}");
    assert_slice(job->context, "{\"step_name\":\"s\",\"block_type\":\"t\","
                               "\"workflow_execution_id\":null}");
    assert_slice(job->labels,
                 "{\"source\":\"execute_block\",\"call\":\"run\"}");
    assert_int_equal(job->timeout_ms, 700000);
    assert_int_equal(job->expires_at_ms, NOW + 60000);
    assert_int_equal(job->execution, BF_AT_MOST_ONCE);
    assert_int_equal(job->id_origin, BF_ID_SERVER);
}

static void the_least_call_has_the_usual(void **state)
{
    bf_autoseam_call struct bf_seam_call call = {0};
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1U << 20);
    bf_autointake struct bf_intake intake;

    (void)state;
    make("{\"code_str\":\"" CODE "\",\"imports\":null}", &call, &text, &intake);
    assert_string_equal(call.code_hash, HASH);
    assert_slice(intake.job.inputs, "{}");
    assert_slice(intake.job.block, "{\"run_function_code\":\"" CODE "\","
                                   "\"run_function_name\":\"run\","
                                   "\"imports\":[]}");
}

static void a_hash_stands_for_code(void **state)
{
    bf_autoseam_call struct bf_seam_call call = {0};

    (void)state;
    assert_int_equal(
        bf_seam_call_read(S("{\"code_hash\":\"" HASH "\",\"code_str\":null}"),
                          &call, NULL),
        0);
    assert_string_equal(call.code_hash, HASH);
    assert_int_equal(call.code.len, 0);
}

static void validations_have_their_form(void **state)
{
#define SYNTAX "\\nimport ast\\n\\ndef validate_syntax():\\n    try:"
    static const struct {
        const char *rest;
        bool is;
    } rows[] = {
        {"\"run_function_name\":\"validate_syntax\",\"inputs_json\":\"{}\","
         "\"workflow_context\":{},\"imports\":[]",
         true},
        {"\"run_function_name\":\"validate_syntax\"", true},
        {"\"run_function_name\":\"run\"", false},
        {"\"run_function_name\":\"validate_syntax\","
         "\"inputs_json\":\"{\\\"a\\\":1}\"",
         false},
        {"\"run_function_name\":\"validate_syntax\","
         "\"workflow_context\":{\"step_name\":\"s\"}",
         false},
        {"\"run_function_name\":\"validate_syntax\",\"imports\":[\"import "
         "os\"]",
         false},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        bf_autoseam_call struct bf_seam_call call = {0};
        char body[512];

        snprintf(body, sizeof(body), "{\"code_str\":\"" SYNTAX "\",%s}",
                 rows[i].rest);
        assert_int_equal(bf_seam_call_read(bf_slice_str(body), &call, NULL), 0);
        if (call.is_validation != rows[i].is)
            fail_msg("%s", body);
    }
}

static int read_commas(const char *before, const char *after)
{
    enum { COUNT = 20000 };
    bf_autobuf struct bf_buf body = BF_BUF_INIT(1U << 20);
    struct bf_seam_call call = {0};
    struct bf_problem problem = {0};
    int rc = bf_buf_adds(&body, before, NULL);

    for (int i = 0; i < COUNT; i++)
        rc |= bf_buf_adds(&body, ",0", NULL);
    rc |= bf_buf_adds(&body, after, NULL);
    assert_int_equal(rc, 0);
    rc = bf_seam_call_read(bf_buf_slice(&body), &call, &problem);
    if (rc)
        assert_int_equal(problem.code, BF_PROBLEM_TOO_LARGE);
    bf_seam_call_release(&call);
    return rc;
}

/* Each of them takes more than its text in memory; those of a string do not. */
static void many_values_are_no_call(void **state)
{
    (void)state;
    assert_int_equal(read_commas("{\"code_hash\":\"" HASH "\",\"x\":[0", "]}"),
                     -1);
    assert_int_equal(read_commas("{\"code_hash\":\"" HASH "\","
                                 "\"inputs_json\":\"\\\"[0",
                                 "]\"}"),
                     0);
}

static void what_cannot_be_read_is_refused(void **state)
{
    static const struct {
        const char *body;
        enum bf_problem_code code;
        const char *field;
    } rows[] = {
        {"", BF_PROBLEM_BAD_JSON, ""},
        {"[]", BF_PROBLEM_BAD_JSON, ""},
        {"{}", BF_PROBLEM_BAD_REQUEST, "code_hash"},
        {"{\"code_str\":\"x\",\"code_str\":\"x\"}", BF_PROBLEM_BAD_JSON, ""},
        {"{\"code_hash\":1}", BF_PROBLEM_BAD_REQUEST, "code_hash"},
        {"{\"code_hash\":\"ABCD\"}", BF_PROBLEM_BAD_REQUEST, "code_hash"},
        {"{\"code_str\":[]}", BF_PROBLEM_BAD_REQUEST, "code_str"},
        {"{\"code_str\":\"x\",\"imports\":{}}", BF_PROBLEM_BAD_REQUEST,
         "imports"},
        {"{\"code_str\":\"x\",\"imports\":[1]}", BF_PROBLEM_BAD_REQUEST,
         "code_str"},
        {"{\"code_str\":\"x\",\"inputs_json\":{}}", BF_PROBLEM_BAD_REQUEST,
         "inputs_json"},
        {"{\"code_str\":\"x\",\"run_function_name\":1}", BF_PROBLEM_BAD_REQUEST,
         "run_function_name"},
        {"{\"code_str\":\"x\",\"workflow_context\":1}", BF_PROBLEM_BAD_REQUEST,
         "workflow_context"},
        {"{\"code_str\":\"x\",\"code_hash\":\"" HASH "\"}",
         BF_PROBLEM_BAD_REQUEST, "code_hash"},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        struct bf_seam_call call = {0};
        struct bf_problem problem;

        if (bf_seam_call_read(bf_slice_str(rows[i].body), &call, &problem) !=
                -1 ||
            problem.code != rows[i].code || call.doc)
            fail_msg("%s", rows[i].body);
        assert_string_equal(problem.field, rows[i].field);
        assert_memory_equal(problem.detail, "InvalidRequest: ", 16);
    }
}

/* What comes after a brace that closes must not become the job's. */
static void inputs_are_inputs_and_no_more(void **state)
{
    static const char *const rows[] = {
        "",
        "[]",
        "null",
        "{",
        "{}}",
        "{},\\\"id\\\":\\\"mine\\\"",
        "{} , \\\"workspace\\\":\\\"other\\\",\\\"x\\\":{}",
        "{},\\\"inputs\\\":{}",
        "{}//",
        "\\u00a0{}",
    };
    const struct bf_seam_terms terms = {
        .workspace = S("ws"), .code = S("\"run_function_code\":\"x\"")};

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        bf_autoseam_call struct bf_seam_call call = {0};
        bf_autobuf struct bf_buf text = BF_BUF_INIT(1U << 20);
        struct bf_problem problem;
        char body[256];

        snprintf(body, sizeof(body),
                 "{\"code_str\":\"x\",\"inputs_json\":\"%s\"}", rows[i]);
        assert_int_equal(bf_seam_call_read(bf_slice_str(body), &call, NULL), 0);
        if (bf_seam_call_job(&call, &terms, &text, &problem) != -1)
            fail_msg("%s", text.data);
        assert_string_equal(problem.field, "inputs_json");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_a_job),
        cmocka_unit_test(the_least_call_has_the_usual),
        cmocka_unit_test(a_hash_stands_for_code),
        cmocka_unit_test(validations_have_their_form),
        cmocka_unit_test(what_cannot_be_read_is_refused),
        cmocka_unit_test(many_values_are_no_call),
        cmocka_unit_test(inputs_are_inputs_and_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
