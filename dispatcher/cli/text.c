#include "dispatcher/cli/text.h"

#include <inttypes.h>
#include <stdio.h>

#include "schemas/err.h"

struct range {
    uint32_t first, last;
};

/* Combining marks and format characters of the scripts that mark letters. */
static const struct range none[] = {
    {0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05bd}, {0x05bf, 0x05bf},
    {0x05c1, 0x05c2}, {0x05c4, 0x05c5}, {0x0610, 0x061a}, {0x064b, 0x065f},
    {0x0670, 0x0670}, {0x06d6, 0x06dc}, {0x06df, 0x06e4}, {0x06e7, 0x06e8},
    {0x06ea, 0x06ed}, {0x0900, 0x0902}, {0x093c, 0x093c}, {0x0941, 0x0948},
    {0x094d, 0x094d}, {0x0e31, 0x0e31}, {0x0e34, 0x0e3a}, {0x0e47, 0x0e4e},
    {0x1ab0, 0x1ace}, {0x1dc0, 0x1dff}, {0x200b, 0x200f}, {0x202a, 0x202e},
    {0x2060, 0x2064}, {0x20d0, 0x20f0}, {0x302a, 0x302d}, {0x3099, 0x309a},
    {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xfeff, 0xfeff}, {0xe0100, 0xe01ef},
};

/* EastAsianWidth.txt, W and F, joined across unassigned gaps. */
static const struct range wide[] = {
    {0x1100, 0x115f},   {0x231a, 0x231b},   {0x2329, 0x232a},
    {0x23e9, 0x23ec},   {0x23f0, 0x23f0},   {0x23f3, 0x23f3},
    {0x25fd, 0x25fe},   {0x2614, 0x2615},   {0x2648, 0x2653},
    {0x267f, 0x267f},   {0x2693, 0x2693},   {0x26a1, 0x26a1},
    {0x26aa, 0x26ab},   {0x26bd, 0x26be},   {0x26c4, 0x26c5},
    {0x26ce, 0x26ce},   {0x26d4, 0x26d4},   {0x26ea, 0x26ea},
    {0x26f2, 0x26f3},   {0x26f5, 0x26f5},   {0x26fa, 0x26fa},
    {0x26fd, 0x26fd},   {0x2705, 0x2705},   {0x270a, 0x270b},
    {0x2728, 0x2728},   {0x274c, 0x274c},   {0x274e, 0x274e},
    {0x2753, 0x2755},   {0x2757, 0x2757},   {0x2795, 0x2797},
    {0x27b0, 0x27b0},   {0x27bf, 0x27bf},   {0x2b1b, 0x2b1c},
    {0x2b50, 0x2b50},   {0x2b55, 0x2b55},   {0x2e80, 0x303e},
    {0x3041, 0x33ff},   {0x3400, 0x4dbf},   {0x4e00, 0xa4cf},
    {0xa960, 0xa97c},   {0xac00, 0xd7a3},   {0xf900, 0xfaff},
    {0xfe10, 0xfe19},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},
    {0xffe0, 0xffe6},   {0x16fe0, 0x18cff}, {0x1b000, 0x1b2fb},
    {0x1f004, 0x1f004}, {0x1f0cf, 0x1f0cf}, {0x1f18e, 0x1f18e},
    {0x1f191, 0x1f19a}, {0x1f200, 0x1f320}, {0x1f32d, 0x1f335},
    {0x1f337, 0x1f37c}, {0x1f37e, 0x1f393}, {0x1f3a0, 0x1f3ca},
    {0x1f3cf, 0x1f3d3}, {0x1f3e0, 0x1f3f0}, {0x1f3f4, 0x1f3f4},
    {0x1f3f8, 0x1f43e}, {0x1f440, 0x1f440}, {0x1f442, 0x1f4fc},
    {0x1f4ff, 0x1f53d}, {0x1f54b, 0x1f567}, {0x1f57a, 0x1f57a},
    {0x1f595, 0x1f596}, {0x1f5a4, 0x1f5a4}, {0x1f5fb, 0x1f64f},
    {0x1f680, 0x1f6c5}, {0x1f6cc, 0x1f6cc}, {0x1f6d0, 0x1f6d2},
    {0x1f6d5, 0x1f6df}, {0x1f6eb, 0x1f6ec}, {0x1f6f4, 0x1f6fc},
    {0x1f7e0, 0x1f7f0}, {0x1f90c, 0x1f93a}, {0x1f93c, 0x1f945},
    {0x1f947, 0x1faff}, {0x20000, 0x3fffd},
};

static bool in_ranges(const struct range *ranges, size_t n, uint32_t code)
{
    size_t low = 0, high = n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (code > ranges[mid].last)
            low = mid + 1;
        else if (code < ranges[mid].first)
            high = mid;
        else
            return true;
    }
    return false;
}

int bf_text_width_of(uint32_t code)
{
    if (in_ranges(none, bf_countof(none), code))
        return 0;
    return in_ranges(wide, bf_countof(wide), code) ? 2 : 1;
}

/* Bytes of the sequence that this first byte begins; 0: it begins none. */
static size_t sequence(unsigned char first, uint32_t *ret_bits)
{
    if (first < 0x80) {
        *ret_bits = first;
        return 1;
    }
    if (first >= 0xc2 && first <= 0xdf) {
        *ret_bits = first & 0x1f;
        return 2;
    }
    if (first >= 0xe0 && first <= 0xef) {
        *ret_bits = first & 0x0f;
        return 3;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        *ret_bits = first & 0x07;
        return 4;
    }
    return 0;
}

uint32_t bf_text_next(struct bf_slice text, size_t *ret_len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t code = 0;
    size_t len = sequence((unsigned char)text.ptr[0], &code);

    *ret_len = 1;
    if (len == 0 || len > text.len)
        return 0xfffd;
    for (size_t i = 1; i < len; i++) {
        unsigned char byte = (unsigned char)text.ptr[i];

        if ((byte & 0xc0) != 0x80)
            return 0xfffd;
        code = code << 6 | (byte & 0x3f);
    }
    if (code < least[len] || code > 0x10ffff ||
        (code >= 0xd800 && code <= 0xdfff))
        return 0xfffd;
    *ret_len = len;
    return code;
}

/* A terminal would obey it, or a reader would be misled by it. */
static bool dangerous(uint32_t code, size_t len)
{
    if (code == 0xfffd && len == 1)
        return true;
    if (code < 0x20 || (code >= 0x7f && code < 0xa0))
        return true;
    return (code >= 0x202a && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

/* One character as it will be printed; returns its columns. */
static size_t show(struct bf_slice text, size_t *ret_len, char out[32])
{
    uint32_t code = bf_text_next(text, ret_len);

    if (!dangerous(code, *ret_len)) {
        memcpy(out, text.ptr, *ret_len);
        out[*ret_len] = '\0';
        return (size_t)bf_text_width_of(code);
    }
    if (code > 0xff && code != 0xfffd)
        return (size_t)snprintf(out, 32, "\\u%04" PRIx32, code);
    if (code == '\t')
        return (size_t)snprintf(out, 32, "    ");
    if (code == '\n')
        return (size_t)snprintf(out, 32, "\\n");
    if (code == '\r')
        return (size_t)snprintf(out, 32, "\\r");
    if (code == 0xfffd)
        code = (unsigned char)text.ptr[0];
    return (size_t)snprintf(out, 32, "\\x%02" PRIx32, code);
}

size_t bf_text_width(struct bf_slice text)
{
    size_t columns = 0, len;
    char shown[32];

    while (text.len > 0) {
        columns += show(text, &len, shown);
        text.ptr += len;
        text.len -= len;
    }
    return columns;
}

int bf_text_add(struct bf_buf *out, struct bf_slice text, size_t max_columns,
                bool newline, struct bf_err *err)
{
    bool cut = max_columns > 0 && bf_text_width(text) > max_columns;
    size_t columns = 0, len;
    char shown[32];

    while (text.len > 0) {
        if (newline && text.ptr[0] == '\n') {
            memcpy(shown, "\n", 2);
            len = 1;
        } else {
            columns += show(text, &len, shown);
        }
        if (cut && columns > max_columns - 1)
            return bf_buf_adds(out, "…", err);
        if (bf_buf_adds(out, shown, err))
            return -1;
        text.ptr += len;
        text.len -= len;
    }
    return 0;
}

void bf_text_bytes(uint64_t bytes, char out[static 16])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;

    if (bytes < 1024) {
        snprintf(out, 16, "%u B", (unsigned)bytes);
        return;
    }
    value /= 1024;
    while (value >= 1023.95 && unit + 1 < bf_countof(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(out, 16, "%.1f %s", value, units[unit]);
}
