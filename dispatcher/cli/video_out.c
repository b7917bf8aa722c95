#include "dispatcher/cli/video_out.h"

#include <errno.h>
#include <sys/stat.h>

#include "config/clock.h"
#include "dispatcher/cli/cli.h"
#include "schemas/base64.h"
#include "schemas/err.h"

#define MAX_PATH 4096
#define TILES 16 /* of the contact sheet, at most */
#define COLUMNS 4

struct bf_video_line {
    long offset; /* in the spool */
    size_t len;  /* 0: there is none yet */
    bool image;
    bool succeeded;
    unsigned entries; /* of its list, UNKNOWN: who can tell */
};
#define UNKNOWN UINT32_MAX

/* ---- life ---------------------------------------------------------------- */

static char *path_of(const char *folder, const char *name)
{
    char *path = NULL;

    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

static int make_folder(const char *path, struct bf_err *err)
{
    bf_autofree char *part = strdup(path);

    if (!part)
        return bf_err_oom(err);
    for (char *p = strchr(part + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        if (mkdir(part, 0777) && errno != EEXIST)
            return bf_cli_errno(err, "make the folder", part);
        *p = '/';
    }
    if (mkdir(part, 0777) && errno != EEXIST)
        return bf_cli_errno(err, "make the folder", part);
    return 0;
}

int bf_video_out_init(struct bf_video_out *out,
                      const struct bf_video_job *video, const char *folder,
                      struct bf_err *err)
{
    bf_autofree char *frames = path_of(folder, "frames");

    *out = (struct bf_video_out){
        .video = video,
        .folder = strdup(folder),
        .outcomes = json_object(),
        .workers = json_object(),
        .isolations = json_object(),
    };
    if (!frames || !out->folder || !out->outcomes || !out->workers ||
        !out->isolations)
        return bf_err_oom(err);
    if (make_folder(frames, err))
        return -1;
    out->spool = tmpfile();
    return out->spool ? 0 : bf_cli_errno(err, "write", "a temporary file");
}

void bf_video_out_release(struct bf_video_out *out)
{
    if (out->spool)
        fclose(out->spool);
    free(out->folder);
    free(out->lines);
    free(out->latencies_ms);
    json_decref(out->outcomes);
    json_decref(out->workers);
    json_decref(out->isolations);
    json_decref(out->failure);
    *out = (struct bf_video_out){0};
}

/* ---- images -------------------------------------------------------------- */

/* The first member that is an image, as base64; NULL: none. */
static const json_t *image_in(json_t *result)
{
    const char *name;
    json_t *member;

    json_object_foreach(result, name, member)
    {
        const json_t *type = json_object_get(member, "_type");
        const json_t *value = json_object_get(member, "value");

        if (json_is_string(type) && json_is_string(value) &&
            strcmp(json_string_value(type), "workflow_image") == 0)
            return value;
    }
    return NULL;
}

static const char *suffix_of(const unsigned char *bytes, size_t len)
{
    if (len > 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0)
        return "jpg";
    if (len > 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0)
        return "png";
    return NULL;
}

static int image_path(const struct bf_video_out *out, uint64_t frame,
                      char path[MAX_PATH], struct bf_err *err)
{
    int len = snprintf(path, MAX_PATH, "%s/frames/%06u.%s", out->folder,
                       (unsigned)frame, out->suffix);

    if (len < 0 || len >= MAX_PATH)
        return bf_err_set(err, BF_ERR_REJECT, "local", "--out is too long");
    return 0;
}

static int write_file(const char *path, const void *bytes, size_t len,
                      struct bf_err *err)
{
    FILE *file = fopen(path, "wbe");
    bool whole = file && fwrite(bytes, 1, len, file) == len;

    if (file && fclose(file) == 0 && whole)
        return 0;
    return bf_cli_errno(err, "write", path);
}

/* 1: written, 0: it is none that can be shown beside the others. */
static int write_image(struct bf_video_out *out, uint64_t frame,
                       const json_t *value, struct bf_err *err)
{
    size_t max = json_string_length(value) / 4 * 3 + 3, len = 0;
    bf_autofree unsigned char *bytes = malloc(max);
    char path[MAX_PATH];
    const char *suffix;

    if (!bytes)
        return bf_err_oom(err);
    if (bf_base64_decode(BF_BASE64,
                         (struct bf_slice){json_string_value(value),
                                           json_string_length(value)},
                         bytes, max, &len))
        return 0;
    suffix = suffix_of(bytes, len);
    if (!out->suffix)
        out->suffix = suffix;
    if (!suffix || strcmp(suffix, out->suffix) != 0)
        return 0;
    if (image_path(out, frame, path, err) || write_file(path, bytes, len, err))
        return -1;
    return 1;
}

/* Of one frame; 1: it has one. */
static int keep_image(struct bf_video_out *out, uint64_t frame, json_t *result,
                      struct bf_err *err)
{
    const json_t *value = image_in(result);
    int written = value ? write_image(out, frame, value, err) : 0;

    if (written < 0)
        return -1;
    out->lines[frame].image = written > 0;
    out->images += written > 0;
    return 0;
}

/* Of a job's frames: of several, the result is a list. */
static int keep_images(struct bf_video_out *out, uint64_t frame,
                       const json_t *doc, struct bf_err *err)
{
    const json_t *text = json_object_get(doc, "result");
    /* what is no JSON to this library (NaN) is still a result, if not a view */
    json_auto_t *result =
        json_loadb(json_is_string(text) ? json_string_value(text) : "",
                   json_string_length(text), JSON_ALLOW_NUL, NULL);
    size_t i;
    json_t *entry;

    out->lines[frame].entries =
        result ? (unsigned)json_array_size(result) : UNKNOWN;
    if (out->video->per_job == 1)
        return keep_image(out, frame, result, err);
    json_array_foreach(result, i, entry)
    {
        if (i < out->video->per_job && keep_image(out, frame + i, entry, err))
            return -1;
    }
    return 0;
}

/* ---- results ------------------------------------------------------------- */

static int64_t frame_of(const struct bf_video_out *out, const json_t *doc)
{
    const char *id = json_string_value(json_object_get(doc, "job"));

    return id ? bf_video_job_frame(out->video, id) : -1;
}

static bool has_line(const struct bf_video_out *out, uint64_t frame)
{
    return frame < out->cap && out->lines[frame].len > 0;
}

bool bf_video_out_has(const struct bf_video_out *out, uint64_t frame)
{
    return has_line(out, bf_video_job_first(out->video, frame));
}

bool bf_video_out_wants(const struct bf_video_out *out, const json_t *doc,
                        uint64_t limit)
{
    int64_t frame = frame_of(out, doc);

    return frame >= 0 && (uint64_t)frame < limit &&
           !bf_video_out_has(out, (uint64_t)frame);
}

/* Room for the arrays' entry of a frame. */
static int grow(struct bf_video_out *out, uint64_t frame, struct bf_err *err)
{
    size_t cap = out->cap > 0 ? out->cap : 256;
    void *lines, *latencies;

    if (frame < out->cap)
        return 0;
    while (cap <= frame)
        cap *= 2;
    lines = realloc(out->lines, cap * sizeof(*out->lines));
    if (!lines)
        return bf_err_oom(err);
    out->lines = lines;
    latencies = realloc(out->latencies_ms, cap * sizeof(*out->latencies_ms));
    if (!latencies)
        return bf_err_oom(err);
    out->latencies_ms = latencies;
    memset(out->lines + out->cap, 0, (cap - out->cap) * sizeof(*out->lines));
    out->cap = cap;
    return 0;
}

static int count(json_t *counts, const json_t *doc, const char *member,
                 struct bf_err *err)
{
    const char *name = json_string_value(json_object_get(doc, member));
    json_int_t now;

    if (!name)
        return 0;
    now = json_integer_value(json_object_get(counts, name));
    return json_object_set_new(counts, name, json_integer(now + 1))
               ? bf_err_oom(err)
               : 0;
}

static int64_t time_of(const json_t *doc, const char *member)
{
    const char *text = json_string_value(json_object_get(doc, member));
    int64_t at_ms;

    return text && bf_clock_parse(bf_slice_str(text), &at_ms, NULL) == 0 ? at_ms
                                                                         : -1;
}

static int64_t latency_of(const json_t *doc)
{
    int64_t from = time_of(doc, "accepted_at"), to = time_of(doc, "ended_at");

    return from >= 0 && to > from ? to - from : 0;
}

static int keep_line(struct bf_video_out *out, uint64_t frame,
                     const json_t *doc, struct bf_err *err)
{
    bf_autofree char *text = json_dumps(doc, JSON_COMPACT);
    size_t len = text ? strlen(text) : 0;
    long offset;

    if (!text)
        return bf_err_oom(err);
    offset = fseek(out->spool, 0, SEEK_END) ? -1 : ftell(out->spool);
    if (offset < 0 || fwrite(text, 1, len, out->spool) != len)
        return bf_cli_errno(err, "write", "a temporary file");
    out->lines[frame].offset = offset;
    out->lines[frame].len = len;
    return 0;
}

static bool is_success(const json_t *doc)
{
    const char *status = json_string_value(json_object_get(doc, "status"));

    return status && strcmp(status, "succeeded") == 0;
}

static void keep_failure(struct bf_video_out *out, uint64_t frame, json_t *doc)
{
    if (is_success(doc) || (out->failure && out->failed_frame < frame))
        return;
    json_decref(out->failure);
    out->failure = json_incref(doc);
    out->failed_frame = frame;
}

int bf_video_out_take(struct bf_video_out *out, json_t *doc, uint64_t limit,
                      struct bf_err *err)
{
    uint64_t frame;

    if (!bf_video_out_wants(out, doc, limit))
        return 0;
    frame = (uint64_t)frame_of(out, doc);
    if (grow(out, frame + out->video->per_job - 1, err) ||
        keep_line(out, frame, doc, err) ||
        count(out->outcomes, doc, "outcome", err) ||
        count(out->workers, doc, "worker", err) ||
        count(out->isolations, doc, "isolation", err) ||
        keep_images(out, frame, doc, err))
        return -1;
    out->lines[frame].succeeded = is_success(doc);
    keep_failure(out, frame, doc);
    out->latencies_ms[out->results++] = latency_of(doc);
    return 0;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

int64_t bf_video_out_latency(struct bf_video_out *out, double share)
{
    size_t n = out->results, rank;

    if (n == 0)
        return -1;
    qsort(out->latencies_ms, n, sizeof(*out->latencies_ms), by_value);
    rank = (size_t)(share * (double)n + 0.999999);
    return out->latencies_ms[rank == 0 ? 0 : rank > n ? n - 1 : rank - 1];
}

/* ---- at the end ---------------------------------------------------------- */

static int copy_line(struct bf_video_out *out, uint64_t frame, FILE *file)
{
    const struct bf_video_line *line = &out->lines[frame];
    bf_autofree char *text = malloc(line->len + 1);

    if (!text || fseek(out->spool, line->offset, SEEK_SET) ||
        fread(text, 1, line->len, out->spool) != line->len)
        return -1;
    text[line->len] = '\n';
    return fwrite(text, 1, line->len + 1, file) == line->len + 1 ? 0 : -1;
}

static int write_results(struct bf_video_out *out, uint64_t frames,
                         const char *path, struct bf_err *err)
{
    FILE *file = fopen(path, "wbe");
    bool whole = file != NULL;

    for (uint64_t i = 0; whole && i < frames; i++)
        whole = !has_line(out, i) || copy_line(out, i, file) == 0;
    if (file && fclose(file) == 0 && whole)
        return 0;
    return bf_cli_errno(err, "write", path);
}

/* In the place of a frame that has no image: dark red, plain to see. */
static int make_red(const struct bf_video_out *out, struct bf_buf *image,
                    struct bf_err *err)
{
    const struct bf_clip *clip = &out->video->clip;
    bool png = strcmp(out->suffix, "png") == 0;
    char source[96];

    snprintf(source, sizeof(source), "color=c=0x701c1c:s=%ux%u", clip->width,
             clip->height);
    /* clang-format off: options with their values */
    const char *const argv[] = {
        "ffmpeg",    "-nostdin",
        "-v",        "error",
        "-f",        "lavfi",
        "-i",        source,
        "-frames:v", "1",
        "-c:v",      png ? "png" : "mjpeg",
        "-pix_fmt",  png ? "rgb24" : "yuvj420p",
        "-f",        "image2pipe",
        "-",         NULL,
    };
    /* clang-format on */

    return bf_ffmpeg_run(argv, image, err);
}

static int mark_missing(const struct bf_video_out *out, uint64_t frames,
                        struct bf_err *err)
{
    bf_autobuf struct bf_buf image = BF_BUF_INIT(BF_VIDEO_JPEG);
    char path[MAX_PATH];

    for (uint64_t i = 0; i < frames; i++) {
        if (i < out->cap && out->lines[i].image)
            continue;
        if ((image.len == 0 && make_red(out, &image, err)) ||
            image_path(out, i, path, err) ||
            write_file(path, image.data, image.len, err))
            return -1;
    }
    return 0;
}

/* Images of a longer video that was here before would follow ours. */
static int remove_rest(const struct bf_video_out *out, uint64_t frames,
                       struct bf_err *err)
{
    char path[MAX_PATH];

    do {
        if (image_path(out, frames++, path, err))
            return -1;
    } while (unlink(path) == 0);
    return errno == ENOENT ? 0 : bf_cli_errno(err, "remove", path);
}

static int make_mp4(const struct bf_video_out *out, uint64_t frames,
                    const char *pattern, const char *path, struct bf_err *err)
{
    const struct bf_clip *clip = &out->video->clip;
    bf_autobuf struct bf_buf url = BF_BUF_INIT(MAX_PATH);
    char rate[32], limit[24];

    snprintf(rate, sizeof(rate), "%u/%u", clip->num, clip->den);
    snprintf(limit, sizeof(limit), "%llu", (unsigned long long)frames);
    if (bf_ffmpeg_url(path, false, &url, err))
        return -1;
    /* clang-format off: options with their values */
    const char *const argv[] = {
        "ffmpeg",
        "-nostdin",
        "-v",
        "error",
        "-y",
        "-framerate",
        rate,
        "-start_number",
        "0",
        "-i",
        pattern,
        "-frames:v",
        limit,
        "-pix_fmt",
        "yuv420p",
        /* most encoders want even sides */
        "-vf",
        "scale=trunc(iw/2)*2:trunc(ih/2)*2",
        "-movflags",
        "+faststart",
        url.data,
        NULL,
    };
    /* clang-format on */

    return bf_ffmpeg_run(argv, NULL, err);
}

/* A few frames from all over the video, in rows. */
static int make_sheet(uint64_t frames, const char *pattern, const char *path,
                      struct bf_err *err)
{
    unsigned step = (unsigned)((frames - 1) / TILES + 1); /* frames > 0 */
    unsigned tiles = (unsigned)((frames + step - 1) / step);
    unsigned columns = tiles < COLUMNS ? tiles : COLUMNS;
    bf_autobuf struct bf_buf url = BF_BUF_INIT(MAX_PATH);
    char filter[160];

    snprintf(filter, sizeof(filter),
             "select=not(mod(n\\,%u))*lt(n\\,%llu),scale=320:-2,"
             "tile=%ux%u:padding=6:margin=6:color=white",
             step, (unsigned long long)frames, columns,
             (tiles + columns - 1) / columns);
    if (bf_ffmpeg_url(path, false, &url, err))
        return -1;
    /* clang-format off: options with their values */
    const char *const argv[] = {
        "ffmpeg", "-nostdin", "-v",    "error",  "-y",   "-start_number",
        "0",      "-i",       pattern, "-vf",    filter, "-frames:v",
        "1",      "-q:v",     "3",     url.data, NULL,
    };
    /* clang-format on */

    return bf_ffmpeg_run(argv, NULL, err);
}

static int add_file(json_t *files, const char *kind, const char *path,
                    struct bf_err *err)
{
    return json_object_set_new(files, kind, json_string(path)) ? bf_err_oom(err)
                                                               : 0;
}

int bf_video_out_write(const struct bf_video_out *out, const char *name,
                       struct bf_slice bytes, struct bf_err *err)
{
    bf_autofree char *path = path_of(out->folder, name);

    return path ? write_file(path, bytes.ptr, bytes.len, err) : bf_err_oom(err);
}

static int finish_images(struct bf_video_out *out, uint64_t frames,
                         json_t *files, struct bf_err *err)
{
    bf_autofree char *folder = path_of(out->folder, "frames");
    bf_autofree char *mp4 = path_of(out->folder, "video.mp4");
    bf_autofree char *sheet = path_of(out->folder, "contact.jpg");
    bf_autobuf struct bf_buf pattern = BF_BUF_INIT(MAX_PATH);

    if (!folder || !mp4 || !sheet)
        return bf_err_oom(err);
    if (bf_ffmpeg_url(folder, true, &pattern, err) ||
        bf_buf_addf(&pattern, err, "/%%06d.%s", out->suffix) ||
        mark_missing(out, frames, err) || remove_rest(out, frames, err) ||
        make_mp4(out, frames, pattern.data, mp4, err) ||
        make_sheet(frames, pattern.data, sheet, err) ||
        add_file(files, "frames", folder, err) ||
        add_file(files, "video", mp4, err))
        return -1;
    return add_file(files, "contact_sheet", sheet, err);
}

static void count_unequal(struct bf_video_out *out, uint64_t frames)
{
    unsigned per_job = out->video->per_job;

    out->unequal = 0;
    for (uint64_t i = 0; per_job > 1 && i < frames; i += per_job) {
        uint64_t wanted = frames - i < per_job ? frames - i : per_job;

        out->unequal += has_line(out, i) && out->lines[i].succeeded &&
                        out->lines[i].entries != UNKNOWN &&
                        out->lines[i].entries != wanted;
    }
}

int bf_video_out_finish(struct bf_video_out *out, uint64_t frames,
                        json_t *files, struct bf_err *err)
{
    bf_autofree char *results = path_of(out->folder, "results.ndjson");

    if (!results)
        return bf_err_oom(err);
    count_unequal(out, frames);
    if (write_results(out, frames, results, err) ||
        add_file(files, "results", results, err))
        return -1;
    return frames > 0 && out->images > 0
               ? finish_images(out, frames, files, err)
               : 0;
}
