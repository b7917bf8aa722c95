/*
 * Whatever a provider sends for protobuf: every field is inside of what was
 * given, all of it is taken or refused, and what was read is written back as
 * the same fields.
 */

#include <stddef.h>
#include <stdint.h>

#include "schemas/err.h"
#include "worker/wire/pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_back(struct bf_pb_out *out, const struct bf_pb_field *field)
{
    switch (field->wire) {
    case BF_PB_VARINT:
        bf_pb_u64(out, field->number, field->value);
        break;
    case BF_PB_FIXED64:
        bf_pb_double(out, field->number, bf_pb_to_double(field->value));
        break;
    case BF_PB_FIXED32:
        bf_pb_float(out, field->number, bf_pb_to_float(field->value));
        break;
    case BF_PB_BYTES:
        bf_pb_bytes(out, field->number, field->bytes);
        break;
    }
}

static void check_same(struct bf_slice a, struct bf_slice b)
{
    struct bf_pb_field one, two;

    while (bf_pb_next(&a, &one, NULL) > 0) {
        bf_assert(bf_pb_next(&b, &two, NULL) == 1);
        bf_assert(one.number == two.number && one.wire == two.wire);
        bf_assert(one.value == two.value);
        bf_assert(bf_slice_eq(one.bytes, two.bytes));
    }
    bf_assert(b.len == 0);
}

/* A field of bytes may be a message: so deep, whatever it is. */
static void walk(struct bf_slice message, int depth)
{
    struct bf_pb_field field;

    while (depth > 0 && bf_pb_next(&message, &field, NULL) > 0) {
        if (field.wire == BF_PB_BYTES)
            walk(field.bytes, depth - 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct bf_slice whole = {(const char *)data, size};
    bf_autobuf struct bf_buf again = BF_BUF_INIT(size * 2 + 64);
    struct bf_slice message = whole, list = whole;
    struct bf_pb_field field;
    struct bf_err err = {0};
    struct bf_pb_out out;
    uint64_t value;
    int got;

    bf_pb_start(&out, &again, &err);
    while ((got = bf_pb_next(&message, &field, &err)) > 0)
        write_back(&out, &field);
    bf_assert(bf_pb_done(&out) == 0);
    bf_assert(got == 0 ? message.len == 0 : err.kind == BF_ERR_REJECT);
    bf_assert(again.len <= size);
    check_same((struct bf_slice){whole.ptr, size - message.len},
               bf_buf_slice(&again));
    while (bf_pb_packed(&list, &value, &err) > 0)
        continue;
    walk(whole, 4);
    return 0;
}
