#ifndef BF_WORKER_CHILD_H
#define BF_WORKER_CHILD_H

/*
 * A child process that speaks with us over a socket: leader of its own process
 * group, killed when we die however we die, with nothing of ours but what is
 * given. Never blocks, but for bf_child_stop(). To be used by the thread
 * that lives as long as the process: a child is killed when that thread ends.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct bf_err;

struct bf_child_want {
    char *const *argv; /* argv[0] is a path; NULL-terminated */
    char *const *env;
};

/* Descriptors are non-blocking and ours; pid 0: none. */
struct bf_child {
    pid_t pid;
    int pidfd; /* readable once it is dead; not reaped before */
    int sock;  /* its descriptor 3 */
    int out;   /* what it writes to descriptors 1 and 2 */
};

/* A child that is none: safe to kill and release. */
#define BF_CHILD_INIT                                                          \
    {                                                                          \
        .pidfd = -1, .sock = -1, .out = -1                                     \
    }

/* FATAL "spawn": it could not be started; *ret untouched. */
int bf_child_spawn(const struct bf_child_want *want, struct bf_child *ret,
                   struct bf_err *err);

/* SIGKILL to its group. Not after bf_child_reap() said true. */
void bf_child_kill(const struct bf_child *child);

/*
 * Is it dead? Then the rest of its group is killed, it is forgotten, and
 * *ret_how says in words how it ended, e.g. "killed by signal 9". The socket
 * and the pipe stay, so that its last words can be read.
 */
#define BF_CHILD_HOW 40
bool bf_child_reap(struct bf_child *child, char ret_how[BF_CHILD_HOW]);

/* Close what is open. The process is dead, or will see its socket closed. */
void bf_child_close(struct bf_child *child);

/*
 * The end: close every child's socket, which tells it to stop, wait up to
 * grace_ms for all of them, kill and reap who is left. Blocks.
 */
void bf_child_stop(struct bf_child *children[], size_t n, int grace_ms);

#endif
