#include "support.h"

#include "dispatcher/closed.h"

static void many_are_found_again(void **unused)
{
    struct bf_closed closed = {0};

    (void)unused;
    assert_null(bf_closed_find(&closed, 7, 0));
    for (uint64_t i = 0; i < 5000; i++)
        bf_closed_set(&closed, i * 64, i % 2 ? "odd" : NULL, 10);
    for (uint64_t i = 0; i < 5000; i++) {
        const char *why = bf_closed_find(&closed, i * 64, 9);

        if (i % 2)
            assert_string_equal(why, "odd");
        else
            assert_null(why);
        assert_non_null(bf_closed_find(&closed, i * 64, 10));
        assert_null(bf_closed_find(&closed, i * 64 + 1, 10));
    }
    bf_closed_release(&closed);
}

static void the_last_word_counts(void **unused)
{
    struct bf_closed closed = {0};

    (void)unused;
    bf_closed_set(&closed, 1, "closed", INT64_MAX);
    assert_string_equal(bf_closed_find(&closed, 1, 0), "closed");
    bf_closed_set(&closed, 1, NULL, INT64_MAX);
    assert_null(bf_closed_find(&closed, 1, 0));
    bf_closed_release(&closed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_are_found_again),
        cmocka_unit_test(the_last_word_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
