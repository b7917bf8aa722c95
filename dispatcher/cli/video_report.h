#ifndef BF_DISPATCHER_CLI_VIDEO_REPORT_H
#define BF_DISPATCHER_CLI_VIDEO_REPORT_H

/* What became of a video, for people and for programs. Pure. */

#include "dispatcher/cli/video_out.h"

/*
 * The facts as one object: file, batch, frames, fps, outcomes, workers,
 * isolation, latency_ms {p50, p99}, usage (borrowed, may be NULL), files
 * (borrowed). New reference, NULL when out of memory.
 */
json_t *bf_video_report(struct bf_video_out *out, uint64_t frames,
                        json_t *usage, json_t *files, struct bf_err *err);

/* Its text for people. */
int bf_video_report_text(const json_t *report, struct bf_buf *text,
                         struct bf_err *err);

#endif
