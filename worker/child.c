#include "worker/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/clock.h"
#include "schemas/check.h"
#include "schemas/err.h"

#define CHILD_SOCK 3

/* The child's ends, all above CHILD_SOCK. */
struct ends {
    int null, sock, out;
};

/*
 * Between vfork() and execve(): our memory, which the parent looks at when this
 * is over, but descriptors and signals of its own. Returns an errno.
 */
static int become(const struct bf_child_want *want, const struct ends *ends,
                  pid_t parent)
{
    sigset_t none;

    sigemptyset(&none);
    signal(SIGPIPE, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    if (setpgid(0, 0) || prctl(PR_SET_PDEATHSIG, SIGKILL) ||
        dup2(ends->null, 0) < 0 || dup2(ends->out, 1) < 0 ||
        dup2(ends->out, 2) < 0 || dup2(ends->sock, CHILD_SOCK) < 0 ||
        close_range(CHILD_SOCK + 1, ~0U, 0))
        return errno;
    /* Had it died before the prctl, nobody would tell us. */
    if (getppid() != parent)
        return ESRCH;
    execve(want->argv[0], want->argv, want->env);
    return errno;
}

static pid_t run(const struct bf_child_want *want, const struct ends *ends,
                 struct bf_err *err)
{
    volatile int failed = 0;
    pid_t parent = getpid();
    /* fork() would copy our page tables; posix_spawn() has no PDEATHSIG. */
    /* NOLINTNEXTLINE(clang-analyzer-security.insecureAPI.vfork) */
    pid_t pid = vfork();

    if (pid == 0) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Vfork): it makes only syscalls */
        failed = become(want, ends, parent);
        _exit(127);
    }
    if (pid > 0 && failed == 0)
        return pid;
    if (pid > 0)
        waitpid(pid, NULL, 0);
    bf_err_set(err, BF_ERR_FATAL, "spawn", "%s: %s", want->argv[0],
               strerrorname_np(pid < 0 ? errno : failed));
    return -1;
}

/* Out of the way of what dup2() makes. */
static int raise_fd(int *fd)
{
    int high = fcntl(*fd, F_DUPFD_CLOEXEC, CHILD_SOCK + 1);

    if (high < 0)
        return -1;
    close(*fd);
    *fd = high;
    return 0;
}

static int open_pipes(int sock[2], int out[2], int *null)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) ||
        pipe2(out, O_CLOEXEC))
        return -1;
    *null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return *null < 0 || raise_fd(null) || raise_fd(&sock[1]) ||
                   raise_fd(&out[1]) || fcntl(sock[0], F_SETFL, O_NONBLOCK) ||
                   fcntl(out[0], F_SETFL, O_NONBLOCK)
               ? -1
               : 0;
}

int bf_child_spawn(const struct bf_child_want *want, struct bf_child *ret,
                   struct bf_err *err)
{
    int sock[2] = {-1, -1};
    int out[2] = {-1, -1};
    bf_autoclose int null = -1;
    int failed = open_pipes(sock, out, &null);
    struct ends ends = {.null = null, .sock = sock[1], .out = out[1]};
    pid_t pid = failed ? bf_err_set(err, BF_ERR_FATAL, "spawn", "pipes: %s",
                                    strerrorname_np(errno))
                       : run(want, &ends, err);

    bf_closep_(&sock[1]);
    bf_closep_(&out[1]);
    if (pid < 0) {
        bf_closep_(&sock[0]);
        bf_closep_(&out[0]);
        return -1;
    }
    *ret = (struct bf_child){
        .pid = pid,
        .pidfd = pidfd_open(pid, 0), /* -1 in sandboxes that have none */
        .sock = sock[0],
        .out = out[0],
    };
    return 0;
}

void bf_child_kill(const struct bf_child *child)
{
    if (child->pid > 0)
        kill(-child->pid, SIGKILL);
}

static void say_how(const siginfo_t *info, char how[BF_CHILD_HOW])
{
    snprintf(how, BF_CHILD_HOW, "%s %d",
             info->si_code == CLD_EXITED ? "exited with status"
                                         : "killed by signal",
             info->si_status);
}

bool bf_child_reap(struct bf_child *child, char ret_how[BF_CHILD_HOW])
{
    siginfo_t info = {0};
    id_t pid = (id_t)child->pid;

    if (child->pid <= 0)
        return false;
    if (waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT)) {
        /* Whoever started us ignores SIGCHLD: it is reaped by itself. */
        snprintf(ret_how, BF_CHILD_HOW, "ended unseen");
        child->pid = 0;
        return true;
    }
    if (info.si_pid == 0)
        return false;
    /* While the number is certainly still its own. */
    bf_child_kill(child);
    waitid(P_PID, pid, &info, WEXITED);
    child->pid = 0;
    say_how(&info, ret_how);
    return true;
}

void bf_child_close(struct bf_child *child)
{
    bf_closep_(&child->pidfd);
    bf_closep_(&child->sock);
    bf_closep_(&child->out);
    child->pidfd = -1;
    child->sock = -1;
    child->out = -1;
}

/* The first that lives, or NULL. */
static struct bf_child *find_living(struct bf_child *children[], size_t n)
{
    char how[BF_CHILD_HOW];

    for (size_t i = 0; i < n; i++) {
        if (children[i]->pid > 0 && !bf_child_reap(children[i], how))
            return children[i];
    }
    return NULL;
}

void bf_child_stop(struct bf_child *children[], size_t n, int grace_ms)
{
    int64_t end_ms = bf_mono_ms() + grace_ms;
    struct bf_child *living;

    for (size_t i = 0; i < n; i++) {
        bf_closep_(&children[i]->sock);
        children[i]->sock = -1;
    }
    while ((living = find_living(children, n))) {
        struct pollfd dead = {.fd = living->pidfd, .events = POLLIN};
        int left = (int)(end_ms - bf_mono_ms());

        if (left <= 0) {
            bf_child_kill(living);
            left = 20;
        }
        /* Without a pidfd: look now and then. */
        poll(&dead, 1, living->pidfd < 0 && left > 20 ? 20 : left);
    }
    for (size_t i = 0; i < n; i++)
        bf_child_close(children[i]);
}
