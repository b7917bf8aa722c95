/* blockfleet video: a block over every frame of a video, or every image. */

#include <inttypes.h>

#include "config/clock.h"
#include "dispatcher/cli/batches.h"
#include "dispatcher/cli/client.h"
#include "dispatcher/cli/commands.h"
#include "dispatcher/cli/jobs.h"
#include "dispatcher/cli/progress.h"
#include "dispatcher/cli/sender.h"
#include "dispatcher/cli/splice.h"
#include "dispatcher/cli/video_frames.h"
#include "dispatcher/cli/video_report.h"
#include "schemas/err.h"

#define FOR_EVER_S UINT64_C(604800) /* a week */
#define PAGE "200"
/* Small parts: workers begin while the rest of the video is taken apart. */
#define PART_LINES 32
#define PART_BYTES (4U << 20)

/* One run of the command. */
struct task {
    struct bf_cli *cli;
    struct bf_client *client; /* borrowed */
    const char *workspace;    /* borrowed */
    const char *path;         /* borrowed */
    struct bf_video_job video;
    struct bf_video_out out;
    struct bf_buf code; /* of the block */
    bool waits;
    uint64_t limit; /* frames at most */
    uint64_t frames;
    struct bf_video_group group; /* frames on their way into a job */
    struct bf_sender sender;
    int64_t until_ms; /* bf_mono_ms() */
};

static void task_release(struct task *task)
{
    bf_sender_release(&task->sender);
    bf_buf_release(&task->group.images);
    bf_video_job_release(&task->video);
    bf_video_out_release(&task->out);
    bf_buf_release(&task->code);
}

static struct bf_batches at_of(const struct task *task)
{
    return (struct bf_batches){task->client, task->workspace,
                               task->video.batch};
}

/* ---- results ------------------------------------------------------------- */

/* A result too large for a page comes by itself. */
static int complete(struct task *task, json_t *doc, struct bf_err *err)
{
    const char *id = json_string_value(json_object_get(doc, "job"));
    bf_autofree char *text = NULL;
    size_t size = 0;
    int64_t bytes;
    FILE *sink;
    int failed;

    if (!id || !json_is_string(json_object_get(doc, "result_url")))
        return 0;
    sink = open_memstream(&text, &size);
    if (!sink)
        return bf_err_oom(err);
    failed =
        bf_jobs_result(task->client, task->workspace, id, sink, &bytes, err);
    if (fclose(sink) != 0 && !failed)
        failed = bf_err_oom(err);
    if (failed)
        return -1;
    if (json_object_set_new(doc, "result", json_stringn(text, size)) == 0)
        json_object_del(doc, "result_url");
    return 0;
}

struct gathering {
    struct task *task;
    struct bf_progress progress;
};

/* Its results would be taken for ours, or waited for instead of ours. */
static int check_result(const struct task *task, const json_t *doc,
                        struct bf_err *err)
{
    const char *id = json_string_value(json_object_get(doc, "job"));
    int64_t others = id ? bf_video_job_others(&task->video, id) : 0;

    return others == 0
               ? 0
               : bf_err_set(err, BF_ERR_REJECT, "refused",
                            "batch %s was sent with --frames-per-job %d: "
                            "give that, or another --batch",
                            task->video.batch, (int)others);
}

static int on_result(void *arg, json_t *doc, struct bf_err *err)
{
    struct gathering *gathering = arg;
    struct task *task = gathering->task;

    if (check_result(task, doc, err))
        return -1;
    if (!bf_video_out_wants(&task->out, doc, task->limit))
        return 0;
    if (complete(task, doc, err) ||
        bf_video_out_take(&task->out, doc, task->limit, err))
        return -1;
    bf_progress_set(&gathering->progress, task->out.results, "");
    return 0;
}

/* All results of the batch that there are and that we do not have. */
static int gather(struct task *task, struct bf_err *err)
{
    bf_autobuf struct bf_buf path = BF_BUF_INIT(1024);
    struct gathering gathering = {.task = task};
    int failed;

    if (bf_buf_adds(&path, "/v1/results", err) ||
        bf_client_query(&path, "workspace", task->workspace, err) ||
        bf_client_query(&path, "batch", task->video.batch, err) ||
        bf_client_query(&path, "limit", PAGE, err))
        return -1;
    bf_progress_init(&gathering.progress, task->cli, "fetching  ",
                     task->frames);
    failed =
        bf_client_rows(task->client, path.data, on_result, &gathering, err);
    bf_progress_end(&gathering.progress);
    return failed;
}

/* ---- sending ------------------------------------------------------------- */

static void name_frame(void *arg, uint64_t number, char *out, size_t size)
{
    (void)arg;
    snprintf(out, size, "frame %" PRIu64, number);
}

/* Of the frames so far, or of as many of them. */
static uint64_t jobs_of(const struct task *task, uint64_t frames)
{
    return (frames + task->video.per_job - 1) / task->video.per_job;
}

static int send_group(struct task *task, struct bf_err *err)
{
    struct bf_video_group *group = &task->group;
    bf_autobuf struct bf_buf line = BF_BUF_INIT(BF_SPLICE_MAX);

    if (group->count == 0)
        return 0;
    if (bf_video_job_line(&task->video, group, &line, err) ||
        bf_sender_put(&task->sender, group->first, bf_buf_slice(&line), err))
        return -1;
    group->count = 0;
    bf_buf_clear(&group->images);
    return 0;
}

static int add_frame(struct task *task, struct bf_slice jpeg,
                     struct bf_err *err)
{
    uint64_t frame = task->frames;

    if (frame >= BF_VIDEO_FRAMES)
        return bf_err_set(err, BF_ERR_REJECT, "local",
                          "more than %u frames: send it in pieces, see "
                          "--max-frames and --fps",
                          BF_VIDEO_FRAMES);
    if (jpeg.len > BF_VIDEO_JPEG)
        return bf_err_set(err, BF_ERR_REJECT, "local",
                          "frame %" PRIu64 " is larger than %u bytes", frame,
                          BF_VIDEO_JPEG);
    task->frames++;
    if (bf_video_out_has(&task->out, frame))
        return 0; /* ended in an earlier run of this command */
    if (bf_video_job_add(&task->video, &task->group, frame, jpeg, err))
        return -1;
    return task->group.count == task->video.per_job ? send_group(task, err) : 0;
}

struct sending {
    struct task *task;
    struct bf_progress progress;
};

static int on_frame(void *arg, struct bf_slice jpeg, struct bf_err *err)
{
    struct sending *sending = arg;
    struct task *task = sending->task;
    char note[48];

    if (add_frame(task, jpeg, err))
        return -1;
    snprintf(note, sizeof(note), "%" PRIu64 " %s", task->frames,
             task->video.images.count > 0 ? "images" : "frames");
    bf_progress_set(&sending->progress, task->frames, note);
    return 0;
}

static int send_all(struct task *task, struct bf_err *err)
{
    const struct bf_clip *clip = &task->video.clip;
    const struct bf_video_range range = {
        .max = task->limit < BF_VIDEO_FRAMES ? task->limit : 0};
    struct sending sending = {.task = task};
    int failed;

    bf_progress_init(&sending.progress, task->cli, "sending   ",
                     clip->frames < task->limit ? clip->frames : task->limit);
    sending.progress.plain = true;
    failed = bf_sender_init(&task->sender, err) ||
             bf_video_frames(&task->video, task->path, &range, on_frame,
                             &sending, err) ||
             send_group(task, err) || bf_sender_flush(&task->sender, err);
    bf_progress_end(&sending.progress);
    return failed ? -1 : 0;
}

static void say_sent(const struct task *task)
{
    const struct bf_sender *sender = &task->sender;
    uint64_t jobs = jobs_of(task, task->frames);
    bool some_before = sender->accepted + sender->refused < jobs;

    if (task->video.per_job == 1)
        bf_cli_say(task->cli, "sent        %" PRIu64 " of %" PRIu64 " frames%s",
                   sender->accepted, task->frames,
                   some_before ? ", the others have their results already"
                               : "");
    else
        bf_cli_say(task->cli,
                   "sent        %" PRIu64 " of %" PRIu64 " jobs of %u "
                   "frames%s",
                   sender->accepted, jobs, task->video.per_job,
                   some_before ? ", the others have their results already"
                               : "");
}

static int send_video(struct task *task, struct bf_err *err)
{
    if (send_all(task, err))
        return -1;
    if (task->frames == 0)
        return bf_err_set(err, BF_ERR_REJECT, "local",
                          "%.160s: ffmpeg found no frame in it", task->path);
    say_sent(task);
    return 0;
}

/* ---- waiting ------------------------------------------------------------- */

static int wait_batch(struct task *task, struct bf_err *err)
{
    const struct bf_batches at = at_of(task);
    const struct bf_batches_goal goal = {
        .jobs = jobs_of(task, task->frames) - task->sender.refused,
        .things = task->video.per_job == 1 ? "frames" : "jobs",
        .until_ms = task->until_ms,
    };
    json_auto_t *batch = NULL;

    return bf_batches_wait(task->cli, &at, &goal, &batch, err);
}

/* ---- the end ------------------------------------------------------------- */

static int show_failure(struct task *task, struct bf_err *err)
{
    const struct bf_video_out *out = &task->out;

    if (!out->failure || task->cli->json)
        return 0;
    fprintf(task->cli->out,
            "\nThe first frame without success is %" PRIu64 ":\n",
            out->failed_frame);
    if (bf_jobs_show(task->cli, out->failure, task->code.data, err))
        return -1;
    bf_cli_say(task->cli, "\nTo run them all again, give a --batch of your "
                          "own, or change the block.");
    return 0;
}

static int show_report(struct task *task, json_t *usage, json_t *files,
                       struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1 << 20);
    json_auto_t *report =
        bf_video_report(&task->out, task->frames, usage, files, err);

    if (!report || bf_table_json(report, &text, err) ||
        bf_video_out_write(&task->out, "summary.json", bf_buf_slice(&text),
                           err))
        return -1;
    if (!task->cli->json) {
        bf_buf_clear(&text);
        bf_cli_say(task->cli, "%s", "");
        if (bf_video_report_text(report, &text, err))
            return -1;
    }
    return bf_cli_print(task->cli, &text, err);
}

static json_t *ask_usage(struct task *task, struct bf_err *err)
{
    bf_autobuf struct bf_buf path = BF_BUF_INIT(1024);

    if (bf_buf_adds(&path, "/v1/usage", err) ||
        bf_client_query(&path, "workspace", task->workspace, err))
        return NULL;
    return bf_client_get(task->client, path.data, NULL, err);
}

/* Which image a frame was. */
static int write_names(struct task *task, json_t *files, struct bf_err *err)
{
    bf_autobuf struct bf_buf names = BF_BUF_INIT((size_t)BF_VIDEO_FRAMES * 256);

    if (task->video.images.count == 0)
        return 0;
    if (bf_folder_list(&task->video.images, &names, err) ||
        bf_video_out_write(&task->out, "images.txt", bf_buf_slice(&names), err))
        return -1;
    return json_object_set_new(files, "images",
                               json_sprintf("%s/images.txt", task->out.folder))
               ? bf_err_oom(err)
               : 0;
}

static int finish(struct task *task, struct bf_err *err)
{
    json_auto_t *files = json_object();
    json_auto_t *usage = NULL;

    if (!files)
        return bf_err_oom(err);
    if (gather(task, err) || write_names(task, files, err))
        return -1;
    usage = ask_usage(task, err);
    if (!usage || bf_video_out_finish(&task->out, task->frames, files, err) ||
        show_report(task, usage, files, err))
        return -1;
    if (task->out.unequal > 0)
        bf_cli_say(task->cli,
                   "\n%" PRIu64 " jobs returned no list with an entry for "
                   "each of their frames",
                   task->out.unequal);
    return show_failure(task, err);
}

static enum bf_exit exit_of(const struct task *task)
{
    const json_t *succeeded = json_object_get(task->out.outcomes, "succeeded");

    if (task->sender.refused > 0)
        return BF_EXIT_REFUSED;
    if (!task->waits)
        return BF_EXIT_OK;
    return (uint64_t)json_integer_value(succeeded) ==
                       jobs_of(task, task->frames) &&
                   task->out.unequal == 0
               ? BF_EXIT_OK
               : BF_EXIT_JOB;
}

/* ---- the command --------------------------------------------------------- */

static int open_folder(struct task *task, struct bf_err *err)
{
    const char *given = bf_args_get(&task->cli->args, "out");
    const struct bf_batches at = at_of(task);
    json_auto_t *before = NULL;

    if (!task->waits)
        return 0;
    if (bf_video_out_init(&task->out, &task->video,
                          given ? given : task->video.batch, err) ||
        bf_batches_get(&at, &before, err))
        return -1;
    return bf_batches_ended(before) > 0 ? gather(task, err) : 0;
}

static int read_options(struct task *task, struct bf_err *err)
{
    struct bf_cli *cli = task->cli;
    uint64_t wait_s;

    task->path = cli->args.words[0];
    task->waits =
        bf_args_has(&cli->args, "wait") || bf_args_has(&cli->args, "out");
    if (bf_cli_number(cli, "timeout", FOR_EVER_S, FOR_EVER_S, &wait_s, err) ||
        bf_cli_number(cli, "max-frames", BF_VIDEO_FRAMES, 0, &task->limit, err))
        return -1;
    if (task->limit == 0)
        task->limit = BF_VIDEO_FRAMES;
    task->until_ms = bf_mono_ms() + (int64_t)wait_s * 1000;
    task->workspace = bf_cli_workspace(cli, err);
    return task->workspace ? 0 : -1;
}

/* Else the last job's id would be that of a whole one. */
static int check_limit(const struct task *task, struct bf_err *err)
{
    unsigned per_job = task->video.per_job;

    return task->limit < BF_VIDEO_FRAMES && task->limit % per_job != 0
               ? bf_err_set(err, BF_ERR_REJECT, "usage",
                            "--max-frames must be a multiple of "
                            "--frames-per-job, %u",
                            per_job)
               : 0;
}

static void say_what(const struct task *task)
{
    const struct bf_video_job *video = &task->video;

    if (video->images.count > 0) {
        bf_cli_say(task->cli, "images      %zu in %.100s, the first %ux%u",
                   video->images.count, task->path, video->clip.width,
                   video->clip.height);
        return;
    }
    bf_cli_say(task->cli, "video       %.100s, %ux%u, %.6g frames a second",
               video->name, video->clip.width, video->clip.height,
               (double)video->clip.num / video->clip.den);
}

static int video(struct task *task, struct bf_err *err)
{
    if (read_options(task, err) ||
        bf_video_job_init(&task->video, task->cli, task->path, &task->code,
                          err))
        return -1;
    say_what(task);
    if (check_limit(task, err) ||
        bf_video_estimate(&task->video, task->cli, task->client, task->path,
                          task->limit, err) ||
        open_folder(task, err) || send_video(task, err))
        return -1;
    if (!task->waits) {
        bf_cli_say(task->cli, "batch       %s\nadd --wait to fetch its results",
                   task->video.batch);
        return 0;
    }
    return wait_batch(task, err) || finish(task, err) ? -1 : 0;
}

enum bf_exit bf_cmd_video(struct bf_cli *cli)
{
    struct bf_err err = {0};
    bf_autoclient struct bf_client *client = bf_cli_client(cli, &err);
    bf_cleanup(task_release) struct task task = {
        .cli = cli,
        .client = client,
        .code = BF_BUF_INIT(BF_MAX_BLOCK),
        .group = BF_VIDEO_GROUP,
        .sender = {.cli = cli,
                   .client = client,
                   .name = name_frame,
                   .part_lines = PART_LINES,
                   .part_bytes = PART_BYTES},
    };

    if (!client || video(&task, &err))
        return bf_cli_fail(cli, &err);
    return exit_of(&task);
}
