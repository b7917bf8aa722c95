#include "support.h"

#include "dispatcher/lines.h"

#define MAX_LINE 8

/* What comes out, as "line|line|": ! is a line over the ceiling. */
static void run(const char *text, size_t chunk_len, struct bf_buf *out)
{
    size_t left = strlen(text);
    struct bf_lines lines;
    struct bf_line line;
    struct bf_err err;

    bf_lines_init(&lines, MAX_LINE);
    while (left > 0) {
        size_t len = chunk_len < left ? chunk_len : left;
        /* Gone after use: a line must not point into the last chunk. */
        bf_autofree char *copy = malloc(len);
        struct bf_slice chunk = {copy, len};

        memcpy(copy, text, len);
        while (bf_lines_next(&lines, &chunk, &line, &err) == 1)
            assert_int_equal(bf_buf_addf(out, NULL, "%.*s%s|",
                                         BF_SLICE_ARG(line.text),
                                         line.too_long ? "!" : ""),
                             0);
        assert_int_equal(chunk.len, 0);
        text += len;
        left -= len;
    }
    if (bf_lines_last(&lines, &line))
        assert_int_equal(bf_buf_addf(out, NULL, "%.*s%s|",
                                     BF_SLICE_ARG(line.text),
                                     line.too_long ? "!" : ""),
                         0);
    assert_int_equal(bf_lines_last(&lines, &line), 0);
    bf_lines_release(&lines);
}

static const struct {
    const char *text;
    const char *lines;
} cases[] = {
    {"", ""},
    {"a", "a|"},
    {"a\n", "a|"},
    {"\n", "|"},
    {"\n\n", "||"},
    {"a\nb\nc", "a|b|c|"},
    {"a\r\nb\r\n", "a|b|"},
    {"a\rb\n", "a\rb|"},
    {"12345678\n1\n", "12345678|1|"},
    {"123456789\n1\n", "!|1|"},
    {"1\n1234567890123456789012345\n\n2", "1|!||2|"},
    {"123456789", "!|"},
    {"1234567\r\n", "1234567|"},
};

static void chunk_borders_do_not_matter(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < bf_countof(cases); i++) {
        for (size_t len = 1; len <= strlen(cases[i].text) + 1; len++) {
            bf_autobuf struct bf_buf out = BF_BUF_INIT(1024);

            run(cases[i].text, len, &out);
            assert_slice(bf_buf_slice(&out), cases[i].lines);
        }
    }
}

static void memory_of_a_line_goes_with_it(void **unused)
{
    struct bf_lines lines;
    struct bf_slice chunk = S("12345"), rest = S("67\n");
    struct bf_line line;

    (void)unused;
    bf_lines_init(&lines, 100);
    assert_int_equal(bf_lines_next(&lines, &chunk, &line, NULL), 0);
    bf_lines_trim(&lines); /* it is still needed */
    assert_true(lines.part.cap > 0);
    assert_int_equal(bf_lines_next(&lines, &rest, &line, NULL), 1);
    assert_slice(line.text, "1234567");
    bf_lines_trim(&lines);
    assert_int_equal(lines.part.cap, 0);
    chunk = S("1\n");
    assert_int_equal(bf_lines_next(&lines, &chunk, &line, NULL), 1);
    assert_slice(line.text, "1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunk_borders_do_not_matter),
        cmocka_unit_test(memory_of_a_line_goes_with_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
