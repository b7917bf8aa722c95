#include "tests/unit/support.h"

#include "schemas/hash.h"

/* F(a, b): each part with its length before it, in one piece. */
static void whole(const unsigned char *bytes, const size_t *lens, size_t n,
                  unsigned char out[BF_HASH256_BYTES])
{
    unsigned char all[8192];
    size_t used = 0;

    for (size_t i = 0; i < n; i++) {
        bf_put_u32be(all + used, (uint32_t)lens[i]);
        memcpy(all + used + 4, bytes, lens[i]);
        used += 4 + lens[i];
        bytes += lens[i];
    }
    crypto_generichash(out, BF_HASH256_BYTES, all, used, NULL, 0);
}

static void in_parts(const unsigned char *bytes, const size_t *lens, size_t n,
                     unsigned char out[BF_HASH256_BYTES])
{
    struct bf_hash hash;

    bf_hash_init(&hash, BF_HASH256_BYTES);
    for (size_t i = 0; i < n; i++) {
        bf_hash_bytes(&hash, bytes, lens[i]);
        bytes += lens[i];
    }
    bf_hash_final(&hash, out);
}

/* Around the size of what is gathered, in every order. */
static void test_parts_are_one_piece(void **state)
{
    static const size_t sizes[] = {0,   1,   4,   64,  503, 504, 507, 508,
                                   509, 511, 512, 513, 516, 517, 1500};
    static unsigned char bytes[8192];
    unsigned char want[BF_HASH256_BYTES], got[BF_HASH256_BYTES];
    size_t n = bf_countof(sizes);

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(i * 31);
    for (size_t i = 0; i < n * n * n; i++) {
        size_t lens[] = {sizes[i % n], sizes[i / n % n], sizes[i / n / n]};

        for (size_t parts = 0; parts <= bf_countof(lens); parts++) {
            whole(bytes, lens, parts, want);
            in_parts(bytes, lens, parts, got);
            assert_memory_equal(got, want, sizeof(want));
        }
    }
}

static void test_numbers_are_their_digits(void **state)
{
    static const struct {
        uint64_t number;
        const char *text;
    } cases[] = {{0, "0"}, {10, "10"}, {UINT64_MAX, "18446744073709551615"}};
    unsigned char want[BF_HASH128_BYTES], got[BF_HASH128_BYTES];
    char hex[33], spelt[33];
    struct bf_hash hash;

    (void)state;
    for (size_t i = 0; i < bf_countof(cases); i++) {
        bf_hash_init(&hash, BF_HASH128_BYTES);
        bf_hash_str(&hash, cases[i].text);
        bf_hash_final(&hash, want);
        bf_hash_init(&hash, BF_HASH128_BYTES);
        bf_hash_num(&hash, cases[i].number);
        bf_hash_final(&hash, got);
        assert_memory_equal(got, want, sizeof(want));
        bf_hash_init(&hash, BF_HASH128_BYTES);
        bf_hash_num(&hash, cases[i].number);
        bf_hash_final_hex(&hash, hex);
        sodium_bin2hex(spelt, sizeof(spelt), want, sizeof(want));
        assert_string_equal(hex, spelt);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_are_one_piece),
        cmocka_unit_test(test_numbers_are_their_digits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
