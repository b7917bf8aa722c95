#include "dispatcher/cli/video_job.h"

#include <inttypes.h>
#include <sys/stat.h>

#include "dispatcher/cli/batches.h"
#include "dispatcher/cli/cli.h"
#include "dispatcher/cli/job_body.h"
#include "dispatcher/cli/splice.h"
#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/json.h"
#include "schemas/time.h"

#define DIGITS 6

/* ---- identity ------------------------------------------------------------ */

static void closep(FILE **file)
{
    if (*file)
        fclose(*file);
}

static int hash_file(const char *path, struct bf_hash *hash, struct bf_err *err)
{
    bf_cleanup(closep) FILE *file = fopen(path, "rbe");
    char chunk[16384];
    size_t got;

    if (!file)
        return bf_cli_errno(err, "read", path);
    while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0)
        bf_hash_bytes(hash, chunk, got);
    return ferror(file) ? bf_cli_errno(err, "read", path) : 0;
}

static int digest(const struct bf_video_job *video, const char *path,
                  char out[BF_HEX128_SIZE], struct bf_err *err)
{
    bf_autobuf struct bf_buf image = BF_BUF_INIT(BF_VIDEO_JPEG);
    struct bf_hash hash;

    bf_hash_init(&hash, BF_HASH128_BYTES);
    if (video->images.count > 0
            ? bf_folder_hash(&video->images, &hash, &image, err)
            : hash_file(path, &hash, err))
        return -1;
    bf_hash_final_hex(&hash, out);
    return 0;
}

/* Everything that a frame's result may depend on. */
static int derive_batch(struct bf_video_job *video, const char *path,
                        struct bf_err *err)
{
    json_t *block = json_object_get(video->members, "block");
    bf_autofree char *text = json_dumps(block, JSON_COMPACT | JSON_SORT_KEYS);
    char file[BF_HEX128_SIZE], hex[BF_HEX128_SIZE];
    char rate[32];

    if (!text)
        return bf_err_oom(err);
    if (digest(video, path, file, err))
        return -1;
    /* more frames in a job are other jobs */
    snprintf(rate, sizeof(rate), video->per_job > 1 ? "%u/%u*%u" : "%u/%u",
             video->clip.num, video->clip.den, video->per_job);
    bf_hash_hex((struct bf_slice[]){BF_SLICE_LIT("blockfleet/cli/video"),
                                    bf_slice_str(file), bf_slice_str(text),
                                    bf_slice_str(rate),
                                    bf_buf_slice(&video->given)},
                5, hex);
    bf_batches_name(video->name, hex, video->batch);
    return 0;
}

static int choose_batch(struct bf_video_job *video, struct bf_cli *cli,
                        const char *path, struct bf_err *err)
{
    const char *given;

    if (bf_batches_given(cli, BF_VIDEO_BATCH, &given, err))
        return -1;
    if (!given)
        return derive_batch(video, path, err);
    snprintf(video->batch, sizeof(video->batch), "%s", given);
    return 0;
}

/* ---- life ---------------------------------------------------------------- */

static int choose_rate(struct bf_video_job *video, struct bf_cli *cli,
                       struct bf_err *err)
{
    const char *fps = bf_args_get(&cli->args, "fps");
    double had = (double)video->clip.num / video->clip.den;
    double ratio = 1;

    if (!fps)
        return 0;
    if (bf_ffmpeg_rate(fps, &video->clip.num, &video->clip.den))
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "--fps must be frames a second, such as 5 or 1/2, "
                          "not '%.40s'",
                          fps);
    /* of images, all are taken; it is the rate of the film that comes out */
    if (video->images.count == 0)
        ratio = (double)video->clip.num / video->clip.den / had;
    video->clip.frames = (uint64_t)((double)video->clip.frames * ratio + 0.5);
    return 0;
}

static int choose_per_job(struct bf_video_job *video, struct bf_cli *cli,
                          struct bf_err *err)
{
    uint64_t per_job;

    if (bf_cli_number(cli, "frames-per-job", BF_VIDEO_PER_JOB, 1, &per_job,
                      err))
        return -1;
    video->per_job = per_job > 0 ? (unsigned)per_job : 1;
    return 0;
}

/* A folder of images is a film of one a second, as large as the first. */
static int look_at(struct bf_video_job *video, const char *path,
                   struct bf_err *err)
{
    bf_autofree char *first = NULL;
    struct stat stat_;

    if (stat(path, &stat_) || !S_ISDIR(stat_.st_mode))
        return bf_ffmpeg_probe(path, &video->clip, err);
    if (bf_folder_init(&video->images, path, bf_folder_is_image,
                       BF_VIDEO_FRAMES, err))
        return -1;
    first = bf_folder_path(&video->images, 0);
    if (!first)
        return bf_err_oom(err);
    if (bf_ffmpeg_probe(first, &video->clip, err))
        return -1;
    video->clip.num = video->clip.den = 1;
    video->clip.frames = video->images.count;
    return 0;
}

int bf_video_job_init(struct bf_video_job *video, struct bf_cli *cli,
                      const char *path, struct bf_buf *code, struct bf_err *err)
{
    *video = (struct bf_video_job){
        .name = bf_folder_last(path),
        .given = BF_BUF_INIT(BF_MAX_INPUTS),
        .max_inputs = BF_MAX_INPUTS,
    };
    video->members = bf_job_body_members(cli, code, err);
    if (!video->members || bf_job_body_inputs(cli, &video->given, err) ||
        look_at(video, path, err) || choose_rate(video, cli, err) ||
        choose_per_job(video, cli, err) || choose_batch(video, cli, path, err))
        return -1;
    return 0;
}

void bf_video_job_release(struct bf_video_job *video)
{
    json_decref(video->members);
    bf_buf_release(&video->given);
    bf_folder_release(&video->images);
    video->members = NULL;
}

/* ---- frames -------------------------------------------------------------- */

void bf_video_job_id(const struct bf_video_job *video, uint64_t frame,
                     char out[BF_MAX_ID + 1])
{
    char several[sizeof("1000x")] = "";

    bf_assert(frame < BF_VIDEO_FRAMES && video->per_job <= BF_VIDEO_PER_JOB);
    if (video->per_job > 1)
        snprintf(several, sizeof(several), "%ux", video->per_job);
    snprintf(out, BF_MAX_ID + 1, "%.*s.%s%06u", BF_VIDEO_BATCH, video->batch,
             several, (unsigned)frame);
}

/* Exactly so many digits, or with 0 any number of them; NULL: they are not. */
static const char *read_digits(const char *text, size_t count, int64_t *ret)
{
    size_t len = strspn(text, "0123456789");

    if (len == 0 || len > DIGITS || (count > 0 && len != count))
        return NULL;
    *ret = strtoll(text, NULL, 10);
    return text + len;
}

/* Of the batch's jobs: how many frames, and the first of them. */
static int read_id(const struct bf_video_job *video, const char *id,
                   int64_t *ret_per_job, int64_t *ret_frame)
{
    size_t len = strlen(video->batch);
    const char *at = id + len + 1;

    *ret_per_job = 1;
    if (strncmp(id, video->batch, len) != 0 || id[len] != '.')
        return -1;
    if (strchr(at, 'x')) {
        at = read_digits(at, 0, ret_per_job);
        if (!at || *at++ != 'x')
            return -1;
    }
    at = read_digits(at, DIGITS, ret_frame);
    return at && !*at ? 0 : -1;
}

int64_t bf_video_job_frame(const struct bf_video_job *video, const char *id)
{
    int64_t per_job, frame;

    return read_id(video, id, &per_job, &frame) == 0 &&
                   per_job == video->per_job
               ? frame
               : -1;
}

int64_t bf_video_job_others(const struct bf_video_job *video, const char *id)
{
    int64_t per_job, frame;

    return read_id(video, id, &per_job, &frame) == 0 &&
                   per_job != video->per_job
               ? per_job
               : 0;
}

/*
 * "video_metadata" as the engine has it for a file. The time is the frame's
 * place in the video counted from 1970, without a zone: a real one would make
 * another job of the same frame.
 */
static int add_metadata(const struct bf_video_job *video, uint64_t frame,
                        struct bf_buf *out, struct bf_err *err)
{
    json_auto_t *name = json_string(video->name);
    bf_autofree char *text =
        name ? json_dumps(name, JSON_ENCODE_ANY) : strdup("\"video\"");
    int64_t at_ms = (int64_t)(frame * 1000 * video->clip.den / video->clip.num);
    char at[BF_TIME_SIZE];

    if (!text)
        return bf_err_oom(err);
    bf_time_format(at_ms, at);
    return bf_buf_addf(
        out, err,
        "\"video_metadata\":{\"_type\":\"video_metadata\","
        "\"video_identifier\":%s,\"frame_number\":%" PRIu64
        ",\"frame_timestamp\":\"%.*s\",\"fps\":%.6g,\"measured_fps\":null,"
        "\"comes_from_video_file\":true}",
        text, frame, BF_TIME_LEN - 1, at,
        (double)video->clip.num / video->clip.den);
}

uint64_t bf_video_job_first(const struct bf_video_job *video, uint64_t frame)
{
    return frame - frame % video->per_job;
}

/* What a job's function cannot get: they are too large together. */
static int too_large(const struct bf_video_job *video,
                     const struct bf_video_group *group, struct bf_err *err)
{
    return bf_err_set(err, BF_ERR_REJECT, "refused",
                      "frame %" PRIu64 " does not fit: the inputs of a job, "
                      "here of %u frames, may be %zu bytes "
                      "(dispatcher.inputs_bytes); see --frames-per-job",
                      group->first + group->count, video->per_job,
                      video->max_inputs);
}

static int add_image(const struct bf_video_job *video, uint64_t frame,
                     struct bf_slice jpeg, struct bf_buf *out,
                     struct bf_err *err)
{
    if ((out->len > 0 && bf_buf_adds(out, ",", err)) ||
        bf_job_body_image(jpeg, out, err))
        return -1;
    if (video->images.count == 0 &&
        (bf_buf_adds(out, ",", err) || add_metadata(video, frame, out, err)))
        return -1;
    return bf_buf_adds(out, "}", err);
}

int bf_video_job_add(const struct bf_video_job *video,
                     struct bf_video_group *group, uint64_t frame,
                     struct bf_slice jpeg, struct bf_err *err)
{
    bf_assert(group->count < video->per_job);
    if (group->count == 0)
        group->first = frame;
    if (add_image(video, frame, jpeg, &group->images, err))
        return err->kind == BF_ERR_REJECT ? too_large(video, group, err) : -1;
    group->count++;
    return 0;
}

/* "{"_type":"batch","value":[", of several; nothing of one. */
static int begin_batch(const struct bf_video_job *video, struct bf_buf *out,
                       struct bf_err *err)
{
    return video->per_job > 1
               ? bf_buf_adds(out, "{\"_type\":\"batch\",\"value\":[", err)
               : 0;
}

static int end_batch(const struct bf_video_job *video,
                     const struct bf_video_group *group, struct bf_buf *out,
                     struct bf_err *err)
{
    if (video->per_job == 1)
        return 0;
    if (bf_buf_adds(out, "],\"indices\":[", err))
        return -1;
    for (uint64_t i = 0; i < group->count; i++) {
        if (bf_buf_addf(out, err, "%s[%" PRIu64 "]", i > 0 ? "," : "",
                        group->first + i))
            return -1;
    }
    return bf_buf_adds(out, "]}", err);
}

/* Of a folder's images: what they are called. */
static int add_file_names(const struct bf_video_job *video,
                          const struct bf_video_group *group,
                          struct bf_buf *out, struct bf_err *err)
{
    if (video->images.count == 0)
        return 0;
    if (bf_buf_adds(out, "\"file\":", err) || begin_batch(video, out, err))
        return -1;
    for (uint64_t i = 0; i < group->count; i++) {
        const char *name = video->images.names[group->first + i];

        if ((i > 0 && bf_buf_adds(out, ",", err)) ||
            bf_json_quote(out, bf_slice_str(name), err))
            return -1;
    }
    return end_batch(video, group, out, err) || bf_buf_adds(out, ",", err) ? -1
                                                                           : 0;
}

static int add_numbers(const struct bf_video_job *video,
                       const struct bf_video_group *group, struct bf_buf *out,
                       struct bf_err *err)
{
    if (bf_buf_adds(out, "\"frame\":", err) || begin_batch(video, out, err))
        return -1;
    for (uint64_t i = 0; i < group->count; i++) {
        if (bf_buf_addf(out, err, "%s%" PRIu64, i > 0 ? "," : "",
                        group->first + i))
            return -1;
    }
    return end_batch(video, group, out, err) || bf_buf_adds(out, ",", err) ? -1
                                                                           : 0;
}

static int add_inputs(const struct bf_video_job *video,
                      const struct bf_video_group *group, struct bf_buf *out,
                      struct bf_err *err)
{
    if (bf_job_body_begin(bf_buf_slice(&video->given), out, err) ||
        add_file_names(video, group, out, err) ||
        add_numbers(video, group, out, err) ||
        bf_buf_adds(out, "\"image\":", err) || begin_batch(video, out, err) ||
        bf_buf_add(out, group->images.data, group->images.len, err) ||
        end_batch(video, group, out, err))
        return -1;
    return bf_buf_adds(out, "}", err);
}

int bf_video_job_line(struct bf_video_job *video,
                      const struct bf_video_group *group, struct bf_buf *out,
                      struct bf_err *err)
{
    bf_autobuf struct bf_buf inputs = BF_BUF_INIT((size_t)2 * BF_MAX_INPUTS);
    char id[BF_MAX_ID + 1];

    bf_assert(group->count > 0);
    bf_video_job_id(video, group->first, id);
    if (json_object_set_new(video->members, "id", json_string(id)) ||
        json_object_set_new(video->members, "batch",
                            json_string(video->batch)) ||
        json_object_set_new(video->members, "batch_index",
                            json_integer((json_int_t)group->first)))
        return bf_err_oom(err);
    if (add_inputs(video, group, &inputs, err))
        return bf_err_prefix(err, "frame %" PRIu64, group->first);
    if (inputs.len > video->max_inputs)
        return too_large(video, group, err);
    return bf_splice_job(video->members, bf_buf_slice(&inputs), out, err);
}
