/* Whatever E2B's code interpreter streams is read, within the ceilings. */

#include <stddef.h>
#include <stdint.h>

#include "schemas/err.h"
#include "worker/wire/execute.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bf_execute read = {.out = BF_BUF_INIT(256), .err = BF_BUF_INIT(64)};
    struct bf_slice body = {(const char *)data, size};
    struct bf_err err = {0};

    bf_assert(bf_execute_read(body, &read, &err) == 0);
    bf_assert(read.out.len <= 256 && read.err.len <= 64);
    bf_execute_release(&read);
    return 0;
}
