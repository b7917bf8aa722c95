/* The http backend as a table of replies: the rows are the specification. */

#include "tests/unit/support.h"

#include <stdio.h>

#include "schemas/json.h"
#include "worker/answer.h"
#include "worker/backend.h"

#define RUN_ID "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"

static const char block_text[] =
    "{\"run_function_code\":\"def run(self, a):\\n    return \\\"x\\\"\\n\","
    "\"imports\":[\"import re\",\"import math\"],"
    "\"init_function_code\":\"def init():\\n    return {}\"}";

static const struct bf_backend_config config = {.http_url =
                                                    "http://127.0.0.1:1/run"};

struct fixture {
    struct bf_job job;
    struct bf_block *block;
    struct bf_run_input input;
};

static void set_up(struct fixture *f, struct bf_slice inputs)
{
    struct bf_err err = {0};

    *f = (struct fixture){.job = {.workspace = LIT("acme"),
                                  .id = LIT("job-1"),
                                  .execution = BF_AT_LEAST_ONCE,
                                  .timeout_ms = 1500,
                                  .max_attempts = 2,
                                  .block = LIT(block_text),
                                  .inputs = inputs}};
    f->block = bf_block_parse(f->job.block, &err);
    assert_non_null(f->block);
    f->input = (struct bf_run_input){
        .job = &f->job, .block = f->block, .run_id = RUN_ID, .attempt = 1};
}

static void tear_down(struct fixture *f)
{
    bf_block_free(f->block);
}

static struct bf_run *begin(struct fixture *f)
{
    struct bf_err err = {0};
    struct bf_run *run = bf_backend_http.begin(&config, &f->input, &err);

    assert_non_null(run);
    return run;
}

/* ---- the request ---- */

static struct bf_request ask(struct bf_run *run)
{
    struct bf_reply none = {.kind = BF_REPLY_NONE};
    struct bf_request request = {0};
    struct bf_run_end end;
    struct bf_err err = {0};

    assert_int_equal(bf_backend_http.step(run, &none, &request, &end, &err),
                     BF_STEP_SEND);
    assert_int_equal(request.by, BF_BY_HTTP);
    assert_string_equal(request.url, config.http_url);
    assert_int_equal(request.nbody, 1);
    return request;
}

static void test_request_bytes(void **state)
{
    struct fixture f;
    struct bf_run *run;

    (void)state;
    set_up(&f, S("{\"a\": 1}"));
    f.job.context = S("{\"step_name\":\"s\"}");
    run = begin(&f);
    assert_slice(
        ask(run).body[0],
        "{\"code_hash\":\"2bac316e9bbeb65a9e2f4f4a17a43a76\","
        "\"run_function_name\":\"run\",\"inputs_json\":\"{\\\"a\\\": 1}\","
        "\"workflow_context\":{\"step_name\":\"s\"},"
        "\"code_str\":\"def run(self, a):\\n    return \\\"x\\\"\\n\","
        "\"imports\":[\"import re\",\"import math\"],"
        "\"init_function_code\":\"def init():\\n    return {}\","
        "\"init_function_name\":\"init\",\"timeout_seconds\":\"1.500000\","
        "\"workspace_id\":\"acme\",\"run_id\":\"" RUN_ID "\"}");
    bf_backend_http.free(run);
    tear_down(&f);
}

static const struct bf_slice texts[] = {
    LIT(""),
    LIT("{}"),
    LIT("{\"a\": NaN, \"b\": 9223372036854775808}"),
    LIT("{\"nul\": \"\\u0000\", \"half\": \"\\ud800\", \"q\": \"\\\"\"}"),
    LIT("{\"caf\xc3\xa9\": \"\xf0\x9f\x8e\xac\xe2\x80\xa8\"}"),
    LIT("\x01\x02\x1f\x7f\b\t\n\v\f\r\\/"),
    LIT("a\0b"), /* a NUL of its own, not an escaped one */
    LIT(" {\n\t\"spaces\" :\r\n 1 } "),
};

static void check_round_trip(struct bf_slice inputs)
{
    struct fixture f;
    struct bf_run *run;
    bf_autojson json_t *doc = NULL;
    struct bf_err err = {0};

    set_up(&f, inputs);
    run = begin(&f);
    doc = bf_json_parse_nul(ask(run).body[0], SIZE_MAX, &err);
    assert_non_null(doc);
    assert_true(bf_slice_eq(bf_json_slice(json_object_get(doc, "inputs_json")),
                            inputs));
    bf_backend_http.free(run);
    tear_down(&f);
}

static void test_inputs_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(texts); i++)
        check_round_trip(texts[i]);
    check_round_trip((struct bf_slice){NULL, 0});
}

/* Each byte becomes six. To parse it all takes a sanitizer a quarter minute. */
static void test_largest_inputs(void **state)
{
    static const char name[] = "\"inputs_json\":\"";
    static const char six[] = "\\u0001";
    size_t len = 6 * (size_t)BF_MAX_INPUTS;
    char *large = malloc(BF_MAX_INPUTS);
    struct fixture f;
    struct bf_run *run;
    struct bf_slice body;
    const char *text;

    (void)state;
    assert_non_null(large);
    memset(large, '\x01', BF_MAX_INPUTS);
    set_up(&f, (struct bf_slice){large, BF_MAX_INPUTS});
    run = begin(&f);
    body = ask(run).body[0];
    text = memmem(body.ptr, body.len, name, strlen(name));
    assert_non_null(text);
    text += strlen(name);
    assert_true(text + len < body.ptr + body.len);
    /* the first six, and each six as those before them */
    assert_memory_equal(text, six, 6);
    assert_int_equal(memcmp(text + 6, text, len - 6), 0);
    assert_int_equal(text[len], '"');
    bf_backend_http.free(run);
    tear_down(&f);
    free(large);
}

/* What is reserved for a request is all that it takes, and not much more. */
static void check_weight(struct bf_slice inputs)
{
    struct fixture f;
    struct bf_run *run;
    size_t weight, len;

    set_up(&f, inputs);
    f.job.context = S("{\"step_name\":\"s\"}");
    weight = bf_backend_http.weigh(&f.input);
    run = begin(&f);
    len = ask(run).body[0].len;
    assert_true(len <= weight);
    assert_in_range(weight - len, 0, 2048);
    bf_backend_http.free(run);
    tear_down(&f);
}

enum { WEIGHED = 2 << 20 }; /* enough to tell a factor from a sum */

static void test_weight(void **state)
{
    char *large = malloc(WEIGHED);

    (void)state;
    for (size_t i = 0; i < bf_countof(texts); i++)
        check_weight(texts[i]);
    assert_non_null(large);
    memset(large, '\x01', WEIGHED);
    check_weight((struct bf_slice){large, WEIGHED});
    memset(large, '"', WEIGHED);
    check_weight((struct bf_slice){large, WEIGHED});
    free(large);
}

static const struct bf_slice broken[] = {
    LIT("{\"a\": \"\xff\"}"),
    LIT("\xc3"),
    LIT("\xed\xa0\x80"), /* a surrogate */
    LIT("\xc0\x80"),
};

static void test_other_bytes_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(broken); i++) {
        struct fixture f;
        struct bf_err err = {0};

        set_up(&f, broken[i]);
        assert_null(bf_backend_http.begin(&config, &f.input, &err));
        assert_int_equal(err.kind, BF_ERR_REJECT);
        assert_string_equal(err.code, "bad_record");
        tear_down(&f);
    }
}

static void test_no_url(void **state)
{
    struct bf_backend_config none = {.http_url = ""};
    struct fixture f;
    struct bf_err err = {0};

    (void)state;
    set_up(&f, S("{}"));
    assert_null(bf_backend_http.begin(&none, &f.input, &err));
    assert_int_equal(err.kind, BF_ERR_REJECT);
    assert_string_equal(err.code, "no_backend");
    tear_down(&f);
}

/* ---- the answer ---- */

enum follows { ENDS, AGAIN, MORE };

/* Sugar for the table below: outcome and reason, delivery, what follows. */
#define OK BF_OUTCOME_SUCCEEDED, BF_REASON_NONE, BF_DELIVERY_RAN, ENDS
#define USER BF_OUTCOME_FAILED, BF_REASON_USER_ERROR, BF_DELIVERY_RAN, ENDS
#define LARGE                                                                  \
    BF_OUTCOME_FAILED, BF_REASON_OUTPUT_TOO_LARGE, BF_DELIVERY_RAN, ENDS
#define NOT_YET                                                                \
    BF_OUTCOME_EXPIRED, BF_REASON_NONE, BF_DELIVERY_DID_NOT_RUN, AGAIN
#define REFUSED                                                                \
    BF_OUTCOME_DEAD, BF_REASON_BACKEND_REFUSED, BF_DELIVERY_DID_NOT_RUN, ENDS
#define UNKNOWN BF_OUTCOME_DEAD, BF_REASON_ATTEMPTS, BF_DELIVERY_UNKNOWN, MORE

static const struct reply_row {
    enum bf_reply_kind kind;
    int status;
    const char *body;
    enum bf_outcome outcome;
    enum bf_reason reason;
    enum bf_delivery delivery;
    enum follows follows;
} rows[] = {
    /* what the runner says */
    {BF_REPLY_OK, 200, "{\"success\":true,\"result\":\"{}\"}", OK},
    {BF_REPLY_OK, 200,
     "{\"success\":true,\"result\":\"1\",\"server_error\":false,\"new\":[]}",
     OK},
    {BF_REPLY_OK, 200,
     "{\"success\":false,\"error\":\"x\",\"error_type\":\"KeyError\"}", USER},
    /* a missing success is false */
    {BF_REPLY_OK, 200,
     "{\"error\":\"no run\",\"error_type\":\"NameError\",\"result\":\"1\"}",
     USER},
    {BF_REPLY_OK, 200, "{\"success\":false}", USER},
    {BF_REPLY_OK, 200, "{\"success\":\"true\",\"error\":\"x\"}", USER},
    /* error_type alone decides nothing: user code may raise anything */
    {BF_REPLY_OK, 200,
     "{\"success\":false,\"error\":\"x\",\"error_type\":\"UnknownCodeHash\"}",
     USER},
    {BF_REPLY_OK, 200,
     "{\"success\":false,\"error\":\"x\",\"error_type\":\"InvalidRequest\"}",
     USER},
    {BF_REPLY_OK, 200,
     "{\"success\":false,\"error_type\":\"UnknownCodeHash\","
     "\"server_error\":true}",
     NOT_YET},
    {BF_REPLY_OK, 200,
     "{\"success\":false,\"error_type\":\"InvalidRequest\","
     "\"server_error\":true}",
     REFUSED},
    {BF_REPLY_OK, 200,
     "{\"success\":false,\"error_type\":\"ResponseTooLarge\","
     "\"server_error\":true}",
     LARGE},
    {BF_REPLY_OK, 200,
     "{\"success\":false,\"error_type\":\"UnknownCodeHash \","
     "\"server_error\":true}",
     UNKNOWN},
    {BF_REPLY_OK, 200, "{\"success\":false,\"server_error\":true}", UNKNOWN},
    /* 200, and no answer to rely on */
    {BF_REPLY_OK, 200, "", UNKNOWN},
    {BF_REPLY_OK, 200, "{}", UNKNOWN},
    {BF_REPLY_OK, 200, "[]", UNKNOWN},
    {BF_REPLY_OK, 200, "<html>", UNKNOWN},
    {BF_REPLY_OK, 200, "{\"success\":true,\"result\":\"1\"", UNKNOWN},
    {BF_REPLY_OK, 200, "{\"success\":true,\"result\":\"1\"}{}", UNKNOWN},
    {BF_REPLY_OK, 200, "{\"success\":true}", UNKNOWN},
    {BF_REPLY_OK, 200, "{\"success\":true,\"result\":{}}", UNKNOWN},
    {BF_REPLY_OK, 200, "{\"success\":true,\"result\":null}", UNKNOWN},
    {BF_REPLY_OK, 200,
     "{\"success\":true,\"result\":\"1\",\"server_error\":true}", UNKNOWN},
    {BF_REPLY_OK, 200, "{\"success\":false,\"success\":true,\"result\":\"1\"}",
     UNKNOWN},
    {BF_REPLY_OK, 200, "{\"success\":true,\"result\":\"\xff\"}", UNKNOWN},
    {BF_REPLY_OK, 200, "{\"success\":true,\"result\":\"\\ud800\"}", UNKNOWN},
    /* statuses; the body means nothing then */
    {BF_REPLY_OK, 101, "", UNKNOWN},
    {BF_REPLY_OK, 201, "{\"success\":true,\"result\":\"{}\"}", UNKNOWN},
    {BF_REPLY_OK, 204, "", UNKNOWN},
    {BF_REPLY_OK, 303, "", REFUSED},
    {BF_REPLY_OK, 307, "", REFUSED},
    {BF_REPLY_OK, 400, "{\"success\":true,\"result\":\"{}\"}", REFUSED},
    {BF_REPLY_OK, 401, "", REFUSED},
    {BF_REPLY_OK, 403, "", REFUSED},
    {BF_REPLY_OK, 404, "", REFUSED},
    {BF_REPLY_OK, 408, "", NOT_YET},
    {BF_REPLY_OK, 413, "", REFUSED},
    {BF_REPLY_OK, 425, "", NOT_YET},
    {BF_REPLY_OK, 429, "", NOT_YET},
    {BF_REPLY_OK, 499, "", REFUSED},
    {BF_REPLY_OK, 500, "{\"success\":true,\"result\":\"{}\"}", UNKNOWN},
    {BF_REPLY_OK, 502, "", UNKNOWN},
    {BF_REPLY_OK, 503, "", NOT_YET},
    {BF_REPLY_OK, 504, "", UNKNOWN},
    {BF_REPLY_OK, 599, "", UNKNOWN},
    {BF_REPLY_OK, 0, "", UNKNOWN},
    {BF_REPLY_OK, 999, "", UNKNOWN},
    /* what the transport says */
    {BF_REPLY_UNSENT, 0, "", NOT_YET},
    {BF_REPLY_LOST, 0, "", UNKNOWN},
    {BF_REPLY_LOST, 200, "{\"success\":true,\"result\":\"{}\"}", UNKNOWN},
    {BF_REPLY_LOST, 503, "", NOT_YET},
    {BF_REPLY_LOST, 500, "", UNKNOWN},
    {BF_REPLY_TOO_LARGE, 200, "", LARGE},
    {BF_REPLY_TOO_LARGE, 500, "", UNKNOWN},
    {BF_REPLY_TOO_LARGE, 403, "", REFUSED},
    {BF_REPLY_DEADLINE, 0, "", BF_OUTCOME_TIMED_OUT, BF_REASON_DEADLINE,
     BF_DELIVERY_RAN, ENDS},
};

static void check_row(size_t i)
{
    const struct reply_row *row = &rows[i];
    struct bf_reply reply = {.kind = row->kind,
                             .status = row->status,
                             .body = bf_slice_str(row->body),
                             .error = "gone"};
    struct bf_run_end end = {0};
    struct bf_request request;
    struct bf_err err = {0};
    struct fixture f;
    struct bf_run *run;

    set_up(&f, S("{}"));
    run = begin(&f);
    ask(run);
    assert_int_equal(bf_backend_http.step(run, &reply, &request, &end, &err),
                     BF_STEP_DONE);
    if (end.outcome != row->outcome || end.reason != row->reason ||
        end.delivery != row->delivery || end.again != (row->follows == AGAIN) ||
        end.more != (row->follows == MORE))
        fail_msg("row %zu: %d %s: %s/%s/%s again %d more %d", i, row->status,
                 row->body, bf_outcome_name(end.outcome),
                 bf_reason_name(end.reason), bf_delivery_name(end.delivery),
                 end.again, end.more);
    assert_int_equal(end.result.ptr != NULL,
                     end.outcome == BF_OUTCOME_SUCCEEDED);
    /* Whoever reads a result that is not the user's doing is told why. */
    if (end.outcome != BF_OUTCOME_SUCCEEDED &&
        end.reason != BF_REASON_USER_ERROR)
        assert_true(end.report.message.len > 0);
    assert_string_equal(end.isolation, "remote");
    bf_backend_http.free(run);
    tear_down(&f);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++)
        check_row(i);
}

/* One reply to a run; the caller frees the run. */
static struct bf_run *answer(struct fixture *f, const struct bf_reply *reply,
                             struct bf_run_end *ret_end)
{
    struct bf_request request;
    struct bf_err err = {0};
    struct bf_run *run;

    set_up(f, S("{}"));
    run = begin(f);
    ask(run);
    assert_int_equal(bf_backend_http.step(run, reply, &request, ret_end, &err),
                     BF_STEP_DONE);
    return run;
}

static void test_report(void **state)
{
    struct bf_reply reply = {
        .kind = BF_REPLY_OK,
        .status = 200,
        .body = S("{\"success\":false,\"error\":\"boom\\u0000\","
                  "\"error_type\":\"E\",\"line_number\":7,"
                  "\"function_name\":\"run\",\"stdout\":\"out\","
                  "\"stderr\":null,\"stdout_truncated\":true,"
                  "\"code_hash\":\"h\",\"execution_time_seconds\":1.25}")};
    struct bf_run_end end = {0};
    struct fixture f;
    struct bf_run *run;

    (void)state;
    run = answer(&f, &reply, &end);
    assert_true(bf_slice_eq(end.report.error, S("boom\0")));
    assert_slice(end.report.error_type, "E");
    assert_slice(end.report.function_name, "run");
    assert_slice(end.report.standard_output, "out");
    assert_null(end.report.standard_error.ptr);
    assert_true(end.report.standard_output_truncated);
    assert_false(end.report.standard_error_truncated);
    assert_slice(end.report.code_hash, "h");
    assert_int_equal(end.report.line_number, 7);
    assert_int_equal(end.report.execution_us, 1250000);
    bf_backend_http.free(run);
    tear_down(&f);
}

static void test_odd_numbers(void **state)
{
    static const char *const seconds[] = {"-1", "0", "1e300", "\"1\"", "null"};

    (void)state;
    for (size_t i = 0; i < bf_countof(seconds); i++) {
        struct bf_run_end end = {0};
        struct fixture f;
        struct bf_run *run;
        char body[128];

        snprintf(body, sizeof(body),
                 "{\"success\":true,\"result\":\"1\",\"line_number\":1.5,"
                 "\"execution_time_seconds\":%s}",
                 seconds[i]);
        run = answer(&f,
                     &(struct bf_reply){.kind = BF_REPLY_OK,
                                        .status = 200,
                                        .body = bf_slice_str(body)},
                     &end);
        assert_int_equal(end.outcome, BF_OUTCOME_SUCCEEDED);
        assert_int_equal(end.report.execution_us, 0);
        assert_int_equal(end.report.line_number, 0);
        bf_backend_http.free(run);
        tear_down(&f);
    }
}

static void test_result_is_exact(void **state)
{
    struct bf_reply reply = {
        .kind = BF_REPLY_OK,
        .status = 200,
        .body = S("{\"success\":true,\"result\":"
                  "\" {\\\"a\\\": NaN, \\\"b\\\": \\\"\\\\u0000\\\"}\\u0000"
                  "\\ud83c\\udfac\xc3\xa9\\n\"}")};
    struct bf_run_end end = {0};
    struct fixture f;
    struct bf_run *run;

    (void)state;
    run = answer(&f, &reply, &end);
    assert_true(bf_slice_eq(end.result, S(" {\"a\": NaN, \"b\": \"\\u0000\"}\0"
                                          "\xf0\x9f\x8e\xac\xc3\xa9\n")));
    bf_backend_http.free(run);
    tear_down(&f);
}

static void test_retry_after(void **state)
{
    struct bf_reply reply = {
        .kind = BF_REPLY_OK, .status = 429, .retry_after_ms = 7000};
    struct bf_run_end end = {0};
    struct fixture f;
    struct bf_run *run;

    (void)state;
    run = answer(&f, &reply, &end);
    assert_true(end.again);
    assert_int_equal(end.again_after_ms, 7000);
    bf_backend_http.free(run);
    tear_down(&f);
    reply.status = 500;
    run = answer(&f, &reply, &end);
    assert_false(end.again);
    assert_int_equal(end.again_after_ms, 0);
    bf_backend_http.free(run);
    tear_down(&f);
}

static void test_deadline_before_anything_left(void **state)
{
    struct bf_reply reply = {.kind = BF_REPLY_DEADLINE, .unsent = true};
    struct bf_run_end end = {0};
    struct fixture f;
    struct bf_run *run;

    (void)state;
    run = answer(&f, &reply, &end);
    assert_int_equal(end.outcome, BF_OUTCOME_TIMED_OUT);
    assert_int_equal(end.delivery, BF_DELIVERY_DID_NOT_RUN);
    bf_backend_http.free(run);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_bytes),
        cmocka_unit_test(test_inputs_round_trip),
        cmocka_unit_test(test_largest_inputs),
        cmocka_unit_test(test_weight),
        cmocka_unit_test(test_other_bytes_are_refused),
        cmocka_unit_test(test_no_url),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_odd_numbers),
        cmocka_unit_test(test_result_is_exact),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_deadline_before_anything_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
