#include "tests/unit/support.h"

#include "worker/budget.h"

static void test_reserves_up_to_the_ceiling(void **state)
{
    struct bf_budget budget = {.max_bytes = 1000, .held = 300};

    (void)state;
    assert_true(bf_budget_reserve(&budget, 400, 100));
    assert_int_equal(budget.reserved, 400);
    /* 800 are used: 200 are left, and no more. */
    assert_false(bf_budget_reserve(&budget, 201, 100));
    assert_int_equal(budget.reserved, 400);
    assert_true(bf_budget_has_room(&budget, 100));
    assert_true(bf_budget_reserve(&budget, 200, 100));
    assert_false(bf_budget_has_room(&budget, 100));
    assert_false(bf_budget_reserve(&budget, 1, 100));
    bf_budget_release(&budget, 400);
    assert_true(bf_budget_has_room(&budget, 100));
    assert_true(bf_budget_reserve(&budget, 399, 100));
}

/* Otherwise it would wait for ever. */
static void test_what_never_fits_goes_alone(void **state)
{
    struct bf_budget budget = {.max_bytes = 1000, .held = 5000};

    (void)state;
    assert_true(bf_budget_reserve(&budget, 90000, 0));
    assert_false(bf_budget_reserve(&budget, 90000, 0));
    assert_false(bf_budget_reserve(&budget, 1, 0));
    bf_budget_release(&budget, 90000);
    assert_true(bf_budget_reserve(&budget, 90000, 0));
}

/* Of a backend that builds nothing: always granted while there is room. */
static void test_nothing_to_reserve(void **state)
{
    struct bf_budget budget = {.max_bytes = 1000, .held = 999};

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_true(bf_budget_reserve(&budget, 0, 0));
    budget.held = 1001;
    assert_true(bf_budget_reserve(&budget, 0, 0));
    assert_int_equal(budget.reserved, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reserves_up_to_the_ceiling),
        cmocka_unit_test(test_what_never_fits_goes_alone),
        cmocka_unit_test(test_nothing_to_reserve),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
