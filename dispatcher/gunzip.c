#include "dispatcher/gunzip.h"

#include <zlib.h>

#include "schemas/err.h"

#define STAGE_BYTES (32U << 10)
#define GZIP_ONLY 16 /* of inflateInit2(): with gzip's header and checksum */

struct bf_gunzip {
    z_stream stream;
    bool ended;
    unsigned char stage[STAGE_BYTES];
};

struct bf_gunzip *bf_gunzip_new(struct bf_err *err)
{
    struct bf_gunzip *gunzip = calloc(1, sizeof(*gunzip));

    if (!gunzip || inflateInit2(&gunzip->stream, GZIP_ONLY + MAX_WBITS)) {
        free(gunzip);
        bf_err_oom(err);
        return NULL;
    }
    return gunzip;
}

void bf_gunzip_free(struct bf_gunzip *gunzip)
{
    if (!gunzip)
        return;
    inflateEnd(&gunzip->stream);
    free(gunzip);
}

static int bad(struct bf_err *err, const char *what)
{
    return bf_err_set(err, BF_ERR_REJECT, "bad_gzip", "gzip: %s", what);
}

/* Until the stage is full or the piece is used up: what zlib says to it. */
static int inflate_some(struct bf_gunzip *gunzip, struct bf_buf *out,
                        struct bf_err *err)
{
    z_stream *stream = &gunzip->stream;
    int rc;

    stream->next_out = gunzip->stage;
    stream->avail_out = sizeof(gunzip->stage);
    rc = inflate(stream, Z_NO_FLUSH);
    if (rc == Z_MEM_ERROR)
        return bf_err_oom(err);
    /* Z_BUF_ERROR: there is no more in the piece, which is no error. */
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
        return bad(err, stream->msg ? stream->msg : "is broken");
    gunzip->ended = rc == Z_STREAM_END;
    return bf_buf_add(out, gunzip->stage,
                      sizeof(gunzip->stage) - stream->avail_out, err);
}

int bf_gunzip_add(struct bf_gunzip *gunzip, struct bf_slice piece,
                  struct bf_buf *out, struct bf_err *err)
{
    z_stream *stream = &gunzip->stream;

    stream->next_in = (z_const Bytef *)(uintptr_t)piece.ptr;
    stream->avail_in = (uInt)piece.len;
    bf_assert(stream->avail_in == piece.len);
    if (piece.len == 0)
        return 0;
    do {
        if (gunzip->ended)
            return stream->avail_in > 0 ? bad(err, "goes on after its end") : 0;
        if (inflate_some(gunzip, out, err))
            return -1;
        /* A full stage: there may be more to come of the same bytes. */
    } while (stream->avail_in > 0 || stream->avail_out == 0);
    return 0;
}

int bf_gunzip_end(const struct bf_gunzip *gunzip, struct bf_err *err)
{
    return gunzip->ended ? 0 : bad(err, "is cut off");
}
