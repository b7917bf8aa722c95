#include "tests/unit/support.h"

#include "worker/lately.h"

static void test_remembers(void **state)
{
    struct bf_err err = {0};
    bf_autolately struct bf_lately *lately = bf_lately_new(4, &err);

    (void)state;
    assert_null(bf_lately_find(lately, 0));
    bf_lately_put(lately, 0, 7);
    bf_lately_put(lately, 5, 8);
    bf_lately_put(lately, 5, 9);
    assert_int_equal(*bf_lately_find(lately, 0), 7);
    assert_int_equal(*bf_lately_find(lately, 5), 9);
    bf_lately_forget(lately, 5);
    bf_lately_forget(lately, 6);
    assert_null(bf_lately_find(lately, 5));
    assert_int_equal(*bf_lately_find(lately, 0), 7);
}

/* Of a set that is full, the one that nobody asked for goes. */
static void test_forgets_the_oldest(void **state)
{
    struct bf_err err = {0};
    bf_autolately struct bf_lately *lately = bf_lately_new(1, &err);

    (void)state;
    for (uint64_t i = 1; i <= 4; i++)
        bf_lately_put(lately, i, (int64_t)i);
    assert_non_null(bf_lately_find(lately, 1));
    bf_lately_put(lately, 5, 5);
    assert_null(bf_lately_find(lately, 2));
    for (uint64_t i = 3; i <= 5; i++)
        assert_int_equal(*bf_lately_find(lately, i), i);
    assert_int_equal(*bf_lately_find(lately, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_remembers),
        cmocka_unit_test(test_forgets_the_oldest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
