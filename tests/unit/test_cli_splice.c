#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "dispatcher/cli/splice.h"
#include "dispatcher/scan.h"
#include "schemas/err.h"

/* What a JSON library would change, refuse or lose. */
static const char odd[] = "{\"big\": 9223372036854775808, \"n\":NaN,\n"
                          "\"z\":\"\\u0000\", \"z\":1.0e+2, \"i\":-Infinity}";

static void test_inputs_are_untouched(void **state)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(BF_SPLICE_MAX);
    bf_autobuf struct bf_buf rest = BF_BUF_INIT(BF_SCAN_REST);
    json_auto_t *members = json_pack("{s:s}", "workspace", "w\"x");
    struct bf_slice found;
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(bf_splice_job(members, bf_slice_str(odd), &out, &err), 0);
    assert_int_equal(bf_scan(bf_buf_slice(&out), &found, &rest, &err), 0);
    assert_int_equal(found.len, sizeof(odd) - 1);
    assert_memory_equal(found.ptr, odd, found.len);
}

static void test_no_other_members(void **state)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(BF_SPLICE_MAX);
    json_auto_t *members = json_object();
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(bf_splice_job(members, bf_slice_str(" {} \n"), &out, &err),
                     0);
    assert_string_equal(out.data, "{\"inputs\":{}}");
}

static void test_bad_inputs(void **state)
{
    static const char *const rows[] = {
        "",           "[]",
        "7",          "{",
        "{}{}",       "{},\"workspace\":\"other\"",
        "{\"a\":1}}", "{\"a\":tru}",
        "null",       "{\"a\":1} x",
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        bf_autobuf struct bf_buf out = BF_BUF_INIT(BF_SPLICE_MAX);
        json_auto_t *members = json_pack("{s:s}", "workspace", "w");
        struct bf_err err = {0};

        assert_int_equal(
            bf_splice_job(members, bf_slice_str(rows[i]), &out, &err), -1);
        assert_string_equal(err.code, "usage");
    }
}

static void test_is_json(void **state)
{
    static const char *const yes[] = {
        "1",        "-0.5e3",      "true",
        "null",     "NaN",         "\"a,b\"",
        "[1,2]",    " {\"a\":1} ", "9223372036854775808",
        "\"\\\"\"", "[\"]\"]",
    };
    static const char *const no[] = {
        "",      "hello",  "01",  "1,2", "1},\"x\":{\"y\":2",
        "1],[2", "\"a\"b", "\"a", "[1",  "{\"a\":1},",
        "a:b",   "1}",
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(yes); i++)
        assert_true(bf_splice_is_json(bf_slice_str(yes[i])));
    for (size_t i = 0; i < bf_countof(no); i++)
        assert_false(bf_splice_is_json(bf_slice_str(no[i])));
}

static void test_pairs(void **state)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(1024);
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(bf_buf_adds(&out, "{", &err), 0);
    assert_int_equal(bf_splice_pair("n=18446744073709551616", &out, &err), 0);
    assert_int_equal(bf_splice_pair("zip=01234", &out, &err), 0);
    assert_int_equal(bf_splice_pair("q\"=a=b", &out, &err), 0);
    assert_int_equal(bf_splice_pair("e=", &out, &err), 0);
    assert_string_equal(out.data,
                        "{\"n\":18446744073709551616,\"zip\":\"01234\","
                        "\"q\\\"\":\"a=b\",\"e\":\"\"");
    assert_int_equal(bf_splice_pair("none", &out, &err), -1);
    assert_int_equal(bf_splice_pair("=x", &out, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inputs_are_untouched),
        cmocka_unit_test(test_no_other_members),
        cmocka_unit_test(test_bad_inputs),
        cmocka_unit_test(test_is_json),
        cmocka_unit_test(test_pairs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
