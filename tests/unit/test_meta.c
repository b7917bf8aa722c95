/* Vectors: computed with Python's hashlib, struct and base64. */

#include "tests/unit/support.h"

#include "schemas/meta.h"

#define GOOD "AQAAAAAAAAAFAAAAAAAAAAYBdwABAsN8o08="

static void test_a_small_one(void **state)
{
    struct bf_meta meta = {.base = 1234, .txn_seq = 56, .writer = "g-i-0"};
    char text[BF_MAX_METADATA];
    struct bf_meta back;

    (void)state;
    meta.map[0] = 0x06;
    meta.map[3] = 0x80;
    bf_meta_encode(&meta, text);
    assert_string_equal(text, "AQAAAAAAAATSAAAAAAAAADgFZy1pLTAABAYAAIBkCQbf");
    assert_int_equal(bf_meta_decode(bf_slice_str(text), &back, NULL), 0);
    assert_memory_equal(&back, &meta, sizeof(meta));
}

static void test_an_empty_bitmap(void **state)
{
    struct bf_meta meta = {.writer = "x"};
    char text[BF_MAX_METADATA];

    (void)state;
    bf_meta_encode(&meta, text);
    assert_string_equal(text, "AQAAAAAAAAAAAAAAAAAAAAABeAAASlZ4eg==");
}

static void test_the_largest_fits(void **state)
{
    struct bf_meta meta = {.base = INT64_MAX, .txn_seq = INT64_MAX};
    char text[BF_MAX_METADATA];
    struct bf_meta back;

    (void)state;
    memset(meta.writer, 'w', BF_MAX_TXN_ID);
    memset(meta.map, 0xff, sizeof(meta.map));
    meta.map[0] = 0xfe;
    bf_meta_encode(&meta, text);
    assert_int_equal(strlen(text), 3032);
    assert_int_equal(bf_meta_decode(bf_slice_str(text), &back, NULL), 0);
    assert_memory_equal(&back, &meta, sizeof(meta));
}

static void test_hostile_ones(void **state)
{
    static const char *const bad[] = {
        "",
        "AQ==",
        "AQAAAAAAAAAFAAAAAAAAAAYBdwABARSX0gY=", /* bit 0 */
        "AQAAAAAAAAAFAAAAAAAAAAYBdwACAgADVmU3", /* trailing zero byte */
        "AgAAAAAAAAAFAAAAAAAAAAYBdwAALTqFjw==", /* version 2 */
        "AQAAAAAAAAAFAAAAAAAAAAYBdwADAgAdCTw=", /* bitmap over the end */
        "AQAAAAAAAAAFAAAAAAAAAAYBdwABAgL4G5uO", /* bytes after it */
        "AQAAAAAAAAAFAAAAAAAAAAYAAACwCk8A",     /* no writer */
        "AQAAAAAAAAAFAAAAAAAAAAYCYQAAAI2j/a0=", /* NUL in the writer */
        "AQAAAAAAAAAFAAAAAAAAAAbIYSQzsvo=",     /* writer over the end */
        "Af//////////AAAAAAAAAAYBdwAABCikJQ==", /* base -1 */
        "AQAAAAAAAAAFgAAAAAAAAAABdwAAN0eAwA==", /* sequence 2^63 */
        "AQAAAAAAAAAFAAAAAAAAAAYBdwABAsN8o04=", /* checksum */
        "AQAAAAAAAAAFAAAAAAAAAAYBdwABAsN8o0",   /* no padding */
        "AQAAAAAAAAAFAAAAAAAAAAYBdwABAsN8o0-",  /* not base64 */
        "AQAAAAAAAAAFAAAAAAAAAAYBdwABAsN8o08= ",
        "AQAAAAAAAAAFAAAAAAAAAAYBdwABAsN8o08=\n",
    };
    struct bf_meta meta = {.base = 77};

    (void)state;
    for (size_t i = 0; i < bf_countof(bad); i++) {
        struct bf_err err = {0};

        assert_refused(bf_meta_decode(bf_slice_str(bad[i]), &meta, &err), err,
                       "bad_metadata");
    }
    assert_int_equal(bf_meta_decode(NONE, &meta, NULL), -1);
    assert_int_equal(bf_meta_decode(S(GOOD "\0"), &meta, NULL), -1);
    assert_int_equal(meta.base, 77);
    assert_int_equal(bf_meta_decode(S(GOOD), &meta, NULL), 0);
    assert_int_equal(meta.base, 5);
    assert_int_equal(meta.txn_seq, 6);
    assert_int_equal(meta.map[0], 2);
    assert_string_equal(meta.writer, "w");
}

static void test_too_long_a_text(void **state)
{
    static char text[8192];
    struct bf_meta meta;

    (void)state;
    memset(text, 'A', sizeof(text));
    assert_int_equal(
        bf_meta_decode((struct bf_slice){text, sizeof(text)}, &meta, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_small_one),
        cmocka_unit_test(test_an_empty_bitmap),
        cmocka_unit_test(test_the_largest_fits),
        cmocka_unit_test(test_hostile_ones),
        cmocka_unit_test(test_too_long_a_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
