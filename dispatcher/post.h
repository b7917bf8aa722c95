#ifndef BF_DISPATCHER_POST_H
#define BF_DISPATCHER_POST_H

/*
 * What POST /v1/jobs has in common for one job (post_one.c) and for many
 * (post_many.c). Loop thread.
 */

#include "dispatcher/handler.h"
#include "schemas/json.h"

#define BF_MAX_LINE_BYTES (BF_MAX_INPUTS + BF_SCAN_REST)

struct bf_post {
    struct bf_handler handler; /* first */
    struct bf_api *api;
    struct bf_request *req; /* NULL: gone, only reports are awaited */
    struct bf_caller caller;
    struct bf_intake_ctx ctx;
    char key[BF_MAX_IDEMPOTENCY_KEY + 1];
    char traceparent[64];
    size_t pending; /* accepted, and not reported by Kafka */
    size_t held_bytes;
};

/* All but the handler's functions, of a post that is zeroed. */
void bf_post_init(struct bf_post *post, struct bf_api *api,
                  struct bf_request *req, const struct bf_caller *caller);

/*
 * A request of either kind with its handler's functions set; post.c fills in
 * the rest. NULL with *problem set. Its gone() frees it.
 */
struct bf_post *bf_post_one_new(const struct bf_request *req,
                                struct bf_problem *problem);
struct bf_post *bf_post_many_new(const struct bf_api *api,
                                 struct bf_request *req,
                                 struct bf_problem *problem);

/* That many bytes have arrived and are no job yet: they count as in flight. */
void bf_post_hold(struct bf_post *post, size_t bytes);

/* A job of the body, of a workspace that is the caller's; ctx.line is set. */
struct bf_shipment *bf_post_read(struct bf_post *post, struct bf_slice text,
                                 struct bf_problem *problem);

/* ms until the job's workspace may submit again; 0: now. */
int64_t bf_post_wait_ms(const struct bf_post *post,
                        const struct bf_shipment *shipment);
/* It was accepted. */
void bf_post_charge(const struct bf_post *post,
                    const struct bf_shipment *shipment);

/* Where a job is now: members of an answer. */
void bf_post_put_place(const struct bf_post *post, struct bf_json_out *out,
                       const struct bf_shipment *shipment);

/* Why a job was not stored. */
void bf_post_ack_problem(const struct bf_shipment *shipment,
                         struct bf_problem *problem);

/* The view is told at once, so that one reads one's own writes. */
void bf_post_tell_view(struct bf_post *post,
                       const struct bf_shipment *shipment);

#endif
