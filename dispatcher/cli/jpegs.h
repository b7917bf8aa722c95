#ifndef BF_DISPATCHER_CLI_JPEGS_H
#define BF_DISPATCHER_CLI_JPEGS_H

/*
 * Whole JPEG images out of a stream of them, as `ffmpeg -f image2pipe` writes
 * it: found by their markers (ITU-T T.81, annex B), nothing is decoded. Pure.
 */

#include "schemas/buf.h"

struct bf_err;

struct bf_jpegs {
    struct bf_buf bytes; /* an image, perhaps with the next one's beginning */
    size_t at;           /* bytes looked at */
    size_t given;        /* of the image that the last call gave out */
    enum { BF_JPEGS_START, BF_JPEGS_MARKER, BF_JPEGS_PIXELS } state;
};

#define BF_JPEGS_READ 65536U /* the most that one add may have */

/* max_bytes: of one image. */
void bf_jpegs_init(struct bf_jpegs *jpegs, size_t max_bytes);
void bf_jpegs_release(struct bf_jpegs *jpegs);
#define bf_autojpegs bf_cleanup(bf_jpegs_release)

/* More of the stream, up to BF_JPEGS_READ bytes; REJECT "too_large". */
int bf_jpegs_add(struct bf_jpegs *jpegs, struct bf_slice more,
                 struct bf_err *err);

/*
 * 1: an image, valid until the next call; 0: more bytes are needed; -1: REJECT
 * "bad_jpeg", the stream is none.
 */
int bf_jpegs_next(struct bf_jpegs *jpegs, struct bf_slice *ret,
                  struct bf_err *err);

/* Does the stream end within an image? */
bool bf_jpegs_cut(const struct bf_jpegs *jpegs);

#endif
