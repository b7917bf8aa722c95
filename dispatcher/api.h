#ifndef BF_DISPATCHER_API_H
#define BF_DISPATCHER_API_H

/*
 * The HTTP API: which resource a request means, and what every answer has in
 * common. Loop thread.
 */

#include "dispatcher/door.h"
#include "dispatcher/feed.h"
#include "dispatcher/http.h"
#include "dispatcher/outbox.h"
#include "dispatcher/pool.h"

struct bf_api;

/* Everything is borrowed until bf_api_free(). */
struct bf_api_conf {
    struct bf_door *door;
    struct bf_rate *rate; /* NULL: no limits */
    struct bf_outbox *outbox;
    struct bf_feed *feed;
    struct bf_exchange *exchange; /* the feed's */
    struct bf_pool *reads;        /* contexts as bf_read_begin() makes them */
    struct bf_pool *fetches;      /* as bf_fetch_begin() */
    const struct bf_topics *topics;
    uint32_t default_timeout_ms;
    int64_t block_timeout_ms; /* of calls of seam.h; their runs */
    int64_t block_expiry_ms;  /* until a run has to begin */
    int64_t block_keepalive_ms;
    uint32_t spread;
    size_t max_inputs_bytes;
    size_t max_inflight_bytes; /* the outbox's, and that of answers */
    size_t max_block_bytes;
    uint64_t max_upload_bytes;  /* of one NDJSON body */
    uint64_t max_answers_bytes; /* of the answers to its lines */
    const char *run_dir;        /* where answers are kept */
    int64_t transaction_ms;     /* how long one of a worker may be open */
};

struct bf_api *bf_api_new(const struct bf_api_conf *conf, struct bf_err *err);
/* After bf_http_free(), bf_outbox_free() and bf_pool_free(). */
void bf_api_free(struct bf_api *api);
BF_DEFINE_CLEANUP(bf_api_freep_, struct bf_api *, bf_api_free)
#define bf_autoapi bf_cleanup(bf_api_freep_)

/* Who calls it; for what it tells of itself. Borrowed. */
void bf_api_set_http(struct bf_api *api, const struct bf_http *http);

/* What bf_http_new() wants; its arg is the api. */
const struct bf_http_ops *bf_api_http_ops(void);

/*
 * Once per turn of the loop, after bf_http_run(). Wants to be called again
 * within that many ms; -1: no need.
 */
int bf_api_tick(struct bf_api *api);

/* The exchange or a pool has woken the loop. */
void bf_api_wake(struct bf_api *api);

/* From now on nothing new is accepted; who waits is answered. */
void bf_api_stop(struct bf_api *api);

#endif
