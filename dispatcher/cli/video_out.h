#ifndef BF_DISPATCHER_CLI_VIDEO_OUT_H
#define BF_DISPATCHER_CLI_VIDEO_OUT_H

/*
 * The results of a video's jobs as they come, in whatever order: counted, kept,
 * and at the end written to a folder in the order of frames:
 *   results.ndjson   a job's result a line, as GET /v1/results gives it
 *   frames/NNNNNN.*  the image that the block returned for a frame, if any
 *   video.mp4, contact.jpg  made of those by ffmpeg
 *   summary.json     what video_report.h makes of it
 */

#include <jansson.h>
#include <stdio.h>

#include "dispatcher/cli/video_job.h"

struct bf_video_out {
    const struct bf_video_job *video; /* borrowed */
    char *folder;                     /* NULL: nothing is written */
    FILE *spool;                      /* lines in the order of coming */
    struct bf_video_line *lines; /* by frame, a job's at its first; owned */
    size_t cap;                  /* of lines */
    uint64_t results;            /* jobs that have one */
    uint64_t unequal; /* succeeded with no list of an entry for each frame */
    uint64_t images;  /* frames that have an image */
    int64_t *latencies_ms; /* accepted to ended; owned */
    json_t *outcomes;      /* how many by name */
    json_t *workers;
    json_t *isolations;
    json_t *failure;       /* the first result that is no success, or NULL */
    uint64_t failed_frame; /* its */
    const char *suffix;    /* of image files: "jpg" or "png"; NULL: none yet */
};

/* Makes the folder, and those above it. */
int bf_video_out_init(struct bf_video_out *out,
                      const struct bf_video_job *video, const char *folder,
                      struct bf_err *err);
void bf_video_out_release(struct bf_video_out *out);
#define bf_autovideoout bf_cleanup(bf_video_out_release)

/* Has the job of this frame its result? */
bool bf_video_out_has(const struct bf_video_out *out, uint64_t frame);

/*
 * Take one result; doc is one line of GET /v1/results, with "result" in it
 * however large that is. What is not a frame's below limit, or was taken
 * before, is left alone.
 */
int bf_video_out_take(struct bf_video_out *out, json_t *doc, uint64_t limit,
                      struct bf_err *err);

/* Is it one that bf_video_out_take() would take? */
bool bf_video_out_wants(const struct bf_video_out *out, const json_t *doc,
                        uint64_t limit);

/*
 * Write what needs all results. frames: how many the video has. Adds to files
 * the path of each file by its kind. Without any image there is no mp4.
 */
int bf_video_out_finish(struct bf_video_out *out, uint64_t frames,
                        json_t *files, struct bf_err *err);

/* A file of the folder, as a whole. */
int bf_video_out_write(const struct bf_video_out *out, const char *name,
                       struct bf_slice bytes, struct bf_err *err);

/* Milliseconds that a share (0 to 1) of results took at most; -1: no result. */
int64_t bf_video_out_latency(struct bf_video_out *out, double share);

#endif
