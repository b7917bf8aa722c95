/*
 * Whatever bf_original_headers holds: it is refused, or writing what was read
 * gives the same bytes.
 */

#include "tests/fuzz/record_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bf_autobuf struct bf_buf bytes = BF_BUF_INIT(BF_MAX_ORIGINALS);
    struct bf_slice input = {(const char *)data, size};
    bf_autorecord struct bf_record rec;
    struct bf_err err = {0};

    bf_record_init(&rec, "bf.jobs", 0);
    if (bf_original_parse(input, &rec, &err)) {
        bf_assert(err.kind == BF_ERR_REJECT);
        return 0;
    }
    if (bf_original_headers(&rec, &bytes, NULL) == 0)
        bf_assert(bf_slice_eq(bf_buf_slice(&bytes), input));
    return 0;
}
