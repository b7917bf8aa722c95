#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "schemas/err.h"
#include "worker/order.h"

#define NODES 60

static struct bf_order_node node_of(const char *workspace, const char *key)
{
    return (struct bf_order_node){.workspace = bf_slice_str(workspace),
                                  .key = bf_slice_str(key)};
}

static void one_at_a_time_in_order(void **unused)
{
    struct bf_order order = {0};
    struct bf_err err = {0};
    struct bf_order_node nodes[NODES];

    (void)unused;
    for (size_t i = 0; i < NODES; i++) {
        static const char *const keys[] = {"a", "b", "c"};

        nodes[i] = node_of("w", keys[i % 3]);
        assert_int_equal(bf_order_enter(&order, &nodes[i], &err), i < 3);
    }
    for (size_t i = 0; i < NODES; i++) {
        struct bf_order_node *next = bf_order_leave(&order, &nodes[i]);

        assert_ptr_equal(next, i + 3 < NODES ? &nodes[i + 3] : NULL);
    }
    assert_null(order.heads);
}

static void others_do_not_wait(void **unused)
{
    struct bf_order order = {0};
    struct bf_err err = {0};
    struct bf_order_node nodes[] = {node_of("w", "k"), node_of("v", "k"),
                                    node_of("w", "k2"), node_of("w", "k"),
                                    node_of("w", "k")};

    (void)unused;
    nodes[3].lane = BF_LANE_BATCH;
    nodes[4].epoch = 1;
    for (size_t i = 0; i < bf_countof(nodes); i++)
        assert_int_equal(bf_order_enter(&order, &nodes[i], &err), 1);
    for (size_t i = 0; i < bf_countof(nodes); i++)
        assert_null(bf_order_leave(&order, &nodes[i]));
}

static void a_waiter_may_leave(void **unused)
{
    struct bf_order order = {0};
    struct bf_err err = {0};
    struct bf_order_node a = node_of("w", "k"), b = a, c = a;

    (void)unused;
    assert_int_equal(bf_order_enter(&order, &a, &err), 1);
    assert_int_equal(bf_order_enter(&order, &b, &err), 0);
    assert_int_equal(bf_order_enter(&order, &c, &err), 0);
    assert_null(bf_order_leave(&order, &b));
    assert_null(bf_order_leave(&order, &b));
    assert_ptr_equal(bf_order_leave(&order, &a), &c);
    assert_int_equal(bf_order_enter(&order, &a, &err), 0);
    assert_ptr_equal(bf_order_leave(&order, &c), &a);
    assert_null(bf_order_leave(&order, &a));
    assert_null(order.heads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_at_a_time_in_order),
        cmocka_unit_test(others_do_not_wait),
        cmocka_unit_test(a_waiter_may_leave),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
