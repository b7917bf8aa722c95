#include "worker/wire/grpc.h"

#include "schemas/base64.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/utf8.h"
#include "worker/wire/pb.h"

void bf_grpc_prefix(size_t len, unsigned char out[BF_GRPC_PREFIX])
{
    bf_assert(len <= UINT32_MAX);
    out[0] = 0;
    bf_put_u32be(out + 1, (uint32_t)len);
}

int bf_grpc_next(struct bf_slice *in, size_t max, struct bf_slice *ret,
                 struct bf_err *err)
{
    uint32_t len;

    if (in->len > 0 && in->ptr[0] != 0)
        return bf_err_set(err, BF_ERR_REJECT, "grpc",
                          "a frame with the flags 0x%02x",
                          (unsigned)(unsigned char)in->ptr[0]);
    if (in->len < BF_GRPC_PREFIX)
        return 0;
    len = bf_get_u32be((const unsigned char *)in->ptr + 1);
    if (len > max)
        return bf_err_set(err, BF_ERR_REJECT, "grpc",
                          "a message of %u bytes, and %zu are the most",
                          (unsigned)len, max);
    if (in->len - BF_GRPC_PREFIX < len)
        return 0;
    *ret = (struct bf_slice){in->ptr + BF_GRPC_PREFIX, len};
    in->ptr += BF_GRPC_PREFIX + len;
    in->len -= BF_GRPC_PREFIX + len;
    return 1;
}

int bf_grpc_unary(struct bf_slice body, size_t max, struct bf_slice *ret,
                  struct bf_err *err)
{
    struct bf_slice message;
    int got = bf_grpc_next(&body, max, &message, err);

    if (got < 0)
        return -1;
    if (got == 0)
        return bf_err_set(err, BF_ERR_REJECT, "grpc", "no whole message");
    if (body.len > 0)
        return bf_err_set(err, BF_ERR_REJECT, "grpc",
                          "something after the only message");
    *ret = message;
    return 0;
}

/*
 * What is tried again is what Modal's clients try again. They give up on all
 * else at once; we lose no job by a mistake in our own set-up (STOP), and let
 * the queue come back to what may pass by itself (LATER).
 */
static const struct status_row {
    const char *name;
    enum bf_grpc_follows follows;
} statuses[] = {
    [BF_GRPC_OK] = {"OK", BF_GRPC_DONE},
    [BF_GRPC_CANCELLED] = {"CANCELLED", BF_GRPC_AGAIN},
    [BF_GRPC_UNKNOWN] = {"UNKNOWN", BF_GRPC_AGAIN},
    [BF_GRPC_INVALID_ARGUMENT] = {"INVALID_ARGUMENT", BF_GRPC_REFUSED},
    [BF_GRPC_DEADLINE_EXCEEDED] = {"DEADLINE_EXCEEDED", BF_GRPC_AGAIN},
    [BF_GRPC_NOT_FOUND] = {"NOT_FOUND", BF_GRPC_GONE},
    [BF_GRPC_ALREADY_EXISTS] = {"ALREADY_EXISTS", BF_GRPC_REFUSED},
    [BF_GRPC_PERMISSION_DENIED] = {"PERMISSION_DENIED", BF_GRPC_STOP},
    [BF_GRPC_RESOURCE_EXHAUSTED] = {"RESOURCE_EXHAUSTED", BF_GRPC_LATER},
    [BF_GRPC_FAILED_PRECONDITION] = {"FAILED_PRECONDITION", BF_GRPC_STOP},
    [BF_GRPC_ABORTED] = {"ABORTED", BF_GRPC_LATER},
    [BF_GRPC_OUT_OF_RANGE] = {"OUT_OF_RANGE", BF_GRPC_REFUSED},
    [BF_GRPC_UNIMPLEMENTED] = {"UNIMPLEMENTED", BF_GRPC_STOP},
    [BF_GRPC_INTERNAL] = {"INTERNAL", BF_GRPC_AGAIN},
    [BF_GRPC_UNAVAILABLE] = {"UNAVAILABLE", BF_GRPC_AGAIN},
    [BF_GRPC_DATA_LOSS] = {"DATA_LOSS", BF_GRPC_LATER},
    [BF_GRPC_UNAUTHENTICATED] = {"UNAUTHENTICATED", BF_GRPC_STOP},
};
_Static_assert(bf_countof(statuses) == BF_GRPC_STATUSES, "a row each");

const char *bf_grpc_status_name(enum bf_grpc_status status)
{
    bf_assert(status < BF_GRPC_STATUSES);
    return statuses[status].name;
}

enum bf_grpc_follows bf_grpc_follows(enum bf_grpc_status status)
{
    bf_assert(status < BF_GRPC_STATUSES);
    return statuses[status].follows;
}

/* Whoever answered in gRPC's place. */
static enum bf_grpc_status status_of_http(int status)
{
    switch (status) {
    case 200: /* and no trailers: the peer died while it answered */
    case 429:
    case 502:
    case 503:
    case 504:
        return BF_GRPC_UNAVAILABLE;
    case 400:
        return BF_GRPC_INTERNAL;
    case 401:
        return BF_GRPC_UNAUTHENTICATED;
    case 403:
        return BF_GRPC_PERMISSION_DENIED;
    case 404:
        return BF_GRPC_UNIMPLEMENTED;
    default:
        return BF_GRPC_UNKNOWN;
    }
}

enum bf_grpc_status bf_grpc_status_of(int http_status, struct bf_slice text)
{
    uint64_t status = BF_GRPC_UNKNOWN;

    if (!text.ptr)
        return status_of_http(http_status);
    if (bf_slice_u64(text, BF_GRPC_STATUSES - 1, &status))
        return BF_GRPC_UNKNOWN;
    return (enum bf_grpc_status)status;
}

static int hex_of(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* The byte at *at; what is no escape stands for itself. */
static char percent(struct bf_slice text, size_t *at)
{
    char c = text.ptr[(*at)++];
    int high, low;

    if (c != '%' || text.len - *at < 2)
        return c;
    high = hex_of(text.ptr[*at]);
    low = hex_of(text.ptr[*at + 1]);
    if (high < 0 || low < 0)
        return c;
    *at += 2;
    return (char)(high << 4 | low);
}

int bf_grpc_message(struct bf_buf *out, struct bf_slice text, size_t max,
                    struct bf_err *err)
{
    bf_autobuf struct bf_buf raw = BF_BUF_INIT(text.len + 1);

    for (size_t at = 0; at < text.len && raw.len < max;) {
        char c = percent(text, &at);

        if (c >= 0 && c < ' ')
            c = ' ';
        if (bf_buf_add(&raw, &c, 1, err))
            return -1;
    }
    return bf_utf8_clean(out, bf_buf_slice(&raw), max, err);
}

/* grpc's libraries leave the padding off; others may not. */
static int details_bytes(struct bf_slice text, unsigned char *out, size_t max,
                         size_t *ret_len)
{
    char padded[BF_GRPC_DETAILS_MAX + 3];
    size_t len = text.len;

    if (len > BF_GRPC_DETAILS_MAX)
        return -1;
    if (len > 0)
        memcpy(padded, text.ptr, len);
    while (len % 4 != 0)
        padded[len++] = '=';
    return bf_base64_decode(BF_BASE64, (struct bf_slice){padded, len}, out, max,
                            ret_len);
}

/* The bytes of a length-delimited field; the last one counts. */
static struct bf_slice bytes_of(struct bf_slice message, uint32_t number)
{
    struct bf_slice found = {NULL, 0};
    struct bf_pb_field field;

    while (bf_pb_next(&message, &field, NULL) > 0) {
        if (field.number == number && field.wire == BF_PB_BYTES)
            found = field.bytes;
    }
    return found;
}

static bool is_retry_policy(struct bf_slice any)
{
    static const char name[] = "/modal.client.RPCRetryPolicy";
    struct bf_slice url = bytes_of(any, 1);
    size_t len = sizeof(name) - 1;

    return url.len >= len && memcmp(url.ptr + url.len - len, name, len) == 0;
}

static int64_t policy_ms(struct bf_slice policy)
{
    struct bf_pb_field field;
    float seconds = 0;

    while (bf_pb_next(&policy, &field, NULL) > 0) {
        if (field.number == 1 && field.wire == BF_PB_FIXED32)
            seconds = bf_pb_to_float(field.value);
    }
    if (!(seconds > 0.1F)) /* what is no number, too */
        return 100;
    if (seconds >= (float)BF_GRPC_RETRY_AFTER_MAX_MS / 1000)
        return BF_GRPC_RETRY_AFTER_MAX_MS;
    return (int64_t)(seconds * 1000);
}

int64_t bf_grpc_retry_after_ms(struct bf_slice details)
{
    unsigned char bytes[BF_GRPC_DETAILS_MAX];
    struct bf_pb_field field;
    struct bf_slice status;
    size_t len = 0;

    if (details_bytes(details, bytes, sizeof(bytes), &len))
        return 0;
    status = (struct bf_slice){(const char *)bytes, len};
    while (bf_pb_next(&status, &field, NULL) > 0) {
        if (field.number == 3 && field.wire == BF_PB_BYTES &&
            is_retry_policy(field.bytes))
            return policy_ms(bytes_of(field.bytes, 2));
    }
    return 0;
}
