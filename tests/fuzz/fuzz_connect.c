/* Whatever E2B's envd streams is read, within the ceilings. */

#include <stddef.h>
#include <stdint.h>

#include "schemas/err.h"
#include "worker/wire/connect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bf_process read = {.out = BF_BUF_INIT(256), .err = BF_BUF_INIT(64)};
    struct bf_slice body = {(const char *)data, size};
    struct bf_err err = {0};

    bf_assert(bf_process_read(body, &read, &err) == 0);
    bf_assert(read.out.len <= 256 && read.err.len <= 64);
    bf_process_release(&read);
    return 0;
}
