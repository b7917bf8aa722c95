#ifndef BF_WORKER_CHORES_H
#define BF_WORKER_CHORES_H

/*
 * A backend's housekeeping: sandboxes to be given back, calls to be cancelled.
 * Each chore is a run without a job, a few at once, each within a bounded
 * time; what it may have to commit is a usage row of an idle sandbox. On its
 * own connections, so that runs do not wait for it. Loop thread.
 */

#include "config/topic_limits.h"
#include "worker/backend.h"
#include "worker/http.h"
#include "worker/shards.h"
#include "worker/task.h"

struct bf_chores;
struct bf_committer;

struct bf_chores_config {
    const struct bf_backend *backend; /* that has chores */
    struct bf_backend_config backend_config;
    struct bf_http_config http; /* max_connections is ours to say */
    const struct bf_shards *shards;
    struct bf_committer *committer;
    struct bf_task_names names;
};

/* config is copied; what it points to is borrowed. */
struct bf_chores *bf_chores_new(const struct bf_chores_config *config,
                                struct bf_err *err);

/* Aborts what is under way. What is with the committer came back before. */
void bf_chores_free(struct bf_chores *chores);

/* Readable when bf_chores_serve() has something to do. */
int bf_chores_fd(const struct bf_chores *chores);
int bf_chores_wait(const struct bf_chores *chores, int max_ms);

/* -1: FATAL. */
int bf_chores_serve(struct bf_chores *chores, struct bf_err *err);

/* The worker is about to leave: the backend is told (stopping). */
void bf_chores_stop(struct bf_chores *chores);

/* Is something under way, or was there at the last look? */
bool bf_chores_busy(const struct bf_chores *chores);

/* What the committer says of an item of_chore. Frees it. */
void bf_chores_answered(struct bf_item *item);

#endif
