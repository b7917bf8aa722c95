#ifndef BF_WORKER_FRAME_H
#define BF_WORKER_FRAME_H

/*
 * Frames on the socket to a runner, the same both ways:
 * u32be head length, u64be body length, head (JSON), body.
 * Source: worker/runner/README.md. Pure.
 */

#include "schemas/buf.h"

struct bf_err;

#define BF_FRAME_PREFIX 12

void bf_frame_prefix(size_t head_len, size_t body_len,
                     unsigned char out[BF_FRAME_PREFIX]);

/* Owns both; neither is NULL in a whole frame, NUL follows the head. */
struct bf_frame {
    char *head;
    char *body;
    size_t head_len, body_len;
};

void bf_frame_clear(struct bf_frame *frame);

/* Cuts a byte stream into frames. Zero it but for the ceilings. */
struct bf_frame_reader {
    size_t max_head, max_body; /* bytes */
    unsigned char prefix[BF_FRAME_PREFIX];
    size_t got; /* of prefix, head and body, one after the other */
    struct bf_frame frame;
};

void bf_frame_reader_clear(struct bf_frame_reader *reader);

/*
 * Takes bytes off the front of *data. 1: *ret is a whole frame, the caller's;
 * there may be more in *data. 0: all was taken and more is wanted. REJECT
 * "frame" when a length is over its ceiling, RETRY on no memory: nothing after
 * either can be read.
 */
int bf_frame_feed(struct bf_frame_reader *reader, struct bf_slice *data,
                  struct bf_frame *ret, struct bf_err *err);

#endif
