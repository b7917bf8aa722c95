#ifndef BF_WORKER_BACKEND_RUNNER_WORDS_H
#define BF_WORKER_BACKEND_RUNNER_WORDS_H

/*
 * What a runner of ours is told and what its answer means, wherever it runs.
 * Source: worker/runner/README.md. Pure.
 */

#include "worker/answer.h"
#include "worker/verdict.h"

/* Ceiling of the head of a `run` frame: every byte as \u00XX, and some. */
#define BF_MAX_RUN_HEAD ((size_t)7 * BF_MAX_BLOCK)

/* Appends it, with the code or with what names it. */
int bf_run_head_put(const struct bf_run_input *input, bool with_code,
                    struct bf_buf *out, struct bf_err *err);

/* Does the head of this `done` frame ask for the code? */
bool bf_done_wants_code(const json_t *done);

/* duration_us, or -1. */
int64_t bf_done_duration_us(const json_t *done);

/*
 * How a run ended that did not succeed. *ret_useless: the answer contradicts
 * itself; what comes back then is that nobody knows.
 */
struct bf_verdict_case bf_done_judge(const struct bf_run_input *input,
                                     const json_t *done,
                                     const struct bf_answer *answer,
                                     bool *ret_useless);

#endif
