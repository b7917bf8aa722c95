#ifndef BF_DISPATCHER_INTAKE_H
#define BF_DISPATCHER_INTAKE_H

/*
 * From a job in JSON to a job on the wire: names, defaults, rules. What is
 * accepted here is never refused by a worker. Pure, any thread.
 *
 * Members: workspace, block, inputs (required, save the sender's usual
 * workspace); id, kind, execution,
 * timeout_ms, max_attempts, not_before | not_before_ms, expires_at |
 * expires_at_ms (RFC 3339 or Unix milliseconds), order_key, backend, lane
 * (jobs | batch), batch, batch_index, callback_url, labels, context,
 * correlation_id. null counts as absent; any other name is refused.
 */

#include <jansson.h>

#include "dispatcher/problem.h"
#include "schemas/job.h"
#include "schemas/state.h"

#define BF_MAX_IDEMPOTENCY_KEY 255U

/* What does not come from the body. Strings are borrowed. */
struct bf_intake_ctx {
    int64_t now_ms;
    uint32_t default_timeout_ms;
    uint32_t spread;
    size_t max_inputs_bytes;
    size_t max_block_bytes;
    struct bf_slice idempotency_key; /* as in the header; ptr NULL: none */
    struct bf_slice traceparent;     /* ptr NULL: none */
    int64_t line;                    /* of an NDJSON upload, from 0; else -1 */
    struct bf_slice usual_workspace; /* of a job without; ptr NULL: none */
    /* May the sender touch it? Asked for every job; -1 refuses it. */
    int (*check)(void *arg, struct bf_slice workspace,
                 struct bf_problem *problem);
    void *check_arg;
};

/*
 * An accepted job. Owns all that job points to, save inputs and traceparent;
 * job points into it, so that it cannot be moved.
 */
struct bf_intake {
    struct bf_job job;
    enum bf_lane lane;
    json_t *doc;    /* private from here on */
    char *texts[3]; /* block, labels, context */
    char id[BF_MAX_ID + 1];
    char workspace[BF_MAX_ID + 1];
    char batch_index[24];
    struct bf_buf rest;
};

/*
 * body is one job; *ret borrows its bytes (inputs) and ctx's. On failure *ret
 * needs no release and *problem names the field and the rule.
 */
int bf_intake_read(struct bf_slice body, const struct bf_intake_ctx *ctx,
                   struct bf_intake *ret, struct bf_problem *problem);
void bf_intake_release(struct bf_intake *intake);
#define bf_autointake bf_cleanup(bf_intake_release)

/*
 * The header Idempotency-Key, a quoted string (the HTTP API draft) or bare:
 * 1-255 visible ASCII characters. Borrows.
 */
int bf_intake_key(const char *header, struct bf_slice *ret,
                  struct bf_problem *problem);

/* The header traceparent when it is one (W3C, version 00), else ptr NULL. */
struct bf_slice bf_intake_traceparent(const char *header);

#endif
