#include "tests/unit/support.h"

#include "worker/pace.h"

static void test_burst_then_rate(void **state)
{
    struct bf_pace pace;

    (void)state;
    bf_pace_init(&pace, 10, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(bf_pace_take_ms(&pace, 1000), 0);
    for (int i = 1; i <= 20; i++)
        assert_int_equal(bf_pace_take_ms(&pace, 1000), 100 * i);
    /* Their places are taken; an hour later all is paid for. */
    assert_int_equal(bf_pace_take_ms(&pace, 3000), 100);
    assert_int_equal(bf_pace_take_ms(&pace, 3600000), 0);
}

/* In any second, at most the rate and the burst. */
static void test_ceiling(void **state)
{
    struct bf_pace pace;
    int64_t turns[2000];

    (void)state;
    bf_pace_init(&pace, 180, 900);
    for (int i = 0; i < 2000; i++)
        turns[i] = 5 * (i / 10) + bf_pace_take_ms(&pace, 5 * (i / 10));
    for (int i = 0; i + 1081 < 2000; i++)
        assert_true(turns[i + 1081] - turns[i] >= 1000);
}

static void test_no_limit_and_hold(void **state)
{
    struct bf_pace pace;

    (void)state;
    bf_pace_init(&pace, 0, 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(bf_pace_take_ms(&pace, 7), 0);
    bf_pace_hold(&pace, 7, 500);
    bf_pace_hold(&pace, 7, 100); /* a shorter one does not shorten it */
    assert_int_equal(bf_pace_take_ms(&pace, 107), 400);
    assert_int_equal(bf_pace_take_ms(&pace, 507), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burst_then_rate),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_no_limit_and_hold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
