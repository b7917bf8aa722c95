#ifndef BF_DISPATCHER_CLI_VIDEO_JOB_H
#define BF_DISPATCHER_CLI_VIDEO_JOB_H

/*
 * A video, or a folder of images, as jobs: one a frame or one for several,
 * whose ids follow from the files, the block and the rate, so that the same
 * command sent again is the same jobs.
 */

#include <jansson.h>

#include "dispatcher/cli/ffmpeg.h"
#include "dispatcher/cli/folder.h"
#include "schemas/buf.h"
#include "schemas/ids.h"

struct bf_cli;
struct bf_err;

#define BF_VIDEO_FRAMES 1000000U /* frames that one batch may have */
/* characters; ".NNNNNN", or of several frames ".Nx000000", follows them */
#define BF_VIDEO_BATCH (BF_MAX_ID - 12)
#define BF_VIDEO_JPEG                                                          \
    (10U << 20) /* bytes of one frame: its base64 must fit                     \
                 */

struct bf_video_job {
    const char *name; /* of the file, without folders; borrowed */
    struct bf_clip clip;
    struct bf_folder images; /* of a folder; none: it is a video */
    json_t *members;         /* of every job, but its id, place and inputs */
    struct bf_buf given;     /* --set, as "{...}" */
    unsigned per_job;        /* frames of one job, 1 or more */
    size_t max_inputs;       /* bytes of one job's */
    char batch[BF_MAX_ID + 1];
};

#define BF_VIDEO_PER_JOB 1000U

/*
 * From the command's options; looks at the file. code: an initialised buffer
 * that keeps the block's text.
 */
int bf_video_job_init(struct bf_video_job *video, struct bf_cli *cli,
                      const char *path, struct bf_buf *code,
                      struct bf_err *err);
void bf_video_job_release(struct bf_video_job *video);
#define bf_autovideo bf_cleanup(bf_video_job_release)

/* The id of a job by its first frame: another, of another number of frames. */
void bf_video_job_id(const struct bf_video_job *video, uint64_t frame,
                     char out[BF_MAX_ID + 1]);

/* The first frame of this job, -1: none of ours. */
int64_t bf_video_job_frame(const struct bf_video_job *video, const char *id);

/* How many frames this job has, which is another number; 0: it is no such. */
int64_t bf_video_job_others(const struct bf_video_job *video, const char *id);

/* The first frame of the job that this one is in. */
uint64_t bf_video_job_first(const struct bf_video_job *video, uint64_t frame);

/* Frames on their way into one job; all zeros but images.max is none. */
struct bf_video_group {
    uint64_t first;
    unsigned count;
    struct bf_buf images; /* as JSON, with commas between */
};
#define BF_VIDEO_GROUP                                                         \
    {                                                                          \
        .images = BF_BUF_INIT(BF_MAX_INPUTS)                                   \
    }

/* The next frame. REJECT "refused": together they are too large. */
int bf_video_job_add(const struct bf_video_job *video,
                     struct bf_video_group *group, uint64_t frame,
                     struct bf_slice jpeg, struct bf_err *err);

/* Append the job of a group that is not empty, one line without its end. */
int bf_video_job_line(struct bf_video_job *video,
                      const struct bf_video_group *group, struct bf_buf *out,
                      struct bf_err *err);

#endif
