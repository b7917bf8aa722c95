#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "dispatcher/cli/table.h"
#include "dispatcher/cli/text.h"
#include "schemas/err.h"

static void test_width(void **state)
{
    static const struct {
        const char *text;
        size_t width;
    } rows[] = {
        {"", 0},
        {"abc", 3},
        {"é", 1},
        {"e\xcc\x81", 1}, /* e and a combining acute */
        {"日本", 4},
        {"🎬", 2},
        {"\x1b[2J", 7},       /* \x1b[2J, spelled out */
        {"\xff", 4},          /* \xff */
        {"\xe2\x80\xae", 6},  /* \u202e, which turns text around */
        {"\xc0\xaf", 8},      /* overlong */
        {"\xed\xa0\x80", 12}, /* a surrogate */
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++)
        assert_int_equal(bf_text_width(bf_slice_str(rows[i].text)),
                         rows[i].width);
}

static void check_text(const char *text, size_t max, bool newline,
                       const char *want)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(1024);
    struct bf_err err = {0};

    assert_int_equal(bf_text_add(&out, bf_slice_str(text), max, newline, &err),
                     0);
    assert_string_equal(out.data ? out.data : "", want);
}

static void test_text_is_harmless(void **state)
{
    (void)state;
    check_text("a\x1b]0;x\x07z", 0, false, "a\\x1b]0;x\\x07z");
    check_text("a\nb", 0, false, "a\\nb");
    check_text("a\nb", 0, true, "a\nb");
    check_text("\xc2\x9b"
               "1m",
               0, true, "\\x9b1m"); /* CSI as one byte */
}

static void test_text_is_cut_by_columns(void **state)
{
    (void)state;
    check_text("abcdef", 6, false, "abcdef");
    check_text("abcdefg", 6, false, "abcde…");
    check_text("日本語です", 6, false, "日本…");
}

static void test_table(void **state)
{
    static const struct bf_column columns[] = {
        {"name", "NAME", false, 0},
        {"n", "COUNT", true, 0},
        {"never", "NEVER", false, 0},
        {"on", "ON", false, 0},
    };
    bf_autobuf struct bf_buf out = BF_BUF_INIT(4096);
    json_auto_t *rows =
        json_pack("[{s:s,s:i,s:b},{s:s,s:n,s:b}]", "name", "日本", "n", 7, "on",
                  1, "name", "b", "n", "on", 0);
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(bf_table_text(columns, 4, rows, &out, &err), 0);
    assert_string_equal(out.data, "NAME  COUNT  ON\n"
                                  "日本      7  yes\n"
                                  "b         -  no\n");
}

static void test_record(void **state)
{
    static const struct bf_column columns[] = {
        {"job", "job", false, 0},
        {"gone", "a long title of nothing", false, 0},
        {"status", "status", false, 0},
    };
    bf_autobuf struct bf_buf out = BF_BUF_INIT(4096);
    json_auto_t *row = json_pack("{s:s,s:s}", "job", "x", "status", "failed");
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(bf_table_record(columns, 3, row, &out, &err), 0);
    assert_string_equal(out.data, "job     x\nstatus  failed\n");
}

static void test_bytes(void **state)
{
    char text[16];

    (void)state;
    bf_text_bytes(1023, text);
    assert_string_equal(text, "1023 B");
    bf_text_bytes(1536, text);
    assert_string_equal(text, "1.5 KiB");
    bf_text_bytes((1 << 20) - 1, text);
    assert_string_equal(text, "1.0 MiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_width),
        cmocka_unit_test(test_text_is_harmless),
        cmocka_unit_test(test_text_is_cut_by_columns),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
