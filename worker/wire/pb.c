#include "worker/wire/pb.h"

#include "schemas/check.h"
#include "schemas/err.h"

/* Of 64 bits by seven. */
#define VARINT_SIZE 10

void bf_pb_start(struct bf_pb_out *out, struct bf_buf *buf, struct bf_err *err)
{
    *out = (struct bf_pb_out){.buf = buf, .err = err};
}

int bf_pb_done(const struct bf_pb_out *out)
{
    return out->failed ? -1 : 0;
}

static void put(struct bf_pb_out *out, const void *bytes, size_t len)
{
    if (!out->failed && bf_buf_add(out->buf, bytes, len, out->err))
        out->failed = true;
}

static size_t varint(uint64_t value, unsigned char bytes[VARINT_SIZE])
{
    size_t n = 0;

    for (; value >= 0x80; value >>= 7)
        bytes[n++] = (unsigned char)(value | 0x80);
    bytes[n++] = (unsigned char)value;
    return n;
}

static void put_varint(struct bf_pb_out *out, uint64_t value)
{
    unsigned char bytes[VARINT_SIZE];

    put(out, bytes, varint(value, bytes));
}

static void put_tag(struct bf_pb_out *out, uint32_t field, enum bf_pb_wire wire)
{
    bf_assert(field >= 1 && field <= BF_PB_FIELD_MAX);
    put_varint(out, ((uint64_t)field << 3) | (uint64_t)wire);
}

static void put_fixed(struct bf_pb_out *out, uint64_t bits, size_t size)
{
    unsigned char bytes[8];

    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(bits >> (8 * i));
    put(out, bytes, size);
}

void bf_pb_u64(struct bf_pb_out *out, uint32_t field, uint64_t value)
{
    put_tag(out, field, BF_PB_VARINT);
    put_varint(out, value);
}

void bf_pb_float(struct bf_pb_out *out, uint32_t field, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    put_tag(out, field, BF_PB_FIXED32);
    put_fixed(out, bits, sizeof(bits));
}

void bf_pb_double(struct bf_pb_out *out, uint32_t field, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    put_tag(out, field, BF_PB_FIXED64);
    put_fixed(out, bits, sizeof(bits));
}

void bf_pb_bytes(struct bf_pb_out *out, uint32_t field, struct bf_slice value)
{
    put_tag(out, field, BF_PB_BYTES);
    put_varint(out, value.len);
    put(out, value.ptr, value.len);
}

size_t bf_pb_open(struct bf_pb_out *out, uint32_t field)
{
    put_tag(out, field, BF_PB_BYTES);
    return out->failed ? 0 : out->buf->len;
}

void bf_pb_close(struct bf_pb_out *out, size_t opened)
{
    unsigned char bytes[VARINT_SIZE];
    size_t len, n;

    if (out->failed)
        return;
    bf_assert(opened <= out->buf->len);
    len = out->buf->len - opened;
    n = varint(len, bytes);
    put(out, bytes, n);
    if (out->failed)
        return;
    /* The length stands before what it measures. */
    memmove(out->buf->data + opened + n, out->buf->data + opened, len);
    memcpy(out->buf->data + opened, bytes, n);
}

static int bad(struct bf_err *err, const char *what)
{
    return bf_err_set(err, BF_ERR_REJECT, "protobuf", "%s", what);
}

static int take_varint(struct bf_slice *in, uint64_t *ret, struct bf_err *err)
{
    uint64_t value = 0;

    for (size_t i = 0; i < in->len && i < VARINT_SIZE; i++) {
        unsigned char byte = (unsigned char)in->ptr[i];

        if (i == VARINT_SIZE - 1 && byte > 1)
            break;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            in->ptr += i + 1;
            in->len -= i + 1;
            *ret = value;
            return 0;
        }
    }
    return bad(err, in->len < VARINT_SIZE ? "a number is cut off"
                                          : "a number of more than 64 bits");
}

static int take_bytes(struct bf_slice *in, uint64_t len, struct bf_slice *ret,
                      struct bf_err *err)
{
    if (len > in->len)
        return bad(err, "a field is cut off");
    *ret = (struct bf_slice){in->ptr, (size_t)len};
    in->ptr += len;
    in->len -= (size_t)len;
    return 0;
}

static int take_fixed(struct bf_slice *in, size_t size, uint64_t *ret,
                      struct bf_err *err)
{
    uint64_t bits = 0;

    if (in->len < size)
        return bad(err, "a field is cut off");
    for (size_t i = size; i > 0; i--)
        bits = bits << 8 | (unsigned char)in->ptr[i - 1];
    in->ptr += size;
    in->len -= size;
    *ret = bits;
    return 0;
}

static int take_value(struct bf_slice *in, struct bf_pb_field *field,
                      struct bf_err *err)
{
    uint64_t len = 0;

    switch (field->wire) {
    case BF_PB_VARINT:
        return take_varint(in, &field->value, err);
    case BF_PB_FIXED64:
        return take_fixed(in, 8, &field->value, err);
    case BF_PB_FIXED32:
        return take_fixed(in, 4, &field->value, err);
    case BF_PB_BYTES:
        if (take_varint(in, &len, err))
            return -1;
        return take_bytes(in, len, &field->bytes, err);
    }
    return bad(err, "a group, or a kind of field that does not exist");
}

int bf_pb_next(struct bf_slice *message, struct bf_pb_field *ret,
               struct bf_err *err)
{
    struct bf_slice in = *message;
    struct bf_pb_field field = {0};
    uint64_t tag = 0;

    if (in.len == 0)
        return 0;
    if (take_varint(&in, &tag, err))
        return -1;
    if (tag >> 3 < 1 || tag >> 3 > BF_PB_FIELD_MAX)
        return bad(err, "a field has no number that fields have");
    field.number = (uint32_t)(tag >> 3);
    field.wire = (enum bf_pb_wire)(tag & 7);
    if (take_value(&in, &field, err))
        return -1;
    *message = in;
    *ret = field;
    return 1;
}

int bf_pb_packed(struct bf_slice *list, uint64_t *ret, struct bf_err *err)
{
    if (list->len == 0)
        return 0;
    return take_varint(list, ret, err) ? -1 : 1;
}

double bf_pb_to_double(uint64_t bits)
{
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

float bf_pb_to_float(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float value;

    memcpy(&value, &low, sizeof(value));
    return value;
}
