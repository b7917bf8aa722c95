#ifndef BF_DISPATCHER_CLI_VIDEO_FRAMES_H
#define BF_DISPATCHER_CLI_VIDEO_FRAMES_H

/*
 * The frames of a video, by ffmpeg, or the images of a folder, one after
 * another; and how much they are. One thread; blocks.
 */

#include "dispatcher/cli/video_job.h"

struct bf_client;

/* jpeg is borrowed for the call. */
typedef int bf_video_frame_fn(void *arg, struct bf_slice jpeg,
                              struct bf_err *err);

/* max 0: all. from_s: seconds that are left out, of a video. */
struct bf_video_range {
    unsigned from_s;
    uint64_t max;
};
int bf_video_frames(const struct bf_video_job *video, const char *path,
                    const struct bf_video_range *range, bf_video_frame_fn *fn,
                    void *arg, struct bf_err *err);

/*
 * Measures some frames, says how much all of them will be, and sets
 * video->max_inputs to what the dispatcher takes of one job. REJECT "refused"
 * when the frames of one job cannot be as large as they are.
 */
int bf_video_estimate(struct bf_video_job *video, struct bf_cli *cli,
                      struct bf_client *client, const char *path, uint64_t max,
                      struct bf_err *err);

#endif
