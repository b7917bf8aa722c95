#ifndef BF_DISPATCHER_POOL_H
#define BF_DISPATCHER_POOL_H

/*
 * A few threads for what would block the loop. Tasks go in and come back on
 * the loop; in between they belong to the pool.
 */

#include "schemas/check.h"

struct bf_err;
struct bf_pool;

/* Embedded in what the task works on. */
struct bf_task {
    /* On a thread of the pool; context is that thread's own. */
    void (*run)(struct bf_task *task, void *context);
    /* On the loop. */
    void (*done)(struct bf_task *task);
    struct bf_task *next; /* private */
};

struct bf_pool_conf {
    unsigned threads;
    int wake_fd; /* borrowed: woken when a task is done */
    /* A thread's context, made and freed on it; may be NULL. */
    void *(*begin)(void *arg);
    void (*end)(void *context);
    void *arg;
};

struct bf_pool *bf_pool_new(const struct bf_pool_conf *conf,
                            struct bf_err *err);
/* Finishes what was begun; calls done for all that is left. */
void bf_pool_free(struct bf_pool *pool);
BF_DEFINE_CLEANUP(bf_pool_freep_, struct bf_pool *, bf_pool_free)
#define bf_autopool bf_cleanup(bf_pool_freep_)

void bf_pool_add(struct bf_pool *pool, struct bf_task *task);

/* On the loop: hand back what is done. */
void bf_pool_serve(struct bf_pool *pool);

#endif
