/* The GETs: what the view knows, now or when a job has ended. */

#include "dispatcher/get.h"

#include "config/clock.h"
#include "dispatcher/contexts.h"
#include "dispatcher/fetch.h"
#include "dispatcher/reader.h"
#include "schemas/ids.h"

#define OWN_WRITES_MS 2000 /* until the view has what was accepted before */
#define PAGE_LIMIT 200     /* when none is asked for */

enum kind { GET_JOB, GET_RESULT, GET_PAGE, GET_BATCH, GET_USAGE };

struct bf_get {
    struct bf_handler handler; /* first */
    struct bf_task task;
    struct bf_api *api;
    struct bf_request *req; /* NULL: gone */
    enum kind kind;

    /* what is asked for */
    char workspace[BF_MAX_ID + 1];
    char job[BF_MAX_ID + 1];
    char batch[BF_MAX_ID + 1];
    char cursor[BF_CURSOR_SIZE];
    bool has_batch, has_cursor;
    int limit;

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

static void ask_view(struct bf_get *get, struct bf_reader_db *reader)
{
    const struct bf_page page = {
        .workspace = get->workspace,
        .batch = get->has_batch ? get->batch : NULL,
        .cursor = get->has_cursor ? get->cursor : NULL,
        .limit = get->limit,
    };

    switch (get->kind) {
    case GET_JOB:
        get->rc = bf_reader_job(reader, get->workspace, get->job, &get->out,
                                &get->ended, &get->problem);
        break;
    case GET_RESULT:
        get->rc = bf_reader_result(reader, get->workspace, get->job, &get->out,
                                   &get->place, &get->problem);
        break;
    case GET_PAGE:
        get->rc = bf_reader_page(reader, &page, &get->out, get->next_cursor,
                                 &get->problem);
        break;
    case GET_BATCH:
        get->rc = bf_reader_batch(reader, get->workspace, get->batch, &get->out,
                                  &get->problem);
        break;
    case GET_USAGE:
        get->rc =
            bf_reader_usage(reader, get->workspace, &get->out, &get->problem);
        break;
    }
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
    ask_view(get, reader);
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

static void answer_now(struct bf_get *get)
{
    struct bf_answer answer = {
        .status = 200,
        .content_type =
            get->kind == GET_PAGE ? "application/x-ndjson" : "application/json",
    };

    if (get->rc) {
        bf_request_refuse(get->req, &get->problem);
        return;
    }
    if (get->kind == GET_PAGE && get->next_cursor[0])
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
    return get->kind == GET_JOB && get->rc == 0 && !get->ended &&
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
    if (get->rc == 0 && get->kind == GET_RESULT && get->place.elsewhere &&
        !fetched) {
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
                              enum kind kind)
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
    get->kind = kind;
    get->out = (struct bf_buf)BF_BUF_INIT(BF_MAX_RECORD + BF_PAGE_BYTES);
    return get;
}

static int copy_checked(char out[BF_MAX_ID + 1], struct bf_slice text,
                        const char *field, bool ok, struct bf_problem *problem)
{
    if (!ok)
        return bf_problem_set(problem, BF_PROBLEM_BAD_FIELD, field,
                              "%s: must be 1-64 of the characters that it may "
                              "have",
                              field);
    snprintf(out, BF_MAX_ID + 1, "%.*s", BF_SLICE_ARG(text));
    return 0;
}

/* A number of the query; absent is the default. */
static int read_number(const struct bf_get *get, const char *name,
                       uint64_t most, int64_t *ret, struct bf_problem *problem)
{
    const char *text = bf_request_query(get->req, name);
    uint64_t value;

    if (!text)
        return 0;
    if (bf_slice_u64(bf_slice_str(text), most, &value))
        return bf_problem_set(problem, BF_PROBLEM_BAD_FIELD, name,
                              "%s: must be a number up to %llu", name,
                              (unsigned long long)most);
    *ret = (int64_t)value;
    return 0;
}

static int read_page(struct bf_get *get, struct bf_problem *problem)
{
    const char *batch = bf_request_query(get->req, "batch");
    const char *cursor = bf_request_query(get->req, "cursor");
    int64_t limit = PAGE_LIMIT;

    if (batch && copy_checked(get->batch, bf_slice_str(batch), "batch",
                              bf_job_id_ok(bf_slice_str(batch)), problem))
        return -1;
    get->has_batch = batch != NULL;
    if (cursor && strlen(cursor) >= sizeof(get->cursor))
        return bf_problem_set(problem, BF_PROBLEM_BAD_FIELD, "cursor",
                              "cursor: is none that this resource gave");
    snprintf(get->cursor, sizeof(get->cursor), "%s", cursor ? cursor : "");
    get->has_cursor = cursor && cursor[0];
    if (read_number(get, "limit", BF_PAGE_MAX, &limit, problem))
        return -1;
    get->limit = limit > 0 ? (int)limit : 1;
    return 0;
}

static int read_wait(struct bf_get *get, struct bf_problem *problem)
{
    int64_t seconds = 0;

    if (read_number(get, "wait", BF_GET_MAX_WAIT_S, &seconds, problem))
        return -1;
    if (seconds > 0)
        get->until_ms = bf_mono_ms() + seconds * 1000;
    return 0;
}

static int read_job(struct bf_get *get, const struct bf_path *path,
                    struct bf_problem *problem)
{
    struct bf_slice id = path->segments[1];

    return copy_checked(get->job, id, "id", bf_job_id_ok(id), problem);
}

static int read_batch(struct bf_get *get, const struct bf_path *path,
                      struct bf_problem *problem)
{
    struct bf_slice id = path->segments[1];

    return copy_checked(get->batch, id, "batch", bf_job_id_ok(id), problem);
}

static int read_question(struct bf_get *get, const struct bf_path *path,
                         struct bf_problem *problem)
{
    snprintf(get->workspace, sizeof(get->workspace), "%s", path->workspace);
    switch (get->kind) {
    case GET_JOB:
        return read_job(get, path, problem) || read_wait(get, problem) ? -1 : 0;
    case GET_RESULT:
        return read_job(get, path, problem);
    case GET_PAGE:
        return read_page(get, problem);
    case GET_BATCH:
        return read_batch(get, path, problem);
    case GET_USAGE:
        break;
    }
    return 0;
}

static void begin_waiting(struct bf_get *get)
{
    if (get->until_ms == 0)
        return;
    get->key = bf_exchange_key(get->workspace, get->job);
    list(get);
}

static void begin(struct bf_api *api, struct bf_request *req,
                  const struct bf_path *path, enum kind kind)
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
    begin(api, req, path, GET_JOB);
}

void bf_get_result(struct bf_api *api, struct bf_request *req,
                   const struct bf_path *path)
{
    begin(api, req, path, GET_RESULT);
}

void bf_get_page(struct bf_api *api, struct bf_request *req,
                 const struct bf_path *path)
{
    begin(api, req, path, GET_PAGE);
}

void bf_get_batch(struct bf_api *api, struct bf_request *req,
                  const struct bf_path *path)
{
    begin(api, req, path, GET_BATCH);
}

void bf_get_usage(struct bf_api *api, struct bf_request *req,
                  const struct bf_path *path)
{
    begin(api, req, path, GET_USAGE);
}

void bf_get_after_post(struct bf_api *api, struct bf_request *req,
                       const struct bf_shipment *shipment, int wait_s,
                       struct bf_answer *fallback)
{
    struct bf_get *get = get_new(api, req, GET_JOB);

    if (!get) {
        bf_buf_release(&fallback->body);
        return;
    }
    snprintf(get->workspace, sizeof(get->workspace), "%s", shipment->workspace);
    snprintf(get->job, sizeof(get->job), "%s", shipment->job);
    get->fallback = *fallback;
    fallback->body = (struct bf_buf){0};
    get->has_fallback = true;
    get->until_ms = bf_mono_ms() + (int64_t)wait_s * 1000;
    begin_waiting(get);
    bf_request_set_state(req, &get->handler);
    ask(get);
}
