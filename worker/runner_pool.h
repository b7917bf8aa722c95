#ifndef BF_WORKER_RUNNER_POOL_H
#define BF_WORKER_RUNNER_POOL_H

/*
 * The transport BF_BY_RUNNER: warm runner processes, and the runs that they
 * were given. Spreads runs over them by load, starts them again when they die,
 * kills them when they do not keep to the protocol. What a runner says is not
 * looked into beyond what run it is about. Loop thread only; never blocks, but
 * for bf_runner_pool_free().
 */

#include "worker/backend.h"

struct bf_runner_call;
struct bf_runner_pool;

struct bf_runner_pool_config {
    const char *python; /* a path, or a name to be looked for on PATH */
    const char *path;   /* of the package bfrunner, or of a script */
    /* Further arguments, NULL-terminated; NULL: none. */
    const char *const *args;
    size_t runners;
    size_t slots; /* runs at once in each */
    size_t queue; /* runs that may wait for a slot */
};

/* Copies config. FATAL when there is no such Python or package. */
struct bf_runner_pool *
bf_runner_pool_new(const struct bf_runner_pool_config *config,
                   struct bf_err *err);

/* Stops the runners; all calls are gone. NULL is a no-op. */
void bf_runner_pool_free(struct bf_runner_pool *pool);

/* Readable when bf_runner_pool_serve() has something to do. */
int bf_runner_pool_fd(const struct bf_runner_pool *pool);

/* Milliseconds until it has in any case, at most max_ms. */
int bf_runner_pool_wait(const struct bf_runner_pool *pool, int max_ms);
void bf_runner_pool_serve(struct bf_runner_pool *pool);

/*
 * Asks for a run. request's bytes are borrowed until the call has ended or is
 * cancelled. NULL with RETRY when too much is waiting already.
 */
struct bf_runner_call *bf_runner_pool_send(struct bf_runner_pool *pool,
                                           const char *run_id,
                                           const struct bf_request *request,
                                           void *opaque, struct bf_err *err);

/* Nobody wants it any more: it is killed, and nothing more is heard of it. */
void bf_runner_pool_cancel(struct bf_runner_pool *pool,
                           struct bf_runner_call *call);

enum bf_runner_news {
    BF_RUNNER_QUIET,   /* there is none */
    BF_RUNNER_STARTED, /* user code may run from here on; at most once a call */
    BF_RUNNER_ENDED,   /* reply is filled in; the call is gone */
};

struct bf_runner_event {
    enum bf_runner_news news;
    void *opaque;
    struct bf_reply reply; /* its bytes: until the next take */
};

/*
 * Takes the next event. A call that never left ends UNSENT, one whose runner
 * died with it LOST.
 */
enum bf_runner_news bf_runner_pool_take(struct bf_runner_pool *pool,
                                        struct bf_runner_event *ret);

struct bf_runner_count {
    size_t ready, running, queued;
    uint64_t died;
};
void bf_runner_pool_count(const struct bf_runner_pool *pool,
                          struct bf_runner_count *ret);

/*
 * Where bfrunner is when nobody says: beside the programs as installed, or in
 * the tree that they were built from. FATAL when it is in neither place; the
 * path is the caller's to free().
 */
char *bf_runner_find(struct bf_err *err);

#endif
