#include "worker/supervise.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/clock.h"
#include "config/log.h"
#include "config/notify.h"
#include "schemas/check.h"
#include "schemas/err.h"

#define FIRST_WAIT_MS 100
#define MAX_WAIT_MS 10000
#define QUICK_MS 10000 /* a child that lives longer was a good one */
#define SILENT_MS (3LL * BF_SHIFT_MS)

struct child {
    pid_t pid; /* 0: none now */
    int64_t started_ms;
    int64_t again_ms; /* when it may be started */
    int64_t wait_ms;  /* before the next time */
    int64_t well_ms;  /* when it last said so; 0: never */
};

struct supervisor {
    bf_work_fn *work;
    void *arg;
    struct child *children;
    unsigned int n;
    bool once; /* who dies is not started again */
    bool stopping;
    bool told; /* that all were up */
    int64_t tell_ms;
    int code;
    struct bf_shift shift; /* in a child: its own */
};

static void tell(const char *state)
{
    struct bf_err err = {0};

    if (bf_notify(state, &err))
        bf_log_err(BF_LOG_WARN, "not_notified", &err);
}

static void become(struct bf_shift *shift, pid_t parent)
{
    sigset_t none;

    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    /* It may have died before that. */
    if (getppid() != parent)
        raise(SIGTERM);
    /* Who asked us listens to the first process alone. */
    unsetenv("NOTIFY_SOCKET"); /* NOLINT(concurrency-mt-unsafe): one thread */
    shift->supervisor = parent;
}

/* True in the child. */
static bool start(struct child *child, struct bf_shift *shift)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid == 0) {
        become(shift, parent);
        return true;
    }
    child->well_ms = 0;
    child->started_ms = bf_mono_ms();
    child->pid = pid > 0 ? pid : 0;
    child->again_ms = child->started_ms + child->wait_ms;
    return false;
}

static struct child *find(struct supervisor *s, pid_t pid)
{
    for (unsigned int i = 0; i < s->n; i++) {
        if (s->children[i].pid == pid)
            return &s->children[i];
    }
    return NULL;
}

static void stop(struct supervisor *s)
{
    if (!s->stopping)
        tell(BF_NOTIFY_STOPPING);
    s->stopping = true;
    for (unsigned int i = 0; i < s->n; i++) {
        if (s->children[i].pid > 0)
            kill(s->children[i].pid, SIGTERM);
    }
}

static void start_later(struct child *child)
{
    child->wait_ms = bf_mono_ms() - child->started_ms > QUICK_MS
                         ? FIRST_WAIT_MS
                         : child->wait_ms * 2;
    if (child->wait_ms > MAX_WAIT_MS)
        child->wait_ms = MAX_WAIT_MS;
    child->again_ms = bf_mono_ms() + child->wait_ms;
}

static void ended(struct supervisor *s, pid_t pid, int status)
{
    struct child *child = find(s, pid);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);

    if (!child)
        return;
    child->pid = 0;
    if (code != 0 && s->code == 0 &&
        (s->stopping || s->once || code == BF_WORK_WRONG))
        s->code = code;
    s->stopping = s->stopping || s->once;
    if (s->stopping)
        return;
    /* The next time it would be as wrong. */
    if (code == BF_WORK_WRONG) {
        bf_log_error("worker_wrong", bf_kv_int("child", pid),
                     bf_kv_int("code", code));
        stop(s);
        return;
    }
    start_later(child);
    bf_log_error("worker_died", bf_kv_int("child", pid),
                 bf_kv_int("code", code),
                 bf_kv_int("again_in_ms", child->wait_ms));
}

static void reap(struct supervisor *s)
{
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        ended(s, pid, status);
}

static bool any_alive(const struct supervisor *s)
{
    for (unsigned int i = 0; i < s->n; i++) {
        if (s->children[i].pid > 0)
            return true;
    }
    return false;
}

/* True in a child. */
static bool start_due(struct supervisor *s)
{
    for (unsigned int i = 0; !s->stopping && i < s->n; i++) {
        if (s->children[i].pid == 0 &&
            bf_mono_ms() >= s->children[i].again_ms &&
            start(&s->children[i], &s->shift))
            return true;
    }
    return false;
}

static bool all_well(const struct supervisor *s)
{
    for (unsigned int i = 0; i < s->n; i++) {
        const struct child *child = &s->children[i];

        /* One that waits to be started again is looked after. */
        if (child->pid > 0 && bf_mono_ms() - child->well_ms > SILENT_MS)
            return false;
    }
    return true;
}

static bool all_up(const struct supervisor *s)
{
    for (unsigned int i = 0; i < s->n; i++) {
        if (s->children[i].well_ms == 0)
            return false;
    }
    return true;
}

static void hear(struct supervisor *s, pid_t pid)
{
    struct child *child = find(s, pid);

    if (!child)
        return;
    child->well_ms = bf_mono_ms();
    if (s->told || !all_up(s))
        return;
    s->told = true;
    tell(BF_NOTIFY_READY);
}

static void tell_alive(struct supervisor *s)
{
    if (bf_mono_ms() < s->tell_ms)
        return;
    s->tell_ms = bf_mono_ms() + BF_SHIFT_MS;
    if (all_well(s))
        tell(BF_NOTIFY_ALIVE);
}

static int watch(struct supervisor *s, const sigset_t *signals)
{
    const struct timespec tick = {.tv_nsec = 100000000};

    while (!s->stopping || any_alive(s)) {
        siginfo_t info = {0};
        int got;

        if (start_due(s))
            return s->work(s->arg, &s->shift);
        got = sigtimedwait(signals, &info, &tick);
        if (got == SIGTERM || got == SIGINT)
            stop(s);
        if (got == SIGRTMIN)
            hear(s, info.si_pid);
        reap(s);
        tell_alive(s);
    }
    return s->code;
}

int bf_supervise(unsigned int n, bf_work_fn *work, void *arg)
{
    struct supervisor s = {.work = work, .arg = arg, .n = n, .once = n <= 1};
    sigset_t signals;
    int code;

    if (n <= 1 && getpid() != 1)
        return work(arg, &s.shift);
    s.n = n > 1 ? n : 1;
    s.children = calloc(s.n, sizeof(*s.children));
    bf_assert(s.children);
    for (unsigned int i = 0; i < s.n; i++)
        s.children[i].wait_ms = FIRST_WAIT_MS / 2;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGRTMIN);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    code = watch(&s, &signals);
    free(s.children);
    return code;
}

void bf_shift_well(struct bf_shift *shift)
{
    const union sigval none = {0};

    /* A real-time signal: none is lost when several come at once. */
    if (shift->supervisor > 0)
        sigqueue(shift->supervisor, SIGRTMIN, none);
    else
        tell(shift->told ? BF_NOTIFY_ALIVE : BF_NOTIFY_READY);
    shift->told = true;
}

void bf_shift_stopping(const struct bf_shift *shift)
{
    if (shift->supervisor == 0)
        tell(BF_NOTIFY_STOPPING);
}
