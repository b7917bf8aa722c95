/* POST /v1/jobs: one job, or many as NDJSON that is taken as it streams. */

#include "dispatcher/handler.h"

#include <strings.h>

#include "config/clock.h"
#include "dispatcher/get.h"
#include "dispatcher/lines.h"
#include "dispatcher/scan.h"
#include "schemas/json.h"

#define MAX_ANSWERS 100000U           /* lines of one upload */
#define MAX_ANSWERS_BYTES (32U << 20) /* of their answers */
#define MAX_LINE_BYTES (BF_MAX_INPUTS + BF_SCAN_REST)

/* Answers of an upload: one text per line, NULL while it is awaited. */
struct answers {
    char **texts;
    size_t count, cap;
    size_t bytes;
};

struct bf_post {
    struct bf_handler handler; /* first */
    struct bf_api *api;
    struct bf_request *req; /* NULL: gone, only reports are awaited */
    struct bf_intake_ctx ctx;
    char key[BF_MAX_IDEMPOTENCY_KEY + 1];
    char traceparent[64];
    bool many;
    int wait_s;            /* Prefer: wait; of one job */
    struct bf_buf body;    /* of one job */
    struct bf_lines lines; /* of many */
    int64_t next_line;
    struct answers answers;
    bool full;  /* no more lines are read */
    bool ended; /* the body is complete */
    size_t pending;
    size_t held_bytes;
    struct bf_post *next_stalled;
    bool stalled;
};

static struct bf_post *post_from(struct bf_handler *handler)
{
    return (struct bf_post *)handler;
}

static void answers_release(struct answers *answers)
{
    for (size_t i = 0; i < answers->count; i++)
        free(answers->texts[i]);
    free(answers->texts);
}

static void post_free(struct bf_post *post)
{
    bf_assert(post->pending == 0 && !post->stalled);
    bf_outbox_hold(post->api->conf.outbox, post->held_bytes, 0);
    bf_buf_release(&post->body);
    bf_lines_release(&post->lines);
    answers_release(&post->answers);
    free(post);
}

/* What has arrived and is not a job yet counts as in flight. */
static void count_held(struct bf_post *post)
{
    size_t now = post->body.cap + post->lines.part.cap;

    bf_outbox_hold(post->api->conf.outbox, post->held_bytes, now);
    post->held_bytes = now;
}

/* ---- what an answer says --------------------------------------------------*/

static const char *topic_of(const struct bf_post *post,
                            const struct bf_shipment *shipment)
{
    return bf_topic_name(post->api->conf.topics, shipment->lane == BF_LANE_BATCH
                                                     ? BF_TOPIC_BATCH
                                                     : BF_TOPIC_JOBS);
}

static void ack_problem(const struct bf_shipment *shipment,
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

static void add_place(struct bf_json_out *out, const struct bf_post *post,
                      const struct bf_shipment *shipment)
{
    bf_json_str(out, "workspace", shipment->workspace);
    bf_json_str(out, "job", shipment->job);
    bf_json_int(out, "generation", shipment->generation);
    if (!post->many)
        bf_json_str(out, "status", "waiting");
    bf_json_str(out, "topic", topic_of(post, shipment));
    bf_json_int(out, "partition", shipment->partition);
    bf_json_int(out, "offset", shipment->offset);
}

static void job_url(const struct bf_shipment *shipment, char *out, size_t size)
{
    snprintf(out, size, "/v1/jobs/%s?workspace=%s", shipment->job,
             shipment->workspace);
}

/* The view is told at once, so that one reads one's own writes. */
static void tell_view(struct bf_post *post, const struct bf_shipment *shipment)
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

    snprintf(row.batch, sizeof(row.batch), "%s", shipment->batch);
    if (shipment->labels)
        snprintf(row.labels, sizeof(row.labels), "%s", shipment->labels);
    bf_exchange_accepted(post->api->conf.exchange, shipment->workspace,
                         shipment->job, &row);
    post->api->accepted = true;
}

/* The request goes on as a GET; what is left of the post ends here. */
static void wait_for_end(struct bf_post *post,
                         const struct bf_shipment *shipment,
                         struct bf_answer *fallback)
{
    struct bf_request *req = post->req;

    bf_get_after_post(post->api, req, shipment, post->wait_s, fallback);
    if (bf_request_state(req) == &post->handler)
        return;
    post->req = NULL;
    post_free(post);
}

static void answer_stored(struct bf_post *post,
                          const struct bf_shipment *shipment)
{
    struct bf_answer answer = {.status = 202,
                               .content_type = "application/json",
                               .body = BF_BUF_INIT(4096)};
    struct bf_json_out out;
    struct bf_problem problem;
    char url[256];

    job_url(shipment, url, sizeof(url));
    bf_json_start(&out, &answer.body, NULL);
    bf_json_open(&out, NULL, '{');
    add_place(&out, post, shipment);
    bf_json_str(&out, "url", url);
    bf_json_close(&out, '}');
    bf_answer_header(&answer, "Location", url);
    if (bf_json_done(&out) == 0 && post->wait_s > 0) {
        wait_for_end(post, shipment, &answer);
        return;
    }
    if (bf_json_done(&out) == 0) {
        bf_request_answer(post->req, &answer);
        return;
    }
    bf_buf_release(&answer.body);
    bf_problem_set(&problem, BF_PROBLEM_INTERNAL, NULL,
                   "stored, but out of memory for the answer");
    bf_request_refuse(post->req, &problem);
}

/* ---- one job --------------------------------------------------------------*/

/* Its report; on the loop. */
static void one_done(void *arg, struct bf_shipment *taken)
{
    bf_autoshipment struct bf_shipment *shipment = taken;
    struct bf_post *post = arg;
    struct bf_problem problem;

    post->pending--;
    if (shipment->status == BF_ACK_STORED)
        tell_view(post, shipment);
    if (!post->req) {
        post_free(post);
        return;
    }
    if (shipment->status == BF_ACK_STORED) {
        answer_stored(post, shipment);
        return;
    }
    ack_problem(shipment, &problem);
    bf_request_refuse(post->req, &problem);
}

static size_t one_body(struct bf_handler *handler, struct bf_slice piece)
{
    struct bf_post *post = post_from(handler);
    struct bf_problem problem;
    struct bf_err err;

    if (!bf_outbox_has_room(post->api->conf.outbox, piece.len))
        bf_problem_set(&problem, BF_PROBLEM_BUSY, NULL,
                       "dispatcher.inflight_bytes are on their way");
    else if (bf_buf_add(&post->body, piece.ptr, piece.len, &err))
        bf_problem_set(&problem,
                       err.kind == BF_ERR_REJECT ? BF_PROBLEM_TOO_LARGE
                                                 : BF_PROBLEM_UNAVAILABLE,
                       NULL, "the job: %s", err.msg);
    else {
        count_held(post);
        return piece.len;
    }
    bf_buf_release(&post->body);
    count_held(post);
    bf_request_refuse(post->req, &problem);
    return piece.len;
}

static void one_end(struct bf_handler *handler)
{
    struct bf_post *post = post_from(handler);
    struct bf_outbox *outbox = post->api->conf.outbox;
    struct bf_shipment *shipment;
    struct bf_problem problem;
    uint32_t shards = bf_api_shards(post->api, &problem);

    post->ended = true;
    post->ctx.now_ms = bf_now_ms();
    shipment = shards > 0 ? bf_shipment_new(bf_buf_slice(&post->body),
                                            &post->ctx, &problem)
                          : NULL;
    bf_buf_release(&post->body);
    count_held(post);
    if (!shipment) {
        bf_request_refuse(post->req, &problem);
        return;
    }
    post->pending++;
    bf_outbox_add(outbox, shipment, shards, one_done, post);
}

/* ---- many jobs ------------------------------------------------------------*/

static void answer_many(struct bf_post *post)
{
    struct bf_answer answer = {
        .status = 200,
        .content_type = "application/x-ndjson",
        .body = BF_BUF_INIT(MAX_ANSWERS_BYTES + MAX_ANSWERS),
    };
    struct bf_problem problem;
    int failed = 0;

    for (size_t i = 0; i < post->answers.count && !failed; i++) {
        if (post->answers.texts[i])
            failed = bf_buf_adds(&answer.body, post->answers.texts[i], NULL) ||
                     bf_buf_adds(&answer.body, "\n", NULL);
    }
    if (!failed) {
        bf_request_answer(post->req, &answer);
        return;
    }
    bf_buf_release(&answer.body);
    bf_problem_set(&problem, BF_PROBLEM_NOT_CONFIRMED, NULL,
                   "out of memory for the answers; send it again with the "
                   "same Idempotency-Key");
    bf_request_refuse(post->req, &problem);
}

static void maybe_answer_many(struct bf_post *post)
{
    if (post->ended && post->pending == 0 && post->req)
        answer_many(post);
}

/* A slot for the next line's answer; -1: there is no more. */
static int add_slot(struct answers *answers)
{
    size_t cap = answers->cap ? answers->cap * 2 : 64;
    char **texts;

    if (answers->count < answers->cap) {
        answers->texts[answers->count++] = NULL;
        return 0;
    }
    texts = reallocarray(answers->texts, cap, sizeof(*texts));
    if (!texts)
        return -1;
    answers->texts = texts;
    answers->cap = cap;
    answers->texts[answers->count++] = NULL;
    return 0;
}

/* Takes the text; without memory the line is missing from the answer. */
static void put_answer(struct bf_post *post, int64_t line, struct bf_buf *text,
                       int failed)
{
    struct answers *answers = &post->answers;

    if (failed || !text->data)
        return;
    answers->bytes += text->len + 1;
    answers->texts[line] = text->data;
    *text = (struct bf_buf){0};
}

static void refuse_line(struct bf_post *post, int64_t line,
                        const struct bf_problem *problem)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(4096);
    struct bf_json_out out;

    bf_json_start(&out, &text, NULL);
    bf_json_open(&out, NULL, '{');
    bf_json_int(&out, "line", line);
    bf_json_int(&out, "status", bf_problem_status(problem->code));
    bf_json_str(&out, "detail", problem->detail);
    if (problem->field[0])
        bf_json_str(&out, "field", problem->field);
    bf_json_close(&out, '}');
    put_answer(post, line, &text, bf_json_done(&out));
}

static void accept_line(struct bf_post *post,
                        const struct bf_shipment *shipment)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(4096);
    struct bf_json_out out;

    bf_json_start(&out, &text, NULL);
    bf_json_open(&out, NULL, '{');
    bf_json_int(&out, "line", shipment->tag);
    bf_json_int(&out, "status", 202);
    add_place(&out, post, shipment);
    bf_json_close(&out, '}');
    put_answer(post, shipment->tag, &text, bf_json_done(&out));
}

/* The report on one line; on the loop. */
static void line_done(void *arg, struct bf_shipment *taken)
{
    bf_autoshipment struct bf_shipment *shipment = taken;
    struct bf_post *post = arg;
    struct bf_problem problem;

    post->pending--;
    if (shipment->status == BF_ACK_STORED)
        tell_view(post, shipment);
    if (!post->req) {
        if (post->pending == 0)
            post_free(post);
        return;
    }
    if (shipment->status == BF_ACK_STORED) {
        accept_line(post, shipment);
    } else {
        ack_problem(shipment, &problem);
        refuse_line(post, shipment->tag, &problem);
    }
    maybe_answer_many(post);
}

static bool is_blank(struct bf_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != ' ' && text.ptr[i] != '\t')
            return false;
    }
    return true;
}

static struct bf_shipment *read_line(struct bf_post *post,
                                     const struct bf_line *line,
                                     struct bf_problem *problem)
{
    if (line->too_long) {
        bf_problem_set(problem, BF_PROBLEM_TOO_LARGE, NULL,
                       "the line is longer than %u bytes", MAX_LINE_BYTES);
        return NULL;
    }
    post->ctx.line = post->next_line;
    post->ctx.now_ms = bf_now_ms();
    return bf_shipment_new(line->text, &post->ctx, problem);
}

/* The upload has more lines than answers are kept for: the rest is not read. */
static void stop_reading(struct bf_post *post)
{
    struct bf_problem problem;

    bf_problem_set(&problem, BF_PROBLEM_TOO_LARGE, NULL,
                   "this line and those after it were not read: too many for "
                   "one upload");
    refuse_line(post, post->next_line, &problem);
    post->full = true;
}

static void take_line(struct bf_post *post, const struct bf_line *line)
{
    struct bf_problem problem;
    struct bf_shipment *shipment = NULL;
    uint32_t shards;

    if (add_slot(&post->answers)) {
        post->full = true;
        return;
    }
    if (post->next_line == MAX_ANSWERS ||
        post->answers.bytes > MAX_ANSWERS_BYTES - 4096) {
        stop_reading(post);
        return;
    }
    shards = bf_api_shards(post->api, &problem);
    if (!line->too_long && is_blank(line->text)) {
        post->next_line++;
        return;
    }
    if (shards > 0)
        shipment = read_line(post, line, &problem);
    if (shipment) {
        shipment->tag = post->next_line;
        post->pending++;
        bf_outbox_add(post->api->conf.outbox, shipment, shards, line_done,
                      post);
    } else {
        refuse_line(post, post->next_line, &problem);
    }
    post->next_line++;
}

static void stall(struct bf_post *post)
{
    if (post->stalled)
        return;
    post->stalled = true;
    post->next_stalled = post->api->stalled;
    post->api->stalled = post;
}

static void unstall(struct bf_post *post)
{
    struct bf_post **link = &post->api->stalled;

    if (!post->stalled)
        return;
    while (*link != post)
        link = &(*link)->next_stalled;
    *link = post->next_stalled;
    post->stalled = false;
}

void bf_post_resume(struct bf_api *api)
{
    while (api->stalled && bf_outbox_has_room(api->conf.outbox, 0)) {
        struct bf_post *post = api->stalled;

        unstall(post);
        bf_request_resume(post->req);
    }
}

static size_t many_body(struct bf_handler *handler, struct bf_slice piece)
{
    struct bf_post *post = post_from(handler);
    size_t all = piece.len;

    while (piece.len > 0 && !post->full) {
        struct bf_line line;
        int got;

        if (!bf_outbox_has_room(post->api->conf.outbox, 0)) {
            stall(post);
            break;
        }
        got = bf_lines_next(&post->lines, &piece, &line, NULL);
        if (got < 0)
            post->full = true; /* no memory: the answer shows how far it came */
        if (got > 0)
            take_line(post, &line);
    }
    count_held(post);
    return post->full ? all : all - piece.len;
}

static void many_end(struct bf_handler *handler)
{
    struct bf_post *post = post_from(handler);
    struct bf_line line;

    if (!post->full && bf_lines_last(&post->lines, &line))
        take_line(post, &line);
    post->ended = true;
    count_held(post);
    maybe_answer_many(post);
}

/* ---- the request ----------------------------------------------------------*/

static void post_gone(struct bf_handler *handler)
{
    struct bf_post *post = post_from(handler);

    unstall(post);
    post->req = NULL;
    if (post->pending == 0)
        post_free(post);
}

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

static int read_headers(struct bf_post *post, struct bf_request *req,
                        struct bf_problem *problem)
{
    const char *key = bf_request_header(req, "Idempotency-Key");
    struct bf_slice trace =
        bf_intake_traceparent(bf_request_header(req, "traceparent"));
    struct bf_slice text;

    if (read_type(req, &post->many, problem) ||
        (key && bf_intake_key(key, &text, problem)))
        return -1;
    if (key) {
        snprintf(post->key, sizeof(post->key), "%.*s", BF_SLICE_ARG(text));
        post->ctx.idempotency_key = bf_slice_str(post->key);
    }
    post->wait_s = read_prefer(bf_request_header(req, "Prefer"));
    if (trace.ptr) {
        snprintf(post->traceparent, sizeof(post->traceparent), "%.*s",
                 BF_SLICE_ARG(trace));
        post->ctx.traceparent = bf_slice_str(post->traceparent);
    }
    return 0;
}

static struct bf_post *post_new(struct bf_api *api, struct bf_request *req)
{
    struct bf_post *post = calloc(1, sizeof(*post));

    if (!post)
        return NULL;
    post->api = api;
    post->req = req;
    post->body = (struct bf_buf)BF_BUF_INIT(MAX_LINE_BYTES);
    bf_lines_init(&post->lines, MAX_LINE_BYTES);
    post->ctx = (struct bf_intake_ctx){
        .default_timeout_ms = api->conf.default_timeout_ms,
        .spread = api->conf.spread,
        .max_inputs_bytes = api->conf.max_inputs_bytes,
        .max_block_bytes = api->conf.max_block_bytes,
        .line = -1,
    };
    return post;
}

static void set_handler(struct bf_post *post)
{
    post->handler = (struct bf_handler){
        .body = post->many ? many_body : one_body,
        .end = post->many ? many_end : one_end,
        .gone = post_gone,
    };
}

void bf_post_begin(struct bf_api *api, struct bf_request *req,
                   const struct bf_path *path)
{
    struct bf_problem problem;
    struct bf_post *post;

    (void)path;
    /* Asked before the body is sent for nothing. */
    if (bf_api_shards(api, &problem) == 0) {
        bf_request_refuse(req, &problem);
        return;
    }
    post = post_new(api, req);
    if (!post) {
        bf_problem_set(&problem, BF_PROBLEM_UNAVAILABLE, NULL, "out of memory");
        bf_request_refuse(req, &problem);
        return;
    }
    if (read_headers(post, req, &problem)) {
        post_free(post);
        bf_request_refuse(req, &problem);
        return;
    }
    set_handler(post);
    bf_request_set_state(req, &post->handler);
}
