/* How a call comes: read, made a job, sent. */

#include "dispatcher/seam_private.h"

#include <strings.h>

#include "config/clock.h"
#include "dispatcher/scan.h"

/* A validation compiles a few lines and takes no longer, or is broken. */
#define VALIDATION_MS 30000

const char *bf_seam_outcome_name(enum bf_seam_outcome outcome)
{
    static const char *const names[] = {
        [BF_SEAM_SUCCEEDED] = "succeeded",
        [BF_SEAM_FAILED] = "failed",
        [BF_SEAM_BROKEN] = "broken",
        [BF_SEAM_GONE] = "gone",
        [BF_SEAM_UNKNOWN_CODE] = "unknown_code",
        [BF_SEAM_REMEMBERED] = "remembered",
    };

    _Static_assert(bf_countof(names) == BF_SEAM_OUTCOMES, "a name each");
    return names[outcome];
}

struct bf_seam *bf_seam_new(struct bf_err *err)
{
    static const struct bf_recent_conf codes = {
        .workspace_bytes = BF_SEAM_CODES_WORKSPACE_BYTES,
        .total_bytes = BF_SEAM_CODES_BYTES,
    };
    static const struct bf_recent_conf validations = {
        .workspace_bytes = BF_SEAM_VALID_WORKSPACE_BYTES,
        .total_bytes = BF_SEAM_VALID_BYTES,
        .max_age_ms = BF_SEAM_VALID_MS,
    };
    struct bf_seam *seam = calloc(1, sizeof(*seam));

    if (!seam) {
        bf_err_oom(err);
        return NULL;
    }
    seam->codes = bf_recent_new(&codes, err);
    seam->validations = seam->codes ? bf_recent_new(&validations, err) : NULL;
    if (seam->validations)
        return seam;
    bf_seam_free(seam);
    return NULL;
}

void bf_seam_free(struct bf_seam *seam)
{
    if (!seam)
        return;
    bf_assert(!seam->waiting);
    bf_recent_free(seam->codes);
    bf_recent_free(seam->validations);
    free(seam);
}

void bf_seam_stats(const struct bf_seam *seam, struct bf_seam_stats *ret)
{
    *ret = seam->stats;
    ret->code_bytes = bf_recent_bytes(seam->codes);
}

/* ---- one call -------------------------------------------------------------*/

static struct bf_seam_waiting *call_from(struct bf_handler *handler)
{
    return (struct bf_seam_waiting *)handler;
}

static void call_free(struct bf_seam_waiting *call)
{
    bf_assert(call->post.pending == 0 && !call->asked && !call->listed);
    bf_post_hold(&call->post, 0);
    bf_gunzip_free(call->gunzip);
    bf_buf_release(&call->body);
    bf_buf_release(&call->end.report);
    bf_buf_release(&call->result);
    bf_buf_release(&call->reply);
    bf_seam_said_free(call->said);
    free(call);
}

void bf_seam_let_go(struct bf_seam_waiting *call)
{
    if (!call->post.req && call->post.pending == 0 && !call->asked)
        call_free(call);
}

static void on_gone(struct bf_handler *handler)
{
    struct bf_seam_waiting *call = call_from(handler);

    if (call->listed)
        call->post.api->seam->stats.calls[BF_SEAM_GONE]++;
    bf_seam_unlist(call);
    call->post.req = NULL;
    bf_seam_let_go(call);
}

/* ---- sending --------------------------------------------------------------*/

/* Its report; on the loop. */
static void on_report(void *arg, struct bf_shipment *taken)
{
    bf_autoshipment struct bf_shipment *shipment = taken;
    struct bf_seam_waiting *call = arg;
    struct bf_problem problem;

    call->post.pending--;
    if (shipment->status == BF_ACK_STORED) {
        bf_post_tell_view(&call->post, shipment);
    } else if (call->listed) {
        bf_post_ack_problem(shipment, &problem);
        /* It may run: nobody is to take this for a promise that it did not. */
        if (shipment->status == BF_ACK_MAYBE)
            problem.code = BF_PROBLEM_INTERNAL;
        bf_seam_fail(call, &problem);
    }
    bf_seam_let_go(call);
}

static int make_job(struct bf_seam_waiting *call,
                    const struct bf_seam_call *said, struct bf_slice code,
                    struct bf_buf *out, struct bf_problem *problem)
{
    const struct bf_api_conf *conf = &call->post.api->conf;
    const struct bf_seam_terms terms = {
        .workspace = bf_slice_str(call->workspace),
        .code = code,
        .expires_at_ms = bf_now_ms() + conf->block_expiry_ms,
        .timeout_ms =
            said->is_validation ? VALIDATION_MS : conf->block_timeout_ms,
        /*
         * Their client does not send a call twice, as it cannot know whether
         * it ran; nor do we run one twice behind its back.
         */
        .execution = said->is_validation ? BF_AT_LEAST_ONCE : BF_AT_MOST_ONCE,
    };

    if (bf_buf_reserve(out, said->inputs.len + code.len + 8192, NULL))
        return bf_problem_set(problem, BF_PROBLEM_TOO_LARGE, "inputs_json",
                              "inputs_json: more than %u bytes", BF_MAX_INPUTS);
    return bf_seam_call_job(said, &terms, out, problem);
}

static struct bf_shipment *make_shipment(struct bf_seam_waiting *call,
                                         const struct bf_seam_call *said,
                                         struct bf_slice code,
                                         struct bf_problem *problem)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(BF_MAX_LINE_BYTES);

    if (make_job(call, said, code, &text, problem))
        return NULL;
    return bf_post_read(&call->post, bf_buf_slice(&text), problem);
}

static void ship(struct bf_seam_waiting *call, const struct bf_seam_call *said,
                 struct bf_slice code)
{
    struct bf_api *api = call->post.api;
    struct bf_shipment *shipment;
    struct bf_problem problem;
    uint32_t shards = bf_api_shards(api, &problem);

    shipment = shards > 0 ? make_shipment(call, said, code, &problem) : NULL;
    if (!shipment || bf_api_allow(api, shipment->workspace, &problem)) {
        bf_shipment_free(shipment);
        bf_request_refuse(call->post.req, &problem);
        return;
    }
    bf_post_charge(&call->post, shipment);
    snprintf(call->job, sizeof(call->job), "%s", shipment->job);
    bf_seam_expect(call, said->is_validation ? VALIDATION_MS : 0);
    call->post.pending++;
    bf_outbox_add(api->conf.outbox, shipment, shards, on_report, call);
}

/* ---- what is known already ------------------------------------------------*/

static void answer_now(struct bf_seam_waiting *call, enum bf_seam_outcome how,
                       int failed, struct bf_buf *body)
{
    struct bf_problem problem;

    if (failed) {
        bf_buf_release(body);
        bf_problem_set(&problem, BF_PROBLEM_UNAVAILABLE, NULL, "out of memory");
        bf_request_refuse(call->post.req, &problem);
        return;
    }
    call->post.api->seam->stats.calls[how]++;
    bf_api_answer(call->post.req, 200, body);
}

static void ask_for_code(struct bf_seam_waiting *call)
{
    struct bf_buf body = BF_BUF_INIT(1024);

    answer_now(call, BF_SEAM_UNKNOWN_CODE,
               bf_seam_unknown_code(call->code_hash, &body), &body);
}

static bool answer_remembered(struct bf_seam_waiting *call)
{
    struct bf_slice text = bf_recent_get(
        call->post.api->seam->validations, bf_slice_str(call->workspace),
        bf_slice_str(call->code_hash), bf_now_ms());
    struct bf_buf body = BF_BUF_INIT(text.len);

    if (!text.ptr)
        return false;
    answer_now(call, BF_SEAM_REMEMBERED,
               bf_buf_add(&body, text.ptr, text.len, NULL), &body);
    return true;
}

/* Validations come with their code, each time: nobody asks for theirs. */
static struct bf_slice code_of(struct bf_seam_waiting *call,
                               const struct bf_seam_call *said)
{
    struct bf_recent *codes = call->post.api->seam->codes;
    struct bf_slice workspace = bf_slice_str(call->workspace);
    struct bf_slice hash = bf_slice_str(call->code_hash);

    if (said->code.len == 0)
        return bf_recent_get(codes, workspace, hash, 0);
    if (!said->is_validation)
        bf_recent_put(codes, workspace, hash, 0, bf_buf_slice(&said->code));
    return bf_buf_slice(&said->code);
}

static void go_on(struct bf_seam_waiting *call, const struct bf_seam_call *said)
{
    struct bf_slice code = code_of(call, said);

    if (!code.ptr)
        ask_for_code(call);
    else if (!said->is_validation || !answer_remembered(call))
        ship(call, said, code);
}

/* ---- arriving -------------------------------------------------------------*/

static int add_piece(struct bf_seam_waiting *call, struct bf_slice piece,
                     struct bf_problem *problem)
{
    struct bf_err err;
    int rc;

    if (!bf_outbox_has_room(call->post.api->conf.outbox, piece.len))
        return bf_problem_set(problem, BF_PROBLEM_BUSY, NULL,
                              "dispatcher.inflight_bytes are on their way");
    rc = call->gunzip ? bf_gunzip_add(call->gunzip, piece, &call->body, &err)
                      : bf_buf_add(&call->body, piece.ptr, piece.len, &err);
    if (rc == 0)
        return 0;
    if (err.kind == BF_ERR_RETRY)
        return bf_problem_err(problem, BF_PROBLEM_UNAVAILABLE, NULL, &err);
    return bf_problem_set(problem,
                          strcmp(err.code, "too_large") == 0
                              ? BF_PROBLEM_TOO_LARGE
                              : BF_PROBLEM_BAD_REQUEST,
                          NULL, "the call: %s", err.msg);
}

static size_t on_body(struct bf_handler *handler, struct bf_slice piece)
{
    struct bf_seam_waiting *call = call_from(handler);
    struct bf_problem problem;

    if (add_piece(call, piece, &problem)) {
        bf_buf_release(&call->body);
        bf_request_refuse(call->post.req, &problem);
    }
    bf_post_hold(&call->post, call->body.cap);
    return piece.len;
}

static int read_call(struct bf_seam_waiting *call, struct bf_seam_call *ret,
                     struct bf_problem *problem)
{
    struct bf_err err;

    if (call->gunzip && bf_gunzip_end(call->gunzip, &err))
        return bf_problem_err(problem, BF_PROBLEM_BAD_REQUEST, NULL, &err);
    return bf_seam_call_read(bf_buf_slice(&call->body), ret, problem);
}

static void on_end(struct bf_handler *handler)
{
    struct bf_seam_waiting *call = call_from(handler);
    bf_autoseam_call struct bf_seam_call said = {0};
    struct bf_problem problem;
    int rc = read_call(call, &said, &problem);

    bf_buf_release(&call->body);
    bf_post_hold(&call->post, 0);
    bf_gunzip_free(bf_take(call->gunzip));
    if (rc) {
        bf_request_refuse(call->post.req, &problem);
        return;
    }
    memcpy(call->code_hash, said.code_hash, sizeof(call->code_hash));
    call->is_validation = said.is_validation;
    go_on(call, &said);
}

/* ---- the request ----------------------------------------------------------*/

/* Without a view nobody would hear of the end. */
static int check_ready(struct bf_api *api, struct bf_problem *problem)
{
    struct bf_feed_state state;

    if (bf_api_shards(api, problem) == 0)
        return -1;
    bf_exchange_state(api->conf.exchange, &state);
    return state.caught_up ? 0
                           : bf_problem_set(problem, BF_PROBLEM_UNAVAILABLE,
                                            NULL, "%s", state.view_why);
}

static int check_encoding(struct bf_request *req, bool *ret_gzip,
                          struct bf_problem *problem)
{
    const char *encoding = bf_request_header(req, "Content-Encoding");

    *ret_gzip = encoding && strcasecmp(encoding, "gzip") == 0;
    if (!encoding || *ret_gzip || strcasecmp(encoding, "identity") == 0)
        return 0;
    return bf_problem_set(problem, BF_PROBLEM_MEDIA_TYPE, "Content-Encoding",
                          "Content-Encoding: must be gzip or identity");
}

static struct bf_seam_waiting *call_new(struct bf_api *api,
                                        struct bf_request *req,
                                        const struct bf_path *path, bool gzip)
{
    struct bf_seam_waiting *call = calloc(1, sizeof(*call));

    if (!call)
        return NULL;
    bf_post_init(&call->post, api, req, &path->caller);
    call->post.handler =
        (struct bf_handler){.body = on_body, .end = on_end, .gone = on_gone};
    call->body = (struct bf_buf)BF_BUF_INIT(BF_SEAM_BODY_BYTES);
    call->end.report = (struct bf_buf)BF_BUF_INIT(BF_MAX_REPORT);
    call->result = (struct bf_buf)BF_BUF_INIT(BF_MAX_RECORD);
    call->reply = (struct bf_buf)BF_BUF_INIT(BF_SEAM_REPLY_BYTES);
    snprintf(call->workspace, sizeof(call->workspace), "%s", path->workspace);
    call->gunzip = gzip ? bf_gunzip_new(NULL) : NULL;
    if (gzip && !call->gunzip) {
        call_free(call);
        return NULL;
    }
    return call;
}

void bf_seam_begin(struct bf_api *api, struct bf_request *req,
                   const struct bf_path *path)
{
    struct bf_seam_waiting *call;
    struct bf_problem problem;
    bool gzip = false;

    if (check_ready(api, &problem) || check_encoding(req, &gzip, &problem)) {
        bf_request_refuse(req, &problem);
        return;
    }
    call = call_new(api, req, path, gzip);
    if (call) {
        bf_request_set_state(req, &call->post.handler);
        return;
    }
    bf_problem_set(&problem, BF_PROBLEM_UNAVAILABLE, NULL, "out of memory");
    bf_request_refuse(req, &problem);
}
