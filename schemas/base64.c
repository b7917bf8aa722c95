#include "schemas/base64.h"

#include <sodium.h>

/*
 * Keys come in the standard variant, and libsodium takes the same time for all
 * of them. The URL variant is for signatures, which are no secrets, several of
 * them for each record: libsodium's way took 6 of 37 us of a job.
 */
static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                              "abcdefghijklmnopqrstuvwxyz0123456789-_";

/* A letter's value plus one; 0 for no letter. */
static const unsigned char values[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,
    ['G'] = 7,  ['H'] = 8,  ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12,
    ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16, ['Q'] = 17, ['R'] = 18,
    ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30,
    ['e'] = 31, ['f'] = 32, ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36,
    ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40, ['o'] = 41, ['p'] = 42,
    ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54,
    ['2'] = 55, ['3'] = 56, ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60,
    ['8'] = 61, ['9'] = 62, ['-'] = 63, ['_'] = 64};

/* A letter's value; the top bit is set for what is none. */
static uint32_t url_value(char letter)
{
    return values[(unsigned char)letter] - 1U;
}

/* Four letters as bits; -1 when one of them is none. */
static int32_t url_bits(char first, char second, char third, char fourth)
{
    uint32_t a = url_value(first), b = url_value(second);
    uint32_t c = url_value(third), d = url_value(fourth);

    if ((a | b | c | d) > 63)
        return -1;
    return (int32_t)(a << 18 | b << 12 | c << 6 | d);
}

/* The two or three letters of one or two bytes; bits beyond them are 0. */
static int url_rest(const char *text, size_t n, unsigned char *out)
{
    int32_t bits =
        url_bits(text[0], text[1], (char)(n > 2 ? text[2] : 'A'), 'A');

    if (bits < 0 || bits & (n > 2 ? 0xff : 0xffff))
        return -1;
    out[0] = (unsigned char)(bits >> 16);
    if (n > 2)
        out[1] = (unsigned char)(bits >> 8);
    return 0;
}

static int url_decode(struct bf_slice text, unsigned char *out, size_t max,
                      size_t *ret_len)
{
    const char *at = text.ptr, *end = at + text.len / 4 * 4;
    size_t rest = text.len % 4, len = text.len / 4 * 3 + rest * 3 / 4;

    if (rest == 1 || len > max)
        return -1;
    for (; at < end; at += 4, out += 3) {
        int32_t bits = url_bits(at[0], at[1], at[2], at[3]);

        if (bits < 0)
            return -1;
        out[0] = (unsigned char)(bits >> 16);
        out[1] = (unsigned char)(bits >> 8);
        out[2] = (unsigned char)bits;
    }
    if (rest > 0 && url_rest(at, rest, out))
        return -1;
    *ret_len = len;
    return 0;
}

int bf_base64_decode(enum bf_base64 variant, struct bf_slice text,
                     unsigned char *out, size_t max, size_t *ret_len)
{
    if (!text.ptr)
        return -1;
    if (variant == BF_BASE64_URL)
        return url_decode(text, out, max, ret_len);
    /* libsodium 1.0.18 takes every byte from 0x80 on for the last letter. */
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.ptr[i] >= 0x80)
            return -1;
    }
    return sodium_base642bin(out, max, text.ptr, text.len, NULL, ret_len, NULL,
                             sodium_base64_VARIANT_ORIGINAL);
}

char *bf_base64_url(const unsigned char *bytes, size_t len, char *out)
{
    uint32_t bits;

    for (; len >= 3; len -= 3, bytes += 3, out += 4) {
        bits = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];
        out[0] = letters[bits >> 18];
        out[1] = letters[bits >> 12 & 63];
        out[2] = letters[bits >> 6 & 63];
        out[3] = letters[bits & 63];
    }
    if (len == 0)
        return out;
    bits = (uint32_t)bytes[0] << 16 | (len == 2 ? (uint32_t)bytes[1] << 8 : 0);
    *out++ = letters[bits >> 18];
    *out++ = letters[bits >> 12 & 63];
    if (len == 2)
        *out++ = letters[bits >> 6 & 63];
    return out;
}
