#ifndef BF_WORKER_ENDING_H
#define BF_WORKER_ENDING_H

/*
 * How a job ends: the outcome, and the outputs that say so, put into the
 * task's item for the committer. Nothing is sent from here. why: what the
 * result or the dead letter says; its code is the reason. -1 in each: FATAL,
 * the outputs cannot be made. Loop thread.
 */

#include "config/topic_limits.h"
#include "worker/task.h"

struct bf_started;

/*
 * What a topic would not take is not made: streams go first, then the result
 * (output_too_large, billed), of a dead letter the value, then its headers.
 */
struct bf_ending {
    struct bf_task_names names;
    struct bf_topic_limits limits;
};

/* As the backend says. */
int bf_ending_run(const struct bf_ending *ending, struct bf_task *task,
                  const struct bf_run_end *run_end, struct bf_err *err);

/* Validly signed, and refused: a dead letter goes with the result. */
int bf_ending_rejected(const struct bf_ending *ending, struct bf_task *task,
                       const char *stage, const struct bf_err *why,
                       struct bf_err *err);

/* Its time was over before it began; dead when an attempt may have run. */
int bf_ending_expired(const struct bf_ending *ending, struct bf_task *task,
                      const struct bf_err *why, struct bf_err *err);

/* An earlier owner committed to begin it and died: nobody can say. */
int bf_ending_unknown(const struct bf_ending *ending, struct bf_task *task,
                      const struct bf_started *started, const char *backend,
                      struct bf_err *err);

/* A dead letter and no result. Not trusted: nothing of the record is. */
int bf_ending_unanswered(const struct bf_ending *ending, struct bf_task *task,
                         const char *stage, bool trusted,
                         const struct bf_err *why, struct bf_err *err);

/*
 * The broker refuses the outputs (item.refused, why says so): the smallest
 * that there are. FATAL when they are that already.
 */
int bf_ending_smaller(const struct bf_ending *ending, struct bf_task *task,
                      const struct bf_err *why, struct bf_err *err);

#endif
