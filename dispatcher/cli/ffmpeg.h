#ifndef BF_DISPATCHER_CLI_FFMPEG_H
#define BF_DISPATCHER_CLI_FFMPEG_H

/*
 * The programs ffmpeg and ffprobe as children: their standard output is a
 * pipe, what they complain about becomes our error. One thread; blocks. All
 * errors are REJECT "local"; one that is not installed says what to install.
 */

#include <stdio.h>
#include <sys/types.h>

#include "schemas/buf.h"

struct bf_err;

struct bf_ffmpeg {
    pid_t pid; /* 0: none, or ended */
    int out;
    FILE *errors;
    const char *name; /* argv[0], borrowed */
};
#define BF_FFMPEG_INIT                                                         \
    {                                                                          \
        .out = -1                                                              \
    }

/* argv[0] is looked for in PATH. out is to be read to its end by the caller. */
int bf_ffmpeg_start(struct bf_ffmpeg *ret, const char *const argv[],
                    struct bf_err *err);
/* Wait for the end; it is an error when that is not a success. */
int bf_ffmpeg_end(struct bf_ffmpeg *child, struct bf_err *err);
/* Kills it when it has not ended. */
void bf_ffmpeg_release(struct bf_ffmpeg *child);
#define bf_autoffmpeg bf_cleanup(bf_ffmpeg_release)

/* Start, append its output to out (NULL: let it go), end. */
int bf_ffmpeg_run(const char *const argv[], struct bf_buf *out,
                  struct bf_err *err);

/*
 * Append "file:" and the path: then its name is no option and no protocol, and
 * with pattern no % of it means anything either.
 */
int bf_ffmpeg_url(const char *path, bool pattern, struct bf_buf *out,
                  struct bf_err *err);

/* What a file says of its first video stream. */
struct bf_clip {
    unsigned num, den; /* num / den frames a second */
    unsigned width, height;
    uint64_t frames; /* about; 0: it does not say */
};
int bf_ffmpeg_probe(const char *path, struct bf_clip *ret, struct bf_err *err);

/*
 * The clip's frames as JPEG images one after another, at clip's rate whatever
 * the file's; from_s seconds of it are left out. max_frames 0: all.
 */
int bf_ffmpeg_frames(struct bf_ffmpeg *ret, const char *path,
                     const struct bf_clip *clip, unsigned from_s,
                     uint64_t max_frames, struct bf_err *err);

/* "25", "30000/1001" -> num, den; -1 for anything else, and for 0. Pure. */
int bf_ffmpeg_rate(const char *text, unsigned *ret_num, unsigned *ret_den);

#endif
