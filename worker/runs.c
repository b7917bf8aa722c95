#include "worker/runs_private.h"

#include <search.h>
#include <sodium.h>

#include "config/clock.h"
#include "config/fleet_topics.h"
#include "config/log.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "worker/committer.h"
#include "worker/crash.h"
#include "worker/runner_pool.h"

/* What is due and finds no room asks again after this long. */
#define TURN_MS 20
/*
 * Tasks whose outputs are not committed yet, as many as two transactions may
 * take. More do not end any sooner: with as many as memory allows (20,000 of
 * them) caches and page tables took a fourth of each job's time.
 */
#define MAX_ENDING 4096
/*
 * Beside as many runs as there may be at once, fewer: a task that ends weighs
 * twice one that runs, and thousands that began together end together.
 */
#define MORE_ENDING 256

struct bf_runs *bf_runs_new(const struct bf_runs_config *config,
                            struct bf_err *err)
{
    struct bf_runs *runs = calloc(1, sizeof(*runs));

    if (runs)
        runs->blocks = bf_blocks_new(err);
    if (!runs || !runs->blocks) {
        free(runs);
        bf_err_oom(err);
        return NULL;
    }
    runs->config = *config;
    runs->budget.max_bytes = config->memory_bytes;
    return runs;
}

static void add(struct bf_runs *runs, struct bf_task *task)
{
    task->next = runs->tasks;
    if (task->next)
        task->next->prev = task;
    runs->tasks = task;
    runs->count++;
    runs->budget.held += task->bytes;
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

/* One task more or less in this phase. */
static void count_phase(struct bf_runs *runs, enum bf_task_phase phase,
                        int change)
{
    if (phase == BF_TASK_STARTING || phase == BF_TASK_RUNNING)
        runs->running += (size_t)change;
    else if (phase == BF_TASK_ENDING)
        runs->ending += (size_t)change;
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
    runs->budget.held -= task->bytes;
    bf_runs_release(runs, task);
    count_phase(runs, task->phase, -1);
    bf_timers_cancel(&runs->timers, &task->timer);
    bf_runs_hang_up(runs, task);
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
    /* Whose answer could not be handled when memory ran out: it is nobody's. */
    while (runs->tasks) {
        struct bf_task *task = runs->tasks;

        runs->tasks = task->next;
        bf_task_free(task);
    }
    bf_timers_release(&runs->timers);
    bf_blocks_free(runs->blocks);
    free(runs);
}

void bf_runs_set_phase(struct bf_runs *runs, struct bf_task *task,
                       enum bf_task_phase phase)
{
    count_phase(runs, task->phase, -1);
    count_phase(runs, phase, 1);
    task->phase = phase;
}

static void submit(struct bf_runs *runs, struct bf_task *task,
                   enum bf_task_phase phase)
{
    bf_runs_set_phase(runs, task, phase);
    bf_committer_put(runs->config.committer, &task->item.msg);
}

int bf_runs_wake_in(struct bf_runs *runs, struct bf_task *task, int64_t ms,
                    struct bf_err *err)
{
    return bf_timers_set(&runs->timers, &task->timer, bf_mono_ms() + ms, err);
}

int bf_runs_ended(struct bf_runs *runs, struct bf_task *task, int rc)
{
    if (rc)
        return -1;
    submit(runs, task, BF_TASK_ENDING);
    return 0;
}

/* ---- how a task begins ---- */

static int reject(struct bf_runs *runs, struct bf_task *task, const char *stage,
                  const struct bf_err *why, struct bf_err *err)
{
    return bf_runs_ended(
        runs, task,
        bf_ending_rejected(&runs->config.ending, task, stage, why, err));
}

static int unanswered(struct bf_runs *runs, struct bf_task *task,
                      const char *stage, bool trusted, const struct bf_err *why,
                      struct bf_err *err)
{
    return bf_runs_ended(runs, task,
                         bf_ending_unanswered(&runs->config.ending, task, stage,
                                              trusted, why, err));
}

static int expire(struct bf_runs *runs, struct bf_task *task,
                  const struct bf_err *why, struct bf_err *err)
{
    return bf_runs_ended(
        runs, task, bf_ending_expired(&runs->config.ending, task, why, err));
}

static size_t bytes_of_calls(const struct bf_runs *runs)
{
    const struct bf_http_pool *pool = runs->config.forward.pool;

    return pool ? bf_http_pool_bytes(pool) : 0;
}

static bool reserve(struct bf_runs *runs, struct bf_task *task,
                    const struct bf_backend *backend)
{
    struct bf_run_input input = {.job = &task->job, .block = task->block};
    size_t bytes = backend->weigh ? backend->weigh(&input) : 0;

    if (bytes == 0)
        return true;
    if (!bf_budget_reserve(&runs->budget, bytes, bytes_of_calls(runs)))
        return false;
    task->reserved = bytes;
    return true;
}

void bf_runs_release(struct bf_runs *runs, struct bf_task *task)
{
    bf_budget_release(&runs->budget, task->reserved);
    task->reserved = 0;
}

/* Those that wait come before new ones. */
static int wait_for_room(struct bf_runs *runs, struct bf_task *task,
                         struct bf_err *err)
{
    runs->crowded_until_ms = bf_mono_ms() + 2LL * TURN_MS;
    bf_runs_set_phase(runs, task, BF_TASK_WAITING);
    return bf_runs_wake_in(runs, task, TURN_MS, err);
}

/* Many at once: each call to the kernel took 2 % of a job's time. */
static const unsigned char *take_random(struct bf_runs *runs)
{
    if (runs->nrandom == 0) {
        randombytes_buf(runs->random, sizeof(runs->random));
        runs->nrandom = sizeof(runs->random);
    }
    runs->nrandom -= RANDOM_BYTES;
    return runs->random + runs->nrandom;
}

static int start(struct bf_runs *runs, struct bf_task *task, struct bf_err *err)
{
    const struct bf_backend *backend = bf_runs_route(runs, task);
    struct bf_err why = {0};

    if (bf_now_ms() >= task->job.expires_at_ms) {
        bf_err_set(&why, BF_ERR_REJECT, "expired",
                   "not started before bf_expires_at_ms");
        return expire(runs, task, &why, err);
    }
    if (!backend) {
        bf_err_set(&why, BF_ERR_REJECT, "no_backend",
                   "backend \"%.*s\" is not configured here",
                   BF_SLICE_ARG(task->job.backend));
        return reject(runs, task, "dispatch", &why, err);
    }
    if (!reserve(runs, task, backend))
        return wait_for_room(runs, task, err);
    if (task->begun)
        return bf_runs_launch(runs, task, err);
    bf_task_begin(task, take_random(runs));
    if (task->job.execution == BF_AT_LEAST_ONCE)
        return bf_runs_launch(runs, task, err);
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
    bf_runs_set_phase(runs, task, BF_TASK_WAITING);
    return bf_order_enter(&runs->order, &task->turn, err);
}

static int begin(struct bf_runs *runs, struct bf_task *task, struct bf_err *err)
{
    int64_t wait = task->job.not_before_ms - bf_now_ms();
    int turn;

    if (task->job.order_key.ptr) {
        turn = take_turn(runs, task, err);
        if (turn <= 0)
            return turn;
    }
    if (wait <= 0)
        return start(runs, task, err);
    bf_runs_set_phase(runs, task, BF_TASK_WAITING);
    return bf_timers_set(&runs->timers, &task->timer, bf_mono_ms() + wait, err);
}

/*
 * The run of this job that an earlier owner committed to begin: of this record,
 * or of one that is a copy of it and may not have been read yet.
 */
static const struct bf_started *started_before(const struct bf_runs *runs,
                                               struct bf_task *task)
{
    const struct bf_shards *shards = runs->config.shards;
    const struct bf_started *here = bf_shards_started(
        shards, task->item.shard, task->item.lane, task->source.offset);
    unsigned char id[BF_FINISHED_ID_SIZE];

    if (!here && task->job.id_origin == BF_ID_SERVER)
        return NULL;
    task->has_started = here;
    bf_finished_id(task->job.workspace, task->job.id, task->job.generation, id);
    if (here && memcmp(id, here->id, sizeof(id)) == 0)
        return here;
    /* The topic was made anew: that job stood in the old one. */
    if (here)
        bf_log_warn("started_another", bf_kv_int("shard", task->item.shard),
                    bf_kv_int("offset", task->source.offset));
    return task->job.id_origin == BF_ID_SERVER
               ? NULL
               : bf_shards_started_of(shards, task->item.shard, id);
}

static int end_unknown(struct bf_runs *runs, struct bf_task *task,
                       const struct bf_started *started, struct bf_err *err)
{
    struct bf_err ignored = {0};

    /* Its row says what ran, as far as we can tell. */
    if (!task->block)
        task->block = bf_blocks_get(runs->blocks, task->job.block, &ignored);
    return bf_runs_ended(runs, task,
                         bf_ending_unknown(&runs->config.ending, task, started,
                                           runs->config.backend->name, err));
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
    bf_task_complete(task);
    if (task->has_started)
        bf_task_entry(task, true);
    submit(runs, task, BF_TASK_ENDING);
    return 0;
}

static int take_untrusted(struct bf_runs *runs, struct bf_task *task,
                          const struct bf_err *why, struct bf_err *err)
{
    runs->total.untrusted++;
    bf_log_err(BF_LOG_WARN, "untrusted", why,
               bf_kv_int("shard", task->source.partition),
               bf_kv_int("offset", task->source.offset));
    return unanswered(runs, task, "verify", false, why, err);
}

/* A trusted record without an id: the letter's reason is a result's. */
static int take_nobody(struct bf_runs *runs, struct bf_task *task,
                       const struct bf_err *why, struct bf_err *err)
{
    bf_log_err(BF_LOG_WARN, "nobody_to_answer", why,
               bf_kv_int("shard", task->source.partition),
               bf_kv_int("offset", task->source.offset));
    return unanswered(runs, task, "decode", true, why, err);
}

static int admit(struct bf_runs *runs, struct bf_task *task, struct bf_err *err)
{
    struct bf_admit_rules rules = {.verifier = runs->config.verifier,
                                   .blocks = runs->blocks,
                                   .shards = runs->config.nshards,
                                   .now_ms = bf_now_ms()};
    const struct bf_started *started = NULL;
    struct bf_err why = {0};
    enum bf_admission admission;

    if (task->flaw.kind != BF_ERR_NONE)
        return take_untrusted(runs, task, &task->flaw, err);
    admission = bf_admit(&rules, &task->source, &task->job, &task->block, &why);
    if (admission != BF_ADMIT_RUN && why.kind != BF_ERR_REJECT) {
        *err = why; /* no memory: it says nothing about the record */
        return -1;
    }
    if (admission != BF_ADMIT_UNTRUSTED && admission != BF_ADMIT_NOBODY) {
        started = started_before(runs, task);
        if (is_copy(runs, task))
            return finish_copy(runs, task);
    }
    /* Whatever we think of it now: it may have run. */
    if (started)
        return end_unknown(runs, task, started, err);
    switch (admission) {
    case BF_ADMIT_RUN:
        return begin(runs, task, err);
    case BF_ADMIT_UNTRUSTED:
        return take_untrusted(runs, task, &why, err);
    case BF_ADMIT_NOBODY:
        return take_nobody(runs, task, &why, err);
    case BF_ADMIT_REJECTED:
        return reject(runs, task, "decode", &why, err);
    case BF_ADMIT_EXPIRED:
        return expire(runs, task, &why, err);
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
    return bf_topic_name(runs->config.ending.names.topics, bf_lane_topic(lane));
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
    return unanswered(runs, task, "consume", false, &why, err);
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

bool bf_runs_has_room(const struct bf_runs *runs)
{
    size_t most = runs->config.concurrency + MORE_ENDING;

    most = most > MAX_ENDING ? most : MAX_ENDING;
    return runs->running < runs->config.concurrency &&
           runs->ending < MAX_ENDING && runs->running + runs->ending < most &&
           bf_mono_ms() >= runs->crowded_until_ms &&
           bf_budget_has_room(&runs->budget, bytes_of_calls(runs));
}

/* ---- what others say ---- */

/* The broker will not take the outputs. */
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
    return bf_runs_ended(
        runs, task, bf_ending_smaller(&runs->config.ending, task, &why, err));
}

int bf_runs_answered(struct bf_runs *runs, struct bf_item *item,
                     struct bf_err *err)
{
    struct bf_task *task = (struct bf_task *)item;

    if (runs->closing) {
        drop(runs, task);
        return 0;
    }
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
    return bf_runs_launch(runs, task, err);
}

/* They keep to the same limit as new ones. */
static int waited(struct bf_runs *runs, struct bf_task *task,
                  struct bf_err *err)
{
    if (runs->running < runs->config.concurrency ||
        bf_now_ms() >= task->job.expires_at_ms)
        return start(runs, task, err);
    return wait_for_room(runs, task, err);
}

int bf_runs_serve(struct bf_runs *runs, struct bf_err *err)
{
    struct bf_timer *timer;

    /* Before the timers: an answer that is there is in time. */
    if (bf_runs_serve_calls(runs, err))
        return -1;
    while ((timer = bf_timers_due(&runs->timers, bf_mono_ms()))) {
        struct bf_task *task =
            (struct bf_task *)((char *)timer - offsetof(struct bf_task, timer));

        if (task->phase == BF_TASK_WAITING ? waited(runs, task, err)
                                           : bf_runs_overdue(runs, task, err))
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

/*
 * Its started entry is committed, and it has certainly not run: without the
 * entry whoever comes next may begin it.
 */
static bool is_to_give_back(const struct bf_runs *runs,
                            const struct bf_task *task)
{
    return task->begun && task->job.execution == BF_AT_MOST_ONCE &&
           bf_shards_owns(runs->config.shards, task->item.shard,
                          task->item.epoch);
}

static void let_go(struct bf_runs *runs, struct bf_task *task)
{
    if (!is_to_give_back(runs, task)) {
        drop(runs, task);
        return;
    }
    bf_timers_cancel(&runs->timers, &task->timer);
    bf_task_entry(task, true);
    submit(runs, task, BF_TASK_ENDING);
}

void bf_runs_let_go(struct bf_runs *runs)
{
    struct bf_task *next;

    /* Not to walk over thousands of them at each turn of the loop. */
    if (!bf_shards_leaving(runs->config.shards))
        return;
    for (struct bf_task *task = runs->tasks; task; task = next) {
        next = task->next;
        if (must_go(runs, task))
            let_go(runs, task);
    }
}

void bf_runs_kill_all(struct bf_runs *runs)
{
    struct bf_task *next;

    runs->closing = true;
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
    ret->bytes = runs->budget.held + runs->budget.reserved;
}
