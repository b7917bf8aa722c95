#ifndef BF_WORKER_RUNS_H
#define BF_WORKER_RUNS_H

/*
 * The jobs under way: from a pulled record through a backend to the item that
 * ends it. Decides nothing about Kafka and does no I/O but through the
 * transports. Loop thread only.
 */

#include "worker/backend.h"
#include "worker/ending.h"
#include "worker/forward.h"
#include "worker/shards.h"

struct bf_committer;
struct bf_runner_pool;
struct bf_runs;

struct bf_runs_config {
    struct bf_ending ending;
    struct bf_shards *shards;
    struct bf_committer *committer;
    struct bf_verifier *verifier;     /* of job records */
    const struct bf_backend *backend; /* where no job says otherwise */
    struct bf_backend_config backend_config;
    struct bf_runner_pool *runners; /* for BF_BY_RUNNER; NULL: not here */
    struct bf_forward forward;      /* for BF_BY_HTTP; no pool: not here */
    uint32_t nshards;
    size_t concurrency;
    size_t memory_bytes;
    int log_fd; /* one line a run that we start here; -1: none. Borrowed */
};

struct bf_runs *bf_runs_new(const struct bf_runs_config *config,
                            struct bf_err *err);
void bf_runs_free(struct bf_runs *runs);

/* May another record be pulled? */
bool bf_runs_has_room(const struct bf_runs *runs);

/* Takes what was pulled. -1: FATAL. */
int bf_runs_take(struct bf_runs *runs, const struct bf_pull *pull,
                 struct bf_err *err);

/* What the committer says of a task's item. -1: FATAL. */
int bf_runs_answered(struct bf_runs *runs, struct bf_item *item,
                     struct bf_err *err);

/* Serve what is due. -1: FATAL. */
int bf_runs_serve(struct bf_runs *runs, struct bf_err *err);
int bf_runs_wait(const struct bf_runs *runs, int max_ms);

/*
 * Let go of what will not be finished here: tasks of shards that are not ours
 * any more, and of draining shards those that have not begun.
 */
void bf_runs_let_go(struct bf_runs *runs);

/*
 * For good: kill and drop everything that is not with the committer, and the
 * rest when it comes back.
 */
void bf_runs_kill_all(struct bf_runs *runs);

struct bf_runs_count {
    size_t tasks, running, bytes;
    uint64_t ended[BF_OUTCOMES];
    uint64_t untrusted, copies, lost_offsets, late;
};
void bf_runs_count(const struct bf_runs *runs, struct bf_runs_count *ret);

#endif
