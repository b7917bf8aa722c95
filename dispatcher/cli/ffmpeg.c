#include "dispatcher/cli/ffmpeg.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <sys/wait.h>

#include "dispatcher/cli/cli.h"
#include "schemas/err.h"

#define MAX_PROBE (64U << 10)
#define MAX_RATE 240 /* a nominal rate above it is a clock, not a rate */
#define MAX_PATH 4096

/* ---- life ---------------------------------------------------------------- */

static int spawn_error(int number, const char *name, struct bf_err *err)
{
    errno = number;
    if (number != ENOENT)
        return bf_cli_errno(err, "start", name);
    return bf_err_set(err, BF_ERR_REJECT, "local",
                      "%s is not installed: it takes videos apart. Install "
                      "the package ffmpeg, on Debian and Ubuntu by: apt-get "
                      "install ffmpeg",
                      name);
}

static int spawn(struct bf_ffmpeg *child, const char *const argv[], int out)
{
    posix_spawn_file_actions_t actions;
    int number = posix_spawn_file_actions_init(&actions);

    if (number)
        return number;
    number =
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (!number)
        number = posix_spawn_file_actions_adddup2(&actions, out, 1);
    if (!number)
        number = posix_spawn_file_actions_adddup2(&actions,
                                                  fileno(child->errors), 2);
    /* POSIX: neither the array nor its strings are changed */
    if (!number)
        number = posix_spawnp(&child->pid, argv[0], &actions, NULL,
                              (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return number;
}

int bf_ffmpeg_start(struct bf_ffmpeg *ret, const char *const argv[],
                    struct bf_err *err)
{
    bf_autoffmpeg struct bf_ffmpeg child = BF_FFMPEG_INIT;
    int ends[2];
    int number;

    child.name = argv[0];
    child.errors = tmpfile();
    if (!child.errors || fcntl(fileno(child.errors), F_SETFD, FD_CLOEXEC))
        return bf_cli_errno(err, "write", "a temporary file");
    if (pipe2(ends, O_CLOEXEC))
        return bf_cli_errno(err, "start", argv[0]);
    child.out = ends[0];
    number = spawn(&child, argv, ends[1]);
    close(ends[1]);
    if (number) {
        child.pid = 0;
        return spawn_error(number, argv[0], err);
    }
    *ret = child;
    child = (struct bf_ffmpeg)BF_FFMPEG_INIT;
    return 0;
}

/* Its last words, one line of them. */
static int complain(const struct bf_ffmpeg *child, struct bf_err *err)
{
    char text[200];
    long size = fseek(child->errors, 0, SEEK_END) ? 0 : ftell(child->errors);
    long from = size < (long)sizeof(text) ? 0 : size - (long)sizeof(text) + 1;
    size_t len = 0;
    char *line;

    if (size > 0 && fseek(child->errors, from, SEEK_SET) == 0)
        len = fread(text, 1, sizeof(text) - 1, child->errors);
    while (len > 0 && text[len - 1] == '\n')
        len--;
    text[len] = '\0';
    line = strrchr(text, '\n');
    return bf_err_set(err, BF_ERR_REJECT, "local", "%s: %s", child->name,
                      line    ? line + 1
                      : *text ? text
                              : "failed without a word");
}

int bf_ffmpeg_end(struct bf_ffmpeg *child, struct bf_err *err)
{
    pid_t pid = child->pid;
    int status = 0;

    child->pid = 0;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return bf_cli_errno(err, "wait for", child->name);
    }
    return status == 0 ? 0 : complain(child, err);
}

void bf_ffmpeg_release(struct bf_ffmpeg *child)
{
    if (child->pid > 0) {
        kill(child->pid, SIGKILL);
        waitpid(child->pid, NULL, 0);
    }
    bf_closep_(&child->out);
    if (child->errors)
        fclose(child->errors);
    *child = (struct bf_ffmpeg)BF_FFMPEG_INIT;
}

/* All of its output; what is over out's ceiling is an error. */
static int read_all(const struct bf_ffmpeg *child, struct bf_buf *out,
                    struct bf_err *err)
{
    char chunk[4096];

    for (;;) {
        ssize_t got = read(child->out, chunk, sizeof(chunk));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return bf_cli_errno(err, "read from", child->name);
        if (got == 0)
            return 0;
        if (out && bf_buf_add(out, chunk, (size_t)got, err))
            return -1;
    }
}

int bf_ffmpeg_run(const char *const argv[], struct bf_buf *out,
                  struct bf_err *err)
{
    bf_autoffmpeg struct bf_ffmpeg child = BF_FFMPEG_INIT;

    if (bf_ffmpeg_start(&child, argv, err) || read_all(&child, out, err))
        return -1;
    return bf_ffmpeg_end(&child, err);
}

int bf_ffmpeg_url(const char *path, bool pattern, struct bf_buf *out,
                  struct bf_err *err)
{
    if (bf_buf_adds(out, "file:", err))
        return -1;
    for (const char *p = path; *p; p++) {
        if ((pattern && *p == '%' && bf_buf_adds(out, "%", err)) ||
            bf_buf_add(out, p, 1, err))
            return -1;
    }
    return 0;
}

/* ---- what a file says ---------------------------------------------------- */

int bf_ffmpeg_rate(const char *text, unsigned *ret_num, unsigned *ret_den)
{
    struct bf_slice parts[2] = {{"1", 1}, {"1", 1}};
    size_t n = text ? bf_slice_split(bf_slice_str(text), '/', parts, 2) : 0;
    uint64_t num, den = 1;

    if (n < 1 || n > 2 || bf_slice_u64(parts[0], 1000000000, &num) ||
        (n == 2 && bf_slice_u64(parts[1], 1000000000, &den)) || num == 0 ||
        den == 0)
        return -1;
    *ret_num = (unsigned)num;
    *ret_den = (unsigned)den;
    return 0;
}

/* The nominal rate, which keeps every frame of a steady clip; else the mean. */
static int pick_rate(const json_t *stream, struct bf_clip *clip)
{
    static const char *const names[] = {"r_frame_rate", "avg_frame_rate"};

    for (size_t i = 0; i < bf_countof(names); i++) {
        const char *text = json_string_value(json_object_get(stream, names[i]));

        if (bf_ffmpeg_rate(text, &clip->num, &clip->den) == 0 &&
            clip->num <= (uint64_t)clip->den * MAX_RATE)
            return 0;
    }
    return -1;
}

static uint64_t count_frames(const json_t *stream, const struct bf_clip *clip)
{
    const char *said = json_string_value(json_object_get(stream, "nb_frames"));
    const char *long_s = json_string_value(json_object_get(stream, "duration"));
    double seconds = long_s ? strtod(long_s, NULL) : 0;
    uint64_t frames = 0;

    if (seconds > 0 && seconds < 1e7)
        return (uint64_t)(seconds * clip->num / clip->den + 0.5);
    bf_slice_u64(bf_slice_str(said), UINT32_MAX, &frames);
    return frames;
}

static unsigned size_of(const json_t *stream, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(stream, name));

    return value > 0 && value <= 65536 ? (unsigned)value : 0;
}

static int read_probe(struct bf_slice text, struct bf_clip *ret)
{
    json_auto_t *doc = json_loadb(text.ptr, text.len, 0, NULL);
    json_t *stream = json_array_get(json_object_get(doc, "streams"), 0);
    struct bf_clip clip = {
        .width = size_of(stream, "width"),
        .height = size_of(stream, "height"),
    };

    if (clip.width == 0 || clip.height == 0 || pick_rate(stream, &clip))
        return -1;
    clip.frames = count_frames(stream, &clip);
    *ret = clip;
    return 0;
}

int bf_ffmpeg_probe(const char *path, struct bf_clip *ret, struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(MAX_PROBE);
    bf_autobuf struct bf_buf url = BF_BUF_INIT(MAX_PATH);

    if (bf_ffmpeg_url(path, false, &url, err))
        return -1;
    /* clang-format off: options with their values */
    const char *const argv[] = {
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        "v:0",
        "-show_entries",
        "stream=r_frame_rate,avg_frame_rate,nb_frames,duration,width,height",
        "-of",
        "json",
        "-i",
        url.data,
        NULL,
    };
    /* clang-format on */

    if (bf_ffmpeg_run(argv, &text, err))
        return -1;
    if (read_probe(bf_buf_slice(&text), ret))
        return bf_err_set(err, BF_ERR_REJECT, "local",
                          "%.160s: there is no video in it", path);
    return 0;
}

int bf_ffmpeg_frames(struct bf_ffmpeg *ret, const char *path,
                     const struct bf_clip *clip, unsigned from_s,
                     uint64_t max_frames, struct bf_err *err)
{
    bf_autobuf struct bf_buf url = BF_BUF_INIT(MAX_PATH);
    char rate[48], limit[24], from[16];

    if (bf_ffmpeg_url(path, false, &url, err))
        return -1;
    snprintf(rate, sizeof(rate), "fps=%u/%u", clip->num, clip->den);
    snprintf(from, sizeof(from), "%u", from_s);
    snprintf(limit, sizeof(limit), "%llu",
             (unsigned long long)(max_frames > 0 ? max_frames : UINT32_MAX));
    /* clang-format off: options with their values */
    const char *const argv[] = {
        "ffmpeg",
        "-nostdin",
        "-v",
        "error",
        /* as a whole, the file is read without any seeking */
        from_s > 0 ? "-ss" : "-v",
        from_s > 0 ? from : "error",
        "-i",
        url.data,
        "-map",
        "0:v:0",
        "-vf",
        rate,
        "-frames:v",
        limit,
        /* bitexact: the same frame is the same bytes the next time */
        "-c:v",
        "mjpeg",
        "-q:v",
        "2",
        "-pix_fmt",
        "yuvj420p",
        "-flags",
        "+bitexact",
        "-f",
        "image2pipe",
        "-",
        NULL,
    };
    /* clang-format on */

    return bf_ffmpeg_start(ret, argv, err);
}
