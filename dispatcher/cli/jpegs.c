#include "dispatcher/cli/jpegs.h"

#include "schemas/err.h"
#include "schemas/hash.h"

enum {
    TEM = 0x01,
    RST0 = 0xd0,
    RST7 = 0xd7,
    SOI = 0xd8,
    EOI = 0xd9,
    SOS = 0xda,
    FILL = 0xff,
};

void bf_jpegs_init(struct bf_jpegs *jpegs, size_t max_bytes)
{
    *jpegs = (struct bf_jpegs){
        .bytes = BF_BUF_INIT(max_bytes + BF_JPEGS_READ),
    };
}

void bf_jpegs_release(struct bf_jpegs *jpegs)
{
    bf_buf_release(&jpegs->bytes);
}

static void drop_given(struct bf_jpegs *jpegs)
{
    bf_buf_consume(&jpegs->bytes, jpegs->given);
    jpegs->at -= jpegs->given;
    jpegs->given = 0;
}

int bf_jpegs_add(struct bf_jpegs *jpegs, struct bf_slice more,
                 struct bf_err *err)
{
    bf_assert(more.len <= BF_JPEGS_READ);
    drop_given(jpegs);
    return bf_buf_add(&jpegs->bytes, more.ptr, more.len, err);
}

static unsigned char byte_at(const struct bf_jpegs *jpegs, size_t at)
{
    return (unsigned char)jpegs->bytes.data[at];
}

static size_t left(const struct bf_jpegs *jpegs)
{
    return jpegs->bytes.len - jpegs->at;
}

static int bad(const struct bf_jpegs *jpegs, struct bf_err *err)
{
    return bf_err_set(err, BF_ERR_REJECT, "bad_jpeg",
                      "not a stream of JPEG images: 0x%02x 0x%02x where a "
                      "marker must be",
                      byte_at(jpegs, jpegs->at), byte_at(jpegs, jpegs->at + 1));
}

/* A marker with a length and as many bytes. 1: passed, 0: not yet whole. */
static int pass_segment(struct bf_jpegs *jpegs, struct bf_err *err)
{
    unsigned char marker = byte_at(jpegs, jpegs->at + 1);
    size_t len;

    if (left(jpegs) < 4)
        return 0;
    len = bf_get_u16be((unsigned char *)jpegs->bytes.data + jpegs->at + 2);
    if (len < 2)
        return bad(jpegs, err);
    if (left(jpegs) < 2 + len)
        return 0;
    jpegs->at += 2 + len;
    if (marker == SOS)
        jpegs->state = BF_JPEGS_PIXELS;
    return 1;
}

/* 1: go on, 2: the image is whole, 0: more is needed. */
static int pass_marker(struct bf_jpegs *jpegs, struct bf_err *err)
{
    unsigned char marker;

    if (left(jpegs) < 2)
        return 0;
    marker = byte_at(jpegs, jpegs->at + 1);
    if (byte_at(jpegs, jpegs->at) != FILL || marker == 0)
        return bad(jpegs, err);
    if (jpegs->state == BF_JPEGS_START) {
        if (marker != SOI)
            return bad(jpegs, err);
        jpegs->state = BF_JPEGS_MARKER;
        jpegs->at += 2;
        return 1;
    }
    if (marker == SOI)
        return bad(jpegs, err);
    if (marker != FILL && marker != TEM && marker != EOI &&
        (marker < RST0 || marker > RST7))
        return pass_segment(jpegs, err);
    jpegs->at += marker == FILL ? 1 : 2;
    return marker == EOI ? 2 : 1;
}

/* Among the compressed pixels a marker is 0xff and neither 0 nor a restart. */
static int pass_pixels(struct bf_jpegs *jpegs)
{
    const char *data = jpegs->bytes.data;
    const char *found = memchr(data + jpegs->at, FILL, left(jpegs));
    unsigned char next;

    jpegs->at = found ? (size_t)(found - data) : jpegs->bytes.len;
    if (left(jpegs) < 2)
        return 0;
    next = byte_at(jpegs, jpegs->at + 1);
    if (next == FILL)
        jpegs->at++;
    else if (next == 0 || (next >= RST0 && next <= RST7))
        jpegs->at += 2;
    else
        jpegs->state = BF_JPEGS_MARKER;
    return 1;
}

int bf_jpegs_next(struct bf_jpegs *jpegs, struct bf_slice *ret,
                  struct bf_err *err)
{
    int status;

    drop_given(jpegs);
    do {
        status = jpegs->state == BF_JPEGS_PIXELS ? pass_pixels(jpegs)
                                                 : pass_marker(jpegs, err);
    } while (status == 1);
    if (status != 2)
        return status;
    jpegs->given = jpegs->at;
    jpegs->state = BF_JPEGS_START;
    *ret = (struct bf_slice){jpegs->bytes.data, jpegs->given};
    return 1;
}

bool bf_jpegs_cut(const struct bf_jpegs *jpegs)
{
    return jpegs->bytes.len > jpegs->given;
}
