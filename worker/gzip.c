#include "worker/gzip.h"

#include <zlib.h>

#include "schemas/err.h"

#define LEAST_BYTES 2048U
#define MOST_BYTES (2U << 20) /* some 20 ms of a core */
#define SAMPLES 4U
#define SAMPLE_BYTES 1024U
#define LEVEL 1
#define GZIP_WINDOW (15 + 16) /* zlib's way to ask for a gzip member */

static int start(z_stream *z, struct bf_err *err)
{
    /* NOLINTNEXTLINE(cppcoreguidelines-pro-type-cstyle-cast): zlib's macro */
    int rc =
        deflateInit2(z, LEVEL, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY);

    return rc == Z_OK ? 0 : bf_err_oom(err);
}

int bf_gzip_put(struct bf_slice bytes, struct bf_buf *out, struct bf_err *err)
{
    z_stream z = {0};
    size_t bound;
    int rc;

    if (bytes.len > UINT32_MAX / 2)
        return bf_err_set(err, BF_ERR_REJECT, "too_large",
                          "too large to be compressed at once");
    if (start(&z, err))
        return -1;
    bound = deflateBound(&z, (uLong)bytes.len);
    if (bf_buf_reserve(out, bound, err)) {
        deflateEnd(&z);
        return -1;
    }
    z.next_in = (z_const Bytef *)(uintptr_t)bytes.ptr;
    z.avail_in = (uInt)bytes.len;
    z.next_out = (Bytef *)out->data + out->len;
    z.avail_out = (uInt)bound;
    rc = deflate(&z, Z_FINISH);
    deflateEnd(&z);
    bf_assert(rc == Z_STREAM_END);
    out->len += z.total_out;
    out->data[out->len] = '\0';
    return 0;
}

static bool shrinks(struct bf_slice bytes)
{
    char sample[SAMPLES * SAMPLE_BYTES];
    bf_autobuf struct bf_buf packed = BF_BUF_INIT(2 * sizeof(sample));
    struct bf_err ignored = {0};
    size_t every = bytes.len / SAMPLES;
    size_t len = every < SAMPLE_BYTES ? every : SAMPLE_BYTES;

    for (size_t i = 0; i < SAMPLES; i++)
        memcpy(sample + i * len, bytes.ptr + i * every, len);
    return bf_gzip_put((struct bf_slice){sample, SAMPLES * len}, &packed,
                       &ignored) == 0 &&
           packed.len < SAMPLES * len / 3 * 2;
}

bool bf_gzip_pays(enum bf_gzip_policy policy, struct bf_slice bytes)
{
    if (policy != BF_GZIP_AUTO)
        return policy == BF_GZIP_ON;
    return bytes.len >= LEAST_BYTES && bytes.len <= MOST_BYTES &&
           shrinks(bytes);
}
