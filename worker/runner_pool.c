#include "worker/runner_pool.h"

#include <errno.h>
#include <sys/epoll.h>

#include "config/clock.h"
#include "config/log.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/json.h"
#include "schemas/limits.h"
#include "worker/runner_files.h"
#include "worker/runner_link.h"

#define BACKOFF_MS 100 /* before a runner that died is started again */
#define MAX_BACKOFF_MS 5000
#define STEADY_MS 10000 /* a life this long is no sign of trouble */
#define READY_MS 120000 /* to import what is heavy, on a busy machine */
#define STALL_MS 30000  /* with runs, none begun, and not a word */
#define GRACE_MS 5000   /* to answer a run that is to be killed */
#define STOP_MS 3000    /* to end by itself */
#define REAP_MS 20      /* where there are no pidfds */
#define MAX_LINES 256   /* of its output, between two looks at the rest */
#define MAX_RUN_ID 64

_Static_assert(BF_REQUEST_SLICES + 2 <= BF_OUT_SLICES, "a request fits");

struct bf_runner_call {
    struct bf_runner_out out;          /* first, see call_of() */
    TAILQ_ENTRY(bf_runner_call) place; /* in the queue or at its runner */
    TAILQ_ENTRY(bf_runner_call) news;
    struct runner *runner; /* NULL: queued, or ended */
    void *opaque;
    char run_id[MAX_RUN_ID + 1];
    bool started, started_told;
    bool cancelled; /* only its slot is left of it */
    bool ended;
    int64_t kill_by_ms;      /* cancelled: then its runner is in the way */
    enum bf_reply_kind kind; /* when it has ended */
    struct bf_frame frame;
    char error[120];
};

TAILQ_HEAD(calls, bf_runner_call);

enum state {
    DOWN,     /* until due_ms */
    STARTING, /* until it says that it is ready */
    READY,
    DYING, /* killed, or about to end; to be reaped */
};

struct runner {
    struct bf_runner_pool *pool;
    struct bf_runner_link link;
    enum state state;
    struct calls calls; /* that hold a slot, in the order they were given */
    size_t ncalls;
    int64_t since_ms; /* of the state */
    int64_t heard_ms; /* of it, or since when it owes us a word */
    int64_t up_ms;    /* when it became ready; 0: it did not yet */
    int64_t due_ms;   /* DOWN: to be started; DYING: to be killed */
    int64_t backoff_ms;
    int64_t pid;     /* for the log, also when it is dead */
    uint32_t wanted; /* of its socket */
};

struct bf_runner_pool {
    struct bf_runner_pool_config config;
    struct bf_runner_files *files; /* arguments and environment */
    int epoll_fd;
    struct runner *runners;
    struct calls queue; /* not given to any runner */
    size_t queued;
    struct calls news; /* by the other links: who has something to tell */
    struct bf_runner_call *told; /* the ended call that was taken last */
    uint64_t died;
};

/* ---- calls ---- */

static void call_free(struct bf_runner_call *call)
{
    if (!call)
        return;
    bf_frame_clear(&call->frame);
    free(call);
}

static void tell(struct bf_runner_pool *pool, struct bf_runner_call *call)
{
    bool listed = (call->started && !call->started_told) || call->ended;

    bf_assert(!call->cancelled);
    if (!listed)
        TAILQ_INSERT_TAIL(&pool->news, call, news);
}

static void call_started(struct bf_runner_call *call)
{
    if (call->started)
        return;
    if (!call->cancelled)
        tell(call->runner->pool, call);
    call->started = true;
}

/* Out of its runner, or of the queue; its slot is free. */
static void unplace(struct bf_runner_pool *pool, struct bf_runner_call *call)
{
    struct runner *runner = call->runner;

    if (!runner) {
        TAILQ_REMOVE(&pool->queue, call, place);
        pool->queued--;
        return;
    }
    TAILQ_REMOVE(&runner->calls, call, place);
    runner->ncalls--;
    call->runner = NULL;
}

/* It is out of everything but perhaps the news. */
static void call_ended(struct bf_runner_pool *pool, struct bf_runner_call *call,
                       enum bf_reply_kind kind)
{
    unplace(pool, call);
    if (call->cancelled) {
        call_free(call);
        return;
    }
    tell(pool, call);
    call->ended = true;
    call->kind = kind;
}

static void call_failed(struct bf_runner_pool *pool,
                        struct bf_runner_call *call, enum bf_reply_kind kind,
                        const char *why)
{
    snprintf(call->error, sizeof(call->error), "%s", why);
    call_ended(pool, call, kind);
}

static struct bf_runner_call *call_find(struct runner *runner,
                                        struct bf_slice run_id)
{
    struct bf_runner_call *call;

    TAILQ_FOREACH(call, &runner->calls, place)
    {
        if (bf_slice_is(run_id, call->run_id))
            return call;
    }
    return NULL;
}

/* ---- a runner's life ---- */

static int watch(struct runner *runner, int op, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data = {.ptr = runner}};

    return fd < 0 ? 0 : epoll_ctl(runner->pool->epoll_fd, op, fd, &event);
}

static void enter(struct runner *runner, enum state state)
{
    runner->state = state;
    runner->since_ms = bf_mono_ms();
    runner->heard_ms = runner->since_ms;
}

/* Its socket is of no use any more: it has grace_ms to end by itself. */
static void runner_leave(struct runner *runner, int64_t grace_ms)
{
    close(runner->link.child.sock);
    runner->link.child.sock = -1;
    enter(runner, DYING);
    runner->due_ms = runner->since_ms + grace_ms;
}

static void runner_kill(struct runner *runner, const char *why)
{
    bf_log_warn("runner_killed", bf_kv_int("runner", runner->pid),
                bf_kv_str("why", why));
    bf_child_kill(&runner->link.child);
    if (runner->state != DYING)
        runner_leave(runner, 0);
    runner->due_ms = INT64_MAX;
}

/* Down for a while: the longer, the oftener it happens. */
static void go_down(struct runner *runner)
{
    bool steady =
        runner->up_ms > 0 && bf_mono_ms() - runner->up_ms >= STEADY_MS;

    if (steady || runner->backoff_ms == 0)
        runner->backoff_ms = BACKOFF_MS;
    enter(runner, DOWN);
    runner->due_ms = runner->since_ms + runner->backoff_ms;
    runner->backoff_ms = runner->backoff_ms * 2 < MAX_BACKOFF_MS
                             ? runner->backoff_ms * 2
                             : MAX_BACKOFF_MS;
}

static void runner_start(struct runner *runner)
{
    struct bf_child_want want = bf_runner_files_want(runner->pool->files);
    struct bf_runner_link *link = &runner->link;
    struct bf_err err = {0};

    if (bf_runner_link_start(link, &want, &err)) {
        bf_log_err(BF_LOG_ERROR, "runner_not_started", &err);
        go_down(runner);
        return;
    }
    runner->pid = link->child.pid;
    runner->up_ms = 0;
    runner->wanted = EPOLLIN;
    enter(runner, STARTING);
    if (watch(runner, EPOLL_CTL_ADD, link->child.sock, EPOLLIN) ||
        watch(runner, EPOLL_CTL_ADD, link->child.out, EPOLLIN) ||
        watch(runner, EPOLL_CTL_ADD, link->child.pidfd, EPOLLIN))
        runner_kill(runner, strerrorname_np(errno));
}

static bool any_alive(const struct bf_runner_pool *pool)
{
    for (size_t i = 0; i < pool->config.runners; i++) {
        if (pool->runners[i].state == READY ||
            pool->runners[i].state == STARTING)
            return true;
    }
    return false;
}

/* When no runner comes up, those who wait had better know. */
static void fail_queue(struct bf_runner_pool *pool, const char *why)
{
    struct bf_runner_call *call;

    while ((call = TAILQ_FIRST(&pool->queue)))
        call_failed(pool, call, BF_REPLY_UNSENT, why);
}

static void runner_died(struct runner *runner, const char *how)
{
    struct bf_runner_pool *pool = runner->pool;
    struct bf_runner_link *link = &runner->link;
    struct bf_runner_call *call;
    char why[100];

    snprintf(why, sizeof(why), "the runner %s", how);
    while ((call = TAILQ_FIRST(&runner->calls))) {
        bool whole = call->cancelled || call->out.sent == call->out.total;

        if (!whole)
            TAILQ_REMOVE(&link->outs, &call->out, next);
        call_failed(pool, call, whole ? BF_REPLY_LOST : BF_REPLY_UNSENT, why);
    }
    pool->died++;
    bf_log_warn("runner_died", bf_kv_int("runner", runner->pid),
                bf_kv_str("how", how));
    bf_runner_link_reset(link);
    go_down(runner);
    if (runner->up_ms == 0 && !any_alive(pool))
        fail_queue(pool, why);
}

/* ---- what a runner says ---- */

static int on_ready(struct runner *runner, const json_t *head,
                    struct bf_err *err)
{
    if (runner->state != STARTING)
        return bf_err_set(err, BF_ERR_REJECT, "frame", "ready twice");
    bf_log_info(
        "runner_ready", bf_kv_int("runner", runner->pid),
        bf_kv_slice("python", bf_json_slice(json_object_get(head, "python"))),
        bf_kv_int("took_ms", bf_mono_ms() - runner->since_ms));
    enter(runner, READY);
    runner->up_ms = runner->since_ms;
    return 0;
}

static int on_done(struct runner *runner, struct bf_runner_call *call,
                   struct bf_frame *frame, struct bf_err *err)
{
    if (!call->cancelled && call->out.sent < call->out.total)
        return bf_err_set(err, BF_ERR_REJECT, "frame",
                          "an answer to half of a request");
    call->frame = *frame;
    *frame = (struct bf_frame){0};
    call_ended(runner->pool, call, BF_REPLY_OK);
    return 0;
}

static int on_frame(struct runner *runner, struct bf_frame *frame,
                    struct bf_err *err)
{
    struct bf_slice text = {frame->head, frame->head_len};
    bf_autojson json_t *head = bf_json_parse_nul(text, text.len, err);
    struct bf_slice op = bf_json_slice(json_object_get(head, "op"));
    struct bf_slice id = bf_json_slice(json_object_get(head, "run_id"));
    struct bf_runner_call *call = call_find(runner, id);

    runner->heard_ms = bf_mono_ms();
    if (!head)
        return -1;
    if (bf_slice_is(op, "ready"))
        return on_ready(runner, head, err);
    if (!call)
        return bf_err_set(err, BF_ERR_REJECT, "frame",
                          "about a run that it was not given");
    if (bf_slice_is(op, "done"))
        return on_done(runner, call, frame, err);
    if (!bf_slice_is(op, "started"))
        return bf_err_set(err, BF_ERR_REJECT, "frame", "an unknown op");
    call_started(call);
    return 0;
}

/* Everything that has come; -1: nothing more will. */
static int listen_to(struct runner *runner, struct bf_err *err)
{
    struct bf_frame frame = {0};
    int rc;

    if (runner->link.child.sock < 0)
        return 0;
    while ((rc = bf_runner_link_read(&runner->link, &frame, err)) > 0) {
        rc = on_frame(runner, &frame, err);
        bf_frame_clear(&frame);
        if (rc)
            return -1;
    }
    return rc;
}

static void log_lines(struct runner *runner)
{
    for (int i = 0; i < MAX_LINES; i++) {
        struct bf_slice line = bf_runner_link_line(&runner->link);

        if (!line.ptr)
            return;
        bf_log_warn("runner_says", bf_kv_int("runner", runner->pid),
                    bf_kv_slice("line", line));
    }
}

/* Writes, and asks to be woken when the rest can be written. */
static void flush(struct runner *runner)
{
    struct bf_err err = {0};
    uint32_t events = EPOLLIN;

    if (runner->link.child.sock < 0)
        return;
    /* That it is gone is found by reading, after its last words. */
    if (bf_runner_link_flush(&runner->link, &err) == 0 &&
        bf_runner_link_blocked(&runner->link))
        events |= EPOLLOUT;
    if (events != runner->wanted)
        watch(runner, EPOLL_CTL_MOD, runner->link.child.sock, events);
    runner->wanted = events;
}

static void serve_runner(struct runner *runner)
{
    char how[BF_CHILD_HOW];
    struct bf_err err = {0};
    bool dead;

    if (runner->state == DOWN)
        return;
    /* First, so that what it said before it died is all there. */
    dead = bf_child_reap(&runner->link.child, how);
    log_lines(runner);
    if (listen_to(runner, &err) && !dead) {
        /* It kills what it had begun, and says how it ended. */
        if (strcmp(err.code, "runner_gone") == 0)
            runner_leave(runner, GRACE_MS);
        else
            runner_kill(runner, err.msg);
    }
    if (dead)
        runner_died(runner, how);
    else
        flush(runner);
}

/* ---- giving and taking runs ---- */

static struct runner *least_loaded(struct bf_runner_pool *pool)
{
    struct runner *best = NULL;

    for (size_t i = 0; i < pool->config.runners; i++) {
        struct runner *runner = &pool->runners[i];

        if (runner->state == READY && runner->ncalls < pool->config.slots &&
            (!best || runner->ncalls < best->ncalls))
            best = runner;
    }
    return best;
}

static void give(struct runner *runner, struct bf_runner_call *call)
{
    unplace(runner->pool, call);
    if (runner->ncalls == 0)
        runner->heard_ms = bf_mono_ms();
    call->runner = runner;
    TAILQ_INSERT_TAIL(&runner->calls, call, place);
    runner->ncalls++;
    bf_runner_link_put(&runner->link, &call->out);
    flush(runner);
}

static void dispatch(struct bf_runner_pool *pool)
{
    struct bf_runner_call *call;
    struct runner *runner;

    while ((call = TAILQ_FIRST(&pool->queue)) && (runner = least_loaded(pool)))
        give(runner, call);
}

struct bf_runner_call *bf_runner_pool_send(struct bf_runner_pool *pool,
                                           const char *run_id,
                                           const struct bf_request *request,
                                           void *opaque, struct bf_err *err)
{
    struct bf_runner_call *call;

    bf_assert(strlen(run_id) <= MAX_RUN_ID);
    if (pool->queued >= pool->config.queue) {
        bf_err_set(err, BF_ERR_RETRY, "busy", "%zu runs wait for a runner",
                   pool->queued);
        return NULL;
    }
    call = calloc(1, sizeof(*call));
    if (!call) {
        bf_err_oom(err);
        return NULL;
    }
    snprintf(call->run_id, sizeof(call->run_id), "%s", run_id);
    call->opaque = opaque;
    bf_runner_out_init(&call->out, request->head, request->body,
                       request->nbody);
    TAILQ_INSERT_TAIL(&pool->queue, call, place);
    pool->queued++;
    dispatch(pool);
    return call;
}

static int say_kill(struct runner *runner, const char *run_id,
                    struct bf_err *err)
{
    char head[MAX_RUN_ID + 40];
    int len = snprintf(head, sizeof(head),
                       "{\"op\":\"kill\",\"run_id\":\"%s\"}", run_id);

    return bf_runner_link_say(&runner->link,
                              (struct bf_slice){head, (size_t)len}, err);
}

/* At a runner, and not ended. */
static void cancel_given(struct runner *runner, struct bf_runner_call *call)
{
    struct bf_err err = {0};
    int rc = 0;

    if (call->out.sent < call->out.total)
        rc = bf_runner_link_unput(&runner->link, &call->out, &err);
    call->cancelled = true;
    call->kill_by_ms = bf_mono_ms() + GRACE_MS;
    if (rc == 1) {
        call_ended(runner->pool, call, BF_REPLY_UNSENT);
        return;
    }
    if (rc || say_kill(runner, call->run_id, &err))
        runner_kill(runner, err.msg);
    else
        flush(runner);
}

void bf_runner_pool_cancel(struct bf_runner_pool *pool,
                           struct bf_runner_call *call)
{
    struct runner *runner = call->runner;

    if (call->ended || (call->started && !call->started_told))
        TAILQ_REMOVE(&pool->news, call, news);
    if (runner) {
        cancel_given(runner, call);
        return;
    }
    if (!call->ended)
        unplace(pool, call);
    call_free(call);
}

enum bf_runner_news bf_runner_pool_take(struct bf_runner_pool *pool,
                                        struct bf_runner_event *ret)
{
    struct bf_runner_call *call = TAILQ_FIRST(&pool->news);

    call_free(bf_take(pool->told));
    *ret = (struct bf_runner_event){.news = BF_RUNNER_QUIET};
    if (!call)
        return BF_RUNNER_QUIET;
    ret->opaque = call->opaque;
    if (call->started && !call->started_told) {
        call->started_told = true;
        if (!call->ended)
            TAILQ_REMOVE(&pool->news, call, news);
        return ret->news = BF_RUNNER_STARTED;
    }
    TAILQ_REMOVE(&pool->news, call, news);
    pool->told = call;
    ret->reply = (struct bf_reply){
        .kind = call->kind,
        .head = {call->frame.head, call->frame.head_len},
        .body = {call->frame.body, call->frame.body_len},
        .error = call->kind == BF_REPLY_OK ? NULL : call->error,
    };
    return ret->news = BF_RUNNER_ENDED;
}

/* ---- time ---- */

/* When a READY runner is taken for stuck; what is wrong goes to *ret_why. */
static int64_t stuck_ms(const struct runner *runner, const char **ret_why)
{
    const struct bf_runner_call *call;
    bool begun = false;
    int64_t due = INT64_MAX;

    TAILQ_FOREACH(call, &runner->calls, place)
    {
        if (call->cancelled && call->kill_by_ms < due)
            due = call->kill_by_ms;
        begun = begun || call->started;
    }
    *ret_why = "it does not end a run that is to be killed";
    if (begun || runner->ncalls == 0 || runner->heard_ms + STALL_MS >= due)
        return due;
    *ret_why = "it does not begin what it was given";
    return runner->heard_ms + STALL_MS;
}

static int64_t runner_due(const struct runner *runner, const char **ret_why)
{
    switch (runner->state) {
    case DOWN:
        break;
    case STARTING:
        *ret_why = "it did not become ready";
        return runner->since_ms + READY_MS;
    case READY:
        return stuck_ms(runner, ret_why);
    case DYING:
        *ret_why = "it did not end";
        break;
    }
    return runner->due_ms;
}

static void check_runner(struct runner *runner)
{
    const char *why;

    if (runner_due(runner, &why) > bf_mono_ms())
        return;
    if (runner->state == DOWN)
        runner_start(runner);
    else
        runner_kill(runner, why);
}

/* Nothing tells of its end. */
static bool must_poll(const struct runner *runner)
{
    return runner->state == DYING && runner->link.child.pidfd < 0;
}

int bf_runner_pool_wait(const struct bf_runner_pool *pool, int max_ms)
{
    int64_t now = bf_mono_ms();
    int64_t wait = TAILQ_EMPTY(&pool->news) ? max_ms : 0;

    for (size_t i = 0; i < pool->config.runners; i++) {
        const char *why;
        int64_t left = runner_due(&pool->runners[i], &why) - now;

        if (must_poll(&pool->runners[i]) && wait > REAP_MS)
            wait = REAP_MS;
        wait = left < wait ? left : wait;
    }
    return wait > 0 ? (int)wait : 0;
}

void bf_runner_pool_serve(struct bf_runner_pool *pool)
{
    struct epoll_event events[64];
    int n = epoll_wait(pool->epoll_fd, events, (int)bf_countof(events), 0);

    for (int i = 0; i < n; i++)
        serve_runner(events[i].data.ptr);
    for (size_t i = 0; i < pool->config.runners; i++) {
        struct runner *runner = &pool->runners[i];

        if (must_poll(runner))
            serve_runner(runner);
        check_runner(runner);
    }
    dispatch(pool);
}

/* ---- the pool ---- */

int bf_runner_pool_fd(const struct bf_runner_pool *pool)
{
    return pool->epoll_fd;
}

void bf_runner_pool_count(const struct bf_runner_pool *pool,
                          struct bf_runner_count *ret)
{
    *ret = (struct bf_runner_count){.queued = pool->queued, .died = pool->died};
    for (size_t i = 0; i < pool->config.runners; i++) {
        ret->ready += pool->runners[i].state == READY;
        ret->running += pool->runners[i].ncalls;
    }
}

static int start_runners(struct bf_runner_pool *pool, struct bf_err *err)
{
    size_t n = pool->config.runners;
    int rc = 0;

    pool->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (pool->epoll_fd < 0)
        return bf_err_set(err, BF_ERR_FATAL, "epoll", "epoll_create1: %s",
                          strerrorname_np(errno));
    pool->runners = calloc(n, sizeof(*pool->runners));
    if (!pool->runners)
        return bf_err_oom(err);
    /* All of them, even after a failure: they are going to be released. */
    for (size_t i = 0; i < n; i++) {
        pool->runners[i].pool = pool;
        TAILQ_INIT(&pool->runners[i].calls);
        if (bf_runner_link_init(&pool->runners[i].link, err))
            rc = -1;
    }
    for (size_t i = 0; i < n && rc == 0; i++)
        runner_start(&pool->runners[i]);
    return rc;
}

struct bf_runner_pool *
bf_runner_pool_new(const struct bf_runner_pool_config *config,
                   struct bf_err *err)
{
    struct bf_runner_pool *pool = calloc(1, sizeof(*pool));

    bf_assert(config->runners > 0 && config->slots > 0);
    if (!pool) {
        bf_err_oom(err);
        return NULL;
    }
    pool->config = *config;
    pool->epoll_fd = -1;
    TAILQ_INIT(&pool->queue);
    TAILQ_INIT(&pool->news);
    pool->files = bf_runner_files_new(config, err);
    pool->config.python = NULL; /* in files, with the rest of them */
    pool->config.path = NULL;
    pool->config.args = NULL;
    if (!pool->files || start_runners(pool, err)) {
        bf_runner_pool_free(pool);
        return NULL;
    }
    return pool;
}

static void stop_runners(struct bf_runner_pool *pool)
{
    size_t n = pool->config.runners;
    struct bf_child **children = calloc(n, sizeof(struct bf_child *));

    bf_assert(children);
    for (size_t i = 0; i < n; i++)
        children[i] = &pool->runners[i].link.child;
    bf_child_stop(children, n, STOP_MS);
    free(children);
}

static void drop_calls(struct calls *calls)
{
    struct bf_runner_call *call;

    while ((call = TAILQ_FIRST(calls))) {
        TAILQ_REMOVE(calls, call, place);
        call_free(call);
    }
}

void bf_runner_pool_free(struct bf_runner_pool *pool)
{
    struct bf_runner_call *call;

    if (!pool)
        return;
    if (pool->runners)
        stop_runners(pool);
    while ((call = TAILQ_FIRST(&pool->news))) {
        TAILQ_REMOVE(&pool->news, call, news);
        if (call->ended) /* in no other list */
            call_free(call);
    }
    call_free(pool->told);
    drop_calls(&pool->queue);
    for (size_t i = 0; pool->runners && i < pool->config.runners; i++) {
        drop_calls(&pool->runners[i].calls);
        bf_runner_link_release(&pool->runners[i].link);
    }
    free(pool->runners);
    bf_runner_files_free(pool->files);
    if (pool->epoll_fd >= 0)
        close(pool->epoll_fd);
    free(pool);
}
