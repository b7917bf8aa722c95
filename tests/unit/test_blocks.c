#include "tests/unit/support.h"

#include <stdio.h>

#include "schemas/blocks.h"
#include "schemas/limits.h"

#define CODE "{\"run_function_code\":\"def run(): return 1\"}"
#define OTHER "{\"run_function_code\":\"def run(): return 2\"}"

static struct bf_blocks *blocks;

static int set_up(void **state)
{
    (void)state;
    blocks = bf_blocks_new(NULL);
    return blocks ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    bf_blocks_free(blocks);
    return 0;
}

static void test_the_same_text_is_the_same_block(void **state)
{
    struct bf_block *first = bf_blocks_get(blocks, S(CODE), NULL);
    struct bf_block *again = bf_blocks_get(blocks, S(CODE), NULL);
    struct bf_block *other = bf_blocks_get(blocks, S(OTHER), NULL);

    (void)state;
    assert_non_null(first);
    assert_ptr_equal(again, first);
    assert_ptr_not_equal(other, first);
    assert_string_equal(bf_block_run_code(other), "def run(): return 2");
    bf_block_free(first);
    /* again is still held */
    assert_string_equal(bf_block_run_code(again), "def run(): return 1");
    bf_block_free(again);
    bf_block_free(other);
}

static void test_what_is_pushed_out_stays_with_its_holder(void **state)
{
    struct bf_block *kept = bf_blocks_get(blocks, S(CODE), NULL);

    (void)state;
    for (int i = 0; i < 100 * BF_BLOCKS_MAX; i++) {
        char text[96];
        int len = snprintf(text, sizeof(text),
                           "{\"run_function_code\":\"def run(): return %d\"}",
                           i + 10);
        struct bf_block *block =
            bf_blocks_get(blocks, (struct bf_slice){text, (size_t)len}, NULL);

        assert_non_null(block);
        bf_block_free(block);
    }
    assert_string_equal(bf_block_run_code(kept), "def run(): return 1");
    bf_block_free(kept);
}

static void test_bad_ones_are_refused_each_time(void **state)
{
    struct bf_err err;

    (void)state;
    for (int i = 0; i < 3; i++) {
        err = (struct bf_err){0};
        assert_refused(bf_blocks_get(blocks, S("{}"), &err) ? 0 : -1, err,
                       "bad_block");
        err = (struct bf_err){0};
        assert_refused(bf_blocks_get(blocks, NONE, &err) ? 0 : -1, err,
                       "bad_block");
    }
}

static void test_large_ones_are_not_kept(void **state)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(BF_MAX_BLOCK);
    struct bf_block *first, *again;

    (void)state;
    bf_buf_adds(&text, "{\"run_function_code\":\"", NULL);
    while (text.len <= BF_BLOCKS_TEXT_MAX)
        bf_buf_adds(&text, "                ", NULL);
    bf_buf_adds(&text, "\"}", NULL);
    first = bf_blocks_get(blocks, bf_buf_slice(&text), NULL);
    again = bf_blocks_get(blocks, bf_buf_slice(&text), NULL);
    assert_non_null(first);
    assert_non_null(again);
    assert_ptr_not_equal(first, again);
    bf_block_free(first);
    bf_block_free(again);
}

static void test_none_is_kept_without_a_place(void **state)
{
    struct bf_block *block = bf_blocks_get(NULL, S(CODE), NULL);

    (void)state;
    assert_non_null(block);
    bf_block_free(block);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_same_text_is_the_same_block),
        TEST(test_what_is_pushed_out_stays_with_its_holder),
        TEST(test_bad_ones_are_refused_each_time),
        TEST(test_large_ones_are_not_kept),
        TEST(test_none_is_kept_without_a_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
