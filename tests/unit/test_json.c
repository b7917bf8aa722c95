#include "tests/unit/support.h"

#include "schemas/json.h"
#include "schemas/limits.h"

static void test_what_is_refused(void **state)
{
    static const struct bf_slice bad[] = {
        {"", 0},
        {"[]", 2},
        {"1", 1},
        {"{", 1},
        {"{} x", 4},
        {"{\"a\":1,\"a\":2}", 13},
        {"{\"a\":\"\\u0000\"}", 14},
        {"{\"a\":\"\\ud800\"}", 14},
        {"{\"a\":\"\\udc00\"}", 14},
        {"{\"a\":\"\xff\"}", 9},
        {"{\"a\":\"\xc0\x80\"}", 10},
        {"{\"a\":\"\0\"}", 9},
        {"{}\0", 3},
        {"\xef\xbb\xbf{}", 5},
        {"{\"a\":NaN}", 9},
        {"{\"a\":01}", 8},
        {"{\"a\":9223372036854775808}", 25},
        {"{\"a\":1e999}", 11},
        {"{'a':1}", 7},
        {"{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}", 38},
        {"{\"\\", 3},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(bad); i++) {
        struct bf_err err = {0};

        assert_null(bf_json_parse(bad[i], 100, &err));
        assert_refused(-1, err, "bad_json");
    }
}

static void test_what_is_taken(void **state)
{
    struct bf_err err = {0};
    json_t *doc = bf_json_parse(
        S("{\"a\":[[[[[[[[[[[[[[[\"]]}{\\\"[\"]]]]]]]]]]]]]]]}"), 100, &err);

    (void)state;
    assert_non_null(doc);
    json_decref(doc);
    doc = bf_json_parse_nul(S("{\"a\":\"x\\u0000y\"}"), 100, &err);
    assert_non_null(doc);
    assert_int_equal(bf_json_slice(json_object_get(doc, "a")).len, 3);
    assert_true(bf_json_is_strings(doc));
    json_decref(doc);
    assert_null(bf_json_parse(S("{\"a\":1}"), 6, &err));
    assert_refused(-1, err, "too_large");
    assert_null(bf_json_slice(NULL).ptr);
    assert_false(bf_json_is_strings(NULL));
}

/* {"a":[x,x,...]} with n of x. */
static void put_list(struct bf_buf *text, const char *x, size_t n)
{
    assert_int_equal(bf_buf_adds(text, "{\"a\":[", NULL), 0);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(bf_buf_addf(text, NULL, "%s%s", i ? "," : "", x), 0);
    assert_int_equal(bf_buf_adds(text, "]}", NULL), 0);
}

static void test_width_has_a_ceiling(void **state)
{
    static const struct {
        const char *x;
        size_t most;
    } rows[] = {
        {"{}", BF_MAX_CONTAINERS - 2}, /* the list and what it is in */
        {"[]", BF_MAX_CONTAINERS - 2},
        {"1", BF_MAX_COMMAS + 1},
        {"\"[,\\\",{\"", BF_MAX_COMMAS + 1},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(rows) * 2; i++) {
        bf_autobuf struct bf_buf text = BF_BUF_INIT(4U << 20);
        bf_autojson json_t *doc = NULL;
        struct bf_err err = {0};
        size_t n = rows[i / 2].most + i % 2;

        put_list(&text, rows[i / 2].x, n);
        doc = bf_json_parse(bf_buf_slice(&text), text.max, &err);
        if (i % 2 == 0)
            assert_int_equal(json_array_size(json_object_get(doc, "a")), n);
        else
            assert_refused(doc ? 0 : -1, err, "bad_json");
    }
}

/* want: what Python's decode("utf-8", "replace") and json.dumps give. */
static const struct {
    struct bf_slice in;
    const char *want;
} quotes[] = {
    {LIT(""), "\"\""},
    {LIT("plain \x7f/"), "\"plain \x7f/\""},
    {LIT("\"\\\b\f\n\r\t"), "\"\\\"\\\\\\b\\f\\n\\r\\t\""},
    {LIT("a\0b\x1f"), "\"a\\u0000b\\u001F\""},
    {LIT("\xc3\xa9\xf0\x9f\x98\x80"), "\"\xc3\xa9\xf0\x9f\x98\x80\""},
    {LIT("a\xff\xfe"), "\"a\xef\xbf\xbd\xef\xbf\xbd\""},
    {LIT("\xe2\x82"), "\"\xef\xbf\xbd\""},
    {LIT("\xe2\x82x"), "\"\xef\xbf\xbdx\""},
    {LIT("\xf0\x9f\x98\xf0\x9f\x98\x80"), "\"\xef\xbf\xbd\xf0\x9f\x98\x80\""},
    {LIT("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    {LIT("\xc0\xaf"), "\"\xef\xbf\xbd\xef\xbf\xbd\""},
    {LIT("\xf4\x90\x80\x80"),
     "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    {LIT("\xe0\x80\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
};

static void test_quotes(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(quotes); i++) {
        bf_autobuf struct bf_buf buf = BF_BUF_INIT(1024);

        assert_int_equal(bf_json_quote(&buf, quotes[i].in, NULL), 0);
        assert_string_equal(buf.data, quotes[i].want);
    }
}

static void test_cuts_between_characters(void **state)
{
    static const struct {
        size_t max;
        const char *want;
    } cases[] = {
        {0, ""},
        {1, "a"},
        {2, "a"},
        {3, "a\\n"},
        {5, "a\\n"},
        {6, "a\\n\xe2\x82\xac"},
        {11, "a\\n\xe2\x82\xac"},
        {12, "a\\n\xe2\x82\xac\\u0001"},
        {15, "a\\n\xe2\x82\xac\\u0001\xef\xbf\xbd"},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(cases); i++) {
        bf_autobuf struct bf_buf buf = BF_BUF_INIT(64);
        bool cut;

        assert_int_equal(bf_json_escape(&buf, S("a\n\xe2\x82\xac\x01\xff"),
                                        cases[i].max, &cut, NULL),
                         0);
        assert_slice(bf_buf_slice(&buf), cases[i].want);
        assert_int_equal(cut, i < bf_countof(cases) - 1);
    }
}

static void test_the_ceiling_of_a_buffer_holds(void **state)
{
    bf_autobuf struct bf_buf buf = BF_BUF_INIT(8);
    struct bf_json_out out;
    struct bf_err err = {0};

    (void)state;
    bf_json_start(&out, &buf, &err);
    bf_json_open(&out, NULL, '{');
    bf_json_str(&out, "a", "long enough");
    bf_json_close(&out, '}');
    assert_refused(bf_json_done(&out), err, "too_large");
    assert_in_range(buf.len, 0, 8);
}

static void test_every_kind_of_value(void **state)
{
    static const unsigned char bytes[] = {0xff, 0xfe};
    bf_autobuf struct bf_buf buf = BF_BUF_INIT(1024);
    bf_autojson json_t *object = json_pack("{s:s,s:s}", "z", "\n", "a", "b");
    struct bf_json_out out;

    (void)state;
    bf_json_start(&out, &buf, NULL);
    bf_json_open(&out, NULL, '{');
    bf_json_text(&out, "text", S("x"));
    bf_json_text(&out, "none", NONE);
    bf_json_open(&out, "list", '[');
    bf_json_int(&out, NULL, INT64_MIN);
    bf_json_int(&out, NULL, INT64_MAX);
    bf_json_open(&out, NULL, '{');
    bf_json_close(&out, '}');
    bf_json_close(&out, ']');
    bf_json_bool(&out, "yes", true);
    bf_json_count(&out, "count", UINT64_MAX);
    bf_json_seconds(&out, "s", 1000250);
    bf_json_seconds(&out, "t", -1);
    bf_json_seconds(&out, "u", INT64_MAX);
    bf_json_time(&out, "at", 1795266000000);
    bf_json_base64(&out, "b", bytes, sizeof(bytes));
    bf_json_base64(&out, "c", bytes, 0);
    bf_json_strings(&out, "o", object);
    bf_json_strings(&out, "p", NULL);
    bf_json_close(&out, '}');
    assert_int_equal(bf_json_done(&out), 0);
    assert_string_equal(
        buf.data,
        "{\"text\":\"x\",\"none\":null,\"list\":[-9223372036854775808,"
        "9223372036854775807,{}],\"yes\":true,"
        "\"count\":\"18446744073709551615\",\"s\":\"1.000250\","
        "\"t\":\"0.000000\",\"u\":\"9223372036854.775807\","
        "\"at\":\"2026-11-21T13:00:00.000Z\",\"b\":\"//4=\",\"c\":\"\","
        "\"o\":{\"z\":\"\\n\",\"a\":\"b\"},\"p\":null}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_what_is_taken),
        cmocka_unit_test(test_width_has_a_ceiling),
        cmocka_unit_test(test_quotes),
        cmocka_unit_test(test_cuts_between_characters),
        cmocka_unit_test(test_the_ceiling_of_a_buffer_holds),
        cmocka_unit_test(test_every_kind_of_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
