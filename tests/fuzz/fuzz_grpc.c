/*
 * Whatever a peer sends for gRPC: as a body, cut in two anywhere, and as each
 * of the trailers that we read.
 */

#include <stddef.h>
#include <stdint.h>

#include "schemas/err.h"
#include "schemas/utf8.h"
#include "worker/wire/grpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX 4096

static int read_all(struct bf_slice body, size_t *ret_taken)
{
    const size_t size = body.len;
    struct bf_slice message;
    struct bf_err err = {0};
    int got;

    while ((got = bf_grpc_next(&body, MAX, &message, &err)) > 0)
        bf_assert(message.len <= MAX);
    bf_assert(got == 0 || err.kind == BF_ERR_REJECT);
    *ret_taken = size - body.len;
    return got;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct bf_slice bytes = {(const char *)data, size};
    bf_autobuf struct bf_buf text = BF_BUF_INIT(MAX);
    struct bf_slice message = {NULL, 0};
    size_t half, whole;
    int64_t wait;

    if (read_all((struct bf_slice){bytes.ptr, size / 2}, &half) < 0)
        bf_assert(read_all(bytes, &whole) < 0);
    else
        read_all(bytes, &whole);
    bf_assert(half <= whole);
    if (bf_grpc_unary(bytes, MAX, &message, NULL) == 0)
        bf_assert(message.len + BF_GRPC_PREFIX == size);
    bf_assert(bf_grpc_status_of(200, bytes) < BF_GRPC_STATUSES);
    bf_assert(bf_grpc_message(&text, bytes, 1000, NULL) == 0);
    bf_assert(text.len <= 1000 && bf_utf8_ok(bf_buf_slice(&text)));
    wait = bf_grpc_retry_after_ms(bytes);
    bf_assert(wait == 0 || (wait >= 100 && wait <= BF_GRPC_RETRY_AFTER_MAX_MS));
    return 0;
}
