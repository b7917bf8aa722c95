#ifndef BF_WORKER_SUPERVISE_H
#define BF_WORKER_SUPERVISE_H

/*
 * More cores are more processes: run the same work in n of them, start again
 * what dies, stop all when asked. Called before any thread exists.
 */

struct bf_err;

/* Returns the exit code of its process. */
typedef int bf_work_fn(void *arg);

/*
 * n == 1: work(arg) here. Else n children, each of which is stopped by SIGTERM
 * when the supervisor is, or dies: in each child, too, this returns what work
 * returned. A child that fails is started again after
 * 100 ms, doubling to 10 s while it keeps failing at once. Returns 0 when all
 * ended with 0, else the code of the first that did not.
 */
int bf_supervise(unsigned int n, bf_work_fn *work, void *arg);

#endif
