#include "support.h"

#include <stdio.h>

#include "dispatcher/seam_reply.h"

#define HASH "4468363b689be6b561105846d2fdaf99"

static void assert_reply(const struct bf_seam_end *end, const char *expected)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(BF_SEAM_REPLY_BYTES);
    struct bf_problem problem;

    if (bf_seam_reply(end, &out, &problem))
        fail_msg("%s", problem.detail);
    assert_string_equal(out.data, expected);
}

static void a_result_is_a_string(void **state)
{
    const struct bf_seam_end end = {
        .outcome = BF_OUTCOME_SUCCEEDED,
        .delivery = BF_DELIVERY_RAN,
        .report = S("{\"stdout\":\"a\\u0000\\n\",\"stderr\":\"\","
                    "\"execution_time_seconds\":\"0.250000\"}"),
        .result = S("{\"a\": NaN, \"b\": \"\\u00e9\\\"\xc3\xa9\"}\n"),
        .code_hash = HASH,
    };

    (void)state;
    assert_reply(&end,
                 "{\"success\":true,\"result\":\"{\\\"a\\\": NaN, \\\"b\\\": "
                 "\\\"\\\\u00e9\\\\\\\"\xc3\xa9\\\"}\\n\","
                 "\"stdout\":\"a\\u0000\\n\",\"stderr\":\"\","
                 "\"execution_time_seconds\":0.250000}");
}

static void a_failure_is_the_users(void **state)
{
    const struct bf_seam_end raised = {
        .outcome = BF_OUTCOME_FAILED,
        .reason = BF_REASON_USER_ERROR,
        .delivery = BF_DELIVERY_RAN,
        .report = S("{\"error\":\"no\",\"error_type\":\"UnknownCodeHash\","
                    "\"line_number\":2,\"function_name\":\"f\","
                    "\"execution_time_seconds\":\"1e9\"}"),
        .code_hash = HASH,
    };
    const struct bf_seam_end killed = {
        .outcome = BF_OUTCOME_FAILED,
        .reason = BF_REASON_OOM,
        .delivery = BF_DELIVERY_RAN,
        .report = S("{\"message\":\"met its limit\"}"),
        .code_hash = HASH,
    };
    const struct bf_seam_end late = {
        .outcome = BF_OUTCOME_TIMED_OUT,
        .reason = BF_REASON_DEADLINE,
        .delivery = BF_DELIVERY_RAN,
        .report = S("{}"),
        .code_hash = HASH,
    };

    (void)state;
    assert_reply(&raised,
                 "{\"success\":false,\"error\":\"no\","
                 "\"error_type\":\"UnknownCodeHash\",\"line_number\":2,"
                 "\"function_name\":\"f\",\"code_hash\":\"" HASH "\","
                 "\"stdout\":null,\"stderr\":null}");
    assert_reply(&killed, "{\"success\":false,\"error\":\"met its limit\","
                          "\"error_type\":\"MemoryError\",\"line_number\":null,"
                          "\"function_name\":null,\"code_hash\":\"" HASH "\","
                          "\"stdout\":null,\"stderr\":null}");
    assert_reply(&late,
                 "{\"success\":false,"
                 "\"error\":\"the block was killed at its deadline\","
                 "\"error_type\":\"CustomPythonBlockTimeout\","
                 "\"line_number\":null,\"function_name\":null,"
                 "\"code_hash\":\"" HASH "\",\"stdout\":null,\"stderr\":null}");
}

static void seconds_are_a_number_or_not_there(void **state)
{
    static const struct {
        const char *given;
        bool there;
    } rows[] = {
        {"0", true},         {"0.5", true},
        {"12.034", true},    {"120", true},
        {"1.2.3", false},    {"012", false},
        {"00", false},       {"1.", false},
        {".5", false},       {"", false},
        {".", false},        {"-1", false},
        {"1e9", false},      {"1 ", false},
        {"0x1", false},      {"1.5a", false},
        {"1\\u0000", false}, {"1.000000000000000000000000000000", false},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        char report[96];
        char expected[160];
        struct bf_seam_end end = {
            .outcome = BF_OUTCOME_SUCCEEDED,
            .delivery = BF_DELIVERY_RAN,
            .result = S("1"),
            .code_hash = HASH,
        };

        snprintf(report, sizeof(report), "{\"execution_time_seconds\":\"%s\"}",
                 rows[i].given);
        snprintf(expected, sizeof(expected),
                 "{\"success\":true,\"result\":\"1\","
                 "\"stdout\":null,\"stderr\":null%s%s}",
                 rows[i].there ? ",\"execution_time_seconds\":" : "",
                 rows[i].there ? rows[i].given : "");
        end.report = bf_slice_str(report);
        assert_reply(&end, expected);
    }
}

/* Each outcome: 200, or the status that says whether it may have run. */
static void what_is_ours_is_no_answer(void **state)
{
    static const struct {
        enum bf_outcome outcome;
        enum bf_reason reason;
        enum bf_delivery delivery;
        unsigned status;
    } rows[] = {
        {BF_OUTCOME_SUCCEEDED, BF_REASON_NONE, BF_DELIVERY_RAN, 200},
        {BF_OUTCOME_FAILED, BF_REASON_INIT_ERROR, BF_DELIVERY_RAN, 200},
        {BF_OUTCOME_FAILED, BF_REASON_CRASHED, BF_DELIVERY_RAN, 200},
        {BF_OUTCOME_FAILED, BF_REASON_OUTPUT_TOO_LARGE, BF_DELIVERY_RAN, 200},
        {BF_OUTCOME_TIMED_OUT, BF_REASON_DEADLINE, BF_DELIVERY_RAN, 200},
        {BF_OUTCOME_EXPIRED, BF_REASON_NONE, BF_DELIVERY_DID_NOT_RUN, 503},
        {BF_OUTCOME_CANCELLED, BF_REASON_NONE, BF_DELIVERY_DID_NOT_RUN, 503},
        {BF_OUTCOME_CANCELLED, BF_REASON_NONE, BF_DELIVERY_RAN, 500},
        {BF_OUTCOME_REJECTED, BF_REASON_NOT_TRUSTED, BF_DELIVERY_DID_NOT_RUN,
         403},
        {BF_OUTCOME_REJECTED, BF_REASON_TOO_LARGE, BF_DELIVERY_DID_NOT_RUN,
         413},
        {BF_OUTCOME_REJECTED, BF_REASON_BAD_BLOCK, BF_DELIVERY_DID_NOT_RUN,
         422},
        {BF_OUTCOME_UNKNOWN, BF_REASON_WORKER_LOST, BF_DELIVERY_UNKNOWN, 500},
        {BF_OUTCOME_DEAD, BF_REASON_ATTEMPTS, BF_DELIVERY_UNKNOWN, 500},
        {BF_OUTCOME_DEAD, BF_REASON_BACKEND_REFUSED, BF_DELIVERY_DID_NOT_RUN,
         503},
    };
    bool seen[BF_OUTCOMES] = {false};

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        bf_autobuf struct bf_buf out = BF_BUF_INIT(BF_SEAM_REPLY_BYTES);
        const struct bf_seam_end end = {.outcome = rows[i].outcome,
                                        .reason = rows[i].reason,
                                        .delivery = rows[i].delivery,
                                        .report = S("{}"),
                                        .result = S("{}"),
                                        .code_hash = HASH};
        struct bf_problem problem;
        unsigned status = 200;

        if (bf_seam_reply(&end, &out, &problem))
            status = bf_problem_status(problem.code);
        if (status != rows[i].status)
            fail_msg("row %zu: %u", i, status);
        seen[rows[i].outcome] = true;
    }
    for (size_t i = 0; i < BF_OUTCOMES; i++)
        assert_true(seen[i]);
}

static void a_report_that_is_none_is_ours(void **state)
{
    const struct bf_seam_end end = {
        .outcome = BF_OUTCOME_SUCCEEDED, .report = S(""), .result = S("{}")};
    bf_autobuf struct bf_buf out = BF_BUF_INIT(BF_SEAM_REPLY_BYTES);
    struct bf_problem problem;

    (void)state;
    assert_int_equal(bf_seam_reply(&end, &out, &problem), -1);
    assert_int_equal(problem.code, BF_PROBLEM_INTERNAL);
}

static void the_code_is_asked_for_by_the_flag(void **state)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(1024);

    (void)state;
    assert_int_equal(bf_seam_unknown_code(HASH, &out), 0);
    assert_string_equal(out.data,
                        "{\"success\":false,"
                        "\"error\":\"the code of this hash is not known here\","
                        "\"error_type\":\"UnknownCodeHash\","
                        "\"server_error\":true,\"code_hash\":\"" HASH "\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_result_is_a_string),
        cmocka_unit_test(a_failure_is_the_users),
        cmocka_unit_test(seconds_are_a_number_or_not_there),
        cmocka_unit_test(what_is_ours_is_no_answer),
        cmocka_unit_test(a_report_that_is_none_is_ours),
        cmocka_unit_test(the_code_is_asked_for_by_the_flag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
