#include "support.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "schemas/check.h"
#include "worker/supervise.h"

#define WAIT_MS 60000

/* ---- who listens ---- */

static int listen_here(void)
{
    char name[64];
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int len =
        snprintf(name, sizeof(name), "@blockfleet-shift-%d", (int)getpid());

    memcpy(addr.sun_path + 1, name + 1, (size_t)len - 1);
    len += (int)offsetof(struct sockaddr_un, sun_path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&addr, (socklen_t)len),
                     0);
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
    return fd;
}

/* The next word that is not of the watchdog. */
static void assert_hear(int fd, const char *word)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    char got[64] = "";

    do {
        assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
        assert_true(recv(fd, memset(got, 0, sizeof(got)), sizeof(got) - 1, 0) >
                    0);
    } while (strcmp(got, "WATCHDOG=1") == 0);
    assert_string_equal(got, word);
}

static void assert_silent(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    char got[64] = "";

    while (poll(&ready, 1, 300) == 1) {
        assert_true(recv(fd, memset(got, 0, sizeof(got)), sizeof(got) - 1, 0) >
                    0);
        assert_string_equal(got, "WATCHDOG=1");
    }
}

/* ---- who works ---- */

struct job {
    int pids[2]; /* a pipe: who is there */
    int go[2];   /* a byte for one of them: be up */
};

static void await_end(void)
{
    sigset_t set;
    int got;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigwait(&set, &got);
}

static int be_up_when_told(void *arg, struct bf_shift *shift)
{
    const struct job *job = arg;
    const pid_t pid = getpid();
    sigset_t set;
    char byte;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (write(job->pids[1], &pid, sizeof(pid)) != sizeof(pid) ||
        read(job->go[0], &byte, 1) != 1)
        return 9;
    bf_shift_well(shift);
    await_end();
    bf_shift_stopping(shift);
    return byte;
}

static pid_t supervise(unsigned int n, bf_work_fn *work, void *arg)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(bf_supervise(n, work, arg));
    return pid;
}

static pid_t next_pid(const struct job *job)
{
    struct pollfd ready = {.fd = job->pids[0], .events = POLLIN};
    pid_t pid = 0;

    assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
    assert_int_equal(read(job->pids[0], &pid, sizeof(pid)), sizeof(pid));
    return pid;
}

static void open_job(struct job *job)
{
    assert_int_equal(pipe(job->pids), 0);
    assert_int_equal(pipe(job->go), 0);
}

static void close_job(struct job *job)
{
    for (int i = 0; i < 2; i++) {
        close(job->pids[i]);
        close(job->go[i]);
    }
}

static int code_of(pid_t pid)
{
    int status = 0;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* ---- the tests ---- */

static void one_tells_for_itself(void **state)
{
    bf_autoclose int fd = listen_here();
    struct job job;
    pid_t pid;

    (void)state;
    open_job(&job);
    pid = supervise(1, be_up_when_told, &job);
    assert_int_equal(next_pid(&job), pid);
    assert_silent(fd);
    assert_int_equal(write(job.go[1], "\3", 1), 1);
    assert_hear(fd, "READY=1");
    kill(pid, SIGTERM);
    assert_hear(fd, "STOPPING=1");
    assert_int_equal(code_of(pid), 3);
    close_job(&job);
}

static void several_are_up_when_all_are(void **state)
{
    bf_autoclose int fd = listen_here();
    struct job job;
    pid_t pid;

    (void)state;
    open_job(&job);
    pid = supervise(2, be_up_when_told, &job);
    assert_int_not_equal(next_pid(&job), next_pid(&job));
    assert_int_equal(write(job.go[1], "", 1), 1);
    assert_silent(fd);
    assert_int_equal(write(job.go[1], "", 1), 1);
    assert_hear(fd, "READY=1");
    kill(pid, SIGTERM);
    assert_hear(fd, "STOPPING=1");
    assert_int_equal(code_of(pid), 0);
    assert_silent(fd);
    close_job(&job);
}

static void one_that_dies_is_replaced_in_silence(void **state)
{
    bf_autoclose int fd = listen_here();
    struct job job;
    pid_t pid, first;

    (void)state;
    open_job(&job);
    pid = supervise(2, be_up_when_told, &job);
    first = next_pid(&job);
    next_pid(&job);
    assert_int_equal(write(job.go[1], "\0\0\0", 3), 3);
    assert_hear(fd, "READY=1");
    kill(first, SIGKILL);
    assert_int_not_equal(next_pid(&job), first);
    assert_silent(fd);
    kill(pid, SIGTERM);
    assert_hear(fd, "STOPPING=1");
    assert_int_equal(code_of(pid), 0);
    close_job(&job);
}

/* ---- what cannot be helped ---- */

#define PROCESSES 3

/* Shared by all processes of one test. */
struct script {
    int codes[8]; /* of the starts, in turn; -1: stays until it is ended */
    unsigned int started;
};

static int play(void *arg, struct bf_shift *shift)
{
    struct script *script = arg;
    unsigned int turn =
        __atomic_fetch_add(&script->started, 1, __ATOMIC_SEQ_CST);

    (void)shift;
    if (turn < bf_countof(script->codes) && script->codes[turn] >= 0)
        return script->codes[turn];
    await_end();
    return 0;
}

static struct script *script_new(void)
{
    struct script *script = mmap(NULL, sizeof(*script), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(script != MAP_FAILED);
    for (size_t i = 0; i < bf_countof(script->codes); i++)
        script->codes[i] = -1;
    return script;
}

/* It is not started again, and the others are told to go. */
static void one_that_is_wrong_stops_all(void **state)
{
    struct script *script = script_new();

    (void)state;
    script->codes[1] = BF_WORK_WRONG;
    assert_int_equal(code_of(supervise(PROCESSES, play, script)),
                     BF_WORK_WRONG);
    assert_in_range(script->started, 2, PROCESSES);
    munmap(script, sizeof(*script));
}

static void all_of_them_are_wrong(void **state)
{
    struct script *script = script_new();

    (void)state;
    for (int i = 0; i < PROCESSES; i++)
        script->codes[i] = BF_WORK_WRONG;
    assert_int_equal(code_of(supervise(PROCESSES, play, script)),
                     BF_WORK_WRONG);
    assert_in_range(script->started, 1, PROCESSES);
    munmap(script, sizeof(*script));
}

/* Of any other code it may come back: one start more for each. */
static void one_that_fails_is_started_again(void **state)
{
    struct script *script = script_new();

    (void)state;
    script->codes[0] = 1;
    script->codes[PROCESSES] = 1;
    script->codes[PROCESSES + 1] = BF_WORK_WRONG;
    assert_int_equal(code_of(supervise(PROCESSES, play, script)),
                     BF_WORK_WRONG);
    assert_int_equal(script->started, PROCESSES + 2);
    munmap(script, sizeof(*script));
}

/* ---- as pid 1 ---- */

/* An orphan of a child of ours ends: pid 1 has to reap it. */
static int make_an_orphan(void *arg, struct bf_shift *shift)
{
    int ends[2];
    pid_t child, orphan = 0;

    (void)arg;
    (void)shift;
    if (getpid() == 1 || pipe(ends))
        return 20;
    child = fork();
    if (child == 0) {
        orphan = fork();
        if (orphan == 0)
            _exit(0);
        _exit(write(ends[1], &orphan, sizeof(orphan)) == sizeof(orphan) ? 0
                                                                        : 1);
    }
    if (code_of(child) || read(ends[0], &orphan, sizeof(orphan)) < 0)
        return 21;
    for (int ms = 0; ms < WAIT_MS; ms += 10) {
        if (kill(orphan, 0) && errno == ESRCH)
            return 5;
        poll(NULL, 0, 10);
    }
    return 22;
}

static void the_first_process_reaps_orphans(void **state)
{
    pid_t outer = fork();
    int code;

    (void)state;
    if (outer == 0) {
        pid_t first;

        if (unshare(CLONE_NEWUSER | CLONE_NEWPID) && unshare(CLONE_NEWPID))
            _exit(77);
        first = fork();
        if (first == 0)
            _exit(bf_supervise(1, make_an_orphan, NULL));
        _exit(code_of(first) & 0x7f);
    }
    code = code_of(outer);
    if (code == 77)
        skip();
    assert_int_equal(code, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_tells_for_itself),
        cmocka_unit_test(several_are_up_when_all_are),
        cmocka_unit_test(one_that_dies_is_replaced_in_silence),
        cmocka_unit_test(one_that_is_wrong_stops_all),
        cmocka_unit_test(all_of_them_are_wrong),
        cmocka_unit_test(one_that_fails_is_started_again),
        cmocka_unit_test(the_first_process_reaps_orphans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
