#ifndef BF_DISPATCHER_BATCH_H
#define BF_DISPATCHER_BATCH_H

/*
 * What is known of a batch, and what follows from it alone: whoever knows the
 * same facts says the same. Pure.
 */

#include <stdint.h>

#include "dispatcher/row.h"

/* Statuses of jobs: waiting, running, then the outcomes. */
#define BF_STATUSES (2 + BF_OUTCOMES)

struct bf_batch {
    bool opened;
    int64_t opened_at_ms;
    int64_t until_ms;        /* when opened: no jobs are added later */
    int64_t max_failure_ppm; /* of a million jobs; -1: no limit */
    bool sealed;
    int64_t sealed_at_ms;
    int64_t count; /* when sealed: so many jobs it has */
    int64_t jobs[BF_STATUSES];
};

/*
 * Of a batch that is not sealed, nobody knows how many jobs will follow: one
 * that may have some failures is judged once so many jobs have ended.
 */
#define BF_BATCH_JUDGED 10

/* A place in jobs[]. */
int bf_batch_status(enum bf_row_rank rank, enum bf_outcome outcome);

int64_t bf_batch_total(const struct bf_batch *batch);
int64_t bf_batch_ended(const struct bf_batch *batch);
/* Ended otherwise than succeeded or cancelled. */
int64_t bf_batch_failures(const struct bf_batch *batch);
/* Sealed, and just so many jobs are there and have ended. */
bool bf_batch_complete(const struct bf_batch *batch);

enum bf_batch_state {
    BF_BATCH_OPEN,
    BF_BATCH_EXPIRED, /* past until, and not sealed */
    BF_BATCH_SEALED,
    BF_BATCH_COMPLETE,
    BF_BATCH_FAILED, /* more failures than it may have */
    BF_BATCH_STATES,
};
enum bf_batch_state bf_batch_state(const struct bf_batch *batch,
                                   int64_t now_ms);
const char *bf_batch_state_name(enum bf_batch_state state);

/* Why no job may be added whatever the time is; NULL: one may. */
const char *bf_batch_closed(const struct bf_batch *batch);

#endif
