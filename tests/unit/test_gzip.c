#include "tests/unit/support.h"

#include <sodium.h>
#include <zlib.h>

#include "schemas/err.h"
#include "worker/gzip.h"

enum { LARGE = 3 << 20 };

static char plain[LARGE], back[LARGE + 1];

static void round_trip(size_t len)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(2 * LARGE);
    struct bf_slice bytes = {plain, len};
    struct bf_err err = {0};
    z_stream z = {0};

    assert_int_equal(bf_buf_adds(&out, "xy", &err), 0);
    assert_int_equal(bf_gzip_put(bytes, &out, &err), 0);
    assert_memory_equal(out.data, "xy\x1f\x8b", 4);
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    z.next_in = (Bytef *)out.data + 2;
    z.avail_in = (uInt)out.len - 2;
    z.next_out = (Bytef *)back;
    z.avail_out = sizeof(back);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.avail_in, 0);
    assert_int_equal(z.total_out, len);
    assert_memory_equal(back, plain, len);
    inflateEnd(&z);
}

static void fill_text(void)
{
    for (size_t i = 0; i < LARGE; i++)
        plain[i] = "{\"number\": 1234567, \"text\": \"words\"} "[i * 7 % 38];
}

/* What a JPEG in base64 looks like: 6 bits of each 8. */
static void fill_base64(void)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnop"
                                  "qrstuvwxyz0123456789+/";

    for (size_t i = 0; i < LARGE; i++)
        plain[i] = letters[randombytes_uniform(64)];
}

static void test_round_trip(void **state)
{
    static const size_t sizes[] = {0, 1, 1000, 65536, LARGE};

    (void)state;
    for (size_t i = 0; i < bf_countof(sizes); i++) {
        fill_text();
        round_trip(sizes[i]);
        randombytes_buf(plain, sizes[i]);
        round_trip(sizes[i]);
    }
}

static bool pays(enum bf_gzip_policy policy, size_t len)
{
    return bf_gzip_pays(policy, (struct bf_slice){plain, len});
}

static void test_policy(void **state)
{
    (void)state;
    fill_text();
    assert_true(pays(BF_GZIP_ON, 1));
    assert_false(pays(BF_GZIP_OFF, 100000));
    assert_true(pays(BF_GZIP_AUTO, 2048));
    assert_true(pays(BF_GZIP_AUTO, 1 << 20));
    assert_false(pays(BF_GZIP_AUTO, 2047));
    assert_false(pays(BF_GZIP_AUTO, LARGE));
    randombytes_buf(plain, sizeof(plain));
    assert_false(pays(BF_GZIP_AUTO, 1 << 20));
    assert_true(pays(BF_GZIP_ON, 1 << 20));
    fill_base64();
    assert_false(pays(BF_GZIP_AUTO, 1 << 20));
}

static void test_ceiling(void **state)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(100);
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(bf_gzip_put((struct bf_slice){plain, 100000}, &out, &err),
                     -1);
    assert_int_equal(err.kind, BF_ERR_REJECT);
    assert_int_equal(out.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_policy),
        cmocka_unit_test(test_ceiling),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
