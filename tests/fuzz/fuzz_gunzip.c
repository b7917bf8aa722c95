/*
 * However a body is cut into pieces, the same comes out, and never more than
 * the ceiling. The first byte says how large the pieces are.
 */

#include <stddef.h>
#include <stdint.h>

#include "dispatcher/gunzip.h"
#include "schemas/err.h"

#define CEILING ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int unzip(struct bf_slice bytes, size_t step, struct bf_buf *out)
{
    bf_autogunzip struct bf_gunzip *gunzip = bf_gunzip_new(NULL);

    bf_assert(gunzip);
    for (size_t i = 0; i < bytes.len; i += step) {
        struct bf_slice piece = {bytes.ptr + i,
                                 bytes.len - i < step ? bytes.len - i : step};
        struct bf_err err;

        if (bf_gunzip_add(gunzip, piece, out, &err)) {
            bf_assert(err.kind == BF_ERR_REJECT);
            return -1;
        }
    }
    return bf_gunzip_end(gunzip, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bf_autobuf struct bf_buf whole = BF_BUF_INIT(CEILING);
    bf_autobuf struct bf_buf parts = BF_BUF_INIT(CEILING);
    struct bf_slice bytes = {(const char *)data + 1, size - 1};
    int rc;

    if (size == 0)
        return 0;
    rc = unzip(bytes, bytes.len + 1, &whole);
    bf_assert(rc == unzip(bytes, 1 + (size_t)data[0], &parts));
    if (rc == 0)
        bf_assert(bf_slice_eq(bf_buf_slice(&whole), bf_buf_slice(&parts)));
    return 0;
}
