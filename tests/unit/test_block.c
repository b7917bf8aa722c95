/* Hashes: computed with Python's hashlib and json from PROTOCOL.md §2. */

#include "tests/unit/support.h"

#include "schemas/block.h"
#include "schemas/limits.h"

#define SUM "\"def run(a, b):\\n    return {\\\"sum\\\": a + b}\\n\""

static void test_what_is_absent_has_a_default(void **state)
{
    bf_autoblock struct bf_block *block =
        bf_block_parse(S("{\"run_function_code\":"
                         "\"def run(self):\\n    return {'y': 1}\\n\"}"),
                       NULL);

    (void)state;
    assert_non_null(block);
    assert_string_equal(bf_block_run_code(block),
                        "def run(self):\n    return {'y': 1}\n");
    assert_string_equal(bf_block_run_function(block), "run");
    assert_null(bf_block_init_code(block));
    assert_string_equal(bf_block_init_function(block), "init");
    assert_string_equal(bf_block_type(block), "");
    assert_int_equal(bf_block_imports(block), 0);
    assert_string_equal(bf_block_fingerprint(block), "fddd4dd8ebd40d43");
}

static void test_everything(void **state)
{
    bf_autoblock struct bf_block *block =
        bf_block_parse(S("{\"block_type\":\"t\",\"run_function_code\":" SUM
                         ",\"imports\":[\"import re\",\"import math\"],"
                         "\"init_function_code\":\"def init():\\n  pass\\n\","
                         "\"run_function_name\":\"go\","
                         "\"init_function_name\":\"set_up\"}"),
                       NULL);

    (void)state;
    assert_non_null(block);
    assert_string_equal(bf_block_run_function(block), "go");
    assert_string_equal(bf_block_init_function(block), "set_up");
    assert_string_equal(bf_block_init_code(block), "def init():\n  pass\n");
    assert_string_equal(bf_block_type(block), "t");
    assert_int_equal(bf_block_imports(block), 2);
    assert_string_equal(bf_block_import(block, 1), "import math");
    assert_string_equal(bf_block_code_hash(block),
                        "8c0f79ce50523d99e7af1cf17464374f");
    assert_string_equal(bf_block_fingerprint(block), "7793503f894efde8");
}

static void test_hashes_of_odd_characters(void **state)
{
    bf_autoblock struct bf_block *block = bf_block_parse(
        S("{\"run_function_code\":\"# \xc3\xa9\xf0\x9f\x98\x80\x7f\\u0001\\t"
          "\\\"\\\\/\\b\\f\\r\\ue000\\ud7ff\\udbff\\udfff\\n\","
          "\"init_function_code\":\"# \\u00e9\\ud83d\\ude00\x7f\\u0001\\t"
          "\\\"\\\\/\\b\\f\\r\\ue000\\ud7ff\\udbff\\udfff\\n\","
          "\"imports\":[\"\xc3\xbc\",\"a\\n\"]}"),
        NULL);

    (void)state;
    assert_non_null(block);
    assert_string_equal(bf_block_fingerprint(block), "66d0d1e7fcdc3f05");
}

static void test_code_hash_without_imports(void **state)
{
    bf_autoblock struct bf_block *block =
        bf_block_parse(S("{\"run_function_code\":" SUM
                         ",\"imports\":[],\"init_function_code\":null}"),
                       NULL);

    (void)state;
    assert_non_null(block);
    assert_null(bf_block_init_code(block));
    assert_string_equal(bf_block_code_hash(block),
                        "4468363b689be6b561105846d2fdaf99");
}

static void test_what_is_refused(void **state)
{
    static const struct bf_slice bad[] = {
        {NULL, 0},
        LIT(""),
        LIT("{}"),
        LIT("[]"),
        LIT("{\"run_function_code\":1}"),
        LIT("{\"run_function_code\":null}"),
        LIT("{\"run_function_code\":\"\",\"x\":1}"),
        LIT("{\"run_function_code\":\"\",\"run_function_code\":\"\"}"),
        LIT("{\"run_function_code\":\"\",\"run_function_name\":\"\"}"),
        LIT("{\"run_function_code\":\"\",\"run_function_name\":null}"),
        LIT("{\"run_function_code\":\"\",\"imports\":null}"),
        LIT("{\"run_function_code\":\"\",\"imports\":[1]}"),
        LIT("{\"run_function_code\":\"\",\"imports\":\"import x\"}"),
        LIT("{\"run_function_code\":\"\",\"init_function_code\":1}"),
        LIT("{\"run_function_code\":\"\",\"block_type\":null}"),
        LIT("{\"run_function_code\":\"\\u0000\"}"),
        LIT("{\"run_function_code\":\"\xff\"}"),
        LIT("{\"run_function_code\":\"\\ud800\"}"),
        LIT("\xef\xbb\xbf{\"run_function_code\":\"\"}"),
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(bad); i++) {
        struct bf_err err = {0};

        assert_null(bf_block_parse(bad[i], &err));
        assert_refused(-1, err, "bad_block");
    }
}

/* {"run_function_code":"","block_type":"xxx"} with n characters of x. */
static struct bf_block *block_with_type(size_t n)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1024);

    bf_buf_adds(&text, "{\"run_function_code\":\"\",\"block_type\":\"", NULL);
    for (size_t i = 0; i < n; i++)
        bf_buf_adds(&text, "x", NULL);
    bf_buf_adds(&text, "\"}", NULL);
    return bf_block_parse(bf_buf_slice(&text), NULL);
}

static void test_ceilings(void **state)
{
    bf_autofree char *big = malloc(BF_MAX_BLOCK + 1);
    struct bf_err err = {0};
    struct bf_block *block = block_with_type(256);

    (void)state;
    assert_non_null(block);
    bf_block_free(block);
    assert_null(block_with_type(257));
    assert_non_null(big);
    memset(big, ' ', BF_MAX_BLOCK + 1);
    assert_null(bf_block_parse((struct bf_slice){big, BF_MAX_BLOCK + 1}, &err));
    assert_refused(-1, err, "bad_block");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_absent_has_a_default),
        cmocka_unit_test(test_everything),
        cmocka_unit_test(test_hashes_of_odd_characters),
        cmocka_unit_test(test_code_hash_without_imports),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_ceilings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
