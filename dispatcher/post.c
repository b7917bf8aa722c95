/* POST /v1/jobs: what is the same for one job and for many. */

#include "dispatcher/post.h"

#include <strings.h>

#include "config/clock.h"
#include "dispatcher/rate.h"

void bf_post_hold(struct bf_post *post, size_t bytes)
{
    bf_outbox_hold(post->api->conf.outbox, post->held_bytes, bytes);
    post->held_bytes = bytes;
}

/* ---- what an answer says --------------------------------------------------*/

static const char *topic_of(const struct bf_post *post,
                            const struct bf_shipment *shipment)
{
    return bf_topic_name(post->api->conf.topics, bf_lane_topic(shipment->lane));
}

void bf_post_put_place(const struct bf_post *post, struct bf_json_out *out,
                       const struct bf_shipment *shipment)
{
    bf_json_str(out, "topic", topic_of(post, shipment));
    bf_json_int(out, "partition", shipment->partition);
    bf_json_int(out, "offset", shipment->offset);
}

void bf_post_ack_problem(const struct bf_shipment *shipment,
                         struct bf_problem *problem)
{
    switch (shipment->status) {
    case BF_ACK_STORED:
        break;
    case BF_ACK_NOT_STORED:
        bf_problem_set(problem, BF_PROBLEM_UNAVAILABLE, NULL,
                       "not stored: %s; send it again", shipment->why);
        return;
    case BF_ACK_MAYBE:
        bf_problem_set(problem, BF_PROBLEM_NOT_CONFIRMED, NULL,
                       "%s; sending it again with the same id or "
                       "Idempotency-Key does not run it twice",
                       shipment->why);
        return;
    case BF_ACK_TOO_LARGE:
        bf_problem_set(problem, BF_PROBLEM_TOO_LARGE, "inputs",
                       "the record is larger than the topic allows");
        return;
    }
    bf_assert(!"a stored job is no problem");
}

void bf_post_tell_view(struct bf_post *post, const struct bf_shipment *shipment)
{
    struct bf_row row = {
        .generation = shipment->generation,
        .has_job = true,
        .lane = shipment->lane,
        .partition = shipment->partition,
        .offset = shipment->offset,
        .accepted_at_ms = shipment->accepted_at_ms,
        .expires_at_ms = shipment->expires_at_ms,
        .execution = shipment->execution,
        .batch_index = shipment->batch_index,
    };

    snprintf(row.order_key, sizeof(row.order_key), "%s", shipment->order_key);
    snprintf(row.batch, sizeof(row.batch), "%s", shipment->batch);
    if (shipment->labels)
        snprintf(row.labels, sizeof(row.labels), "%s", shipment->labels);
    bf_exchange_accepted(post->api->conf.exchange, shipment->workspace,
                         shipment->job, &row);
    post->api->accepted = true;
}

/* ---- what is taken --------------------------------------------------------*/

static int check_workspace(void *arg, struct bf_slice workspace,
                           struct bf_problem *problem)
{
    struct bf_post *post = arg;

    return bf_door_check(post->api->conf.door, &post->caller, workspace,
                         problem);
}

static int check_batch(const struct bf_post *post,
                       const struct bf_shipment *shipment,
                       struct bf_problem *problem)
{
    const char *why =
        bf_exchange_batch_closed(post->api->conf.exchange, shipment->workspace,
                                 shipment->batch, post->ctx.now_ms);

    return why ? bf_problem_set(problem, BF_PROBLEM_BATCH, "batch", "batch: %s",
                                why)
               : 0;
}

struct bf_shipment *bf_post_read(struct bf_post *post, struct bf_slice text,
                                 struct bf_problem *problem)
{
    struct bf_shipment *shipment;

    post->ctx.now_ms = bf_now_ms();
    post->ctx.usual_workspace =
        bf_door_usual(post->api->conf.door, &post->caller);
    shipment = bf_shipment_new(text, &post->ctx, problem);
    if (shipment && shipment->batch[0] && check_batch(post, shipment, problem))
        bf_shipment_free(bf_take(shipment));
    return shipment;
}

int64_t bf_post_wait_ms(const struct bf_post *post,
                        const struct bf_shipment *shipment)
{
    struct bf_rate *rate = post->api->conf.rate;

    return rate ? bf_rate_wait_ms(rate, bf_slice_str(shipment->workspace),
                                  bf_mono_us())
                : 0;
}

void bf_post_charge(const struct bf_post *post,
                    const struct bf_shipment *shipment)
{
    bf_api_charge(post->api, shipment->workspace, shipment->bytes);
}

/* ---- the request ----------------------------------------------------------*/

/* "application/json; charset=utf-8" is application/json. */
static bool is_type(const char *header, const char *type)
{
    size_t len = strcspn(header, "; \t");

    return len == strlen(type) && strncasecmp(header, type, len) == 0;
}

static int read_type(struct bf_request *req, bool *ret_many,
                     struct bf_problem *problem)
{
    const char *type = bf_request_header(req, "Content-Type");

    if (!type || is_type(type, "application/json")) {
        *ret_many = false;
        return 0;
    }
    if (is_type(type, "application/x-ndjson")) {
        *ret_many = true;
        return 0;
    }
    return bf_problem_set(problem, BF_PROBLEM_MEDIA_TYPE, "Content-Type",
                          "Content-Type: must be application/json or "
                          "application/x-ndjson");
}

static int read_headers(struct bf_post *post, struct bf_request *req,
                        struct bf_problem *problem)
{
    const char *key = bf_request_header(req, "Idempotency-Key");
    struct bf_slice trace =
        bf_intake_traceparent(bf_request_header(req, "traceparent"));
    struct bf_slice text;

    if (key && bf_intake_key(key, &text, problem))
        return -1;
    if (key) {
        snprintf(post->key, sizeof(post->key), "%.*s", BF_SLICE_ARG(text));
        post->ctx.idempotency_key = bf_slice_str(post->key);
    }
    if (trace.ptr) {
        snprintf(post->traceparent, sizeof(post->traceparent), "%.*s",
                 BF_SLICE_ARG(trace));
        post->ctx.traceparent = bf_slice_str(post->traceparent);
    }
    return 0;
}

void bf_post_init(struct bf_post *post, struct bf_api *api,
                  struct bf_request *req, const struct bf_caller *caller)
{
    post->api = api;
    post->req = req;
    post->caller = *caller;
    post->ctx = (struct bf_intake_ctx){
        .default_timeout_ms = api->conf.default_timeout_ms,
        .spread = api->conf.spread,
        .max_inputs_bytes = api->conf.max_inputs_bytes,
        .max_block_bytes = api->conf.max_block_bytes,
        .line = -1,
        .check = check_workspace,
        .check_arg = post,
    };
}

static struct bf_post *post_new(struct bf_api *api, struct bf_request *req,
                                const struct bf_caller *caller,
                                struct bf_problem *problem)
{
    struct bf_post *post;
    bool many = false;

    if (read_type(req, &many, problem))
        return NULL;
    post = many ? bf_post_many_new(api, req, problem)
                : bf_post_one_new(req, problem);
    if (!post)
        return NULL;
    bf_post_init(post, api, req, caller);
    if (read_headers(post, req, problem)) {
        post->handler.gone(&post->handler);
        return NULL;
    }
    return post;
}

void bf_post_begin(struct bf_api *api, struct bf_request *req,
                   const struct bf_path *path)
{
    struct bf_problem problem;
    struct bf_post *post;

    /* Asked before the body is sent for nothing. */
    if (bf_api_shards(api, &problem) == 0) {
        bf_request_refuse(req, &problem);
        return;
    }
    post = post_new(api, req, &path->caller, &problem);
    if (post)
        bf_request_set_state(req, &post->handler);
    else
        bf_request_refuse(req, &problem);
}
