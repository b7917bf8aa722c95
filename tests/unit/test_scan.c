#include "support.h"

#include "dispatcher/scan.h"

static int scan(struct bf_slice text, struct bf_slice *inputs,
                struct bf_buf *rest, struct bf_err *err)
{
    return bf_scan(text, inputs, rest, err);
}

/* The text, what inputs must be, and what is left. */
static const struct {
    const char *text;
    const char *inputs;
    const char *rest;
} good[] = {
    {"{\"inputs\":{}}", "{}", "{\"inputs\":null}"},
    {" { \"inputs\" :\t{ } \r\n} \n", "{ }", " { \"inputs\" :\tnull \r\n} \n"},
    {"{\"a\":1,\"inputs\":{\"x\":[1,{\"inputs\":2}]},\"b\":[]}",
     "{\"x\":[1,{\"inputs\":2}]}", "{\"a\":1,\"inputs\":null,\"b\":[]}"},
    {"{\"inputs\":{\"a\":NaN,\"a\":-Infinity,\"b\":Infinity}}",
     "{\"a\":NaN,\"a\":-Infinity,\"b\":Infinity}", "{\"inputs\":null}"},
    {"{\"inputs\":{\"n\":9223372036854775808,\"f\":1.50E+400}}",
     "{\"n\":9223372036854775808,\"f\":1.50E+400}", "{\"inputs\":null}"},
    {"{\"inputs\":{\"\\u0000\\ud800\":\"}\\\"]\\\\\"}}",
     "{\"\\u0000\\ud800\":\"}\\\"]\\\\\"}", "{\"inputs\":null}"},
    {"{\"inputs\":{\"\\u0069nputs\":\"\xf0\x9f\x8e\xac\"}}",
     "{\"\\u0069nputs\":\"\xf0\x9f\x8e\xac\"}", "{\"inputs\":null}"},
    {"{\"x\":{\"inputs\":[]},\"inputs\":{}}", "{}",
     "{\"x\":{\"inputs\":[]},\"inputs\":null}"},
};

static void inputs_are_cut_out_to_the_byte(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < bf_countof(good); i++) {
        bf_autobuf struct bf_buf rest = BF_BUF_INIT(BF_SCAN_REST);
        struct bf_slice inputs, text = bf_slice_str(good[i].text);
        struct bf_err err;

        assert_int_equal(scan(text, &inputs, &rest, &err), 0);
        assert_slice(inputs, good[i].inputs);
        assert_true(inputs.ptr >= text.ptr);
        assert_true(inputs.ptr + inputs.len <= text.ptr + text.len);
        assert_string_equal(rest.data, good[i].rest);
    }
}

static const struct {
    const char *text;
    const char *code;
} bad[] = {
    {"", "bad_json"},
    {" ", "bad_json"},
    {"[]", "bad_json"},
    {"\"inputs\"", "bad_json"},
    {"{", "bad_json"},
    {"{}", "bad_inputs"},
    {"{\"inputs\":[]}", "bad_inputs"},
    {"{\"inputs\":null}", "bad_inputs"},
    {"{\"inputs\":{},\"inputs\":{}}", "bad_inputs"},
    {"{\"inputs\":{}}{", "bad_json"},
    {"{\"inputs\":{}},", "bad_json"},
    {"{\"inputs\":{}", "bad_json"},
    {"{\"inputs\":{]}", "bad_json"},
    {"{\"inputs\":{\"a\":[}]}", "bad_json"},
    {"{\"inputs\":{\"a\":1,}}", "bad_json"},
    {"{\"inputs\":{\"a\":[1,]}}", "bad_json"},
    {"{\"inputs\":{\"a\" 1}}", "bad_json"},
    {"{\"inputs\":{\"a\":1 \"b\":2}}", "bad_json"},
    {"{\"inputs\":{a:1}}", "bad_json"},
    {"{\"inputs\":{\"a\":01}}", "bad_json"},
    {"{\"inputs\":{\"a\":1.}}", "bad_json"},
    {"{\"inputs\":{\"a\":1e}}", "bad_json"},
    {"{\"inputs\":{\"a\":-}}", "bad_json"},
    {"{\"inputs\":{\"a\":-NaN}}", "bad_json"},
    {"{\"inputs\":{\"a\":nul}}", "bad_json"},
    {"{\"inputs\":{\"a\":\"\n\"}}", "bad_json"},
    {"{\"inputs\":{\"a\":\"\\x\"}}", "bad_json"},
    {"{\"inputs\":{\"a\":\"\\u12g4\"}}", "bad_json"},
    {"{\"inputs\":{\"a\":\"\xff\"}}", "bad_json"},
    {"{\"inputs\":{\"a\":\"\xed\xa0\x80\"}}", "bad_json"},
    {"{\"inputs\":{\"a\":\"", "bad_json"},
    {"{\"inputs\":{\"a\":\"\\", "bad_json"},
    {"{\"\\u0069nputs\":{}}", "bad_json"},
    {"{\"inputs\":{},\"\\u0069nputs\":{}}", "bad_json"},
    {"\xef\xbb\xbf{\"inputs\":{}}", "bad_json"},
};

static void every_broken_text_is_refused(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < bf_countof(bad); i++) {
        bf_autobuf struct bf_buf rest = BF_BUF_INIT(BF_SCAN_REST);
        struct bf_slice inputs = {NULL, 7};
        struct bf_err err;

        assert_refused(scan(bf_slice_str(bad[i].text), &inputs, &rest, &err),
                       err, bad[i].code);
        assert_int_equal(inputs.len, 7);
    }
}

static void a_nul_byte_is_no_white_space(void **unused)
{
    bf_autobuf struct bf_buf rest = BF_BUF_INIT(BF_SCAN_REST);
    struct bf_slice inputs;
    struct bf_err err;

    (void)unused;
    assert_refused(scan(S("{\"inputs\":{}\0}"), &inputs, &rest, &err), err,
                   "bad_json");
}

/* {"inputs":{"a":[[[…]]]}} with this many levels in all */
static int scan_depth(size_t depth, struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1 << 16);
    bf_autobuf struct bf_buf rest = BF_BUF_INIT(BF_SCAN_REST);
    struct bf_slice inputs;

    assert_int_equal(bf_buf_adds(&text, "{\"inputs\":{\"a\":", NULL), 0);
    for (size_t i = 2; i < depth; i++)
        assert_int_equal(bf_buf_adds(&text, "[", NULL), 0);
    for (size_t i = 2; i < depth; i++)
        assert_int_equal(bf_buf_adds(&text, "]", NULL), 0);
    assert_int_equal(bf_buf_adds(&text, depth > 2 ? "}}" : "1}}", NULL), 0);
    return scan(bf_buf_slice(&text), &inputs, &rest, err);
}

static void depth_has_a_floor(void **unused)
{
    struct bf_err err;

    (void)unused;
    assert_int_equal(scan_depth(2, &err), 0);
    assert_int_equal(scan_depth(BF_SCAN_DEPTH, &err), 0);
    assert_refused(scan_depth(BF_SCAN_DEPTH + 1, &err), err, "too_deep");
}

static void a_large_rest_is_refused_and_large_inputs_are_not(void **unused)
{
    bf_autobuf struct bf_buf rest = BF_BUF_INIT(64);
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1 << 16);
    struct bf_slice inputs;
    struct bf_err err;

    (void)unused;
    assert_int_equal(
        bf_buf_addf(&text, NULL, "{\"inputs\":{\"a\":\"%0200d\"}}", 0), 0);
    assert_int_equal(scan(bf_buf_slice(&text), &inputs, &rest, &err), 0);
    assert_int_equal(inputs.len, 208);
    bf_buf_clear(&text);
    assert_int_equal(
        bf_buf_addf(&text, NULL, "{\"inputs\":{},\"a\":\"%0200d\"}", 0), 0);
    assert_refused(scan(bf_buf_slice(&text), &inputs, &rest, &err), err,
                   "too_large");
}

static void cut_anywhere_a_text_is_refused(void **unused)
{
    const char *text = "{\"a\":[1.5e3,\"\\u00e4\xc3\xa4\"],\"inputs\":{\"b\":"
                       "[true,null,NaN,-Infinity,{}]},\"c\":\"\\\\\"}";
    bf_autobuf struct bf_buf rest = BF_BUF_INIT(BF_SCAN_REST);
    struct bf_slice inputs;
    struct bf_err err;

    (void)unused;
    for (size_t len = 0; len < strlen(text); len++) {
        /* Exactly sized, so that a byte too many is seen by ASan. */
        bf_autofree char *copy = malloc(len + 1);

        memcpy(copy + 1, text, len);
        assert_int_equal(
            scan((struct bf_slice){copy + 1, len}, &inputs, &rest, &err), -1);
    }
    assert_int_equal(scan(bf_slice_str(text), &inputs, &rest, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_are_cut_out_to_the_byte),
        cmocka_unit_test(every_broken_text_is_refused),
        cmocka_unit_test(a_nul_byte_is_no_white_space),
        cmocka_unit_test(depth_has_a_floor),
        cmocka_unit_test(a_large_rest_is_refused_and_large_inputs_are_not),
        cmocka_unit_test(cut_anywhere_a_text_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
