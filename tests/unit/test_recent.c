#include "support.h"

#include <stdio.h>

#include "dispatcher/recent.h"

#define A S("ws-a")
#define B S("ws-b")

static struct bf_recent *recent_of(size_t workspace, size_t total,
                                   int64_t max_age_ms)
{
    const struct bf_recent_conf conf = {workspace, total, max_age_ms};
    struct bf_recent *recent = bf_recent_new(&conf, NULL);

    assert_non_null(recent);
    return recent;
}

static void put_nth(struct bf_recent *recent, struct bf_slice workspace, int n)
{
    char key[16], text[1000] = "";

    snprintf(key, sizeof(key), "key-%d", n);
    snprintf(text, sizeof(text), "text-%d", n);
    bf_recent_put(recent, workspace, bf_slice_str(key), 0,
                  (struct bf_slice){text, sizeof(text)});
}

static bool has_nth(struct bf_recent *recent, struct bf_slice workspace, int n)
{
    char key[16], text[16];
    struct bf_slice found;

    snprintf(key, sizeof(key), "key-%d", n);
    snprintf(text, sizeof(text), "text-%d", n);
    found = bf_recent_get(recent, workspace, bf_slice_str(key), 0);
    if (found.ptr)
        assert_string_equal(found.ptr, text);
    return found.ptr;
}

static void a_workspace_finds_its_own(void **state)
{
    bf_autorecent struct bf_recent *recent = recent_of(10000, 100000, 0);

    (void)state;
    bf_recent_put(recent, A, S("k"), 0, S("of a"));
    bf_recent_put(recent, B, S("k"), 0, S("of b"));
    assert_slice(bf_recent_get(recent, A, S("k"), 0), "of a");
    assert_slice(bf_recent_get(recent, B, S("k"), 0), "of b");
    assert_null(bf_recent_get(recent, A, S("l"), 0).ptr);
    assert_null(bf_recent_get(recent, S("ws-"), S("ak"), 0).ptr);
    bf_recent_put(recent, A, S("k"), 0, S("anew"));
    assert_slice(bf_recent_get(recent, A, S("k"), 0), "anew");
}

static void its_share_is_all_it_takes(void **state)
{
    bf_autorecent struct bf_recent *recent = recent_of(5000, 100000, 0);
    size_t of_b;

    (void)state;
    put_nth(recent, B, 0);
    of_b = bf_recent_bytes(recent);
    for (int n = 0; n < 4; n++)
        put_nth(recent, A, n);
    assert_true(has_nth(recent, A, 0)); /* and is the last one used */
    for (int n = 4; n < 7; n++)
        put_nth(recent, A, n);
    assert_true(has_nth(recent, A, 0));
    assert_false(has_nth(recent, A, 1));
    assert_true(has_nth(recent, A, 6));
    assert_true(has_nth(recent, B, 0));
    assert_true(bf_recent_bytes(recent) <= 5000 + of_b);
}

static void all_of_them_have_a_ceiling(void **state)
{
    bf_autorecent struct bf_recent *recent = recent_of(5000, 20000, 0);
    char name[16];

    (void)state;
    for (int n = 0; n < 1000; n++) {
        snprintf(name, sizeof(name), "ws-%d", n);
        put_nth(recent, bf_slice_str(name), n);
        assert_true(bf_recent_bytes(recent) <= 20000);
        assert_true(has_nth(recent, bf_slice_str(name), n));
    }
    assert_false(has_nth(recent, S("ws-0"), 0));
    assert_true(has_nth(recent, S("ws-990"), 990));
}

static void what_is_too_large_is_not_kept(void **state)
{
    bf_autorecent struct bf_recent *recent = recent_of(900, 20000, 0);

    (void)state;
    put_nth(recent, A, 1);
    assert_false(has_nth(recent, A, 1));
    assert_int_equal(bf_recent_bytes(recent), 0);
}

static void what_is_old_is_gone(void **state)
{
    bf_autorecent struct bf_recent *recent = recent_of(9000, 20000, 100);

    (void)state;
    bf_recent_put(recent, A, S("k"), 1000, S("text"));
    assert_slice(bf_recent_get(recent, A, S("k"), 1099), "text");
    assert_null(bf_recent_get(recent, A, S("k"), 1100).ptr);
    assert_int_equal(bf_recent_bytes(recent), 0);
    bf_recent_put(recent, A, S("k"), 1100, S("text"));
    bf_recent_put(recent, A, S("k"), 1150, S("again"));
    assert_slice(bf_recent_get(recent, A, S("k"), 1249), "again");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_workspace_finds_its_own),
        cmocka_unit_test(its_share_is_all_it_takes),
        cmocka_unit_test(all_of_them_have_a_ceiling),
        cmocka_unit_test(what_is_too_large_is_not_kept),
        cmocka_unit_test(what_is_old_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
