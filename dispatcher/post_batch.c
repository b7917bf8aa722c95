/*
 * POST /v1/batches and /v1/batches/{batch}/seal. The view says what is known
 * of the batch, so that saying the same again is no error; then a control
 * record tells every replica. The first of its kind in the log counts, whoever
 * wrote it: the view is asked again once it has read ours.
 */

#include "config/clock.h"
#include "dispatcher/batch.h"
#include "dispatcher/contexts.h"
#include "dispatcher/handler.h"
#include "dispatcher/reader.h"
#include "schemas/control.h"
#include "schemas/json.h"

#define MAX_BODY 4096
#define DEFAULT_OPEN_MS BF_DAY_MS
#define MAX_OPEN_MS (7 * BF_DAY_MS) /* as long as bf.control keeps it */
#define OWN_WRITES_MS 2000

struct order {
    struct bf_handler handler; /* first */
    struct bf_task task;
    struct bf_api *api;
    struct bf_request *req; /* NULL: gone */
    struct bf_buf body;
    bool seals;
    bool busy;   /* on a thread, or on its way to Kafka */
    bool stored; /* the control record is in Kafka, here: */
    int32_t partition;
    int64_t offset;
    char workspace[BF_MAX_ID + 1];
    char batch[BF_MAX_ID + 1];
    char id[BF_UUID_SIZE];
    struct bf_control control; /* points at those above */
    /* what the view says */
    uint64_t ticket;
    int found; /* 1, 0, -1 */
    struct bf_batch facts;
    struct bf_problem problem;
};

static struct order *order_from(struct bf_handler *handler)
{
    return (struct order *)handler;
}

static struct order *order_of(struct bf_task *task)
{
    return (struct order *)((char *)task - offsetof(struct order, task));
}

static void order_free(struct order *order)
{
    bf_buf_release(&order->body);
    free(order);
}

/* ---- the body -------------------------------------------------------------*/

static int bad(struct bf_problem *problem, const char *name, const char *rule)
{
    return bf_problem_set(problem, BF_PROBLEM_BAD_FIELD, name, "%.40s: %s",
                          name, rule);
}

static int read_batch(struct order *order, const json_t *value,
                      struct bf_problem *problem)
{
    struct bf_slice text = bf_json_slice(value);

    if (!text.ptr || !bf_job_id_ok(text))
        return bad(problem, "batch",
                   "must be 1-64 characters of A-Z a-z 0-9 . _ -");
    snprintf(order->batch, sizeof(order->batch), "%.*s", BF_SLICE_ARG(text));
    return 0;
}

static int read_until(struct order *order, const json_t *value,
                      struct bf_problem *problem)
{
    struct bf_slice text = bf_json_slice(value);

    if (!text.ptr || bf_clock_parse(text, &order->control.until_ms, NULL))
        return bad(problem, "until", "must be an RFC 3339 time");
    return 0;
}

static int read_rate(struct order *order, const json_t *value,
                     struct bf_problem *problem)
{
    double rate = json_number_value(value);

    if (!json_is_number(value) || !(rate >= 0 && rate <= 1))
        return bad(problem, "max_failure_rate", "must be a number from 0 to 1");
    order->control.max_failure_ppm = (uint32_t)(rate * BF_PPM + 0.5);
    order->control.has_max_failure = true;
    return 0;
}

static int read_count(struct order *order, const json_t *value,
                      struct bf_problem *problem)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return bad(problem, "count", "must be a whole number");
    order->control.count = json_integer_value(value);
    order->control.has_count = true;
    return 0;
}

static const struct member {
    const char *name;
    bool seals;
    int (*read)(struct order *order, const json_t *value,
                struct bf_problem *problem);
} members[] = {
    {"batch", false, read_batch},
    {"until", false, read_until},
    {"max_failure_rate", false, read_rate},
    {"count", true, read_count},
};

static int read_member(struct order *order, const char *name,
                       const json_t *value, struct bf_problem *problem)
{
    for (size_t i = 0; i < bf_countof(members); i++) {
        if (members[i].seals == order->seals &&
            strcmp(members[i].name, name) == 0)
            return json_is_null(value) ? 0
                                       : members[i].read(order, value, problem);
    }
    return bad(problem, name, "is not a member of this");
}

static int check_whole(struct order *order, int64_t now_ms,
                       struct bf_problem *problem)
{
    struct bf_control *control = &order->control;

    if (order->seals)
        return control->has_count ? 0 : bad(problem, "count", "is required");
    if (control->until_ms == 0)
        control->until_ms = now_ms + DEFAULT_OPEN_MS;
    if (control->until_ms <= now_ms || control->until_ms > now_ms + MAX_OPEN_MS)
        return bad(problem, "until", "must be at most 7 days ahead");
    if (!order->batch[0])
        bf_uuid7(now_ms, order->batch);
    return 0;
}

static int read_body(struct order *order, struct bf_problem *problem)
{
    struct bf_control *control = &order->control;
    int64_t now_ms = bf_now_ms();
    struct bf_slice text = bf_buf_slice(&order->body);
    json_error_t why;
    json_auto_t *doc =
        json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &why);
    const char *name;
    json_t *value;

    if (!json_is_object(doc))
        return bf_problem_set(problem, BF_PROBLEM_BAD_JSON, NULL,
                              "the body: must be a JSON object");
    json_object_foreach(doc, name, value)
    {
        if (read_member(order, name, value, problem))
            return -1;
    }
    if (check_whole(order, now_ms, problem))
        return -1;
    bf_uuid7(now_ms, order->id);
    control->kind =
        order->seals ? BF_CONTROL_BATCH_SEAL : BF_CONTROL_BATCH_OPEN;
    control->at_ms = now_ms;
    control->workspace = bf_slice_str(order->workspace);
    control->id = bf_slice_str(order->id);
    control->batch = bf_slice_str(order->batch);
    return 0;
}

/* ---- the answer -----------------------------------------------------------*/

static void answer(struct order *order, unsigned status)
{
    bf_autobuf struct bf_buf json = BF_BUF_INIT(4096);
    const struct bf_control *control = &order->control;
    struct bf_json_out out;
    struct bf_problem problem;

    bf_json_start(&out, &json, NULL);
    bf_json_open(&out, NULL, '{');
    bf_json_str(&out, "workspace", order->workspace);
    bf_json_str(&out, "batch", order->batch);
    if (order->seals)
        bf_json_int(&out, "count", control->count);
    else
        bf_json_time(&out, "until", control->until_ms);
    if (control->has_max_failure)
        bf_json_seconds(&out, "max_failure_rate", control->max_failure_ppm);
    else if (!order->seals)
        bf_json_null(&out, "max_failure_rate");
    bf_json_close(&out, '}');
    if (bf_json_done(&out) == 0) {
        bf_api_answer(order->req, status, &json);
        return;
    }
    bf_problem_set(&problem, BF_PROBLEM_INTERNAL, NULL,
                   "stored, but out of memory for the answer");
    bf_request_refuse(order->req, &problem);
}

static void ask(struct order *order);

/* Its report; on the loop. */
static void on_report(void *arg, struct bf_shipment *taken)
{
    bf_autoshipment struct bf_shipment *shipment = taken;
    struct order *order = arg;
    struct bf_problem problem;

    order->busy = false;
    if (!order->req) {
        order_free(order);
        return;
    }
    if (shipment->status == BF_ACK_STORED) {
        order->stored = true;
        order->partition = shipment->partition;
        order->offset = shipment->offset;
        ask(order);
        return;
    }
    bf_problem_set(&problem, BF_PROBLEM_UNAVAILABLE, NULL,
                   "not stored: %s; send it again", shipment->why);
    bf_request_refuse(order->req, &problem);
}

/* ---- what the view says ---------------------------------------------------*/

static int conflict(struct bf_problem *problem, const char *what,
                    int64_t number)
{
    return bf_problem_set(problem, BF_PROBLEM_BATCH, NULL, "%s %lld", what,
                          (long long)number);
}

/* 1: it says so already; 0: it may be said; -1. */
static int judge_seal(const struct order *order, struct bf_problem *problem)
{
    const struct bf_batch *facts = &order->facts;
    int64_t total = bf_batch_total(facts);

    if (facts->sealed && facts->count == order->control.count)
        return 1;
    if (facts->sealed)
        return conflict(problem, "the batch was sealed with count",
                        facts->count);
    if (total > order->control.count)
        return conflict(problem, "the batch has more jobs than that:", total);
    if (bf_batch_state(facts, 0) == BF_BATCH_FAILED)
        return conflict(problem, "the batch has failed; failures:",
                        bf_batch_failures(facts));
    return 0;
}

/* It was our record that opened the batch. */
static bool is_ours(const struct order *order)
{
    return order->stored && order->facts.opened &&
           order->facts.opened_at_ms == order->control.at_ms;
}

static int judge_open(struct order *order, struct bf_problem *problem)
{
    const struct bf_batch *facts = &order->facts;
    struct bf_control *control = &order->control;
    int64_t rate =
        control->has_max_failure ? (int64_t)control->max_failure_ppm : -1;

    if (!facts->opened && !facts->sealed)
        return 0;
    if (!facts->opened || (facts->sealed && !is_ours(order)))
        return bf_problem_set(problem, BF_PROBLEM_BATCH, NULL,
                              "the batch is sealed");
    if (facts->max_failure_ppm != rate)
        return bf_problem_set(problem, BF_PROBLEM_BATCH, NULL,
                              "the batch was opened with another "
                              "max_failure_rate");
    control->until_ms = facts->until_ms;
    return 1;
}

/* Until the view has read what we wrote. 1; 0: not in time; -1. */
static int wait_for_ours(struct order *order, struct bf_reader_db *reader)
{
    struct bf_exchange *exchange = order->api->conf.exchange;
    int64_t until = bf_mono_ms() + OWN_WRITES_MS, left;

    for (;;) {
        uint64_t turn = bf_exchange_turn(exchange);
        int rc = bf_reader_has_control(reader, order->partition, order->offset,
                                       &order->problem);

        left = until - bf_mono_ms();
        if (rc != 0 || left <= 0)
            return rc;
        bf_exchange_wait_turn(exchange, turn, (int)left);
    }
}

/* What was stored is there for good; only what became of it is not known. */
static int not_confirmed(struct order *order)
{
    return bf_problem_set(&order->problem, BF_PROBLEM_NOT_CONFIRMED, NULL,
                          "stored, but another may have come first; sending "
                          "it again tells");
}

static void run(struct bf_task *task, void *context)
{
    struct order *order = order_of(task);
    struct bf_reader_db *reader = bf_read_context(context);

    if (!reader) {
        order->found = bf_problem_set(&order->problem, BF_PROBLEM_UNAVAILABLE,
                                      NULL, "the view cannot be opened");
        return;
    }
    if (order->stored && wait_for_ours(order, reader) <= 0) {
        order->found = not_confirmed(order);
        return;
    }
    bf_exchange_wait(order->api->conf.exchange, order->ticket, OWN_WRITES_MS);
    order->found = bf_reader_batch_facts(reader, order->workspace, order->batch,
                                         &order->facts, &order->problem);
}

static void ship(struct order *order)
{
    struct bf_placing placing = {.spread = order->api->conf.spread};
    struct bf_problem problem;
    uint32_t shards = bf_api_shards(order->api, &problem);

    if (shards == 0 || bf_api_allow(order->api, order->workspace, &problem)) {
        bf_request_refuse(order->req, &problem);
        return;
    }
    bf_api_charge(order->api, order->workspace, order->body.len);
    order->busy = true;
    placing.shards = shards;
    if (bf_outbox_order(order->api->conf.outbox, &order->control, &placing,
                        on_report, order, &problem)) {
        order->busy = false;
        bf_request_refuse(order->req, &problem);
    }
}

static void on_done(struct bf_task *task)
{
    struct order *order = order_of(task);
    int known = order->found;

    order->busy = false;
    if (!order->req) {
        order_free(order);
        return;
    }
    if (known >= 0)
        known = order->seals ? judge_seal(order, &order->problem)
                             : judge_open(order, &order->problem);
    if (known == 0 && order->stored)
        known = not_confirmed(order);
    if (known < 0)
        bf_request_refuse(order->req, &order->problem);
    else if (known > 0)
        answer(order, !order->seals && is_ours(order) ? 201 : 200);
    else
        ship(order);
}

static void ask(struct order *order)
{
    order->ticket = bf_exchange_ticket(order->api->conf.exchange);
    order->busy = true;
    order->task = (struct bf_task){.run = run, .done = on_done};
    bf_pool_add(order->api->conf.reads, &order->task);
}

/* ---- the request ----------------------------------------------------------*/

static size_t on_body(struct bf_handler *handler, struct bf_slice piece)
{
    struct order *order = order_from(handler);
    struct bf_problem problem;

    if (bf_buf_add(&order->body, piece.ptr, piece.len, NULL)) {
        bf_problem_set(&problem, BF_PROBLEM_TOO_LARGE, NULL,
                       "the body is over %d bytes", MAX_BODY);
        bf_request_refuse(order->req, &problem);
    }
    return piece.len;
}

static void on_end(struct bf_handler *handler)
{
    struct order *order = order_from(handler);
    struct bf_feed_state state;
    struct bf_problem problem;

    bf_exchange_state(order->api->conf.exchange, &state);
    if (!state.caught_up)
        bf_problem_set(&problem, BF_PROBLEM_UNAVAILABLE, NULL, "%s",
                       state.view_why);
    if (!state.caught_up || read_body(order, &problem)) {
        bf_request_refuse(order->req, &problem);
        return;
    }
    ask(order);
}

static void on_gone(struct bf_handler *handler)
{
    struct order *order = order_from(handler);

    order->req = NULL;
    if (!order->busy)
        order_free(order);
}

static void begin(struct bf_api *api, struct bf_request *req,
                  const struct bf_path *path, bool seals)
{
    struct order *order = calloc(1, sizeof(*order));
    struct bf_problem problem;

    if (!order) {
        bf_problem_set(&problem, BF_PROBLEM_UNAVAILABLE, NULL, "out of memory");
        bf_request_refuse(req, &problem);
        return;
    }
    order->handler =
        (struct bf_handler){.body = on_body, .end = on_end, .gone = on_gone};
    order->api = api;
    order->req = req;
    order->seals = seals;
    order->body = (struct bf_buf)BF_BUF_INIT(MAX_BODY);
    snprintf(order->workspace, sizeof(order->workspace), "%s", path->workspace);
    if (seals && !bf_job_id_ok(path->segments[1])) {
        order_free(order);
        bf_problem_set(&problem, BF_PROBLEM_BAD_REQUEST, "batch",
                       "batch: must be 1-64 characters of A-Z a-z 0-9 . _ -");
        bf_request_refuse(req, &problem);
        return;
    }
    if (seals)
        snprintf(order->batch, sizeof(order->batch), "%.*s",
                 BF_SLICE_ARG(path->segments[1]));
    bf_request_set_state(req, &order->handler);
}

void bf_post_batch(struct bf_api *api, struct bf_request *req,
                   const struct bf_path *path)
{
    begin(api, req, path, false);
}

void bf_post_seal(struct bf_api *api, struct bf_request *req,
                  const struct bf_path *path)
{
    begin(api, req, path, true);
}
