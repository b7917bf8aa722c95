#ifndef BF_DISPATCHER_GET_H
#define BF_DISPATCHER_GET_H

/* The GETs of the API. Loop thread. */

#include "dispatcher/handler.h"

#define BF_GET_MAX_WAIT_S 60

bf_begin_fn bf_get_job;     /* /v1/jobs/{id} */
bf_begin_fn bf_get_result;  /* /v1/jobs/{id}/result */
bf_begin_fn bf_get_jobs;    /* /v1/jobs */
bf_begin_fn bf_get_page;    /* /v1/results */
bf_begin_fn bf_get_batches; /* /v1/batches */
bf_begin_fn bf_get_batch;   /* /v1/batches/{batch} */
bf_begin_fn bf_get_usage;   /* /v1/usage */

/*
 * A POST that wants to wait for its job's end: the request becomes a GET of
 * the job, with an answer for when the time is over. Takes fallback's body.
 */
void bf_get_after_post(struct bf_api *api, struct bf_request *req,
                       const struct bf_shipment *shipment, int wait_s,
                       struct bf_answer *fallback);

/* Jobs have ended that somebody may wait for. */
void bf_get_wake_ended(struct bf_api *api);

/* Answers who has waited long enough; ms until the next one, or -1. */
int bf_get_tick(struct bf_api *api);

#endif
