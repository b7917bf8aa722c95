/* blockfleet batch: the lines of a file, or the files of a folder, as jobs. */

#include <inttypes.h>

#include "config/clock.h"
#include "dispatcher/cli/batch_job.h"
#include "dispatcher/cli/batches.h"
#include "dispatcher/cli/client.h"
#include "dispatcher/cli/commands.h"
#include "dispatcher/cli/jobs.h"
#include "dispatcher/cli/progress.h"
#include "dispatcher/cli/sender.h"
#include "dispatcher/cli/splice.h"
#include "schemas/err.h"
#include "schemas/limits.h"

#define FOR_EVER_S UINT64_C(604800) /* a week */
#define PAGE "1000"
#define LOOKS 1000 /* jobs without success of which the first is shown */
#define MEND "mend lines where they are, or give another --batch"
#define NO_SUCCESS "failed,timed_out,cancelled,expired,rejected,unknown,dead"

/* One run of the command. */
struct task {
    struct bf_cli *cli;
    struct bf_client *client; /* borrowed */
    struct bf_batches at;
    struct bf_items items;
    struct bf_batch_job job;
    struct bf_sender sender;
    struct bf_buf code; /* of the block */
    uint64_t *known;    /* of each item: 0, or as bf_batch_job_marked() */
    json_t *batch;      /* as the dispatcher told last; NULL: none */
    const char *rate;   /* --max-failure-rate; NULL: none */
    bool waits;
    int64_t until_ms; /* bf_mono_ms() */
    int64_t began_ms;
};

static void task_release(struct task *task)
{
    bf_sender_release(&task->sender);
    bf_batch_job_release(&task->job);
    bf_items_release(&task->items);
    bf_buf_release(&task->code);
    json_decref(task->batch);
    free(task->known);
}

static int look(struct task *task, struct bf_err *err)
{
    json_t *batch = NULL;

    if (bf_batches_get(&task->at, &batch, err))
        return -1;
    json_decref(task->batch);
    task->batch = batch;
    return 0;
}

static bool is_sealed(const struct task *task)
{
    return json_is_integer(json_object_get(task->batch, "count"));
}

/* ---- what is there already ----------------------------------------------- */

static int on_known(void *arg, json_t *doc, struct bf_err *err)
{
    struct task *task = arg;
    const json_t *index = json_object_get(doc, "batch_index");
    json_int_t i = json_is_integer(index) ? json_integer_value(index) : -1;

    if (i < 0)
        return 0;
    if ((uint64_t)i >= task->items.count)
        return bf_err_set(err, BF_ERR_REJECT, "local",
                          "%lld or more were sent, and there are %" PRIu64
                          " now: " MEND,
                          (long long)i + 1, task->items.count);
    task->known[i] = bf_batch_job_marked(doc);
    return 0;
}

static int find_known(struct task *task, struct bf_err *err)
{
    bf_autobuf struct bf_buf path = BF_BUF_INIT(1024);

    task->known = calloc(task->items.count, sizeof(*task->known));
    if (!task->known)
        return bf_err_oom(err);
    if (bf_batches_total(task->batch) == 0)
        return 0;
    if (bf_buf_adds(&path, "/v1/jobs", err) ||
        bf_client_query(&path, "workspace", task->at.workspace, err) ||
        bf_client_query(&path, "batch", task->at.batch, err) ||
        bf_client_query(&path, "limit", PAGE, err))
        return -1;
    return bf_client_rows(task->client, path.data, on_known, task, err);
}

static int check_item(const struct task *task, const struct bf_item *item,
                      struct bf_err *err)
{
    uint64_t mark = task->known[item->index];
    char name[160];

    if (mark <= 1 || mark == bf_batch_job_mark(&task->job, item))
        return 0;
    bf_items_name((void *)(uintptr_t)&task->items, item->number, name,
                  sizeof(name));
    return bf_err_set(err, BF_ERR_REJECT, "local",
                      "%s is not what was sent in its place: " MEND, name);
}

/* Before anything is sent: one line put in makes all that follow others. */
static int check_known(struct task *task, struct bf_err *err)
{
    struct bf_item item;
    int got;

    if (find_known(task, err))
        return -1;
    if (bf_batches_total(task->batch) == 0)
        return 0;
    while ((got = bf_items_next(&task->items, &item, err)) > 0) {
        if (check_item(task, &item, err))
            return -1;
    }
    bf_items_rewind(&task->items);
    return got;
}

/* ---- sending ------------------------------------------------------------- */

static int send_item(struct task *task, const struct bf_item *item,
                     struct bf_err *err)
{
    bf_autobuf struct bf_buf line = BF_BUF_INIT(BF_SPLICE_MAX);
    bool known = task->known[item->index] != 0;

    /* a whole job's id is noted even so */
    if (known && !task->job.whole)
        return 0;
    if (bf_batch_job_line(&task->job, item, &line, err) == 0)
        return known ? 0
                     : bf_sender_put(&task->sender, item->number,
                                     bf_buf_slice(&line), err);
    if (err->kind != BF_ERR_REJECT)
        return -1;
    bf_sender_refuse(&task->sender, item->number, err->msg);
    return 0;
}

static int send_items(struct task *task, struct bf_progress *progress,
                      struct bf_err *err)
{
    struct bf_item item;
    char note[48];
    int got = 0;

    while (!task->sender.closed &&
           (got = bf_items_next(&task->items, &item, err)) > 0) {
        if (send_item(task, &item, err))
            return -1;
        snprintf(note, sizeof(note), "%" PRIu64 " jobs", task->sender.accepted);
        bf_progress_set(progress, item.index + 1, note);
    }
    return got < 0 ? -1 : bf_sender_flush(&task->sender, err);
}

static int send_all(struct task *task, struct bf_err *err)
{
    struct bf_progress progress;
    int failed;

    if (check_known(task, err) || bf_batches_open(&task->at, task->rate, err) ||
        bf_sender_init(&task->sender, err))
        return -1;
    bf_progress_init(&progress, task->cli, "sending   ", task->items.count);
    progress.plain = true;
    failed = send_items(task, &progress, err);
    bf_progress_end(&progress);
    if (failed)
        bf_cli_say(task->cli,
                   "%" PRIu64 " of %" PRIu64 " jobs were accepted; the same "
                   "command again goes on",
                   task->sender.accepted, task->items.count);
    return failed;
}

static void say_sent(const struct task *task)
{
    const struct bf_sender *sender = &task->sender;
    bool some_before = sender->accepted + sender->refused < task->items.count;

    bf_cli_say(task->cli, "sent        %" PRIu64 " of %" PRIu64 " jobs%s",
               sender->accepted, task->items.count,
               sender->closed ? ""
               : some_before  ? ", the others are there "
                                "already"
                              : "");
    if (sender->refused > 0)
        bf_cli_say(task->cli, "refused     %" PRIu64, sender->refused);
}

/* ---- the end ------------------------------------------------------------- */

static int show_batch(struct task *task, struct bf_err *err)
{
    const struct bf_sender *sender = &task->sender;

    double took_s = (double)(bf_mono_ms() - task->began_ms) / 1000;

    if (!task->cli->json)
        return bf_batches_show(task->cli, task->batch, took_s, err);
    if (json_object_set_new(task->batch, "sent",
                            json_integer((json_int_t)sender->accepted)) ||
        json_object_set_new(task->batch, "refused",
                            json_integer((json_int_t)sender->refused)))
        return bf_err_oom(err);
    return bf_batches_show(task->cli, task->batch, took_s, err);
}

struct first {
    json_t *job; /* NULL: none */
    json_int_t index;
    size_t looked;
};

static int on_failure(void *arg, json_t *doc, struct bf_err *err)
{
    struct first *first = arg;
    json_int_t index = json_integer_value(json_object_get(doc, "batch_index"));

    (void)err;
    if (!first->job || index < first->index) {
        json_decref(first->job);
        first->job = json_incref(doc);
        first->index = index;
    }
    return ++first->looked == LOOKS;
}

/* One of them in full: often all fail alike. */
static int show_failure(struct task *task, struct bf_err *err)
{
    bf_autobuf struct bf_buf path = BF_BUF_INIT(1024);
    struct first first = {0};
    int failed;

    if (bf_buf_adds(&path, "/v1/jobs", err) ||
        bf_client_query(&path, "workspace", task->at.workspace, err) ||
        bf_client_query(&path, "batch", task->at.batch, err) ||
        bf_client_query(&path, "status", NO_SUCCESS, err) ||
        bf_client_query(&path, "limit", PAGE, err))
        return -1;
    failed = bf_client_rows(task->client, path.data, on_failure, &first, err);
    if (!failed && first.job) {
        fprintf(task->cli->out, "\nA job without success is number %lld:\n",
                (long long)first.index);
        failed = bf_jobs_show(task->cli, first.job, task->code.data, err);
        bf_cli_say(task->cli,
                   "\n'blockfleet jobs -w %s --batch %s --status failed' "
                   "lists them; to run all again, give a --batch of your own",
                   task->at.workspace, task->at.batch);
    }
    json_decref(first.job);
    return failed ? -1 : 0;
}

static int finish(struct task *task, struct bf_err *err)
{
    if (!task->batch && look(task, err))
        return -1;
    if (!task->batch)
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "the dispatcher does not know the batch");
    if (show_batch(task, err))
        return -1;
    if (task->cli->json || !task->waits ||
        bf_batches_exit(task->batch) == BF_EXIT_OK)
        return 0;
    return show_failure(task, err);
}

/* ---- the command --------------------------------------------------------- */

static int read_rate(struct task *task, struct bf_err *err)
{
    const char *text = bf_args_get(&task->cli->args, "max-failure-rate");
    json_auto_t *rate =
        text ? json_loads(text, JSON_DECODE_ANY, NULL) : json_integer(0);

    if (!json_is_number(rate) || json_number_value(rate) < 0 ||
        json_number_value(rate) > 1)
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "--max-failure-rate must be a number from 0 to 1, "
                          "such as 0.05, not '%.40s'",
                          text);
    task->rate = text;
    return 0;
}

static int read_options(struct task *task, struct bf_err *err)
{
    struct bf_cli *cli = task->cli;
    uint64_t wait_s;

    task->at.workspace = bf_cli_workspace(cli, err);
    if (!task->at.workspace || read_rate(task, err) ||
        bf_cli_number(cli, "timeout", FOR_EVER_S, FOR_EVER_S, &wait_s, err))
        return -1;
    task->waits = !bf_args_has(&cli->args, "no-wait");
    task->until_ms = task->began_ms + (int64_t)wait_s * 1000;
    return 0;
}

static int begin(struct task *task, struct bf_err *err)
{
    const char *path = task->cli->args.words[0];

    if (read_options(task, err) ||
        bf_items_init(&task->items, task->cli->in, path, err) ||
        bf_batch_job_init(&task->job, task->cli, &task->items, &task->code,
                          err))
        return -1;
    task->at.client = task->client;
    task->at.batch = task->job.batch;
    bf_cli_say(task->cli, "batch       %s, %" PRIu64 " %s", task->job.batch,
               task->items.count, task->items.file ? "lines" : "files");
    return look(task, err);
}

/* It may have failed meanwhile, and is then not to be sealed. */
static int seal(struct task *task, struct bf_err *err)
{
    uint64_t count = task->items.count - task->sender.refused;
    int failed = bf_batches_seal(&task->at, count, err);
    struct bf_err again;

    if (failed && err->kind != BF_ERR_REJECT)
        return -1;
    if (look(task, failed ? &again : err))
        return -1;
    return failed && !bf_batches_is(task->batch, "failed") ? -1 : 0;
}

/* Send what is not there, and say that this is all. */
static int fill(struct task *task, struct bf_err *err)
{
    struct bf_sender *sender = &task->sender;
    bool skips = bf_args_has(&task->cli->args, "skip-refused");

    if (send_all(task, err))
        return -1;
    say_sent(task);
    if (sender->closed)
        return look(task, err);
    if (sender->refused > 0 && !skips) {
        bf_cli_say(task->cli, "the batch is not sealed: mend them and run it "
                              "again with the same --batch, or leave them "
                              "out with --skip-refused");
        return 0;
    }
    return seal(task, err);
}

static int wait_for_it(struct task *task, struct bf_err *err)
{
    const json_t *count = json_object_get(task->batch, "count");
    const struct bf_batches_goal goal = {
        .jobs = (uint64_t)json_integer_value(count),
        .things = "jobs",
        .until_ms = task->until_ms,
    };
    json_t *batch = NULL;

    if (bf_batches_wait(task->cli, &task->at, &goal, &batch, err))
        return -1;
    json_decref(task->batch);
    task->batch = batch;
    return 0;
}

/* That it is sealed is no reason to say that all of this was run. */
static int check_sealed(struct task *task, struct bf_err *err)
{
    const json_t *count = json_object_get(task->batch, "count");
    uint64_t sealed = (uint64_t)json_integer_value(count);

    if (sealed < task->items.count &&
        !bf_args_has(&task->cli->args, "skip-refused"))
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "the batch is sealed with %" PRIu64
                          " jobs, of %" PRIu64
                          " that there are now: give another --batch for "
                          "those that are new, or --skip-refused if they were "
                          "left out",
                          sealed, task->items.count);
    return check_known(task, err);
}

static int batch(struct task *task, struct bf_err *err)
{
    bool failed;

    if (begin(task, err))
        return -1;
    failed = bf_batches_is(task->batch, "failed");
    if (!failed && is_sealed(task) && check_sealed(task, err))
        return -1;
    if (failed || is_sealed(task))
        bf_cli_say(task->cli,
                   "sent        0 of %" PRIu64 " jobs, it is "
                   "sealed or failed already",
                   task->items.count);
    else if (fill(task, err))
        return -1;
    if (task->waits && is_sealed(task) &&
        !bf_batches_is(task->batch, "failed") && wait_for_it(task, err))
        return -1;
    return finish(task, err);
}

static enum bf_exit exit_of(const struct task *task)
{
    enum bf_exit number = bf_batches_exit(task->batch);

    if (task->sender.refused > 0 && !bf_batches_is(task->batch, "failed"))
        return BF_EXIT_REFUSED;
    return task->waits || bf_batches_is(task->batch, "failed") ? number
                                                               : BF_EXIT_OK;
}

enum bf_exit bf_cmd_batch(struct bf_cli *cli)
{
    struct bf_err err = {0};
    bf_autoclient struct bf_client *client = bf_cli_client(cli, &err);
    bf_cleanup(task_release) struct task task = {
        .cli = cli,
        .client = client,
        .began_ms = bf_mono_ms(),
        .code = BF_BUF_INIT(BF_MAX_BLOCK),
        .sender = {.cli = cli,
                   .client = client,
                   .name = bf_items_name,
                   .arg = &task.items,
                   .part_lines = BF_PART_LINES,
                   .part_bytes = BF_PART_BYTES},
    };

    if (!client || batch(&task, &err))
        return bf_cli_fail(cli, &err);
    return exit_of(&task);
}
