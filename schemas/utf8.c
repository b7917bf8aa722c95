#include "schemas/utf8.h"

/* Well-formed lead bytes; lo and hi bound the second byte (Unicode 3-7). */
static const struct utf8_lead {
    unsigned char first, last;
    unsigned char lo, hi;
    unsigned char len;
} utf8_leads[] = {
    {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
    {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
    {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
    {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

static const struct utf8_lead *utf8_lead_of(unsigned char c)
{
    for (size_t i = 0; i < bf_countof(utf8_leads); i++) {
        if (c >= utf8_leads[i].first && c <= utf8_leads[i].last)
            return &utf8_leads[i];
    }
    return NULL;
}

size_t bf_utf8_next(struct bf_slice text, bool *ret_ok)
{
    const unsigned char *s = (const unsigned char *)text.ptr;
    const struct utf8_lead *lead;
    size_t len = 1;

    *ret_ok = s[0] < 0x80;
    if (*ret_ok)
        return 1;
    lead = utf8_lead_of(s[0]);
    if (!lead)
        return 1;
    for (; len < lead->len && len < text.len; len++) {
        unsigned char lo = len == 1 ? lead->lo : 0x80;
        unsigned char hi = len == 1 ? lead->hi : 0xbf;

        if (s[len] < lo || s[len] > hi)
            return len;
    }
    *ret_ok = len == lead->len;
    return len;
}

bool bf_utf8_ok(struct bf_slice text)
{
    bool ok = true;

    for (size_t i = 0; ok && i < text.len;)
        i += bf_utf8_next((struct bf_slice){text.ptr + i, text.len - i}, &ok);
    return ok;
}

struct bf_slice bf_utf8_cut(struct bf_slice text, size_t max)
{
    size_t i = 0;

    if (text.len <= max)
        return text;
    while (i < text.len) {
        bool ok;
        size_t len =
            bf_utf8_next((struct bf_slice){text.ptr + i, text.len - i}, &ok);

        if (i + len > max)
            break;
        i += len;
    }
    return (struct bf_slice){text.ptr, i};
}

int bf_utf8_clean(struct bf_buf *out, struct bf_slice text, size_t max,
                  struct bf_err *err)
{
    size_t used = 0;

    for (size_t i = 0; i < text.len;) {
        bool ok;
        size_t len =
            bf_utf8_next((struct bf_slice){text.ptr + i, text.len - i}, &ok);
        const char *bytes = ok ? text.ptr + i : "\xef\xbf\xbd";
        size_t nbytes = ok ? len : 3;

        if (nbytes > max - used)
            break;
        if (bf_buf_add(out, bytes, nbytes, err))
            return -1;
        used += nbytes;
        i += len;
    }
    return 0;
}

bool bf_graphic_ok(struct bf_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < 0x21 || text.ptr[i] > 0x7e)
            return false;
    }
    return true;
}
