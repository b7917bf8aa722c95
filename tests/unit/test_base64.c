#include "tests/unit/support.h"

#include <sodium.h>

#include "schemas/base64.h"

static int decode(enum bf_base64 variant, struct bf_slice text, size_t max)
{
    unsigned char out[16];
    size_t len = 0;

    if (bf_base64_decode(variant, text, out, max, &len))
        return -1;
    return (int)len;
}

/* Each of the 256 bytes in each place: taken iff it is of the alphabet. */
static void test_every_character(void **state)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "abcdefghijklmnopqrstuvwxyz0123456789";

    (void)state;
    for (int c = 0; c < 256; c++) {
        bool common = c != 0 && strchr(letters, c);

        for (size_t at = 0; at < 4; at++) {
            char text[] = "AAAA";
            struct bf_slice slice = {text, 4};
            bool padding = c == '=' && at == 3;

            text[at] = (char)c;
            assert_int_equal(decode(BF_BASE64, slice, 3) >= 0,
                             common || c == '+' || c == '/' || padding);
            assert_int_equal(decode(BF_BASE64_URL, slice, 3) >= 0,
                             common || c == '-' || c == '_');
        }
    }
}

static void test_one_spelling(void **state)
{
    (void)state;
    assert_int_equal(decode(BF_BASE64, S(""), 16), 0);
    assert_int_equal(decode(BF_BASE64, S("QQ=="), 16), 1);
    assert_int_equal(decode(BF_BASE64, S("QQ"), 16), -1);
    assert_int_equal(decode(BF_BASE64, S("QQ="), 16), -1);
    assert_int_equal(decode(BF_BASE64, S("QQ==="), 16), -1);
    assert_int_equal(decode(BF_BASE64, S("QR=="), 16), -1); /* unused bits */
    assert_int_equal(decode(BF_BASE64, S("QQ==QQ=="), 16), -1);
    assert_int_equal(decode(BF_BASE64, S("Q"), 16), -1);
    assert_int_equal(decode(BF_BASE64, S("QQ==\n"), 16), -1);
    assert_int_equal(decode(BF_BASE64, S("QQ==\0"), 16), -1);
    assert_int_equal(decode(BF_BASE64_URL, S("QQ"), 16), 1);
    assert_int_equal(decode(BF_BASE64_URL, S("QQ=="), 16), -1);
    assert_int_equal(decode(BF_BASE64_URL, S("QR"), 16), -1);
    assert_int_equal(decode(BF_BASE64, NONE, 16), -1);
}

static void test_the_ceiling_holds(void **state)
{
    (void)state;
    assert_int_equal(decode(BF_BASE64, S("QUJD"), 3), 3);
    assert_int_equal(decode(BF_BASE64, S("QUJD"), 2), -1);
}

/* Every length, and every last letter: as libsodium has it, both ways. */
static void test_url_is_what_libsodium_makes_of_it(void **state)
{
    const int variant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
    unsigned char bytes[64], back[64];
    char want[128], got[128];
    size_t len;

    (void)state;
    for (size_t n = 0; n < 8192; n++) {
        size_t size = n % 33;

        randombytes_buf(bytes, size);
        sodium_bin2base64(want, sizeof(want), bytes, size, variant);
        *bf_base64_url(bytes, size, got) = '\0';
        assert_string_equal(got, want);
        assert_int_equal(strlen(got), bf_base64_url_size(size));
        assert_int_equal(bf_base64_decode(BF_BASE64_URL, bf_slice_str(got),
                                          back, sizeof(back), &len),
                         0);
        assert_int_equal(len, size);
        assert_memory_equal(back, bytes, size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_one_spelling),
        cmocka_unit_test(test_the_ceiling_holds),
        cmocka_unit_test(test_url_is_what_libsodium_makes_of_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
