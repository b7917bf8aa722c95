#include "tests/unit/support.h"

#include <stdio.h>

#include "dispatcher/cli/seen.h"

#define MANY 20000 /* it grows several times */

static int add(struct bf_seen *seen, int n)
{
    struct bf_err err = {0};
    char text[16];

    snprintf(text, sizeof(text), "job-%d", n);
    return bf_seen_add(seen, bf_slice_str(text), &err);
}

static void test_each_is_new_once(void **state)
{
    struct bf_seen seen = {0};

    (void)state;
    for (int n = 0; n < MANY; n++) {
        assert_int_equal(add(&seen, n), 1);
        assert_int_equal(add(&seen, n / 2), 0);
    }
    for (int n = 0; n < MANY; n++)
        assert_int_equal(add(&seen, n), 0);
    assert_int_equal(seen.count, MANY);
    bf_seen_release(&seen);
    assert_int_equal(add(&seen, 1), 1);
    bf_seen_release(&seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_is_new_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
