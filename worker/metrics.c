#include "worker/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

#include "config/metric.h"
#include "config/proc.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/outcome.h"

#define TEXT_MAX_BYTES (64U << 10)

struct bf_writing {
    const struct bf_worker_figures *figures;
    struct bf_proc process;
    const char *name; /* of the metric that is written */
    struct bf_buf *out;
    struct bf_err *err;
    int failed;
};

/* As a label's value: PROTOCOL.md has no say in what a group is called. */
static void put_escaped(struct bf_writing *w, const char *text)
{
    for (; *text; text++) {
        const char plain[] = {*text, '\0'};
        const char *spelled = *text == '\n'   ? "\\n"
                              : *text == '"'  ? "\\\""
                              : *text == '\\' ? "\\\\"
                                              : plain;

        w->failed |= bf_buf_adds(w->out, spelled, w->err);
    }
}

/* label NULL: none but the worker. */
static void put(struct bf_writing *w, const char *label, const char *value,
                double number)
{
    w->failed |= bf_buf_addf(w->out, w->err, "%s{worker=\"", w->name);
    put_escaped(w, w->figures->txn_id);
    if (label)
        w->failed |= bf_buf_addf(w->out, w->err, "\",%s=\"%s", label, value);
    w->failed |= bf_buf_addf(w->out, w->err, "\"} %.17g\n", number);
}

/* ---- what is told ---------------------------------------------------------*/

static void put_shards(struct bf_writing *w)
{
    put(w, "state", "open", (double)w->figures->shards_open);
    put(w, "state", "stopped", (double)w->figures->shards_stopped);
}

static void put_jobs(struct bf_writing *w)
{
    put(w, NULL, NULL, (double)w->figures->runs.tasks);
}

static void put_running(struct bf_writing *w)
{
    put(w, NULL, NULL, (double)w->figures->runs.running);
}

static void put_memory(struct bf_writing *w)
{
    put(w, NULL, NULL, (double)w->figures->runs.bytes);
}

static void put_memory_limit(struct bf_writing *w)
{
    put(w, NULL, NULL, (double)w->figures->memory_limit_bytes);
}

static void put_ended(struct bf_writing *w)
{
    for (unsigned i = 0; i < BF_OUTCOMES; i++)
        put(w, "outcome", bf_outcome_name((enum bf_outcome)i),
            (double)w->figures->runs.ended[i]);
}

static void put_untrusted(struct bf_writing *w)
{
    put(w, NULL, NULL, (double)w->figures->runs.untrusted);
}

static void put_copies(struct bf_writing *w)
{
    put(w, NULL, NULL, (double)w->figures->runs.copies);
}

static void put_lost(struct bf_writing *w)
{
    put(w, NULL, NULL, (double)w->figures->runs.lost_offsets);
}

static void put_keys(struct bf_writing *w)
{
    put(w, NULL, NULL, (double)w->figures->trusted_keys);
}

static void put_cpu(struct bf_writing *w)
{
    put(w, NULL, NULL, w->process.cpu_s);
}

static void put_resident(struct bf_writing *w)
{
    put(w, NULL, NULL, (double)w->process.resident_bytes);
}

static void put_threads(struct bf_writing *w)
{
    put(w, NULL, NULL, (double)w->process.threads);
}

static void put_fds(struct bf_writing *w)
{
    put(w, NULL, NULL, (double)w->process.open_fds);
}

static void put_start(struct bf_writing *w)
{
    put(w, NULL, NULL, w->process.start_s);
}

static void put_version(struct bf_writing *w)
{
    put(w, "version", BF_VERSION, 1);
}

static void put_librdkafka(struct bf_writing *w)
{
    put(w, "version", rd_kafka_version_str(), 1);
}

static void put_backend(struct bf_writing *w)
{
    put(w, "backend", w->figures->backend, 1);
}

/* ---- the table ------------------------------------------------------------*/

#define P "blockfleet_worker_"
static const struct bf_metric metrics[] = {
    {P "shards", "gauge", "state",
     "Shards that this process owns: open, or stopped until an operator "
     "confirms.",
     put_shards},
    {P "jobs", "gauge", "", "Jobs that are read and not over.", put_jobs},
    {P "runs", "gauge", "", "Runs under way.", put_running},
    {P "memory_bytes", "gauge", "", "What jobs and their results take of it.",
     put_memory},
    {P "memory_limit_bytes", "gauge", "",
     "Half of worker.memory: beyond it, no more jobs are begun.",
     put_memory_limit},
    {P "jobs_ended_total", "counter", "outcome", "Jobs that have a result.",
     put_ended},
    {P "untrusted_records_total", "counter", "",
     "Records whose signature or place is wrong: dead letters.", put_untrusted},
    {P "copies_total", "counter", "",
     "Copies of jobs that had ended or were under way: not run.", put_copies},
    {P "lost_records_total", "counter", "",
     "Records that the log had lost before they were read.", put_lost},
    {P "trusted_keys", "gauge", "", "Keys in the file of trusted keys.",
     put_keys},
    {P "cpu_seconds_total", "counter", "",
     "CPU time in user and system mode, without that of runners.", put_cpu},
    {P "resident_bytes", "gauge", "", "Memory in use, without that of runners.",
     put_resident},
    {P "threads", "gauge", "", "Threads.", put_threads},
    {P "open_fds", "gauge", "", "Open file descriptors.", put_fds},
    {P "start_time_seconds", "gauge", "",
     "When the process started, in seconds since 1970.", put_start},
    {P "build_info", "gauge", "version", "Always 1.", put_version},
    {P "librdkafka_info", "gauge", "version", "Always 1.", put_librdkafka},
    {P "backend_info", "gauge", "backend", "Always 1.", put_backend},
};

int bf_worker_metrics_text(const struct bf_worker_figures *figures,
                           struct bf_buf *out, struct bf_err *err)
{
    struct bf_writing w = {.figures = figures, .out = out, .err = err};

    bf_proc_read(&w.process);
    for (size_t i = 0; i < bf_countof(metrics); i++) {
        w.name = metrics[i].name;
        w.failed |= bf_metric_head(&metrics[i], out, err);
        metrics[i].write(&w);
    }
    return w.failed ? -1 : 0;
}

/* ---- the file -------------------------------------------------------------*/

/* Never mistaken for figures: the collector reads *.prom alone. */
#define PART ".part"

static int path_of(const char *dir, const char *txn_id, const char *more,
                   char ret[static PATH_MAX], struct bf_err *err)
{
    int len = snprintf(ret, PATH_MAX, "%s/%s.prom%s", dir, txn_id, more);

    return len > 0 && len < PATH_MAX
               ? 0
               : bf_err_set(err, BF_ERR_REJECT, "metrics_dir", "too long");
}

static int failed(const char *path, struct bf_err *err)
{
    return bf_err_set(err, BF_ERR_REJECT, "metrics_dir", "%.200s: %s", path,
                      strerrorname_np(errno));
}

static int write_part(const char *path, const struct bf_buf *text,
                      struct bf_err *err)
{
    bf_autoclose int fd = -1;

    unlink(path); /* a rest of ours; what is not ours stays, and is refused */
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    /* The collector is another user, whatever our umask is. */
    if (fd < 0 || fchmod(fd, 0644))
        return failed(path, err);
    errno = ENOSPC; /* what a short write means */
    return write(fd, text->data, text->len) == (ssize_t)text->len
               ? 0
               : failed(path, err);
}

int bf_worker_metrics_write(const struct bf_worker_figures *figures,
                            const char *dir, struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(TEXT_MAX_BYTES);
    char part[PATH_MAX], path[PATH_MAX];

    if (bf_worker_metrics_text(figures, &text, err) ||
        path_of(dir, figures->txn_id, PART, part, err) ||
        path_of(dir, figures->txn_id, "", path, err) ||
        write_part(part, &text, err))
        return -1;
    return rename(part, path) ? failed(path, err) : 0;
}

void bf_worker_metrics_remove(const char *txn_id, const char *dir)
{
    char path[PATH_MAX];

    if (path_of(dir, txn_id, "", path, NULL) == 0)
        unlink(path);
}

/* ---- the document ---------------------------------------------------------*/

static const char intro[] =
    "# Metrics of a worker\n"
    "\n"
    "<!-- Generated from worker/metrics.c; a test compares. -->\n"
    "\n"
    "With `worker.metrics_dir` each process writes `<transactional id>.prom`\n"
    "there every 10 s, in Prometheus' text format, for node_exporter's\n"
    "`--collector.textfile.directory`; it is removed when the worker ends in\n"
    "order. How old it is tells `node_textfile_mtime_seconds`. Every metric\n"
    "has the label `worker`, the transactional id. Under systemd the unit\n"
    "needs a `ReadWritePaths=` of that directory.\n";

int bf_worker_metrics_markdown(struct bf_buf *out, struct bf_err *err)
{
    return bf_metrics_document(intro, metrics, bf_countof(metrics), out, err);
}
