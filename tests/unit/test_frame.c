#include "tests/unit/support.h"

#include <stdlib.h>

#include "worker/frame.h"

static const char two[] = "\0\0\0\2\0\0\0\0\0\0\0\3{}abc"
                          "\0\0\0\4\0\0\0\0\0\0\0\0null";

static struct bf_frame_reader reader_new(void)
{
    return (struct bf_frame_reader){.max_head = 4, .max_body = 3};
}

static void a_stream_is_cut_wherever_it_is_cut(void **unused)
{
    (void)unused;
    for (size_t step = 1; step < sizeof(two); step++) {
        struct bf_frame_reader reader = reader_new();
        struct bf_frame frames[3] = {0};
        struct bf_err err = {0};
        size_t n = 0;

        for (size_t at = 0; at < sizeof(two) - 1; at += step) {
            size_t left = sizeof(two) - 1 - at;
            struct bf_slice data = {two + at, left < step ? left : step};

            while (bf_frame_feed(&reader, &data, &frames[n], &err) == 1)
                n++;
            assert_int_equal(data.len, 0);
        }
        assert_int_equal(n, 2);
        assert_string_equal(frames[0].head, "{}");
        assert_int_equal(frames[0].body_len, 3);
        assert_memory_equal(frames[0].body, "abc", 3);
        assert_string_equal(frames[1].head, "null");
        assert_int_equal(frames[1].body_len, 0);
        assert_non_null(frames[1].body);
        bf_frame_clear(&frames[0]);
        bf_frame_clear(&frames[1]);
        bf_frame_reader_clear(&reader);
    }
}

static void lengths_have_ceilings(void **unused)
{
    static const struct bf_slice wrong[] = {
        LIT("\0\0\0\5\0\0\0\0\0\0\0\0"),
        LIT("\0\0\0\2\0\0\0\0\0\0\0\4"),
        LIT("\377\377\377\377\0\0\0\0\0\0\0\0"),
        LIT("\0\0\0\0\377\377\377\377\377\377\377\377"),
    };

    (void)unused;
    for (size_t i = 0; i < bf_countof(wrong); i++) {
        struct bf_frame_reader reader = reader_new();
        struct bf_frame frame = {0};
        struct bf_slice data = wrong[i];
        struct bf_err err = {0};

        assert_refused(bf_frame_feed(&reader, &data, &frame, &err), err,
                       "frame");
        assert_null(frame.head);
        bf_frame_reader_clear(&reader);
    }
}

static void half_a_frame_is_let_go(void **unused)
{
    struct bf_frame_reader reader = reader_new();
    struct bf_frame frame = {0};
    struct bf_slice data = {two, 15};
    struct bf_err err = {0};

    (void)unused;
    assert_int_equal(bf_frame_feed(&reader, &data, &frame, &err), 0);
    bf_frame_reader_clear(&reader);
    data = (struct bf_slice){two, sizeof(two) - 1};
    assert_int_equal(bf_frame_feed(&reader, &data, &frame, &err), 1);
    assert_memory_equal(frame.body, "abc", 3);
    bf_frame_clear(&frame);
}

static void a_prefix_is_big_endian(void **unused)
{
    unsigned char prefix[BF_FRAME_PREFIX];

    (void)unused;
    bf_frame_prefix(0x010203, 0x0405060708, prefix);
    assert_memory_equal(prefix, "\0\1\2\3\0\0\0\4\5\6\7\10", sizeof(prefix));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_cut_wherever_it_is_cut),
        cmocka_unit_test(lengths_have_ceilings),
        cmocka_unit_test(half_a_frame_is_let_go),
        cmocka_unit_test(a_prefix_is_big_endian),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
