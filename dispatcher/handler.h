#ifndef BF_DISPATCHER_HANDLER_H
#define BF_DISPATCHER_HANDLER_H

/* What the files behind the API share. Loop thread. */

#include "dispatcher/api.h"
#include "dispatcher/problem.h"

/* A request's state begins with one; see bf_http_ops. */
struct bf_handler {
    size_t (*body)(struct bf_handler *handler, struct bf_slice piece);
    void (*end)(struct bf_handler *handler);
    /* The request is over: free the handler now or when nobody needs it. */
    void (*gone)(struct bf_handler *handler);
};

struct bf_api {
    struct bf_api_conf conf;
    struct bf_http_stats *stats;
    const struct bf_http *http; /* NULL: not yet */
    bool stopping;
    struct bf_upload *uploads; /* all that have begun */
    struct bf_upload *stalled; /* those of them that wait for room */
    struct bf_get *waiting;    /* requests that wait for a job's end */
    struct bf_seam *seam;
    bool accepted; /* the exchange has something for the feed */
};

/* What is asked for, and by whom. */
#define BF_PATH_SEGMENTS 3
struct bf_path {
    /* After /v1/: {"jobs", "j1", "result"}. */
    struct bf_slice segments[BF_PATH_SEGMENTS];
    size_t count;
    struct bf_caller caller;
    /* Which the caller may touch; "" where it is not the query that says. */
    char workspace[BF_MAX_ID + 1];
};

/* Each answers the request or makes a handler its state. */
typedef void bf_begin_fn(struct bf_api *api, struct bf_request *req,
                         const struct bf_path *path);

bf_begin_fn bf_post_begin;
bf_begin_fn bf_post_batch; /* POST /v1/batches */
bf_begin_fn bf_post_seal;  /* POST /v1/batches/{batch}/seal */

/* post_many.c: uploads that wait may go on; ms until the next, or -1. */
int bf_post_resume(struct bf_api *api);

/* The shards to place by; 0: the request was refused, 503. */
uint32_t bf_api_shards(struct bf_api *api, struct bf_problem *problem);

/*
 * May this workspace write to Kafka now? -1: 429. Who then does so is charged
 * as if it were a job.
 */
int bf_api_allow(const struct bf_api *api, const char *workspace,
                 struct bf_problem *problem);
void bf_api_charge(const struct bf_api *api, const char *workspace,
                   size_t bytes);

/* Answer with this body, which is taken. */
void bf_api_answer(struct bf_request *req, unsigned status,
                   struct bf_buf *json);

#endif
