/* Whatever stands as offset metadata: refused, or its only spelling. */

#include <stddef.h>
#include <stdint.h>

#include "schemas/err.h"
#include "schemas/meta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bf_slice input = {(const char *)data, size};
    char text[BF_MAX_METADATA];
    struct bf_err err = {0};
    struct bf_meta meta;

    if (bf_meta_decode(input, &meta, &err)) {
        bf_assert(err.kind == BF_ERR_REJECT);
        return 0;
    }
    bf_meta_encode(&meta, text);
    bf_assert(bf_slice_is(input, text));
    return 0;
}
