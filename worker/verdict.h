#ifndef BF_WORKER_VERDICT_H
#define BF_WORKER_VERDICT_H

/*
 * What follows from how one try went, the same for every backend: a backend
 * says which of these it was, the table says how the job ends or goes on.
 * Source: PROTOCOL.md §3, bf_max_attempts in §5.1. Pure.
 */

#include "worker/backend.h"

enum bf_try {
    BF_TRY_SUCCEEDED,    /* the block returned */
    BF_TRY_FAILED,       /* the user's code raised, or could not be loaded */
    BF_TRY_CRASHED,      /* it was running when what ran it died of a signal */
    BF_TRY_TOO_LARGE,    /* it ran, and its answer is over a ceiling */
    BF_TRY_TIMED_OUT,    /* killed at its deadline */
    BF_TRY_NEVER_LEFT,   /* still waiting for a connection at its deadline */
    BF_TRY_NOT_STARTED,  /* certainly did not run; worth another try */
    BF_TRY_CREDENTIAL,   /* the same, once an operator has put things right */
    BF_TRY_REFUSED,      /* certainly did not run, and never will */
    BF_TRY_NOBODY_KNOWS, /* it may have run: no answer, or none to rely on */
    BF_TRIES,
};

struct bf_verdict_case {
    enum bf_try what;
    enum bf_reason reason; /* FAILED: NONE means user_error */
    enum bf_execution execution;
    uint32_t attempt; /* this one, from 1 */
    uint32_t max_attempts;
};

/*
 * Fills in outcome, reason, delivery, again and more; the rest of *end stays.
 * With again or more, outcome and reason are what holds if nothing follows.
 */
void bf_verdict(const struct bf_verdict_case *which, struct bf_run_end *end);

/*
 * What failed, in a runner's words (worker/runner/README.md): "oom",
 * "deadline", … -1 and both untouched for any other.
 */
int bf_verdict_word(struct bf_slice word, enum bf_try *ret_what,
                    enum bf_reason *ret_reason);

/* The execution and the attempts of a run. */
struct bf_verdict_case bf_verdict_of(const struct bf_run_input *input,
                                     enum bf_try what);

#endif
