#include "worker/wire/cbor.h"

#include <math.h>

#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/utf8.h"

enum major {
    MAJOR_UINT,
    MAJOR_NEGATIVE,
    MAJOR_BYTES,
    MAJOR_TEXT,
    MAJOR_ARRAY,
    MAJOR_MAP,
    MAJOR_TAG,
    MAJOR_SIMPLE,
};

enum simple {
    SIMPLE_FALSE = 20,
    SIMPLE_TRUE,
    SIMPLE_NULL,
    SIMPLE_UNDEFINED,
    SIMPLE_HALF = 25,
    SIMPLE_SINGLE,
    SIMPLE_DOUBLE,
};

void bf_cbor_start(struct bf_cbor_out *out, struct bf_buf *buf,
                   struct bf_err *err)
{
    *out = (struct bf_cbor_out){.buf = buf, .err = err};
}

int bf_cbor_done(const struct bf_cbor_out *out)
{
    return out->failed ? -1 : 0;
}

static void put(struct bf_cbor_out *out, const void *bytes, size_t len)
{
    if (!out->failed && bf_buf_add(out->buf, bytes, len, out->err))
        out->failed = true;
}

/* The low `size` bytes of value, the highest first. */
static void put_be(struct bf_cbor_out *out, unsigned char first, uint64_t value,
                   size_t size)
{
    unsigned char bytes[9] = {first};

    for (size_t i = 0; i < size; i++)
        bytes[1 + i] = (unsigned char)(value >> (8 * (size - 1 - i)));
    put(out, bytes, 1 + size);
}

static void put_head(struct bf_cbor_out *out, enum major major, uint64_t value)
{
    unsigned char first = (unsigned char)(major << 5);

    if (value < 24)
        put_be(out, (unsigned char)(first | value), 0, 0);
    else if (value <= UINT8_MAX)
        put_be(out, first | 24, value, 1);
    else if (value <= UINT16_MAX)
        put_be(out, first | 25, value, 2);
    else if (value <= UINT32_MAX)
        put_be(out, first | 26, value, 4);
    else
        put_be(out, first | 27, value, 8);
}

void bf_cbor_null(struct bf_cbor_out *out)
{
    put_head(out, MAJOR_SIMPLE, SIMPLE_NULL);
}

void bf_cbor_bool(struct bf_cbor_out *out, bool value)
{
    put_head(out, MAJOR_SIMPLE, value ? SIMPLE_TRUE : SIMPLE_FALSE);
}

void bf_cbor_int(struct bf_cbor_out *out, int64_t value)
{
    if (value >= 0)
        put_head(out, MAJOR_UINT, (uint64_t)value);
    else
        put_head(out, MAJOR_NEGATIVE, ~(uint64_t)value);
}

void bf_cbor_double(struct bf_cbor_out *out, double value)
{
    const unsigned char head = MAJOR_SIMPLE << 5;
    uint64_t bits;

    /* cbor2: the three that are not finite as halves, all else in full */
    if (isnan(value)) {
        put_be(out, head | SIMPLE_HALF, 0x7e00, 2);
    } else if (isinf(value)) {
        put_be(out, head | SIMPLE_HALF, value > 0 ? 0x7c00 : 0xfc00, 2);
    } else {
        memcpy(&bits, &value, sizeof(bits));
        put_be(out, head | SIMPLE_DOUBLE, bits, 8);
    }
}

void bf_cbor_text(struct bf_cbor_out *out, struct bf_slice text)
{
    put_head(out, MAJOR_TEXT, text.len);
    put(out, text.ptr, text.len);
}

void bf_cbor_bytes(struct bf_cbor_out *out, struct bf_slice bytes)
{
    bf_cbor_bytes_head(out, bytes.len);
    put(out, bytes.ptr, bytes.len);
}

void bf_cbor_array(struct bf_cbor_out *out, size_t n)
{
    put_head(out, MAJOR_ARRAY, n);
}

void bf_cbor_map(struct bf_cbor_out *out, size_t n)
{
    put_head(out, MAJOR_MAP, n);
}

void bf_cbor_bytes_head(struct bf_cbor_out *out, size_t len)
{
    put_head(out, MAJOR_BYTES, len);
}

static int bad(struct bf_err *err, const char *what)
{
    return bf_err_set(err, BF_ERR_REJECT, "cbor", "%s", what);
}

struct head {
    enum major major;
    unsigned info; /* the low five bits */
    uint64_t value;
};

static int take_head(struct bf_slice *in, struct head *ret, struct bf_err *err)
{
    unsigned char first = (unsigned char)in->ptr[0];
    unsigned info = first & 0x1f;
    size_t size = info >= 24 && info <= 27 ? (size_t)1 << (info - 24) : 0;
    uint64_t value = size ? 0 : info;

    if (info > 27)
        return bad(err, "a length that is not said beforehand");
    if (in->len < 1 + size)
        return bad(err, "a head is cut off");
    for (size_t i = 1; i <= size; i++)
        value = value << 8 | (unsigned char)in->ptr[i];
    in->ptr += 1 + size;
    in->len -= 1 + size;
    *ret = (struct head){(enum major)(first >> 5), info, value};
    return 0;
}

static double real(uint64_t bits)
{
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* As RFC 8949, appendix D, has it. */
static double half(uint64_t bits)
{
    uint64_t sign = bits >> 15, exponent = bits >> 10 & 0x1f;
    uint64_t mantissa = bits & 0x3ff;

    if (exponent == 0)
        return (sign ? -0x1p-24 : 0x1p-24) * (double)mantissa;
    exponent = exponent == 0x1f ? 0x7ff : exponent - 15 + 1023;
    return real(sign << 63 | exponent << 52 | mantissa << 42);
}

static double single(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float value;

    memcpy(&value, &low, sizeof(value));
    return (double)value;
}

static int read_simple(const struct head *head, struct bf_cbor_item *item,
                       struct bf_err *err)
{
    item->kind = BF_CBOR_DOUBLE;
    switch ((enum simple)head->info) {
    case SIMPLE_FALSE:
    case SIMPLE_TRUE:
        item->kind = BF_CBOR_BOOL;
        item->truth = head->info == SIMPLE_TRUE;
        return 0;
    case SIMPLE_NULL:
    case SIMPLE_UNDEFINED:
        item->kind = BF_CBOR_NULL;
        return 0;
    case SIMPLE_HALF:
        item->real = half(head->value);
        return 0;
    case SIMPLE_SINGLE:
        item->real = single(head->value);
        return 0;
    case SIMPLE_DOUBLE:
        item->real = real(head->value);
        return 0;
    }
    return bad(err, "a simple value that nobody assigned");
}

static int read_string(struct bf_slice *in, const struct head *head,
                       struct bf_cbor_item *item, struct bf_err *err)
{
    if (head->value > in->len)
        return bad(err, "a string is cut off");
    item->bytes = (struct bf_slice){in->ptr, (size_t)head->value};
    item->kind = head->major == MAJOR_TEXT ? BF_CBOR_TEXT : BF_CBOR_BYTES;
    if (item->kind == BF_CBOR_TEXT && !bf_utf8_ok(item->bytes))
        return bad(err, "a text is not UTF-8");
    in->ptr += head->value;
    in->len -= (size_t)head->value;
    return 0;
}

/* Every value takes a byte at least, so a count is bounded by what follows. */
static int read_count(const struct bf_slice *in, const struct head *head,
                      struct bf_cbor_item *item, struct bf_err *err)
{
    size_t each = head->major == MAJOR_MAP ? 2 : 1;

    if (head->value > in->len / each)
        return bad(err, "a list is cut off");
    item->kind = head->major == MAJOR_MAP ? BF_CBOR_MAP : BF_CBOR_ARRAY;
    item->count = (size_t)head->value;
    return 0;
}

static int read_int(const struct head *head, struct bf_cbor_item *item,
                    struct bf_err *err)
{
    if (head->value > INT64_MAX)
        return bad(err, "an integer of more than 64 bits");
    item->kind = BF_CBOR_INT;
    item->number = (int64_t)head->value;
    if (head->major == MAJOR_NEGATIVE)
        item->number = -1 - item->number;
    return 0;
}

static int read_item(struct bf_slice *in, struct bf_cbor_item *item,
                     struct bf_err *err)
{
    struct head head = {0};

    if (take_head(in, &head, err))
        return -1;
    switch (head.major) {
    case MAJOR_UINT:
    case MAJOR_NEGATIVE:
        return read_int(&head, item, err);
    case MAJOR_BYTES:
    case MAJOR_TEXT:
        return read_string(in, &head, item, err);
    case MAJOR_ARRAY:
    case MAJOR_MAP:
        return read_count(in, &head, item, err);
    case MAJOR_SIMPLE:
        return read_simple(&head, item, err);
    case MAJOR_TAG:
        break;
    }
    return bad(err, "a tag");
}

int bf_cbor_next(struct bf_slice *in, struct bf_cbor_item *ret,
                 struct bf_err *err)
{
    struct bf_slice rest = *in;
    struct bf_cbor_item item = {0};

    if (rest.len == 0)
        return 0;
    if (read_item(&rest, &item, err))
        return -1;
    *in = rest;
    *ret = item;
    return 1;
}

static size_t values_of(const struct bf_cbor_item *item)
{
    if (item->kind == BF_CBOR_MAP)
        return item->count * 2;
    return item->kind == BF_CBOR_ARRAY ? item->count : 0;
}

int bf_cbor_skip(struct bf_slice *in, const struct bf_cbor_item *item,
                 struct bf_err *err)
{
    size_t left[BF_CBOR_DEPTH];
    struct bf_slice rest = *in;
    size_t depth = 0, values = values_of(item);

    while (values > 0 || depth > 0) {
        struct bf_cbor_item inner;
        int got;

        if (values == 0) {
            values = left[--depth];
            continue;
        }
        values--;
        got = bf_cbor_next(&rest, &inner, err);
        if (got <= 0)
            return got < 0 ? -1 : bad(err, "a list is cut off");
        if (values_of(&inner) == 0)
            continue;
        if (depth == BF_CBOR_DEPTH - 1)
            return bad(err, "nested too deep");
        left[depth++] = values;
        values = values_of(&inner);
    }
    *in = rest;
    return 0;
}

int bf_cbor_check(struct bf_slice document, struct bf_err *err)
{
    struct bf_cbor_item item;
    int got = bf_cbor_next(&document, &item, err);

    if (got <= 0)
        return got < 0 ? -1 : bad(err, "nothing");
    if (bf_cbor_skip(&document, &item, err))
        return -1;
    return document.len ? bad(err, "more than one value") : 0;
}
