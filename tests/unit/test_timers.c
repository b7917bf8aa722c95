#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "schemas/err.h"
#include "worker/timers.h"

#define N 500

static void they_come_in_the_order_of_time(void **unused)
{
    struct bf_timers timers = {0};
    struct bf_timer t[N] = {0};
    struct bf_err err = {0};
    uint64_t state = 88172645463325252ULL;
    int64_t last = -1;
    size_t came = 0;

    (void)unused;
    for (size_t i = 0; i < N; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        assert_int_equal(
            bf_timers_set(&timers, &t[i], (int64_t)(state % 1000), &err), 0);
    }
    for (size_t i = 0; i < N; i += 3)
        bf_timers_cancel(&timers, &t[i]);
    for (size_t i = 1; i < N; i += 3)
        bf_timers_set(&timers, &t[i], 2000 + (int64_t)i, &err);
    assert_null(bf_timers_due(&timers, -1));
    for (struct bf_timer *timer; (timer = bf_timers_due(&timers, 5000));) {
        assert_true(timer->due_ms >= last);
        assert_int_equal(timer->slot, 0);
        last = timer->due_ms;
        came++;
    }
    assert_int_equal(came, N - (N + 2) / 3);
    bf_timers_release(&timers);
}

static void the_wait_is_bounded(void **unused)
{
    struct bf_timers timers = {0};
    struct bf_timer timer = {0};
    struct bf_err err = {0};

    (void)unused;
    assert_int_equal(bf_timers_wait(&timers, 0, 1000), 1000);
    bf_timers_set(&timers, &timer, 300, &err);
    assert_int_equal(bf_timers_wait(&timers, 100, 1000), 200);
    assert_int_equal(bf_timers_wait(&timers, 100, 50), 50);
    assert_int_equal(bf_timers_wait(&timers, 400, 1000), 0);
    bf_timers_cancel(&timers, &timer);
    bf_timers_cancel(&timers, &timer);
    assert_int_equal(bf_timers_wait(&timers, 100, 1000), 1000);
    bf_timers_release(&timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_come_in_the_order_of_time),
        cmocka_unit_test(the_wait_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
