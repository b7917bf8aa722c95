#ifndef BF_WORKER_SUPERVISE_H
#define BF_WORKER_SUPERVISE_H

/*
 * More cores are more processes: run the same work in n of them, start again
 * what dies, stop all when asked. Called before any thread exists.
 *
 * It also does what is asked of the first process: it tells a service manager
 * (config/notify.h) when all are up, alive and stopping, and as pid 1 of a
 * container it reaps the orphans of others.
 */

#include <stdbool.h>
#include <sys/types.h>

struct bf_err;

/* One process's own; for the thread that works. */
struct bf_shift {
    pid_t supervisor; /* 0: it is its own */
    bool told;
};

/* Wrongly configured: to start it again would be of no use. */
#define BF_WORK_WRONG 2

/* Returns the exit code of its process. */
typedef int bf_work_fn(void *arg, struct bf_shift *shift);

/*
 * n == 1: work(arg) here; as pid 1, in one child, whose end is the end of both.
 * Else n children, each of which is stopped by SIGTERM when the supervisor is,
 * or dies: in each child, too, this returns what work returned. Of several, one
 * that fails is started again after 100 ms, doubling to 10 s while it keeps
 * failing at once; one that returns BF_WORK_WRONG stops all. Returns 0 when all
 * ended with 0, else the code of the first that did not.
 */
int bf_supervise(unsigned int n, bf_work_fn *work, void *arg);

/*
 * From work: it is up, and its loop turns. To be called at least every
 * BF_SHIFT_MS from then on; one that does not for six times as long may be
 * killed by a service manager that was told to watch.
 */
#define BF_SHIFT_MS 10000
void bf_shift_well(struct bf_shift *shift);

/* From work: it was asked to stop, and does. */
void bf_shift_stopping(const struct bf_shift *shift);

#endif
