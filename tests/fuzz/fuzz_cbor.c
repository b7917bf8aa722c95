/*
 * Whatever a container answers for CBOR: a document that is taken can be read
 * to its end, and written again it means the same.
 */

#include <stddef.h>
#include <stdint.h>

#include "schemas/err.h"
#include "schemas/utf8.h"
#include "worker/wire/cbor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_back(struct bf_cbor_out *out, const struct bf_cbor_item *item)
{
    switch (item->kind) {
    case BF_CBOR_NULL:
        bf_cbor_null(out);
        break;
    case BF_CBOR_BOOL:
        bf_cbor_bool(out, item->truth);
        break;
    case BF_CBOR_INT:
        bf_cbor_int(out, item->number);
        break;
    case BF_CBOR_DOUBLE:
        bf_cbor_double(out, item->real);
        break;
    case BF_CBOR_TEXT:
        bf_assert(bf_utf8_ok(item->bytes));
        bf_cbor_text(out, item->bytes);
        break;
    case BF_CBOR_BYTES:
        bf_cbor_bytes(out, item->bytes);
        break;
    case BF_CBOR_ARRAY:
        bf_cbor_array(out, item->count);
        break;
    case BF_CBOR_MAP:
        bf_cbor_map(out, item->count);
        break;
    }
}

static void rewrite(struct bf_slice in, struct bf_buf *buf)
{
    struct bf_cbor_item item;
    struct bf_cbor_out out;

    bf_cbor_start(&out, buf, NULL);
    while (bf_cbor_next(&in, &item, NULL) > 0)
        write_back(&out, &item);
    bf_assert(in.len == 0);
    bf_assert(bf_cbor_done(&out) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct bf_slice document = {(const char *)data, size};
    bf_autobuf struct bf_buf once = BF_BUF_INIT(size * 3 + 64);
    bf_autobuf struct bf_buf twice = BF_BUF_INIT(size * 3 + 64);
    struct bf_err err = {0};

    if (bf_cbor_check(document, &err)) {
        bf_assert(err.kind == BF_ERR_REJECT);
        return 0;
    }
    rewrite(document, &once);
    bf_assert(bf_cbor_check(bf_buf_slice(&once), &err) == 0);
    rewrite(bf_buf_slice(&once), &twice);
    bf_assert(bf_slice_eq(bf_buf_slice(&once), bf_buf_slice(&twice)));
    return 0;
}
