#include "tests/unit/generated.h"

#include "config/option.h"
#include "dispatcher/limits.h"

#define PATH BF_SOURCE_DIR "/dispatcher/LIMITS.md"

static void the_document_is_generated(void **state)
{
    bf_autobuf struct bf_buf want = BF_BUF_INIT(1U << 20);

    (void)state;
    assert_int_equal(bf_limits_markdown(&want, NULL), 0);
    check_generated(PATH, want.data);
}

static void every_row_says_what_happens(void **state)
{
    const struct bf_limit *limit;

    (void)state;
    for (size_t i = 0; (limit = bf_limit_at(i)); i++) {
        if (limit->option && !bf_option_find(limit->option))
            fail_msg("%s: there is no option %s", limit->what, limit->option);
        if (!limit->option && limit->most == 0 && !limit->unit)
            fail_msg("%s: how much?", limit->what);
        if (limit->by == BF_LIMIT_NOBODY && !limit->then)
            fail_msg("%s: and then?", limit->what);
        if (limit->by == BF_LIMIT_US)
            assert_in_range(bf_problem_status(limit->problem), 400, 503);
    }
}

/* 429 and 503 say when to come again, and nothing else does. */
static void who_may_come_again_is_told_when(void **state)
{
    struct bf_problem problem;

    (void)state;
    for (int code = 0; code < BF_PROBLEMS; code++) {
        unsigned status = bf_problem_status((enum bf_problem_code)code);

        bf_problem_set(&problem, (enum bf_problem_code)code, NULL, "x");
        assert_int_equal(bf_problem_retry_after(&problem),
                         status == 429 || status == 503);
        problem.retry_after_s = 7;
        assert_int_equal(bf_problem_retry_after(&problem),
                         status == 429 || status == 503 ? 7 : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_document_is_generated),
        cmocka_unit_test(every_row_says_what_happens),
        cmocka_unit_test(who_may_come_again_is_told_when),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
