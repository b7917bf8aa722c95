/* The GETs: what the view knows, now or when a job has ended. */

#include "dispatcher/get.h"

#include "config/clock.h"
#include "dispatcher/contexts.h"
#include "dispatcher/fetch.h"
#include "dispatcher/question.h"
#include "dispatcher/seam.h"

#define OWN_WRITES_MS 2000 /* until the view has what was accepted before */
#define SMALL_ANSWER_BYTES (64U << 10) /* there is always room for it */

struct bf_get {
    struct bf_handler handler; /* first */
    struct bf_task task;
    struct bf_api *api;
    struct bf_request *req; /* NULL: gone */
    struct bf_question question;

    /* a question to the view, on a thread of a pool */
    uint64_t ticket;
    int64_t as_of_ms;
    bool asked; /* it is there now */
    bool again; /* the job ended meanwhile: ask once more */
    struct bf_buf out;
    struct bf_problem problem;
    int rc;
    bool ended;
    char next_cursor[BF_CURSOR_SIZE];
    struct bf_result_place place;

    /* waiting for the end of a job */
    int64_t until_ms; /* bf_mono_ms(); 0: not waiting */
    uint64_t key;
    bool listed;
    struct bf_get *next, *prev;
    bool has_fallback; /* of a POST: the answer when the time is over */
    struct bf_answer fallback;
};

static struct bf_get *get_from(struct bf_handler *handler)
{
    return (struct bf_get *)handler;
}

static struct bf_get *get_of(struct bf_task *task)
{
    return (struct bf_get *)((char *)task - offsetof(struct bf_get, task));
}

/* ---- life -----------------------------------------------------------------*/

static void unlist(struct bf_get *get)
{
    if (!get->listed)
        return;
    if (get->next)
        get->next->prev = get->prev;
    if (get->prev)
        get->prev->next = get->next;
    else
        get->api->waiting = get->next;
    get->listed = false;
    bf_exchange_expect(get->api->conf.exchange, -1);
}

static void list(struct bf_get *get)
{
    get->next = get->api->waiting;
    get->prev = NULL;
    if (get->next)
        get->next->prev = get;
    get->api->waiting = get;
    get->listed = true;
    bf_exchange_expect(get->api->conf.exchange, 1);
}

static void get_free(struct bf_get *get)
{
    unlist(get);
    bf_buf_release(&get->out);
    bf_buf_release(&get->fallback.body);
    free(get);
}

/* ---- on a thread of a pool ------------------------------------------------*/

/* "" stands for what was not asked for. */
static const char *given(const char *text)
{
    return text[0] ? text : NULL;
}

static int ask_jobs(struct bf_get *get, struct bf_reader_db *reader)
{
    const struct bf_question *asked = &get->question;
    const struct bf_list list = {
        .workspace = asked->workspace,
        .batch = given(asked->batch),
        .order_key = given(asked->order_key),
        .label = given(asked->label),
        .statuses = asked->statuses,
        .from_ms = asked->from_ms,
        .to_ms = asked->to_ms,
        .cursor = given(asked->cursor),
        .limit = asked->limit,
        .lines = asked->lines,
    };

    return bf_reader_list(reader, &list, &get->out, get->next_cursor,
                          &get->problem);
}

static int ask_results(struct bf_get *get, struct bf_reader_db *reader)
{
    const struct bf_question *asked = &get->question;
    const struct bf_page page = {
        .workspace = asked->workspace,
        .batch = given(asked->batch),
        .cursor = given(asked->cursor),
        .limit = asked->limit,
        .lines = asked->lines,
    };

    return bf_reader_page(reader, &page, &get->out, get->next_cursor,
                          &get->problem);
}

static int ask_batches(struct bf_get *get, struct bf_reader_db *reader)
{
    const struct bf_question *asked = &get->question;
    const struct bf_batch_list list = {
        .workspace = asked->workspace,
        .cursor = given(asked->cursor),
        .limit = asked->limit,
        .lines = asked->lines,
    };

    return bf_reader_batches(reader, &list, &get->out, get->next_cursor,
                             &get->problem);
}

static int ask_usage(struct bf_get *get, struct bf_reader_db *reader)
{
    const struct bf_usage_question question = {
        .workspace = get->question.workspace,
        .from_ms = get->question.from_ms,
        .to_ms = get->question.to_ms,
        .by = get->question.usage_by,
        .transaction_ms = get->api->conf.transaction_ms,
    };

    return bf_reader_usage(reader, &question, &get->out, &get->problem);
}

static int ask_view(struct bf_get *get, struct bf_reader_db *reader)
{
    const struct bf_question *asked = &get->question;

    switch (asked->kind) {
    case BF_ASK_JOB:
        return bf_reader_job(reader, asked->workspace, asked->job, &get->out,
                             &get->ended, &get->problem);
    case BF_ASK_RESULT:
        return bf_reader_result(reader, asked->workspace, asked->job, &get->out,
                                &get->place, &get->problem);
    case BF_ASK_JOBS:
        return ask_jobs(get, reader);
    case BF_ASK_RESULTS:
        return ask_results(get, reader);
    case BF_ASK_BATCH:
        return bf_reader_batch(reader, asked->workspace, asked->batch,
                               &get->out, &get->problem);
    case BF_ASK_BATCHES:
        return ask_batches(get, reader);
    case BF_ASK_USAGE:
        return ask_usage(get, reader);
    }
    return -1;
}

static void run_read(struct bf_task *task, void *context)
{
    struct bf_get *get = get_of(task);
    struct bf_reader_db *reader = bf_read_context(context);

    if (!reader) {
        get->rc = bf_problem_set(&get->problem, BF_PROBLEM_UNAVAILABLE, NULL,
                                 "the view cannot be opened");
        return;
    }
    bf_exchange_wait(get->api->conf.exchange, get->ticket, OWN_WRITES_MS);
    bf_reader_as_of(reader, get->as_of_ms);
    get->rc = ask_view(get, reader);
}

static void run_fetch(struct bf_task *task, void *context)
{
    struct bf_get *get = get_of(task);
    struct bf_fetch *fetch = bf_fetch_context(context);
    struct bf_err err = {.msg = "no consumer"};

    if (fetch &&
        bf_fetch_value(
            fetch, bf_topic_name(get->api->conf.topics, BF_TOPIC_RESULTS),
            get->place.partition, get->place.offset, &get->out, &err) == 0) {
        get->rc = 0;
        return;
    }
    get->rc = bf_problem_err(&get->problem,
                             err.kind == BF_ERR_REJECT ? BF_PROBLEM_GONE
                                                       : BF_PROBLEM_UNAVAILABLE,
                             NULL, &err);
}

/* ---- answers --------------------------------------------------------------*/

/* Who reads slowly, and asks for much, keeps it in memory. */
static int check_room(struct bf_get *get)
{
    size_t held = get->api->http ? bf_http_held_bytes(get->api->http) : 0;

    if (get->question.kind == BF_ASK_JOB ||
        get->question.kind == BF_ASK_BATCH ||
        get->out.cap <= SMALL_ANSWER_BYTES || held == 0 ||
        held + get->out.cap <= get->api->conf.max_inflight_bytes)
        return 0;
    bf_buf_release(&get->out);
    return bf_problem_set(&get->problem, BF_PROBLEM_BUSY, NULL,
                          "answers of dispatcher.inflight_bytes are being "
                          "read");
}

static void answer_now(struct bf_get *get)
{
    struct bf_answer answer = {
        .status = 200,
        .content_type =
            get->question.lines ? "application/x-ndjson" : "application/json",
    };

    if (get->rc == 0)
        get->rc = check_room(get);
    if (get->rc) {
        bf_request_refuse(get->req, &get->problem);
        return;
    }
    if (get->next_cursor[0])
        bf_answer_header(&answer, "Bf-Cursor", get->next_cursor);
    if (get->has_fallback)
        bf_answer_header(&answer, "Preference-Applied", "wait");
    answer.body = get->out;
    get->out = (struct bf_buf){0};
    bf_request_answer(get->req, &answer);
}

static void answer_late(struct bf_get *get)
{
    if (get->has_fallback && !get->ended)
        bf_request_answer(get->req, &get->fallback);
    else
        answer_now(get);
}

static void ask(struct bf_get *get);

static void fetch_elsewhere(struct bf_get *get)
{
    get->asked = true;
    get->task.run = run_fetch;
    bf_pool_add(get->api->conf.fetches, &get->task);
}

/* A job that is not there may come: only a POST's is known to exist. */
static bool may_wait(const struct bf_get *get)
{
    return get->question.kind == BF_ASK_JOB && get->rc == 0 && !get->ended &&
           !get->api->stopping && get->until_ms > bf_mono_ms();
}

/* On the loop: the pool has an answer. */
static void on_done(struct bf_task *task)
{
    struct bf_get *get = get_of(task);
    bool fetched = task->run == run_fetch;

    get->asked = false;
    if (!get->req) {
        get_free(get);
        return;
    }
    if (get->rc == 0 && get->question.kind == BF_ASK_RESULT &&
        get->place.elsewhere && !fetched) {
        fetch_elsewhere(get);
        return;
    }
    if (!may_wait(get)) {
        answer_late(get);
        return;
    }
    if (get->again)
        ask(get);
}

/* The view is asked after the waiting was made known: no end is missed. */
static void ask(struct bf_get *get)
{
    struct bf_feed_state state;

    bf_exchange_state(get->api->conf.exchange, &state);
    if (!state.caught_up) {
        get->rc = bf_problem_set(&get->problem, BF_PROBLEM_UNAVAILABLE, NULL,
                                 "%s", state.view_why);
        answer_late(get);
        return;
    }
    get->again = false;
    get->ticket = bf_exchange_ticket(get->api->conf.exchange);
    get->as_of_ms = state.as_of_ms;
    bf_buf_clear(&get->out);
    get->asked = true;
    get->task.run = run_read;
    bf_pool_add(get->api->conf.reads, &get->task);
}

/* ---- waiting --------------------------------------------------------------*/

static bool is_among(uint64_t key, const uint64_t *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (keys[i] == key)
            return true;
    }
    return false;
}

static void wake(struct bf_get *get)
{
    if (bf_request_answered(get->req))
        return;
    if (get->asked)
        get->again = true;
    else
        ask(get);
}

static void wake_those(struct bf_api *api, const uint64_t *keys, size_t count,
                       bool all)
{
    for (struct bf_get *get = api->waiting; get; get = get->next) {
        if (all || is_among(get->key, keys, count))
            wake(get);
    }
}

void bf_get_wake_ended(struct bf_api *api)
{
    uint64_t keys[256];
    size_t count;
    bool all;

    do {
        count =
            bf_exchange_ended(api->conf.exchange, keys, bf_countof(keys), &all);
        wake_those(api, keys, count, all);
        bf_seam_wake(api, keys, count, all);
    } while (count > 0);
}

/* Those whose time is over are asked once more, for a fresh answer. */
int bf_get_tick(struct bf_api *api)
{
    int64_t now = bf_mono_ms(), soonest = INT64_MAX;

    for (struct bf_get *get = api->waiting; get; get = get->next) {
        if (bf_request_answered(get->req) || get->asked)
            continue;
        if (get->until_ms <= now || api->stopping)
            ask(get);
        else if (get->until_ms < soonest)
            soonest = get->until_ms;
    }
    return soonest == INT64_MAX ? -1 : (int)(soonest - now);
}

/* ---- requests -------------------------------------------------------------*/

static void on_gone(struct bf_handler *handler)
{
    struct bf_get *get = get_from(handler);

    unlist(get);
    get->req = NULL;
    if (!get->asked)
        get_free(get);
}

static void on_end(struct bf_handler *handler)
{
    ask(get_from(handler));
}

static struct bf_get *get_new(struct bf_api *api, struct bf_request *req,
                              enum bf_question_kind kind)
{
    struct bf_get *get = calloc(1, sizeof(*get));
    struct bf_problem problem;

    if (!get) {
        bf_problem_set(&problem, BF_PROBLEM_UNAVAILABLE, NULL, "out of memory");
        bf_request_refuse(req, &problem);
        return NULL;
    }
    get->handler = (struct bf_handler){.end = on_end, .gone = on_gone};
    get->task.done = on_done;
    get->api = api;
    get->req = req;
    get->question.kind = kind;
    get->out = (struct bf_buf)BF_BUF_INIT(BF_MAX_RECORD + BF_PAGE_BYTES);
    return get;
}

static int read_question(struct bf_get *get, const struct bf_path *path,
                         struct bf_problem *problem)
{
    if (bf_question_read(&get->question, get->req, path, problem))
        return -1;
    if (get->question.wait_s > 0)
        get->until_ms = bf_mono_ms() + get->question.wait_s * 1000;
    return 0;
}

static void begin_waiting(struct bf_get *get)
{
    if (get->until_ms == 0)
        return;
    get->key = bf_exchange_key(get->question.workspace, get->question.job);
    list(get);
}

static void begin(struct bf_api *api, struct bf_request *req,
                  const struct bf_path *path, enum bf_question_kind kind)
{
    struct bf_get *get = get_new(api, req, kind);
    struct bf_problem problem;

    if (!get)
        return;
    if (read_question(get, path, &problem)) {
        get_free(get);
        bf_request_refuse(req, &problem);
        return;
    }
    begin_waiting(get);
    bf_request_set_state(req, &get->handler);
}

void bf_get_job(struct bf_api *api, struct bf_request *req,
                const struct bf_path *path)
{
    begin(api, req, path, BF_ASK_JOB);
}

void bf_get_result(struct bf_api *api, struct bf_request *req,
                   const struct bf_path *path)
{
    begin(api, req, path, BF_ASK_RESULT);
}

void bf_get_jobs(struct bf_api *api, struct bf_request *req,
                 const struct bf_path *path)
{
    begin(api, req, path, BF_ASK_JOBS);
}

void bf_get_page(struct bf_api *api, struct bf_request *req,
                 const struct bf_path *path)
{
    begin(api, req, path, BF_ASK_RESULTS);
}

void bf_get_batch(struct bf_api *api, struct bf_request *req,
                  const struct bf_path *path)
{
    begin(api, req, path, BF_ASK_BATCH);
}

void bf_get_batches(struct bf_api *api, struct bf_request *req,
                    const struct bf_path *path)
{
    begin(api, req, path, BF_ASK_BATCHES);
}

void bf_get_usage(struct bf_api *api, struct bf_request *req,
                  const struct bf_path *path)
{
    begin(api, req, path, BF_ASK_USAGE);
}

void bf_get_after_post(struct bf_api *api, struct bf_request *req,
                       const struct bf_shipment *shipment, int wait_s,
                       struct bf_answer *fallback)
{
    struct bf_get *get = get_new(api, req, BF_ASK_JOB);

    if (!get) {
        bf_buf_release(&fallback->body);
        return;
    }
    snprintf(get->question.workspace, sizeof(get->question.workspace), "%s",
             shipment->workspace);
    snprintf(get->question.job, sizeof(get->question.job), "%s", shipment->job);
    get->fallback = *fallback;
    fallback->body = (struct bf_buf){0};
    get->has_fallback = true;
    get->until_ms = bf_mono_ms() + (int64_t)wait_s * 1000;
    begin_waiting(get);
    bf_request_set_state(req, &get->handler);
    ask(get);
}
