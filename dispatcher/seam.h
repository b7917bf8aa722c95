#ifndef BF_DISPATCHER_SEAM_H
#define BF_DISPATCHER_SEAM_H

/*
 * POST / and POST /execute_block: the dispatcher in the place of the Modal app
 * that an existing Roboflow inference server calls (MODAL_WEB_ENDPOINT_URL).
 * Each call is a job; the request waits for its end. What their client expects
 * on the wire stands in seam_call.h and seam_reply.h. Loop thread.
 *
 * Their client gives up when nothing comes for 30 s: a call that takes longer
 * is answered with 200 early, and a space of JSON now and then. What goes wrong
 * after that cuts the connection.
 */

#include "dispatcher/handler.h"

/* Code that is known by its hash. */
#define BF_SEAM_CODES_WORKSPACE_BYTES (4U << 20)
#define BF_SEAM_CODES_BYTES (64U << 20)
/* Answers to validations. */
#define BF_SEAM_VALID_WORKSPACE_BYTES (256U << 10)
#define BF_SEAM_VALID_BYTES (16U << 20)
#define BF_SEAM_VALID_MS 3600000

enum bf_seam_outcome {
    BF_SEAM_SUCCEEDED,
    BF_SEAM_FAILED,       /* by the user's code */
    BF_SEAM_BROKEN,       /* by us: refused or cut after it was accepted */
    BF_SEAM_GONE,         /* the client went before the end */
    BF_SEAM_UNKNOWN_CODE, /* to be sent again with the code */
    BF_SEAM_REMEMBERED,   /* a validation without a run */
    BF_SEAM_OUTCOMES,
};
const char *bf_seam_outcome_name(enum bf_seam_outcome outcome);

struct bf_seam_stats {
    uint64_t calls[BF_SEAM_OUTCOMES];
    uint64_t waiting;
    size_t code_bytes;
};

struct bf_seam *bf_seam_new(struct bf_err *err);
/* After the last request is gone. */
void bf_seam_free(struct bf_seam *seam);

void bf_seam_stats(const struct bf_seam *seam, struct bf_seam_stats *ret);

bf_begin_fn bf_seam_begin;

/* Jobs of these keys (bf_exchange_key()) have ended; all: any may have. */
void bf_seam_wake(struct bf_api *api, const uint64_t *keys, size_t count,
                  bool all);

/* Keeps clients waiting; ms until the next time, or -1. */
int bf_seam_tick(struct bf_api *api);

#endif
