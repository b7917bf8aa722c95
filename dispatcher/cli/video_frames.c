#include "dispatcher/cli/video_frames.h"

#include <errno.h>
#include <inttypes.h>

#include "dispatcher/cli/cli.h"
#include "dispatcher/cli/client.h"
#include "dispatcher/cli/jpegs.h"
#include "dispatcher/cli/text.h"
#include "schemas/err.h"

#define SAMPLE 5          /* frames from the middle that are measured */
#define AROUND_FRAME 320U /* bytes of JSON around one, metadata and all */

/* ---- one after another --------------------------------------------------- */

struct reading {
    struct bf_jpegs jpegs;
    bf_video_frame_fn *fn;
    void *arg;
    uint64_t frames;
};

/* One piece of ffmpeg's output. 1: there may be more, 0: its end. */
static int read_some(struct reading *reading, int fd, struct bf_err *err)
{
    char chunk[BF_JPEGS_READ];
    ssize_t got = read(fd, chunk, sizeof(chunk));
    struct bf_slice jpeg;
    int status;

    if (got < 0)
        return errno == EINTR ? 1 : bf_cli_errno(err, "read from", "ffmpeg");
    if (got == 0)
        return 0;
    if (bf_jpegs_add(&reading->jpegs, (struct bf_slice){chunk, (size_t)got},
                     err))
        return bf_err_prefix(err, "frame %" PRIu64, reading->frames);
    while ((status = bf_jpegs_next(&reading->jpegs, &jpeg, err)) > 0) {
        reading->frames++;
        if (reading->fn(reading->arg, jpeg, err))
            return -1;
    }
    return status < 0 ? -1 : 1;
}

static int read_all(struct reading *reading, struct bf_ffmpeg *ffmpeg,
                    struct bf_err *err)
{
    int status;

    do {
        status = read_some(reading, ffmpeg->out, err);
    } while (status > 0);
    if (status < 0 || bf_ffmpeg_end(ffmpeg, err))
        return -1;
    if (bf_jpegs_cut(&reading->jpegs))
        return bf_err_set(err, BF_ERR_REJECT, "local",
                          "ffmpeg ended in the middle of frame %" PRIu64,
                          reading->frames);
    return 0;
}

/* Of a folder: each file as it is. */
static int each_image(const struct bf_folder *images, uint64_t max,
                      bf_video_frame_fn *fn, void *arg, struct bf_err *err)
{
    bf_autobuf struct bf_buf image = BF_BUF_INIT(BF_VIDEO_JPEG);

    for (size_t i = 0; i < images->count && (max == 0 || i < max); i++) {
        bf_buf_clear(&image);
        if (bf_folder_read(images, i, &image, err) ||
            fn(arg, bf_buf_slice(&image), err))
            return -1;
    }
    return 0;
}

int bf_video_frames(const struct bf_video_job *video, const char *path,
                    const struct bf_video_range *range, bf_video_frame_fn *fn,
                    void *arg, struct bf_err *err)
{
    bf_autoffmpeg struct bf_ffmpeg ffmpeg = BF_FFMPEG_INIT;
    struct reading reading = {.fn = fn, .arg = arg};
    int failed;

    if (video->images.count > 0)
        return each_image(&video->images, range->max, fn, arg, err);
    if (bf_ffmpeg_frames(&ffmpeg, path, &video->clip, range->from_s, range->max,
                         err))
        return -1;
    bf_jpegs_init(&reading.jpegs, BF_VIDEO_JPEG);
    failed = read_all(&reading, &ffmpeg, err);
    bf_jpegs_release(&reading.jpegs);
    return failed;
}

/* ---- how much ------------------------------------------------------------ */

struct measure {
    uint64_t frames;
    uint64_t bytes;
    size_t largest;
};

static int on_sample(void *arg, struct bf_slice jpeg, struct bf_err *err)
{
    struct measure *measure = arg;

    (void)err;
    measure->frames++;
    measure->bytes += jpeg.len;
    if (jpeg.len > measure->largest)
        measure->largest = jpeg.len;
    return 0;
}

/* Of a folder all are known; of a video, those in its middle stand for all. */
static int measure(const struct bf_video_job *video, const char *path,
                   struct measure *ret, struct bf_err *err)
{
    const struct bf_clip *clip = &video->clip;
    const struct bf_video_range range = {
        .from_s = (unsigned)(clip->frames * clip->den / clip->num / 2),
        .max = SAMPLE,
    };

    *ret = (struct measure){0};
    if (video->images.count == 0)
        return bf_video_frames(video, path, &range, on_sample, ret, err);
    *ret = (struct measure){video->images.count, video->images.bytes,
                            video->images.largest};
    return 0;
}

/* What GET /version says of it; an older dispatcher does not. */
static int most_inputs(struct bf_client *client, size_t *ret,
                       struct bf_err *err)
{
    unsigned status = 0;
    json_auto_t *doc = bf_client_get(client, "/version", &status, err);
    json_int_t bytes = json_integer_value(
        json_object_get(json_object_get(doc, "limits"), "inputs_bytes"));

    if (!doc && status != 404)
        return -1;
    *ret = bytes > 0 && bytes < BF_MAX_INPUTS ? (size_t)bytes : BF_MAX_INPUTS;
    return 0;
}

static uint64_t base64_of(uint64_t bytes)
{
    return (bytes + 2) / 3 * 4;
}

static int check_fit(const struct bf_video_job *video, size_t largest,
                     struct bf_err *err)
{
    uint64_t frames = video->clip.frames;
    uint64_t most =
        frames > 0 && frames < video->per_job ? frames : video->per_job;
    uint64_t each = base64_of(largest) + AROUND_FRAME;
    uint64_t room = video->max_inputs - video->given.len;
    char has[16], may[16];

    if (video->given.len < video->max_inputs && each * most <= room)
        return 0;
    bf_text_bytes(each, has);
    bf_text_bytes(video->max_inputs, may);
    if (each > room)
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "a frame takes %s of a job's inputs, which may be "
                          "%s (dispatcher.inputs_bytes): make them smaller",
                          has, may);
    return bf_err_set(err, BF_ERR_REJECT, "refused",
                      "a frame takes %s of a job's inputs, which may be %s "
                      "(dispatcher.inputs_bytes): give --frames-per-job %llu "
                      "or less",
                      has, may, (unsigned long long)(room / each));
}

static void say(const struct bf_video_job *video, struct bf_cli *cli,
                const struct measure *measured, uint64_t frames)
{
    uint64_t each = measured->bytes / measured->frames;
    uint64_t jobs = (frames + video->per_job - 1) / video->per_job;
    char one[16], all[16];

    bf_text_bytes(each, one);
    bf_text_bytes(frames * (base64_of(each) + AROUND_FRAME), all);
    bf_cli_say(cli,
               "estimate    %" PRIu64 " frames of %s as JPEG, %" PRIu64
               " jobs, %s to send",
               frames, one, jobs, all);
}

int bf_video_estimate(struct bf_video_job *video, struct bf_cli *cli,
                      struct bf_client *client, const char *path, uint64_t max,
                      struct bf_err *err)
{
    uint64_t frames = video->clip.frames;
    struct measure measured;

    if (most_inputs(client, &video->max_inputs, err) ||
        measure(video, path, &measured, err))
        return -1;
    if (measured.frames == 0)
        return 0; /* its middle is not where it says */
    if (check_fit(video, measured.largest, err))
        return -1;
    if (frames > 0)
        say(video, cli, &measured, max < frames ? max : frames);
    return 0;
}
