#ifndef BF_WORKER_RUNS_PRIVATE_H
#define BF_WORKER_RUNS_PRIVATE_H

/*
 * Shared by the files of one module alone, see runs.h for what it does:
 *
 *   runs.c         records in, items out, whose turn it is
 *   runs_launch.c  a task, its backend and what carries their requests
 */

#include "worker/budget.h"
#include "worker/runs.h"

#define RANDOM_BYTES 16

struct bf_runs {
    struct bf_runs_config config;
    struct bf_blocks *blocks; /* parsed lately */
    struct bf_task *tasks;    /* doubly linked */
    struct bf_timers timers;
    struct bf_order order; /* whose turn it is, by order key */
    void *claims;   /* tsearch tree of the tasks whose ids must not repeat */
    size_t running; /* STARTING and RUNNING */
    size_t ending;
    bool closing; /* nothing is begun any more, or handed to the committer */
    int64_t crowded_until_ms;
    size_t count;
    struct bf_budget budget;
    struct bf_runs_count total;
    unsigned char
        random[64 * RANDOM_BYTES]; /* for run ids, taken from behind */
    size_t nrandom;
};

/* ---- runs.c ---- */

void bf_runs_set_phase(struct bf_runs *runs, struct bf_task *task,
                       enum bf_task_phase phase);

/* Its timer is due after so long. */
int bf_runs_wake_in(struct bf_runs *runs, struct bf_task *task, int64_t ms,
                    struct bf_err *err);

/* rc: of the bf_ending_ function that made its outputs, which go out now. */
int bf_runs_ended(struct bf_runs *runs, struct bf_task *task, int rc);

/* Its run has ended, or has to wait: gives back what was reserved for it. */
void bf_runs_release(struct bf_runs *runs, struct bf_task *task);

/* ---- runs_launch.c ---- */

/* The backend that the job is for; NULL: not here. */
const struct bf_backend *bf_runs_route(const struct bf_runs *runs,
                                       const struct bf_task *task);

/* Hand a begun task to its backend: a first try, or another. */
int bf_runs_launch(struct bf_runs *runs, struct bf_task *task,
                   struct bf_err *err);

/* The timer of a RUNNING task. */
int bf_runs_overdue(struct bf_runs *runs, struct bf_task *task,
                    struct bf_err *err);

/* Whoever runs it is told to stop, and not listened to any more. */
void bf_runs_hang_up(struct bf_runs *runs, struct bf_task *task);

/* Take what the transports have. */
int bf_runs_serve_calls(struct bf_runs *runs, struct bf_err *err);

#endif
