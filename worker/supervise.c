#include "worker/supervise.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/clock.h"
#include "config/log.h"
#include "schemas/check.h"

#define FIRST_WAIT_MS 100
#define MAX_WAIT_MS 10000
#define QUICK_MS 10000 /* a child that lives longer was a good one */

struct child {
    pid_t pid; /* 0: none now */
    int64_t started_ms;
    int64_t again_ms; /* when it may be started */
    int64_t wait_ms;  /* before the next time */
};

struct supervisor {
    bf_work_fn *work;
    void *arg;
    struct child *children;
    unsigned int n;
    bool stopping;
    int code;
};

/* True in the child. */
static bool start(struct child *child)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid == 0) {
        sigset_t none;

        sigemptyset(&none);
        pthread_sigmask(SIG_SETMASK, &none, NULL);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        /* It may have died before that. */
        if (getppid() != parent)
            raise(SIGTERM);
        return true;
    }
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

static void ended(struct supervisor *s, pid_t pid, int status)
{
    struct child *child = find(s, pid);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);

    if (!child)
        return;
    child->pid = 0;
    if (code != 0 && s->code == 0 && s->stopping)
        s->code = code;
    if (s->stopping)
        return;
    child->wait_ms = bf_mono_ms() - child->started_ms > QUICK_MS
                         ? FIRST_WAIT_MS
                         : child->wait_ms * 2;
    if (child->wait_ms > MAX_WAIT_MS)
        child->wait_ms = MAX_WAIT_MS;
    child->again_ms = bf_mono_ms() + child->wait_ms;
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

static void stop(struct supervisor *s)
{
    s->stopping = true;
    for (unsigned int i = 0; i < s->n; i++) {
        if (s->children[i].pid > 0)
            kill(s->children[i].pid, SIGTERM);
    }
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
            bf_mono_ms() >= s->children[i].again_ms && start(&s->children[i]))
            return true;
    }
    return false;
}

static int watch(struct supervisor *s, const sigset_t *signals)
{
    const struct timespec tick = {.tv_nsec = 100000000};

    while (!s->stopping || any_alive(s)) {
        int got;

        if (start_due(s))
            return s->work(s->arg);
        got = sigtimedwait(signals, NULL, &tick);
        if (got == SIGTERM || got == SIGINT)
            stop(s);
        reap(s);
    }
    return s->code;
}

int bf_supervise(unsigned int n, bf_work_fn *work, void *arg)
{
    struct supervisor s = {.work = work, .arg = arg, .n = n};
    sigset_t signals;
    int code;

    if (n <= 1)
        return work(arg);
    s.children = calloc(n, sizeof(*s.children));
    bf_assert(s.children);
    for (unsigned int i = 0; i < n; i++)
        s.children[i].wait_ms = FIRST_WAIT_MS / 2;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    code = watch(&s, &signals);
    free(s.children);
    return code;
}
