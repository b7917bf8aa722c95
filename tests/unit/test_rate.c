#include "support.h"

#include <stdio.h>

#include "dispatcher/rate.h"

#define SECOND 1000000LL

static struct bf_rate *make(uint64_t jobs_per_s, uint64_t bytes_per_s)
{
    const struct bf_rate_conf conf = {jobs_per_s, bytes_per_s};
    struct bf_rate *rate = bf_rate_new(&conf, NULL);

    assert_non_null(rate);
    return rate;
}

/* Jobs that get through in so many seconds when as many as possible try. */
static int pushed(struct bf_rate *rate, const char *who, uint64_t bytes,
                  int seconds)
{
    int count = 0;

    for (int64_t now = SECOND; now < (1 + seconds) * SECOND; now += 1000) {
        while (bf_rate_wait_ms(rate, bf_slice_str(who), now) == 0) {
            bf_rate_charge(rate, bf_slice_str(who), bytes, now);
            count++;
        }
    }
    return count;
}

static void jobs_come_as_fast_as_they_may(void **state)
{
    bf_autorate struct bf_rate *rate = make(100, 0);

    (void)state;
    /* A second's worth at once, and one in debt. */
    assert_in_range(pushed(rate, "a", 1U << 20, 10), 1090, 1102);
    assert_in_range(pushed(rate, "b", 0, 1), 190, 202);
}

static void bytes_count_as_well(void **state)
{
    bf_autorate struct bf_rate *rate = make(0, 1000);

    (void)state;
    assert_in_range(pushed(rate, "a", 100, 10), 108, 112);
}

static void one_large_job_is_paid_for_later(void **state)
{
    bf_autorate struct bf_rate *rate = make(0, 1000);

    (void)state;
    assert_int_equal(bf_rate_wait_ms(rate, S("a"), 0), 0);
    bf_rate_charge(rate, S("a"), 10000, 0);
    assert_int_equal(bf_rate_wait_ms(rate, S("a"), 0), 9000);
    assert_int_equal(bf_rate_wait_ms(rate, S("a"), 8999000), 1);
    assert_int_equal(bf_rate_wait_ms(rate, S("a"), 9 * SECOND), 0);
    assert_int_equal(bf_rate_wait_ms(rate, S("b"), 0), 0);
    /* Nothing overflows, and nobody waits for ever. */
    bf_rate_charge(rate, S("c"), UINT64_MAX, 0);
    assert_int_equal(bf_rate_wait_ms(rate, S("c"), 0), 3599000);
}

static void very_many_workspaces_share(void **state)
{
    bf_autorate struct bf_rate *rate = make(1, 0);
    char name[16];

    (void)state;
    for (unsigned i = 0; i < BF_RATE_WORKSPACES + 100; i++) {
        snprintf(name, sizeof(name), "w%u", i);
        bf_rate_charge(rate, bf_slice_str(name), 0, 0);
    }
    assert_int_equal(bf_rate_wait_ms(rate, S("w7"), 0), 0);
    assert_int_equal(bf_rate_wait_ms(rate, S("new"), 0), 99000);
    assert_int_equal(bf_rate_wait_ms(rate, S("new"), 100 * SECOND), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_come_as_fast_as_they_may),
        cmocka_unit_test(bytes_count_as_well),
        cmocka_unit_test(one_large_job_is_paid_for_later),
        cmocka_unit_test(very_many_workspaces_share),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
