#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "dispatcher/cli/jobs.h"
#include "schemas/err.h"

static void check_snippet(const char *code, int64_t line, const char *want)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(4096);
    struct bf_err err = {0};

    assert_int_equal(bf_jobs_snippet(code, line, &out, &err), 0);
    assert_string_equal(out.data ? out.data : "", want);
}

static void test_snippet(void **state)
{
    (void)state;
    check_snippet("a\nb\nc\nd\ne\nf\n", 4,
                  "         2 | b\n"
                  "         3 | c\n"
                  "  >>>    4 | d\n"
                  "         5 | e\n"
                  "         6 | f\n");
    check_snippet("only", 1, "  >>>    1 | only\n");
    check_snippet("a\r\nb\x1b[m", 2,
                  "         1 | a\n"
                  "  >>>    2 | b\\x1b[m\n");
    check_snippet("a\nb\n", 3, "");
    check_snippet("a\nb\n", 0, "");
    check_snippet("", 1, "");
}

static void test_exits(void **state)
{
    static const struct {
        const char *status;
        bool ended;
        enum bf_exit number;
    } rows[] = {
        {"waiting", false, BF_EXIT_PENDING},
        {"running", false, BF_EXIT_PENDING},
        {"succeeded", true, BF_EXIT_OK},
        {"failed", true, BF_EXIT_JOB},
        {"unknown", true, BF_EXIT_JOB},
        {"expired", true, BF_EXIT_JOB},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        json_auto_t *job = json_pack("{s:s}", "status", rows[i].status);

        assert_int_equal(bf_jobs_ended(job), rows[i].ended);
        assert_int_equal(bf_jobs_exit(job), rows[i].number);
    }
    assert_int_equal(bf_jobs_worse(BF_EXIT_PENDING, BF_EXIT_JOB), BF_EXIT_JOB);
    assert_int_equal(bf_jobs_worse(BF_EXIT_PENDING, BF_EXIT_OK),
                     BF_EXIT_PENDING);
}

/* What bf_jobs_show() prints of a job; the caller frees it. */
static char *shown(const json_t *job, const char *code, bool json)
{
    char *text = NULL;
    size_t len;
    struct bf_cli cli = {.out = open_memstream(&text, &len), .json = json};
    struct bf_err err = {0};

    assert_non_null(cli.out);
    assert_int_equal(bf_jobs_show(&cli, job, code, &err), 0);
    fclose(cli.out);
    return text;
}

static void test_show_failed(void **state)
{
    json_auto_t *job = json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:{s:s,s:s,s:s,s:i,s:s,s:b}}", "job", "j",
        "status", "failed", "reason", "user_error", "started_at",
        "2026-11-21T13:00:00.000Z", "ended_at", "2026-11-21T13:00:01.250Z",
        "report", "error", "division by zero\x1b[2J", "error_type",
        "ZeroDivisionError", "function_name", "run", "line_number", 2, "stdout",
        "hello\n", "stdout_truncated", 1);
    bf_autofree char *text =
        shown(job, "def run(a):\n    return a / 0\n", false);

    (void)state;
    assert_string_equal(text, "job      j\n"
                              "status   failed\n"
                              "reason   user_error\n"
                              "started  2026-11-21T13:00:00.000Z\n"
                              "ended    2026-11-21T13:00:01.250Z\n"
                              "took     1.250 s\n"
                              "\n"
                              "Error in line 2, in run: ZeroDivisionError: "
                              "division by zero\\x1b[2J\n"
                              "         1 | def run(a):\n"
                              "  >>>    2 |     return a / 0\n"
                              "\n"
                              "stdout (cut):\n"
                              "hello\n");
}

static void test_show_json(void **state)
{
    json_auto_t *job = json_pack("{s:s}", "status", "succeeded");
    bf_autofree char *text = shown(job, NULL, true);

    (void)state;
    assert_string_equal(text, "{\"status\":\"succeeded\"}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snippet),
        cmocka_unit_test(test_exits),
        cmocka_unit_test(test_show_failed),
        cmocka_unit_test(test_show_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
