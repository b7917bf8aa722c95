/* POST /v1/jobs with one job, which may wait for its end. */

#include "dispatcher/get.h"
#include "dispatcher/post.h"
#include "dispatcher/scan.h"

struct one {
    struct bf_post post; /* first */
    int wait_s;          /* Prefer: wait */
    struct bf_buf body;
};

static struct one *one_from(struct bf_handler *handler)
{
    return (struct one *)handler;
}

static void one_free(struct one *one)
{
    bf_assert(one->post.pending == 0);
    if (one->post.api)
        bf_post_hold(&one->post, 0);
    bf_buf_release(&one->body);
    free(one);
}

/* The request goes on as a GET; what is left of the post ends here. */
static void wait_for_end(struct one *one, const struct bf_shipment *shipment,
                         struct bf_answer *fallback)
{
    struct bf_request *req = one->post.req;

    bf_get_after_post(one->post.api, req, shipment, one->wait_s, fallback);
    if (bf_request_state(req) == &one->post.handler)
        return;
    one->post.req = NULL;
    one_free(one);
}

static void answer_stored(struct one *one, const struct bf_shipment *shipment)
{
    struct bf_answer answer = {.status = 202,
                               .content_type = "application/json",
                               .body = BF_BUF_INIT(4096)};
    struct bf_json_out out;
    struct bf_problem problem;
    char url[256];

    snprintf(url, sizeof(url), "/v1/jobs/%s?workspace=%s", shipment->job,
             shipment->workspace);
    bf_json_start(&out, &answer.body, NULL);
    bf_json_open(&out, NULL, '{');
    bf_json_str(&out, "workspace", shipment->workspace);
    bf_json_str(&out, "job", shipment->job);
    bf_json_int(&out, "generation", shipment->generation);
    bf_json_str(&out, "status", "waiting");
    bf_post_put_place(&one->post, &out, shipment);
    bf_json_str(&out, "url", url);
    bf_json_close(&out, '}');
    bf_answer_header(&answer, "Location", url);
    if (bf_json_done(&out) == 0 && one->wait_s > 0) {
        wait_for_end(one, shipment, &answer);
        return;
    }
    if (bf_json_done(&out) == 0) {
        bf_request_answer(one->post.req, &answer);
        return;
    }
    bf_buf_release(&answer.body);
    bf_problem_set(&problem, BF_PROBLEM_INTERNAL, NULL,
                   "stored, but out of memory for the answer");
    bf_request_refuse(one->post.req, &problem);
}

/* Its report; on the loop. */
static void on_report(void *arg, struct bf_shipment *taken)
{
    bf_autoshipment struct bf_shipment *shipment = taken;
    struct one *one = arg;
    struct bf_problem problem;

    one->post.pending--;
    if (shipment->status == BF_ACK_STORED)
        bf_post_tell_view(&one->post, shipment);
    if (!one->post.req) {
        one_free(one);
        return;
    }
    if (shipment->status == BF_ACK_STORED) {
        answer_stored(one, shipment);
        return;
    }
    bf_post_ack_problem(shipment, &problem);
    bf_request_refuse(one->post.req, &problem);
}

static size_t on_body(struct bf_handler *handler, struct bf_slice piece)
{
    struct one *one = one_from(handler);
    struct bf_problem problem;
    struct bf_err err;

    if (!bf_outbox_has_room(one->post.api->conf.outbox, piece.len))
        bf_problem_set(&problem, BF_PROBLEM_BUSY, NULL,
                       "dispatcher.inflight_bytes are on their way");
    else if (bf_buf_add(&one->body, piece.ptr, piece.len, &err))
        bf_problem_set(&problem,
                       err.kind == BF_ERR_REJECT ? BF_PROBLEM_TOO_LARGE
                                                 : BF_PROBLEM_UNAVAILABLE,
                       NULL, "the job: %s", err.msg);
    else {
        bf_post_hold(&one->post, one->body.cap);
        return piece.len;
    }
    bf_buf_release(&one->body);
    bf_post_hold(&one->post, 0);
    bf_request_refuse(one->post.req, &problem);
    return piece.len;
}

static void on_end(struct bf_handler *handler)
{
    struct one *one = one_from(handler);
    struct bf_post *post = &one->post;
    struct bf_shipment *shipment;
    struct bf_problem problem;
    uint32_t shards = bf_api_shards(post->api, &problem);

    shipment = shards > 0
                   ? bf_post_read(post, bf_buf_slice(&one->body), &problem)
                   : NULL;
    bf_buf_release(&one->body);
    bf_post_hold(post, 0);
    if (!shipment || bf_api_allow(post->api, shipment->workspace, &problem)) {
        bf_shipment_free(shipment);
        bf_request_refuse(post->req, &problem);
        return;
    }
    bf_post_charge(post, shipment);
    post->pending++;
    bf_outbox_add(post->api->conf.outbox, shipment, shards, on_report, one);
}

static void on_gone(struct bf_handler *handler)
{
    struct one *one = one_from(handler);

    one->post.req = NULL;
    if (one->post.pending == 0)
        one_free(one);
}

/* Seconds of "respond-async, wait=10" (RFC 7240); 0: none. */
static int read_prefer(const char *header)
{
    const char *wait = header ? strstr(header, "wait=") : NULL;
    uint64_t seconds;
    size_t len;

    if (!wait || (wait != header && !strchr(", ;", wait[-1])))
        return 0;
    wait += strlen("wait=");
    len = strspn(wait, "0123456789");
    if (bf_slice_u64((struct bf_slice){wait, len}, INT32_MAX, &seconds))
        return 0;
    return seconds < BF_GET_MAX_WAIT_S ? (int)seconds : BF_GET_MAX_WAIT_S;
}

struct bf_post *bf_post_one_new(const struct bf_request *req,
                                struct bf_problem *problem)
{
    struct one *one = calloc(1, sizeof(*one));

    if (!one) {
        bf_problem_set(problem, BF_PROBLEM_UNAVAILABLE, NULL, "out of memory");
        return NULL;
    }
    one->post.handler =
        (struct bf_handler){.body = on_body, .end = on_end, .gone = on_gone};
    one->body = (struct bf_buf)BF_BUF_INIT(BF_MAX_LINE_BYTES);
    one->wait_s = read_prefer(bf_request_header(req, "Prefer"));
    return &one->post;
}
