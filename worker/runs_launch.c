#include "worker/runs_private.h"

#include <errno.h>

#include "config/clock.h"
#include "config/log.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "worker/runner_pool.h"

#define BACKOFF_MS 100 /* before the second try of what did not run */
#define MAX_BACKOFF_MS 5000
/* A runner keeps deadlines itself; this is how much later we lose patience. */
#define RUNNER_LATE_MS 2000

static int advance(struct bf_runs *runs, struct bf_task *task,
                   const struct bf_reply *reply, struct bf_err *err);

void bf_runs_hang_up(struct bf_runs *runs, struct bf_task *task)
{
    if (task->runner_call)
        bf_runner_pool_cancel(runs->config.runners, bf_take(task->runner_call));
    if (task->http_call)
        bf_http_call_cancel(bf_take(task->http_call));
}

/* ---- a try is over ---- */

static int retry_later(struct bf_runs *runs, struct bf_task *task,
                       int64_t after_ms, struct bf_err *err)
{
    int64_t left = task->job.expires_at_ms - bf_now_ms();
    int64_t wait = BACKOFF_MS;

    for (int i = 0; i < task->tries && wait < MAX_BACKOFF_MS; i++)
        wait *= 2;
    wait = wait < MAX_BACKOFF_MS ? wait : MAX_BACKOFF_MS;
    /* Half of it random, so that a fleet does not come back as one. */
    wait = wait / 2 + (int64_t)(task->run_id[0] * 7 % 50) * wait / 100;
    wait = wait > after_ms ? wait : after_ms;
    /* Whatever an endpoint asks for, the job expires when it does. */
    left = left > 0 ? left : 0;
    wait = wait < left ? wait : left;
    task->tries++;
    bf_runs_set_phase(runs, task, BF_TASK_WAITING);
    return bf_runs_wake_in(runs, task, wait, err);
}

static bool follows(const struct bf_task *task,
                    const struct bf_run_end *run_end)
{
    int64_t left = task->job.expires_at_ms - bf_now_ms();

    /* What may have run cannot expire any more: not while it waits, either. */
    return (run_end->again && left > 0) ||
           (run_end->more && left > MAX_BACKOFF_MS);
}

static int try_again(struct bf_runs *runs, struct bf_task *task,
                     const struct bf_run_end *run_end, struct bf_err *err)
{
    int64_t after_ms = run_end->again ? run_end->again_after_ms : 0;

    if (run_end->more && bf_task_lost(task, run_end->isolation, err))
        return -1;
    task->run->backend->free(bf_take(task->run));
    return retry_later(runs, task, after_ms, err);
}

static void tell(const struct bf_task *task, const struct bf_run_end *run_end)
{
    const char *backend = task->run->backend->name;

    if (run_end->alarm && run_end->relief)
        bf_log_info("provider_well", bf_kv_str("backend", backend),
                    bf_kv_str("message", run_end->alarm));
    else if (run_end->alarm)
        bf_log_error("provider", bf_kv_str("backend", backend),
                     bf_kv_str("cause", run_end->cause),
                     bf_kv_str("error", run_end->alarm));
    else if (run_end->cause && run_end->outcome != BF_OUTCOME_SUCCEEDED)
        bf_log_debug("run_trouble", bf_kv_str("backend", backend),
                     bf_kv_str("cause", run_end->cause),
                     bf_kv_str("run", task->run_id));
}

static int run_ended(struct bf_runs *runs, struct bf_task *task,
                     const struct bf_run_end *run_end, struct bf_err *err)
{
    tell(task, run_end);
    bf_runs_release(runs, task);
    if (follows(task, run_end))
        return try_again(runs, task, run_end, err);
    return bf_runs_ended(
        runs, task, bf_ending_run(&runs->config.ending, task, run_end, err));
}

/* ---- requests out ---- */

/* The backend's own log, beside Kafka: one line when a run starts. */
static void log_run(const struct bf_runs *runs, const struct bf_task *task)
{
    char line[256];
    int len;

    if (runs->config.log_fd < 0)
        return;
    len = snprintf(line, sizeof(line), "%s %.*s %.*s %u %u %s\n", task->run_id,
                   BF_SLICE_ARG(task->job.workspace),
                   BF_SLICE_ARG(task->job.id), task->job.generation,
                   task->attempt, bf_execution_name(task->job.execution));
    if (write(runs->config.log_fd, line, (size_t)len) != len)
        bf_log_warn("log_runs", bf_kv_str("error", strerrorname_np(errno)));
}

/* Its time runs from when a runner begins it: no timer until then. */
static int send_to_runner(struct bf_runs *runs, struct bf_task *task,
                          const struct bf_request *request, struct bf_err *err)
{
    struct bf_err why = {0};
    struct bf_reply unsent = {.kind = BF_REPLY_UNSENT, .error = why.msg};

    if (!runs->config.runners)
        return bf_err_set(err, BF_ERR_FATAL, "transport", "without runners");
    task->runner_call = bf_runner_pool_send(runs->config.runners, task->run_id,
                                            request, task, &why);
    return task->runner_call ? 0 : advance(runs, task, &unsent, err);
}

/*
 * When to look after a step that takes so long at the most: at the run's
 * deadline if that is sooner; if its time does not count yet, when it expires.
 */
static int wake_after(struct bf_runs *runs, struct bf_task *task, int64_t ms,
                      struct bf_err *err)
{
    int64_t now = bf_mono_ms();
    int64_t left = task->deadline_ms > 0
                       ? task->deadline_ms - now
                       : task->job.expires_at_ms - bf_now_ms();

    task->step_due_ms = now + ms;
    left = left > 0 ? left : 0;
    return bf_timers_set(&runs->timers, &task->timer,
                         now + (ms < left ? ms : left), err);
}

/* User code may start from here on. */
static void start_counting(struct bf_task *task, int64_t grace_ms)
{
    bf_task_start_clock(task);
    task->deadline_ms = bf_mono_ms() + (int64_t)task->job.timeout_ms + grace_ms;
}

static int64_t patience(const struct bf_request *request)
{
    if (request->timeout_ms > 0)
        return request->timeout_ms;
    return request->runs ? (int64_t)BF_MAX_TIMEOUT_MS + request->grace_ms
                         : BF_STEP_MS;
}

/*
 * Waiting for a connection is a part of its time. No line in our log: whether
 * it started there is the endpoint's to say.
 */
static int send_by_http(struct bf_runs *runs, struct bf_task *task,
                        const struct bf_request *request, struct bf_err *err)
{
    const struct bf_forward *forward = &runs->config.forward;
    struct bf_err why = {0};
    struct bf_reply unsent = {.kind = BF_REPLY_UNSENT, .error = why.msg};

    if (!forward->pool)
        return bf_err_set(err, BF_ERR_FATAL, "transport", "without HTTP");
    task->http_call =
        bf_forward_send(forward, &task->input, request, task, &why);
    if (!task->http_call && why.kind == BF_ERR_REJECT)
        return advance(runs, task, &unsent, err);
    if (!task->http_call) {
        *err = why;
        err->kind = BF_ERR_FATAL;
        return -1;
    }
    if (request->runs)
        start_counting(task, request->grace_ms);
    return wake_after(runs, task, patience(request), err);
}

static int send_by_timer(struct bf_runs *runs, struct bf_task *task,
                         const struct bf_request *request, struct bf_err *err)
{
    const struct bf_reply now = {.kind = BF_REPLY_OK};

    if (request->runs) {
        log_run(runs, task);
        start_counting(task, request->grace_ms);
    }
    /* While its bytes are in the cache. */
    if (request->delay_ms == 0)
        return advance(runs, task, &now, err);
    task->waits = true;
    return wake_after(runs, task, request->delay_ms, err);
}

static int transmit(struct bf_runs *runs, struct bf_task *task,
                    const struct bf_request *request, struct bf_err *err)
{
    task->waits = false;
    switch (request->by) {
    case BF_BY_TIMER:
        return send_by_timer(runs, task, request, err);
    case BF_BY_RUNNER:
        return send_to_runner(runs, task, request, err);
    case BF_BY_HTTP:
        return send_by_http(runs, task, request, err);
    }
    return bf_err_set(err, BF_ERR_FATAL, "transport", "there is no such");
}

static int advance(struct bf_runs *runs, struct bf_task *task,
                   const struct bf_reply *reply, struct bf_err *err)
{
    struct bf_request request = {0};
    struct bf_run_end end = {0};
    struct bf_reply told = *reply;
    int step;

    told.now_ms = bf_now_ms();
    told.mono_ms = bf_mono_ms();
    step = task->run->backend->step(task->run, &told, &request, &end, err);

    bf_timers_cancel(&runs->timers, &task->timer);
    if (step == BF_STEP_SEND)
        return transmit(runs, task, &request, err);
    if (step == BF_STEP_DONE)
        return run_ended(runs, task, &end, err);
    err->kind = BF_ERR_FATAL;
    return -1;
}

const struct bf_backend *bf_runs_route(const struct bf_runs *runs,
                                       const struct bf_task *task)
{
    if (!task->job.backend.ptr)
        return runs->config.backend;
    return bf_slice_is(task->job.backend, runs->config.backend->name)
               ? runs->config.backend
               : NULL;
}

static int cannot_begin(struct bf_runs *runs, struct bf_task *task,
                        struct bf_err *err)
{
    struct bf_err why = *err;

    return bf_runs_ended(
        runs, task,
        bf_ending_rejected(&runs->config.ending, task, "dispatch", &why, err));
}

int bf_runs_launch(struct bf_runs *runs, struct bf_task *task,
                   struct bf_err *err)
{
    struct bf_reply first = {.kind = BF_REPLY_NONE};
    const struct bf_backend *backend = bf_runs_route(runs, task);

    bf_runs_set_phase(runs, task, BF_TASK_RUNNING);
    bf_task_start_clock(task);
    task->deadline_ms = 0;
    task->input = (struct bf_run_input){.job = &task->job,
                                        .block = task->block,
                                        .run_id = task->run_id,
                                        .attempt = task->attempt,
                                        .shard = task->item.shard,
                                        .epoch = task->item.epoch};
    task->run = backend->begin(&runs->config.backend_config, &task->input, err);
    if (!task->run)
        return err->kind == BF_ERR_REJECT ? cannot_begin(runs, task, err) : -1;
    return advance(runs, task, &first, err);
}

/* ---- replies in ---- */

static enum bf_reply_kind what_is_over(const struct bf_task *task)
{
    int64_t now = bf_mono_ms();

    if (task->deadline_ms > 0 && now >= task->deadline_ms)
        return BF_REPLY_DEADLINE;
    return task->waits && now >= task->step_due_ms ? BF_REPLY_OK
                                                   : BF_REPLY_LATE;
}

int bf_runs_overdue(struct bf_runs *runs, struct bf_task *task,
                    struct bf_err *err)
{
    struct bf_reply reply = {.kind = what_is_over(task)};

    if (task->http_call)
        reply = bf_forward_kill(bf_take(task->http_call), reply.kind);
    bf_runs_hang_up(runs, task);
    return advance(runs, task, &reply, err);
}

static int run_started(struct bf_runs *runs, struct bf_task *task,
                       struct bf_err *err)
{
    log_run(runs, task);
    start_counting(task, RUNNER_LATE_MS);
    return bf_timers_set(&runs->timers, &task->timer, task->deadline_ms, err);
}

/* The transport's call is over. */
static int answered(struct bf_runs *runs, struct bf_task *task,
                    const struct bf_reply *reply, struct bf_err *err)
{
    int rc;

    task->runner_call = NULL;
    task->http_call = NULL;
    rc = advance(runs, task, reply, err);
    /* Its outputs are a copy; of a try that another follows nothing stays. */
    if (rc == 0 && task->phase == BF_TASK_ENDING) {
        task->bytes += reply->body.len;
        runs->budget.held += reply->body.len;
    }
    return rc;
}

static int serve_runners(struct bf_runs *runs, struct bf_err *err)
{
    struct bf_runner_pool *pool = runs->config.runners;
    struct bf_runner_event event;
    int rc = 0;

    if (!pool)
        return 0;
    bf_runner_pool_serve(pool);
    while (rc == 0 && bf_runner_pool_take(pool, &event) != BF_RUNNER_QUIET)
        rc = event.news == BF_RUNNER_STARTED
                 ? run_started(runs, event.opaque, err)
                 : answered(runs, event.opaque, &event.reply, err);
    return rc;
}

static int serve_http(struct bf_runs *runs, struct bf_err *err)
{
    struct bf_http_pool *pool = runs->config.forward.pool;
    struct bf_http_call *call;
    struct bf_http_done done;
    int rc;

    if (!pool)
        return 0;
    rc = bf_http_pool_serve(pool, err);
    while (rc == 0 && (call = bf_http_pool_take(pool, &done))) {
        struct bf_reply reply = bf_forward_reply(&done);

        rc = answered(runs, done.opaque, &reply, err);
        bf_http_call_free(call);
    }
    return rc;
}

int bf_runs_serve_calls(struct bf_runs *runs, struct bf_err *err)
{
    return serve_runners(runs, err) || serve_http(runs, err) ? -1 : 0;
}
