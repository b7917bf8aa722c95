#include "support.h"

#include <zlib.h>

#include "dispatcher/gunzip.h"

#define CEILING ((size_t)1 << 20)

/* The text, gzipped, in memory of the caller's. */
static size_t zip(const char *text, size_t len, unsigned char *out, size_t size)
{
    z_stream stream = {.next_in = (z_const Bytef *)(uintptr_t)text,
                       .avail_in = (uInt)len,
                       .next_out = out,
                       .avail_out = (uInt)size};

    assert_int_equal(deflateInit2(&stream, 1, Z_DEFLATED, 16 + MAX_WBITS, 8,
                                  Z_DEFAULT_STRATEGY),
                     Z_OK);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    deflateEnd(&stream);
    return size - stream.avail_out;
}

/* In pieces of that many bytes. */
static int unzip(const unsigned char *bytes, size_t len, size_t step,
                 struct bf_buf *out, struct bf_err *err)
{
    bf_autogunzip struct bf_gunzip *gunzip = bf_gunzip_new(NULL);

    assert_non_null(gunzip);
    for (size_t i = 0; i < len; i += step) {
        struct bf_slice piece = {(const char *)bytes + i,
                                 len - i < step ? len - i : step};

        if (bf_gunzip_add(gunzip, piece, out, err))
            return -1;
    }
    return bf_gunzip_end(gunzip, err);
}

static void pieces_of_any_size_make_the_text(void **state)
{
    static const size_t steps[] = {1, 7, 100, 1000000};
    unsigned char bytes[4096];
    char text[2000];
    size_t len;

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * i % 251);
    len = zip(text, sizeof(text), bytes, sizeof(bytes));
    for (size_t i = 0; i < bf_countof(steps); i++) {
        bf_autobuf struct bf_buf out = BF_BUF_INIT(CEILING);

        assert_int_equal(unzip(bytes, len, steps[i], &out, NULL), 0);
        assert_int_equal(out.len, sizeof(text));
        assert_memory_equal(out.data, text, sizeof(text));
    }
}

static void a_bomb_takes_no_more_than_the_ceiling(void **state)
{
    size_t size = 16 * CEILING;
    bf_autofree char *text = calloc(1, size);
    bf_autofree unsigned char *bytes = malloc(CEILING);
    bf_autobuf struct bf_buf out = BF_BUF_INIT(CEILING);
    struct bf_err err;
    size_t len;

    (void)state;
    assert_non_null(text);
    assert_non_null(bytes);
    len = zip(text, size, bytes, CEILING);
    assert_true(len < CEILING / 8);
    assert_refused(unzip(bytes, len, len, &out, &err), err, "too_large");
    assert_true(out.cap <= CEILING + 1);
}

static void what_is_broken_is_refused(void **state)
{
    unsigned char bytes[256], bad[256];
    size_t len = zip("some text", 9, bytes, sizeof(bytes));
    struct bf_err err;

    (void)state;
    /* Whatever is missing or changed, but for bytes that mean nothing. */
    for (size_t i = 0; i < len; i++) {
        bf_autobuf struct bf_buf out = BF_BUF_INIT(CEILING);

        assert_refused(unzip(bytes, i, len, &out, &err), err, "bad_gzip");
        if (i >= 4 && i < 10)
            continue; /* time, flags, system */
        memcpy(bad, bytes, len);
        bad[i] ^= i < 10 ? 0x40 : 1;
        bf_buf_clear(&out);
        if (unzip(bad, len, len, &out, &err) == 0)
            fail_msg("byte %zu of %zu", i, len);
    }
    memcpy(bad, bytes, len);
    bad[len] = 0;
    for (size_t step = 1; step <= len + 1; step += len) {
        bf_autobuf struct bf_buf out = BF_BUF_INIT(CEILING);

        assert_refused(unzip(bad, len + 1, step, &out, &err), err, "bad_gzip");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_any_size_make_the_text),
        cmocka_unit_test(a_bomb_takes_no_more_than_the_ceiling),
        cmocka_unit_test(what_is_broken_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
