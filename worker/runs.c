#include "worker/runs.h"

#include <errno.h>
#include <search.h>

#include "config/clock.h"
#include "config/fleet_topics.h"
#include "config/log.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "worker/committer.h"
#include "worker/crash.h"
#include "worker/runner_pool.h"

#define BACKOFF_MS 100 /* before the second try of what did not run */
#define MAX_BACKOFF_MS 5000
/* What is due and finds no room asks again after this long. */
#define TURN_MS 20
/* A runner keeps deadlines itself; this is how much later we lose patience. */
#define RUNNER_LATE_MS 2000

struct bf_runs {
    struct bf_runs_config config;
    struct bf_task *tasks; /* doubly linked */
    struct bf_timers timers;
    struct bf_order order; /* whose turn it is, by order key */
    void *claims;   /* tsearch tree of the tasks whose ids must not repeat */
    size_t running; /* STARTING and RUNNING */
    int64_t crowded_until_ms;
    size_t count;
    size_t bytes;
    struct bf_runs_count total;
};

static int launch(struct bf_runs *runs, struct bf_task *task,
                  struct bf_err *err);
static int advance(struct bf_runs *runs, struct bf_task *task,
                   const struct bf_reply *reply, struct bf_err *err);

struct bf_runs *bf_runs_new(const struct bf_runs_config *config,
                            struct bf_err *err)
{
    struct bf_runs *runs = calloc(1, sizeof(*runs));

    if (!runs) {
        bf_err_oom(err);
        return NULL;
    }
    runs->config = *config;
    return runs;
}

static void add(struct bf_runs *runs, struct bf_task *task)
{
    task->next = runs->tasks;
    if (task->next)
        task->next->prev = task;
    runs->tasks = task;
    runs->count++;
    runs->bytes += task->bytes;
}

/* Whoever runs it is told to stop, and not listened to any more. */
static void hang_up(struct bf_runs *runs, struct bf_task *task)
{
    if (task->runner_call)
        bf_runner_pool_cancel(runs->config.runners, bf_take(task->runner_call));
    if (task->http_call)
        bf_http_call_cancel(bf_take(task->http_call));
}

/*
 * Two records claim the same job: same id, in the same life of the shard. (A
 * task of an earlier epoch will be dropped, and its record is read again.)
 */
static int compare_claims(const void *a, const void *b)
{
    const struct bf_item *x = &((const struct bf_task *)a)->item;
    const struct bf_item *y = &((const struct bf_task *)b)->item;
    int order = memcmp(x->finished_id, y->finished_id, BF_FINISHED_ID_SIZE);

    if (order != 0)
        return order;
    return (x->epoch > y->epoch) - (x->epoch < y->epoch);
}

/*
 * Whoever waited behind this one may start, now that the outcome is committed:
 * earlier, and a worker's death could run the two in the wrong order.
 */
static void pass_turn(struct bf_runs *runs, struct bf_task *task)
{
    struct bf_order_node *turn = bf_order_leave(&runs->order, &task->turn);
    struct bf_task *next;
    int64_t wait;

    if (!turn)
        return;
    next = (struct bf_task *)((char *)turn - offsetof(struct bf_task, turn));
    wait = next->job.not_before_ms - bf_now_ms();
    bf_assert(bf_timers_set(&runs->timers, &next->timer,
                            bf_mono_ms() + (wait > 0 ? wait : 0),
                            &(struct bf_err){0}) == 0);
}

/* The task is over, one way or the other. */
static void drop(struct bf_runs *runs, struct bf_task *task)
{
    pass_turn(runs, task);
    if (task->prev)
        task->prev->next = task->next;
    else
        runs->tasks = task->next;
    if (task->next)
        task->next->prev = task->prev;
    runs->count--;
    runs->bytes -= task->bytes;
    runs->running -=
        task->phase == BF_TASK_STARTING || task->phase == BF_TASK_RUNNING;
    bf_timers_cancel(&runs->timers, &task->timer);
    hang_up(runs, task);
    if (task->claims)
        tdelete(task, &runs->claims, compare_claims);
    bf_shards_done(runs->config.shards, task->item.shard, task->item.epoch);
    bf_task_free(task);
}

void bf_runs_free(struct bf_runs *runs)
{
    if (!runs)
        return;
    bf_runs_kill_all(runs);
    bf_assert(!runs->tasks);
    bf_timers_release(&runs->timers);
    free(runs);
}

static void set_phase(struct bf_runs *runs, struct bf_task *task,
                      enum bf_task_phase phase)
{
    bool was =
        task->phase == BF_TASK_STARTING || task->phase == BF_TASK_RUNNING;
    bool is = phase == BF_TASK_STARTING || phase == BF_TASK_RUNNING;

    runs->running = runs->running - was + is;
    task->phase = phase;
}

static void submit(struct bf_runs *runs, struct bf_task *task,
                   enum bf_task_phase phase)
{
    set_phase(runs, task, phase);
    bf_committer_put(runs->config.committer, &task->item.msg);
}

/* ---- how a task ends ---- */

static void complete_offset(struct bf_task *task)
{
    task->item.from = task->source.offset;
    task->item.to = task->source.offset + 1;
}

static int finish(struct bf_runs *runs, struct bf_task *task,
                  const struct bf_death *death, struct bf_err *err)
{
    struct bf_end *end = &task->end;

    /* The first time: a refusal does not make the run longer. */
    if (end->ended_at_ms == 0)
        end->ended_at_ms = bf_now_ms();
    if (task->begun) {
        end->run_id = task->run_id;
        end->started_at_ms = task->started_at_ms;
        end->has_usage = true;
        end->billable = end->delivery == BF_DELIVERY_RAN;
        if (task->job.execution == BF_AT_MOST_ONCE)
            bf_task_entry(task, true);
    }
    if (task->nlost > 0 && end->delivery == BF_DELIVERY_DID_NOT_RUN)
        end->delivery = BF_DELIVERY_UNKNOWN;
    if (task->block) {
        end->fingerprint = bf_block_fingerprint(task->block);
        end->block_type = bf_block_type(task->block);
    }
    complete_offset(task);
    if (bf_task_outputs(task, &runs->config.names, death, err)) {
        err->kind = BF_ERR_FATAL;
        return -1;
    }
    submit(runs, task, BF_TASK_ENDING);
    return 0;
}

/* What the task knows of its end, as a dead letter. */
static struct bf_death death_of(const struct bf_task *task)
{
    return (struct bf_death){.source = &task->source,
                             .job = &task->job,
                             .stage = task->stage,
                             .message = task->why.msg,
                             .at_ms = bf_now_ms(),
                             .bare = task->minimal,
                             .cut = task->flaw.kind != BF_ERR_NONE};
}

static int finish_dead(struct bf_runs *runs, struct bf_task *task,
                       const char *stage, enum bf_reason reason,
                       struct bf_err *err)
{
    struct bf_death death;

    task->why = *err;
    task->stage = stage;
    death = death_of(task);
    death.reason = bf_reason_name(reason);
    task->end.reason = reason;
    task->end.report.message = bf_slice_str(task->why.msg);
    return finish(runs, task, &death, err);
}

static int finish_rejected(struct bf_runs *runs, struct bf_task *task,
                           const char *stage, struct bf_err *err)
{
    int reason = bf_reason_parse(bf_slice_str(err->code));

    task->end.outcome = BF_OUTCOME_REJECTED;
    task->end.delivery = BF_DELIVERY_DID_NOT_RUN;
    return finish_dead(
        runs, task, stage,
        reason < 0 ? BF_REASON_BAD_RECORD : (enum bf_reason)reason, err);
}

static int finish_expired(struct bf_runs *runs, struct bf_task *task,
                          struct bf_err *err)
{
    struct bf_err why = *err;

    task->end.outcome = BF_OUTCOME_EXPIRED;
    task->end.delivery = BF_DELIVERY_DID_NOT_RUN;
    task->end.report.message = bf_slice_str(why.msg);
    return finish(runs, task, NULL, err);
}

/* A dead letter and no result. */
static int finish_unanswered(struct bf_runs *runs, struct bf_task *task,
                             const char *stage, bool trusted,
                             struct bf_err *err)
{
    struct bf_death death;

    task->why = *err;
    task->stage = stage;
    task->unanswered = true;
    task->trusted = trusted;
    death = death_of(task);
    death.reason = task->why.code;
    if (!trusted)
        death.job = NULL;
    if (task->item.from == task->item.to)
        complete_offset(task);
    if (bf_task_letter(task, &runs->config.names, &death, err)) {
        err->kind = BF_ERR_FATAL;
        return -1;
    }
    submit(runs, task, BF_TASK_ENDING);
    return 0;
}

static int finish_untrusted(struct bf_runs *runs, struct bf_task *task,
                            struct bf_err *err)
{
    runs->total.untrusted++;
    bf_log_err(BF_LOG_WARN, "untrusted", err,
               bf_kv_int("shard", task->source.partition),
               bf_kv_int("offset", task->source.offset));
    return finish_unanswered(runs, task, "verify", false, err);
}

/* A trusted record without an id: the letter's reason is a result's. */
static int finish_nobody(struct bf_runs *runs, struct bf_task *task,
                         struct bf_err *err)
{
    bf_log_err(BF_LOG_WARN, "nobody_to_answer", err,
               bf_kv_int("shard", task->source.partition),
               bf_kv_int("offset", task->source.offset));
    return finish_unanswered(runs, task, "decode", true, err);
}

/* An earlier owner committed to begin it and died: nobody can say. */
static int finish_unknown(struct bf_runs *runs, struct bf_task *task,
                          const struct bf_started *started, struct bf_err *err)
{
    struct bf_err why = {0};

    bf_err_set(&why, BF_ERR_REJECT, "worker_lost",
               "the worker died in the middle of this at_most_once run");
    task->attempt = started->attempt;
    memcpy(task->run_id, started->run_id, sizeof(task->run_id));
    task->begun = started->run_id[0];
    task->end.outcome = BF_OUTCOME_UNKNOWN;
    task->end.reason = BF_REASON_WORKER_LOST;
    task->end.delivery = BF_DELIVERY_UNKNOWN;
    task->end.report.message = bf_slice_str(why.msg);
    task->end.backend = runs->config.backend->name;
    bf_task_entry(task, true);
    return finish(runs, task, NULL, err);
}

/* ---- a run and its backend ---- */

static int wake_in(struct bf_runs *runs, struct bf_task *task, int64_t ms,
                   struct bf_err *err)
{
    return bf_timers_set(&runs->timers, &task->timer, bf_mono_ms() + ms, err);
}

static int retry_later(struct bf_runs *runs, struct bf_task *task,
                       int64_t after_ms, struct bf_err *err)
{
    int64_t wait = BACKOFF_MS;

    for (int i = 0; i < task->tries && wait < MAX_BACKOFF_MS; i++)
        wait *= 2;
    wait = wait < MAX_BACKOFF_MS ? wait : MAX_BACKOFF_MS;
    /* Half of it random, so that a fleet does not come back as one. */
    wait = wait / 2 + (int64_t)(task->run_id[0] * 7 % 50) * wait / 100;
    wait = wait > after_ms ? wait : after_ms;
    task->tries++;
    set_phase(runs, task, BF_TASK_WAITING);
    return wake_in(runs, task, wait, err);
}

/* Too large for a record: billed, replaced before it is produced. */
static void cap_result(struct bf_runs *runs, struct bf_task *task)
{
    struct bf_end *end = &task->end;

    if (end->result.len <= runs->config.max_result_bytes)
        return;
    end->outcome = BF_OUTCOME_FAILED;
    end->reason = BF_REASON_OUTPUT_TOO_LARGE;
    end->result = (struct bf_slice){NULL, 0};
    end->report.message =
        BF_SLICE_LIT("the result is larger than a result record may be");
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

static int run_ended(struct bf_runs *runs, struct bf_task *task,
                     const struct bf_run_end *run_end, struct bf_err *err)
{
    struct bf_end *end = &task->end;

    if (follows(task, run_end))
        return try_again(runs, task, run_end, err);
    end->outcome = run_end->outcome;
    end->reason = run_end->reason;
    end->delivery = run_end->delivery;
    end->result = run_end->result;
    end->report = run_end->report;
    end->isolation = run_end->isolation;
    end->provider = run_end->provider;
    end->backend = task->run->backend->name;
    end->duration_us = run_end->duration_us >= 0
                           ? run_end->duration_us
                           : bf_mono_us() - task->started_us;
    cap_result(runs, task);
    if (end->outcome != BF_OUTCOME_DEAD)
        return finish(runs, task, NULL, err);
    bf_err_set(err, BF_ERR_REJECT, "dead", "%.*s",
               BF_SLICE_ARG(end->report.message));
    return finish_dead(runs, task, "run", end->reason, err);
}

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
 * Waiting for a connection is a part of its time. No line in our log: whether
 * it started there is the endpoint's to say.
 */
static int send_by_http(struct bf_runs *runs, struct bf_task *task,
                        const struct bf_request *request, struct bf_err *err)
{
    const struct bf_forward *forward = &runs->config.forward;

    if (!forward->pool)
        return bf_err_set(err, BF_ERR_FATAL, "transport", "without HTTP");
    task->http_call =
        bf_forward_send(forward, &task->input, request, task, err);
    if (!task->http_call) {
        /* No memory, or a URL that is the same for all of them. */
        err->kind = BF_ERR_FATAL;
        return -1;
    }
    return wake_in(runs, task, (int64_t)task->job.timeout_ms, err);
}

static int transmit(struct bf_runs *runs, struct bf_task *task,
                    const struct bf_request *request, struct bf_err *err)
{
    int64_t wait = (int64_t)task->job.timeout_ms;

    switch (request->by) {
    case BF_BY_TIMER:
        log_run(runs, task);
        wait = request->delay_ms < wait ? request->delay_ms : wait;
        return wake_in(runs, task, wait, err);
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
    int step = task->run->backend->step(task->run, reply, &request, &end, err);

    bf_timers_cancel(&runs->timers, &task->timer);
    if (step == BF_STEP_SEND)
        return transmit(runs, task, &request, err);
    if (step == BF_STEP_DONE)
        return run_ended(runs, task, &end, err);
    err->kind = BF_ERR_FATAL;
    return -1;
}

static const struct bf_backend *route(const struct bf_runs *runs,
                                      const struct bf_task *task)
{
    if (!task->job.backend.ptr)
        return runs->config.backend;
    return bf_slice_is(task->job.backend, runs->config.backend->name)
               ? runs->config.backend
               : NULL;
}

static int launch(struct bf_runs *runs, struct bf_task *task,
                  struct bf_err *err)
{
    struct bf_reply first = {.kind = BF_REPLY_NONE};
    const struct bf_backend *backend = route(runs, task);

    set_phase(runs, task, BF_TASK_RUNNING);
    bf_task_start_clock(task);
    task->input = (struct bf_run_input){.job = &task->job,
                                        .block = task->block,
                                        .run_id = task->run_id,
                                        .attempt = task->attempt};
    task->run = backend->begin(&runs->config.backend_config, &task->input, err);
    if (!task->run)
        return err->kind == BF_ERR_REJECT
                   ? finish_rejected(runs, task, "dispatch", err)
                   : -1;
    return advance(runs, task, &first, err);
}

/* ---- how a task begins ---- */

static int start(struct bf_runs *runs, struct bf_task *task, struct bf_err *err)
{
    if (bf_now_ms() >= task->job.expires_at_ms) {
        bf_err_set(err, BF_ERR_REJECT, "expired",
                   "not started before bf_expires_at_ms");
        return finish_expired(runs, task, err);
    }
    if (task->begun)
        return launch(runs, task, err);
    if (!route(runs, task)) {
        bf_err_set(err, BF_ERR_REJECT, "no_backend",
                   "backend \"%.*s\" is not configured here",
                   BF_SLICE_ARG(task->job.backend));
        return finish_rejected(runs, task, "dispatch", err);
    }
    bf_task_begin(task);
    if (task->job.execution == BF_AT_LEAST_ONCE)
        return launch(runs, task, err);
    bf_task_entry(task, false);
    submit(runs, task, BF_TASK_STARTING);
    return 0;
}

/* 1: it may go on; 0: pass_turn() will wake it; -1: RETRY. */
static int take_turn(struct bf_runs *runs, struct bf_task *task,
                     struct bf_err *err)
{
    task->turn = (struct bf_order_node){.workspace = task->job.workspace,
                                        .key = task->job.order_key,
                                        .lane = task->item.lane,
                                        .epoch = task->item.epoch};
    set_phase(runs, task, BF_TASK_WAITING);
    return bf_order_enter(&runs->order, &task->turn, err);
}

static int begin(struct bf_runs *runs, struct bf_task *task, struct bf_err *err)
{
    const struct bf_started *started =
        bf_shards_started(runs->config.shards, task->item.shard,
                          task->item.lane, task->source.offset);
    int64_t wait = task->job.not_before_ms - bf_now_ms();
    int turn;

    if (started)
        return finish_unknown(runs, task, started, err);
    if (task->job.order_key.ptr) {
        turn = take_turn(runs, task, err);
        if (turn <= 0)
            return turn;
    }
    if (wait <= 0)
        return start(runs, task, err);
    set_phase(runs, task, BF_TASK_WAITING);
    return bf_timers_set(&runs->timers, &task->timer, bf_mono_ms() + wait, err);
}

/*
 * A copy of a job that this shard has ended, or is about to: the first to
 * start wins. Ids that the dispatcher made up are not repeated by anybody who
 * may sign, so they are not remembered (design.md §4.8).
 */
static bool is_copy(struct bf_runs *runs, struct bf_task *task)
{
    struct bf_task **at;

    if (task->job.id_origin == BF_ID_SERVER)
        return false;
    bf_finished_id(task->job.workspace, task->job.id, task->job.generation,
                   task->item.finished_id);
    if (bf_shards_finished(runs->config.shards, task->item.shard,
                           task->item.finished_id))
        return true;
    at = tsearch(task, &runs->claims, compare_claims);
    bf_assert(at);
    task->claims = *at == task;
    task->item.finishes = task->claims;
    return !task->claims;
}

/* The offset is over; what the copy was a copy of has its own result. */
static int finish_copy(struct bf_runs *runs, struct bf_task *task)
{
    runs->total.copies++;
    bf_log_info("duplicate", bf_kv_slice("workspace", task->job.workspace),
                bf_kv_slice("job", task->job.id),
                bf_kv_int("shard", task->item.shard),
                bf_kv_int("offset", task->source.offset));
    complete_offset(task);
    submit(runs, task, BF_TASK_ENDING);
    return 0;
}

static int admit(struct bf_runs *runs, struct bf_task *task, struct bf_err *err)
{
    struct bf_admit_rules rules = {.verifier = runs->config.verifier,
                                   .shards = runs->config.nshards,
                                   .now_ms = bf_now_ms()};
    struct bf_err why = {0};
    enum bf_admission admission;

    if (task->flaw.kind != BF_ERR_NONE) {
        why = task->flaw;
        return finish_untrusted(runs, task, &why);
    }
    admission = bf_admit(&rules, &task->source, &task->job, &task->block, &why);
    if (admission != BF_ADMIT_RUN && why.kind != BF_ERR_REJECT) {
        *err = why; /* no memory: it says nothing about the record */
        return -1;
    }
    if (admission != BF_ADMIT_UNTRUSTED && admission != BF_ADMIT_NOBODY &&
        is_copy(runs, task))
        return finish_copy(runs, task);
    switch (admission) {
    case BF_ADMIT_RUN:
        return begin(runs, task, err);
    case BF_ADMIT_UNTRUSTED:
        return finish_untrusted(runs, task, &why);
    case BF_ADMIT_NOBODY:
        return finish_nobody(runs, task, &why);
    case BF_ADMIT_REJECTED:
        return finish_rejected(runs, task, "decode", &why);
    case BF_ADMIT_EXPIRED:
        return finish_expired(runs, task, &why);
    }
    return -1;
}

static void place(struct bf_task *task, const struct bf_pull *pull)
{
    task->item.shard = pull->shard;
    task->item.epoch = pull->epoch;
    task->item.lane = pull->lane;
}

static const char *lane_topic(const struct bf_runs *runs, enum bf_lane lane)
{
    return bf_topic_name(runs->config.names.topics, lane == BF_LANE_BATCH
                                                        ? BF_TOPIC_BATCH
                                                        : BF_TOPIC_JOBS);
}

/* Offsets that the log does not hold: a loss unless they were complete. */
static int take_gap(struct bf_runs *runs, const struct bf_pull *pull,
                    struct bf_err *err)
{
    struct bf_task *task = bf_task_new_gap(lane_topic(runs, pull->lane),
                                           pull->shard, pull->from, err);
    struct bf_err why = {0};

    if (!task)
        return -1;
    place(task, pull);
    add(runs, task);
    task->item.from = pull->from;
    task->item.to = pull->to;
    if (pull->lost == 0) {
        submit(runs, task, BF_TASK_ENDING);
        return 0;
    }
    runs->total.lost_offsets += (uint64_t)pull->lost;
    bf_err_set(&why, BF_ERR_REJECT, "lost_records",
               "%lld records of offsets %lld to %lld are not in the log, or "
               "cannot be unpacked",
               (long long)pull->lost, (long long)pull->from,
               (long long)pull->to - 1);
    bf_log_err(BF_LOG_ERROR, "lost_records", &why,
               bf_kv_str("topic", task->source.topic),
               bf_kv_int("shard", pull->shard));
    return finish_unanswered(runs, task, "consume", false, &why);
}

int bf_runs_take(struct bf_runs *runs, const struct bf_pull *pull,
                 struct bf_err *err)
{
    struct bf_task *task;

    if (pull->kind == BF_PULL_GAP)
        return take_gap(runs, pull, err);
    task = bf_task_new(pull->msg, lane_topic(runs, pull->lane), err);
    if (!task)
        return -1;
    place(task, pull);
    add(runs, task);
    return admit(runs, task, err);
}

static size_t bytes_held(const struct bf_runs *runs)
{
    const struct bf_http_pool *pool = runs->config.forward.pool;

    return runs->bytes + (pool ? bf_http_pool_bytes(pool) : 0);
}

bool bf_runs_has_room(const struct bf_runs *runs)
{
    return runs->running < runs->config.concurrency &&
           bf_mono_ms() >= runs->crowded_until_ms &&
           bytes_held(runs) < runs->config.memory_bytes;
}

/* ---- what others say ---- */

/* The broker will not take the outputs: the smallest result that there is. */
static int make_smaller(struct bf_runs *runs, struct bf_task *task,
                        struct bf_err *err)
{
    struct bf_err why = {0};
    bool large = task->item.refused == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    enum bf_reason reason =
        large ? BF_REASON_OUTPUT_TOO_LARGE : BF_REASON_REFUSED_BY_BROKER;

    bf_err_set(&why, BF_ERR_REJECT, bf_reason_name(reason),
               "the broker refuses the output: %s",
               rd_kafka_err2str(task->item.refused));
    bf_log_err(BF_LOG_ERROR, "output_refused", &why,
               bf_kv_int("shard", task->item.shard),
               bf_kv_int("offset", task->source.offset));
    if (task->minimal) {
        *err = why;
        err->kind = BF_ERR_FATAL;
        return bf_err_prefix(err, "even the smallest output is refused");
    }
    task->minimal = true;
    /* It was the copy of the record in the letter: the verdict stands. */
    why = task->unanswered || task->end.outcome == BF_OUTCOME_REJECTED
              ? task->why
              : why;
    if (task->unanswered)
        return finish_unanswered(runs, task, task->stage, task->trusted, &why);
    if (task->end.outcome == BF_OUTCOME_REJECTED)
        return finish_rejected(runs, task, task->stage, &why);
    task->end.outcome = BF_OUTCOME_DEAD;
    task->end.result = (struct bf_slice){NULL, 0};
    task->end.report = (struct bf_report){.line_number = 0};
    return finish_dead(runs, task, "produce", reason, &why);
}

int bf_runs_answered(struct bf_runs *runs, struct bf_item *item,
                     struct bf_err *err)
{
    struct bf_task *task = (struct bf_task *)item;

    switch (item->end) {
    case BF_ITEM_REFUSED:
        return make_smaller(runs, task, err);
    case BF_ITEM_DROPPED:
        runs->total.late++;
        drop(runs, task);
        return 0;
    case BF_ITEM_COMMITTED:
        break;
    }
    /* A started run of a shard that went is the next owner's to report. */
    if (task->phase == BF_TASK_ENDING && item->nout > 0 && !task->unanswered)
        runs->total.ended[task->end.outcome]++;
    if (task->phase != BF_TASK_STARTING ||
        !bf_shards_owns(runs->config.shards, item->shard, item->epoch)) {
        drop(runs, task);
        return 0;
    }
    bf_crash_point("after_started");
    item->has_entry = false;
    return launch(runs, task, err);
}

/* Those that wait come before new ones, and keep to the same limit. */
static int waited(struct bf_runs *runs, struct bf_task *task,
                  struct bf_err *err)
{
    if (runs->running < runs->config.concurrency ||
        bf_now_ms() >= task->job.expires_at_ms)
        return start(runs, task, err);
    runs->crowded_until_ms = bf_mono_ms() + 2LL * TURN_MS;
    return wake_in(runs, task, TURN_MS, err);
}

static int due(struct bf_runs *runs, struct bf_task *task, struct bf_err *err)
{
    struct bf_reply reply = {.kind = BF_REPLY_OK};

    if (task->phase == BF_TASK_WAITING)
        return waited(runs, task, err);
    if (task->http_call)
        reply = bf_forward_kill(bf_take(task->http_call));
    else if (bf_mono_us() - task->started_us >=
             (int64_t)task->job.timeout_ms * 1000)
        reply.kind = BF_REPLY_DEADLINE;
    hang_up(runs, task);
    return advance(runs, task, &reply, err);
}

static int run_started(struct bf_runs *runs, struct bf_task *task,
                       struct bf_err *err)
{
    log_run(runs, task);
    bf_task_start_clock(task);
    return wake_in(runs, task, (int64_t)task->job.timeout_ms + RUNNER_LATE_MS,
                   err);
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
        runs->bytes += reply->body.len;
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

int bf_runs_serve(struct bf_runs *runs, struct bf_err *err)
{
    struct bf_timer *timer;

    /* Before the timers: an answer that is there is in time. */
    if (serve_runners(runs, err) || serve_http(runs, err))
        return -1;
    while ((timer = bf_timers_due(&runs->timers, bf_mono_ms()))) {
        struct bf_task *task =
            (struct bf_task *)((char *)timer - offsetof(struct bf_task, timer));

        if (due(runs, task, err))
            return -1;
    }
    return 0;
}

int bf_runs_wait(const struct bf_runs *runs, int max_ms)
{
    const struct bf_runner_pool *runners = runs->config.runners;
    const struct bf_http_pool *http = runs->config.forward.pool;
    int wait = bf_timers_wait(&runs->timers, bf_mono_ms(), max_ms);

    if (runners)
        wait = bf_runner_pool_wait(runners, wait);
    return http ? bf_http_pool_wait(http, wait) : wait;
}

/* Not begun, and not to be begun any more; or of no use to anybody. */
static bool must_go(const struct bf_runs *runs, const struct bf_task *task)
{
    const struct bf_shards *shards = runs->config.shards;
    const struct bf_item *item = &task->item;

    if (task->phase == BF_TASK_WAITING &&
        bf_shards_draining(shards, item->shard))
        return true;
    return (task->phase == BF_TASK_WAITING || task->phase == BF_TASK_RUNNING) &&
           !bf_shards_owns(shards, item->shard, item->epoch);
}

void bf_runs_let_go(struct bf_runs *runs)
{
    struct bf_task *next;

    for (struct bf_task *task = runs->tasks; task; task = next) {
        next = task->next;
        if (must_go(runs, task))
            drop(runs, task);
    }
}

void bf_runs_kill_all(struct bf_runs *runs)
{
    struct bf_task *next;

    for (struct bf_task *task = runs->tasks; task; task = next) {
        next = task->next;
        if (task->phase == BF_TASK_WAITING || task->phase == BF_TASK_RUNNING)
            drop(runs, task);
    }
}

void bf_runs_count(const struct bf_runs *runs, struct bf_runs_count *ret)
{
    *ret = runs->total;
    ret->tasks = runs->count;
    ret->running = runs->running;
    ret->bytes = runs->bytes;
}
