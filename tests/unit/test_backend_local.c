/* The local backend as a table of a runner's answers. */

#include "tests/unit/support.h"

#include <stdio.h>

#include "schemas/json.h"
#include "worker/backend.h"

#define RUN_ID "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"

static const char block_text[] =
    "{\"run_function_code\":\"def run(self, a):\\n    return \\\"x\\\"\\n\","
    "\"imports\":[\"import re\",\"import math\"],"
    "\"init_function_code\":\"def init():\\n    return {}\"}";

static char trusted[] = "acme", trusted_too[] = "other";
static char *const workspaces[] = {trusted_too, trusted, NULL};
static const struct bf_backend_config config = {.workspaces = workspaces,
                                                .stdout_bytes = 8};

struct fixture {
    struct bf_job job;
    struct bf_block *block;
    struct bf_run_input input;
    struct bf_run *run;
};

static void set_up(struct fixture *f, const char *block)
{
    struct bf_err err = {0};

    *f = (struct fixture){.job = {.workspace = LIT("acme"),
                                  .id = LIT("job-1"),
                                  .execution = BF_AT_LEAST_ONCE,
                                  .timeout_ms = 1500,
                                  .max_attempts = 2,
                                  .block = bf_slice_str(block),
                                  .context = LIT("{\"step_name\":\"s\"}"),
                                  .inputs = LIT("{\"a\": NaN}")}};
    f->block = bf_block_parse(f->job.block, &err);
    assert_non_null(f->block);
    f->input = (struct bf_run_input){
        .job = &f->job, .block = f->block, .run_id = RUN_ID, .attempt = 1};
    f->run = bf_backend_local.begin(&config, &f->input, &err);
    assert_non_null(f->run);
}

static void tear_down(struct fixture *f)
{
    bf_backend_local.free(f->run);
    bf_block_free(f->block);
}

static struct bf_slice ask_after(struct fixture *f,
                                 const struct bf_reply *reply)
{
    struct bf_request request = {0};
    struct bf_run_end end;
    struct bf_err err = {0};

    assert_int_equal(bf_backend_local.step(f->run, reply, &request, &end, &err),
                     BF_STEP_SEND);
    assert_int_equal(request.by, BF_BY_RUNNER);
    assert_int_equal(request.nbody, 1);
    /* Not a copy: large inputs are passed through as they are. */
    assert_ptr_equal(request.body[0].ptr, f->job.inputs.ptr);
    assert_int_equal(request.body[0].len, f->job.inputs.len);
    return request.head;
}

static struct bf_slice ask(struct fixture *f)
{
    return ask_after(f, &(struct bf_reply){.kind = BF_REPLY_NONE});
}

static struct bf_run_end end_of(struct fixture *f, const struct bf_reply *reply)
{
    struct bf_request request;
    struct bf_run_end end = {0};
    struct bf_err err = {0};

    assert_int_equal(bf_backend_local.step(f->run, reply, &request, &end, &err),
                     BF_STEP_DONE);
    return end;
}

/* ---- the request ---- */

#define HEAD                                                                   \
    "{\"op\":\"run\",\"run_id\":\"" RUN_ID "\",\"workspace\":\"acme\","        \
    "\"timeout_ms\":1500,\"run_function_name\":\"run\","                       \
    "\"context\":{\"step_name\":\"s\"},"                                       \
    "\"code_hash\":\"2bac316e9bbeb65a9e2f4f4a17a43a76\","
#define CODE                                                                   \
    "\"code_str\":\"def run(self, a):\\n    return \\\"x\\\"\\n\","            \
    "\"imports\":[\"import re\",\"import math\"],"                             \
    "\"init_function_code\":\"def init():\\n    return {}\","                  \
    "\"init_function_name\":\"init\"}"

static void a_small_block_is_sent_at_once(void **unused)
{
    struct fixture f;

    (void)unused;
    set_up(&f, block_text);
    assert_slice(ask(&f), HEAD CODE);
    tear_down(&f);
}

/* A large one is named first, and sent when the runner does not know it. */
static void a_large_block_is_sent_when_it_is_unknown(void **unused)
{
    static const char answer[] =
        "{\"op\":\"done\",\"success\":false,\"server_error\":true,"
        "\"error_type\":\"UnknownCodeHash\",\"delivery\":\"did_not_run\"}";
    struct bf_reply reply = {.kind = BF_REPLY_OK, .head = LIT(answer)};
    struct bf_buf block = BF_BUF_INIT(BF_MAX_BLOCK);
    struct bf_err err = {0};
    struct bf_run_end end;
    struct fixture f;

    (void)unused;
    /* White space is no part of a block's code, but of its size. */
    bf_buf_adds(&block, block_text, &err);
    while (block.len <= 16384)
        bf_buf_adds(&block, "                                ", &err);
    set_up(&f, block.data);
    assert_slice(ask(&f),
                 HEAD "\"init_hash\":\"d69ae00b21d6d88fa08dc81923660717\"}");
    assert_slice(ask_after(&f, &reply), HEAD CODE);
    /* And not once more. */
    end = end_of(&f, &reply);
    assert_true(end.again);
    tear_down(&f);
    bf_buf_release(&block);
}

static void only_trusted_workspaces_are_served(void **unused)
{
    static const struct bf_slice others[] = {LIT("acm"), LIT("acme2"),
                                             LIT("acme,other"), LIT("")};
    struct bf_backend_config nobody = {.workspaces = NULL};
    struct fixture f;
    struct bf_err err = {0};

    (void)unused;
    set_up(&f, block_text);
    for (size_t i = 0; i < bf_countof(others); i++) {
        f.job.workspace = others[i];
        assert_null(bf_backend_local.begin(&config, &f.input, &err));
        assert_int_equal(err.kind, BF_ERR_REJECT);
        assert_int_equal(bf_reason_parse(bf_slice_str(err.code)),
                         BF_REASON_NOT_TRUSTED);
    }
    f.job.workspace = S("acme");
    assert_null(bf_backend_local.begin(&nobody, &f.input, &err));
    tear_down(&f);
}

/* ---- the answer ---- */

enum follows { ENDS, AGAIN, MORE };

/* Sugar for the table below: outcome and reason, delivery, what follows. */
#define OK BF_OUTCOME_SUCCEEDED, BF_REASON_NONE, BF_DELIVERY_RAN, ENDS
#define FAILED(reason)                                                         \
    BF_OUTCOME_FAILED, BF_REASON_##reason, BF_DELIVERY_RAN, ENDS
#define LATE BF_OUTCOME_TIMED_OUT, BF_REASON_DEADLINE, BF_DELIVERY_RAN, ENDS
#define NOT_YET                                                                \
    BF_OUTCOME_EXPIRED, BF_REASON_NONE, BF_DELIVERY_DID_NOT_RUN, AGAIN
#define REFUSED                                                                \
    BF_OUTCOME_DEAD, BF_REASON_BACKEND_REFUSED, BF_DELIVERY_DID_NOT_RUN, ENDS
#define UNKNOWN BF_OUTCOME_DEAD, BF_REASON_ATTEMPTS, BF_DELIVERY_UNKNOWN, MORE

#define RAN(reason)                                                            \
    "{\"success\":false,\"error\":\"x\",\"delivery\":\"ran\","                 \
    "\"reason\":\"" reason "\"}"
#define DID_NOT_RUN(error_type)                                                \
    "{\"success\":false,\"server_error\":true,\"error_type\":\"" error_type    \
    "\",\"delivery\":\"did_not_run\",\"reason\":\"\"}"

static const struct reply_row {
    enum bf_reply_kind kind;
    const char *head;
    const char *body;
    enum bf_outcome outcome;
    enum bf_reason reason;
    enum bf_delivery delivery;
    enum follows follows;
} rows[] = {
    {BF_REPLY_OK, "{\"success\":true,\"reason\":\"\"}", "{}", OK},
    {BF_REPLY_OK, "{\"success\":true,\"stdout\":\"\\u0000\"}", "NaN", OK},
    /* every word that a runner has for what failed */
    {BF_REPLY_OK, RAN("user_error"), "", FAILED(USER_ERROR)},
    {BF_REPLY_OK, RAN("init_error"), "", FAILED(INIT_ERROR)},
    {BF_REPLY_OK, RAN("oom"), "", FAILED(OOM)},
    {BF_REPLY_OK, RAN("cpu_limit"), "", FAILED(CPU_LIMIT)},
    {BF_REPLY_OK, RAN("crashed"), "", FAILED(CRASHED)},
    {BF_REPLY_OK, RAN("output_too_large"), "", FAILED(OUTPUT_TOO_LARGE)},
    {BF_REPLY_OK, RAN("bad_output"), "", FAILED(BAD_OUTPUT)},
    {BF_REPLY_OK, RAN("deadline"), "", LATE},
    {BF_REPLY_OK, RAN(""), "", UNKNOWN},
    {BF_REPLY_OK, RAN("worker_lost"), "", UNKNOWN},
    /* a block may raise a class of any name */
    {BF_REPLY_OK,
     "{\"success\":false,\"error_type\":\"UnknownCodeHash\","
     "\"reason\":\"user_error\"}",
     "", FAILED(USER_ERROR)},
    {BF_REPLY_OK,
     "{\"success\":false,\"error_type\":\"InvalidRequest\","
     "\"delivery\":\"did_not_run\",\"reason\":\"user_error\"}",
     "", FAILED(USER_ERROR)},
    /* what only the runner itself can say */
    {BF_REPLY_OK, DID_NOT_RUN("UnknownCodeHash"), "", NOT_YET},
    {BF_REPLY_OK, DID_NOT_RUN("RunnerBusy"), "", NOT_YET},
    {BF_REPLY_OK, DID_NOT_RUN("SomethingNew"), "", NOT_YET},
    {BF_REPLY_OK, DID_NOT_RUN("InvalidRequest"), "", REFUSED},
    {BF_REPLY_OK, "{\"success\":false,\"server_error\":true}", "", UNKNOWN},
    {BF_REPLY_OK,
     "{\"success\":false,\"server_error\":true,\"delivery\":\"ran\","
     "\"reason\":\"user_error\"}",
     "", UNKNOWN},
    /* no answer to rely on */
    {BF_REPLY_OK, "", "", UNKNOWN},
    {BF_REPLY_OK, "{}", "{}", UNKNOWN},
    {BF_REPLY_OK, "[]", "{}", UNKNOWN},
    {BF_REPLY_OK, "{\"success\":true}", "", UNKNOWN},
    {BF_REPLY_OK, "{\"success\":1}", "{}", UNKNOWN},
    {BF_REPLY_OK, "{\"success\":true", "{}", UNKNOWN},
    {BF_REPLY_OK, "{\"success\":true,\"server_error\":true}", "{}", UNKNOWN},
    {BF_REPLY_OK, "{\"success\":true,\"error\":\"\xff\"}", "{}", UNKNOWN},
    /* what the pool says */
    {BF_REPLY_UNSENT, "", "", NOT_YET},
    {BF_REPLY_LOST, "", "", UNKNOWN},
    {BF_REPLY_DEADLINE, "", "", LATE},
    {BF_REPLY_TOO_LARGE, "", "", FAILED(OUTPUT_TOO_LARGE)},
};

static void check_row(size_t i)
{
    const struct reply_row *row = &rows[i];
    struct bf_reply reply = {.kind = row->kind,
                             .head = bf_slice_str(row->head),
                             .body = bf_slice_str(row->body),
                             .error = "gone"};
    struct bf_run_end end;
    struct fixture f;

    set_up(&f, block_text);
    ask(&f);
    end = end_of(&f, &reply);
    if (end.outcome != row->outcome || end.reason != row->reason ||
        end.delivery != row->delivery || end.again != (row->follows == AGAIN) ||
        end.more != (row->follows == MORE))
        fail_msg("row %zu: %s: %s/%s/%s again %d more %d", i, row->head,
                 bf_outcome_name(end.outcome), bf_reason_name(end.reason),
                 bf_delivery_name(end.delivery), end.again, end.more);
    if (end.outcome == BF_OUTCOME_SUCCEEDED)
        assert_slice(end.result, row->body);
    else
        assert_null(end.result.ptr);
    /* Whoever reads a result without one is told why. */
    if (end.outcome != BF_OUTCOME_SUCCEEDED)
        assert_true(end.report.message.len > 0 || end.report.error.len > 0 ||
                    end.report.error_type.len > 0);
    assert_string_equal(end.isolation, "process");
    tear_down(&f);
}

static void every_answer_has_its_end(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < bf_countof(rows); i++)
        check_row(i);
}

static void a_lost_run_is_not_begun_again_behind_ones_back(void **unused)
{
    struct bf_reply lost = {.kind = BF_REPLY_LOST, .error = "gone"};
    struct fixture f;
    struct bf_run_end end;

    (void)unused;
    set_up(&f, block_text);
    f.job.execution = BF_AT_MOST_ONCE;
    end = end_of(&f, &lost);
    assert_false(end.again || end.more);
    f.job.execution = BF_AT_LEAST_ONCE;
    f.input.attempt = 2;
    end = end_of(&f, &lost);
    assert_false(end.again || end.more);
    tear_down(&f);
}

static void the_report_is_the_runners(void **unused)
{
    static const char answer[] =
        "{\"op\":\"done\",\"run_id\":\"" RUN_ID "\",\"success\":false,"
        "\"error\":\"division by zero\",\"error_type\":\"ZeroDivisionError\","
        "\"line_number\":7,\"function_name\":\"run\",\"stdout\":\"12345678\","
        "\"stderr\":\"1234567\xc3\xa9\",\"stdout_truncated\":false,"
        "\"stderr_truncated\":false,\"execution_time_seconds\":0.25,"
        "\"code_hash\":\"abc\",\"server_error\":false,\"delivery\":\"ran\","
        "\"reason\":\"user_error\",\"duration_us\":1234567,"
        "\"isolation\":\"process\"}";
    struct bf_reply reply = {.kind = BF_REPLY_OK, .head = LIT(answer)};
    struct fixture f;
    struct bf_run_end end;

    (void)unused;
    set_up(&f, block_text);
    end = end_of(&f, &reply);
    assert_slice(end.report.error, "division by zero");
    assert_slice(end.report.error_type, "ZeroDivisionError");
    assert_slice(end.report.function_name, "run");
    assert_slice(end.report.code_hash, "abc");
    assert_int_equal(end.report.line_number, 7);
    assert_int_equal(end.report.execution_us, 250000);
    assert_int_equal(end.duration_us, 1234567);
    /* local.stdout_bytes is 8 here: whole characters that fit. */
    assert_slice(end.report.standard_output, "12345678");
    assert_false(end.report.standard_output_truncated);
    assert_slice(end.report.standard_error, "1234567");
    assert_true(end.report.standard_error_truncated);
    tear_down(&f);
}

static void a_duration_that_is_none_is_left_to_the_worker(void **unused)
{
    static const char *const answers[] = {
        "{\"success\":true}", "{\"success\":true,\"duration_us\":-1}",
        "{\"success\":true,\"duration_us\":1.5}",
        "{\"success\":true,\"duration_us\":\"1\"}"};

    (void)unused;
    for (size_t i = 0; i < bf_countof(answers); i++) {
        struct bf_reply reply = {.kind = BF_REPLY_OK,
                                 .head = bf_slice_str(answers[i]),
                                 .body = LIT("1")};
        struct fixture f;

        set_up(&f, block_text);
        assert_int_equal(end_of(&f, &reply).duration_us, -1);
        tear_down(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_block_is_sent_at_once),
        cmocka_unit_test(a_large_block_is_sent_when_it_is_unknown),
        cmocka_unit_test(only_trusted_workspaces_are_served),
        cmocka_unit_test(every_answer_has_its_end),
        cmocka_unit_test(a_lost_run_is_not_begun_again_behind_ones_back),
        cmocka_unit_test(the_report_is_the_runners),
        cmocka_unit_test(a_duration_that_is_none_is_left_to_the_worker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
