#ifndef BF_WORKER_RUNNER_LINK_H
#define BF_WORKER_RUNNER_LINK_H

/*
 * One runner process: frames out and in, and what it prints. Knows nothing of
 * runs. Part of the runner pool, which owns it. Never blocks.
 */

#include <sys/queue.h>

#include "worker/child.h"
#include "worker/frame.h"

struct bf_err;

#define BF_OUT_SLICES 6

/* A frame on its way out, and its bytes, are borrowed until it is sent. */
struct bf_runner_out {
    TAILQ_ENTRY(bf_runner_out) next;
    unsigned char prefix[BF_FRAME_PREFIX];
    struct bf_slice slices[BF_OUT_SLICES]; /* prefix and head first */
    size_t nslices;
    size_t sent, total; /* bytes */
};

/* body: at most BF_OUT_SLICES - 2 slices. */
void bf_runner_out_init(struct bf_runner_out *out, struct bf_slice head,
                        const struct bf_slice *body, size_t nbody);

#define BF_RUNNER_LINE 1024

struct bf_runner_link {
    struct bf_child child;
    TAILQ_HEAD(bf_runner_outs, bf_runner_out) outs;
    struct bf_buf owned; /* bytes that go out before the next of outs */
    struct bf_frame_reader reader;
    char *input; /* read, and from `in` on not yet fed */
    struct bf_slice in;
    char text[BF_RUNNER_LINE]; /* printed, and not yet taken */
    size_t text_len, text_taken;
};

int bf_runner_link_init(struct bf_runner_link *link, struct bf_err *err);
void bf_runner_link_release(struct bf_runner_link *link);

int bf_runner_link_start(struct bf_runner_link *link,
                         const struct bf_child_want *want, struct bf_err *err);

/* After its death: descriptors and half of frames are dropped. */
void bf_runner_link_reset(struct bf_runner_link *link);

/* Anything left to be written? */
bool bf_runner_link_blocked(const struct bf_runner_link *link);

void bf_runner_link_put(struct bf_runner_link *link, struct bf_runner_out *out);

/*
 * Give a frame's bytes back before it is sent. 1: it will not be, nothing of it
 * had left; 0: its rest was copied, the runner will get it. RETRY on no memory:
 * the link cannot be used any more.
 */
int bf_runner_link_unput(struct bf_runner_link *link, struct bf_runner_out *out,
                         struct bf_err *err);

/* A frame without a body, which overtakes those that have not begun. */
int bf_runner_link_say(struct bf_runner_link *link, struct bf_slice head,
                       struct bf_err *err);

/* Writes what can be written. REJECT "runner_gone". */
int bf_runner_link_flush(struct bf_runner_link *link, struct bf_err *err);

/*
 * The next frame that has arrived, the caller's to clear: 1, or 0 when there is
 * none yet. REJECT "frame" or "runner_gone".
 */
int bf_runner_link_read(struct bf_runner_link *link, struct bf_frame *ret,
                        struct bf_err *err);

/*
 * The next line that it printed, until the next call; ptr NULL: none. A line
 * that is longer than the buffer comes in pieces.
 */
struct bf_slice bf_runner_link_line(struct bf_runner_link *link);

#endif
