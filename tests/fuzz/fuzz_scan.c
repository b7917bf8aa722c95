/*
 * Whatever the bytes: inputs lie inside them, and putting them back where they
 * were cut out gives the bytes again.
 */

#include <stddef.h>
#include <stdint.h>

#include "dispatcher/scan.h"
#include "schemas/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bf_autobuf struct bf_buf rest = BF_BUF_INIT(BF_SCAN_REST);
    struct bf_slice text = {(const char *)data, size}, inputs;
    struct bf_err err;
    size_t before;

    if (bf_scan(text, &inputs, &rest, &err)) {
        bf_assert(err.kind == BF_ERR_REJECT);
        return 0;
    }
    bf_assert(inputs.ptr > text.ptr && inputs.len >= 2);
    before = (size_t)(inputs.ptr - text.ptr);
    bf_assert(before + inputs.len < text.len);
    bf_assert(inputs.ptr[0] == '{' && inputs.ptr[inputs.len - 1] == '}');
    bf_assert(rest.len == text.len - inputs.len + 4);
    bf_assert(memcmp(rest.data, text.ptr, before) == 0);
    bf_assert(memcmp(rest.data + before, "null", 4) == 0);
    bf_assert(memcmp(rest.data + before + 4, inputs.ptr + inputs.len,
                     text.len - before - inputs.len) == 0);
    return 0;
}
