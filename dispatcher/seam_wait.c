/* How a call waits, and what it is answered. */

#include "config/clock.h"
#include "dispatcher/contexts.h"
#include "dispatcher/fetch.h"
#include "dispatcher/seam_private.h"

/* Until what a worker has committed is known here. */
#define BEGIN_MS 5000    /* that a run has begun, or that its time is over */
#define LATE_MS 15000    /* its end */
#define AGAIN_MS 1000    /* between looks at a view that is behind */
#define STOPPING_MS 8000 /* of the dispatcher's 10 s to stop */
#define SMALL_REPLY_BYTES (64U << 10) /* there is always room for it */

static struct bf_seam_waiting *call_of(struct bf_task *task)
{
    return (struct bf_seam_waiting *)((char *)task -
                                      offsetof(struct bf_seam_waiting, task));
}

static struct bf_seam *seam_of(const struct bf_seam_waiting *call)
{
    return call->post.api->seam;
}

/* ---- an answer that has begun ---------------------------------------------*/

void bf_seam_said_free(struct bf_seam_said *said)
{
    if (!said || --said->holders > 0)
        return;
    bf_buf_release(&said->body);
    free(said);
}

static void said_freed(void *arg)
{
    bf_seam_said_free(arg);
}

static ssize_t said_read(void *arg, uint64_t pos, char *out, size_t size)
{
    const struct bf_seam_said *said = arg;
    size_t n;

    if (pos < said->spaces) {
        n = said->spaces - pos < size ? (size_t)(said->spaces - pos) : size;
        memset(out, ' ', n);
        return (ssize_t)n;
    }
    if (said->cut)
        return -1;
    if (!said->done)
        return 0;
    pos -= said->spaces;
    if (pos >= said->body.len)
        return BF_ANSWER_END;
    n = said->body.len - pos < size ? (size_t)(said->body.len - pos) : size;
    memcpy(out, said->body.data + pos, n);
    return (ssize_t)n;
}

/* 200 from here on, whatever becomes of the job. */
static void begin_answer(struct bf_seam_waiting *call)
{
    struct bf_answer answer = {
        .status = 200,
        .content_type = "application/json",
        .stream = {.bytes = BF_ANSWER_OPEN,
                   .read = said_read,
                   .free = said_freed},
    };

    call->said = calloc(1, sizeof(*call->said));
    if (!call->said)
        return; /* it is tried again with the next space */
    call->said->holders = 2;
    answer.stream.arg = call->said;
    /* To nginx: spaces that it gathers keep nobody waiting. */
    bf_answer_header(&answer, "X-Accel-Buffering", "no");
    bf_request_answer(call->post.req, &answer);
}

static void speak(struct bf_seam_waiting *call)
{
    if (!call->said)
        begin_answer(call);
    if (!call->said)
        return;
    call->said->spaces++;
    bf_request_resume(call->post.req);
}

/* ---- the end of a call ----------------------------------------------------*/

void bf_seam_fail(struct bf_seam_waiting *call,
                  const struct bf_problem *problem)
{
    bf_seam_unlist(call);
    seam_of(call)->stats.calls[BF_SEAM_BROKEN]++;
    if (!call->said) {
        bf_request_refuse(call->post.req, problem);
        return;
    }
    call->said->cut = true;
    bf_request_resume(call->post.req);
}

static void fail(struct bf_seam_waiting *call, enum bf_problem_code code,
                 const char *text)
{
    struct bf_problem problem;

    bf_problem_set(&problem, code, NULL, "%s", text);
    bf_seam_fail(call, &problem);
}

static bool has_room(const struct bf_seam_waiting *call)
{
    return call->reply.cap <= SMALL_REPLY_BYTES ||
           bf_outbox_has_room(call->post.api->conf.outbox, call->reply.cap);
}

static void answer(struct bf_seam_waiting *call)
{
    bool succeeded = call->end.outcome == BF_OUTCOME_SUCCEEDED;

    if (!has_room(call)) {
        fail(call, BF_PROBLEM_INTERNAL,
             "the block ran, but results of dispatcher.inflight_bytes are "
             "being read");
        return;
    }
    bf_seam_unlist(call);
    seam_of(call)
        ->stats.calls[succeeded ? BF_SEAM_SUCCEEDED : BF_SEAM_FAILED]++;
    if (succeeded && call->is_validation)
        bf_recent_put(seam_of(call)->validations, bf_slice_str(call->workspace),
                      bf_slice_str(call->code_hash), bf_now_ms(),
                      bf_buf_slice(&call->reply));
    bf_post_hold(&call->post, call->reply.cap);
    if (!call->said) {
        bf_api_answer(call->post.req, 200, &call->reply);
        return;
    }
    call->said->body = call->reply;
    call->reply = (struct bf_buf){0};
    call->said->done = true;
    bf_request_resume(call->post.req);
}

/* ---- on a thread of a pool ------------------------------------------------*/

static void make_reply(struct bf_seam_waiting *call)
{
    const struct bf_seam_end end = {
        .outcome = call->end.outcome,
        .reason = call->end.reason,
        .delivery = call->end.delivery,
        .report = bf_buf_slice(&call->end.report),
        .result = bf_buf_slice(&call->result),
        .code_hash = call->code_hash,
    };

    call->found = bf_seam_reply(&end, &call->reply, &call->problem)
                      ? BF_SEAM_FAULT
                      : BF_SEAM_REPLY;
    bf_buf_release(&call->result);
}

static int read_result(struct bf_seam_waiting *call,
                       struct bf_reader_db *reader)
{
    struct bf_problem why;

    call->place = (struct bf_result_place){0};
    if (call->end.outcome != BF_OUTCOME_SUCCEEDED ||
        bf_reader_result(reader, call->workspace, call->job, &call->result,
                         &call->place, &why) == 0)
        return 0;
    return bf_problem_set(&call->problem, BF_PROBLEM_INTERNAL, NULL,
                          "the block ran, but its result cannot be had: %s",
                          why.detail);
}

/* Before the view is asked: what it has of Kafka at least. */
static int64_t known_until(const struct bf_seam_waiting *call)
{
    struct bf_feed_state state;

    bf_exchange_state(call->post.api->conf.exchange, &state);
    return state.caught_up ? state.as_of_ms : 0;
}

static void run_read(struct bf_task *task, void *context)
{
    struct bf_seam_waiting *call = call_of(task);
    struct bf_reader_db *reader = bf_read_context(context);
    int64_t known_ms = known_until(call);
    int ended = -1;

    call->found = BF_SEAM_NOTHING;
    call->end.rank = BF_ROW_WAITING;
    /* What the view cannot tell now, it may tell the next time. */
    if (reader)
        ended = bf_reader_end(reader, call->workspace, call->job, &call->end,
                              &call->problem);
    call->known_ms = ended < 0 ? 0 : known_ms;
    if (ended <= 0)
        return;
    if (read_result(call, reader))
        call->found = BF_SEAM_FAULT;
    else if (call->place.elsewhere)
        call->found = BF_SEAM_ELSEWHERE;
    else
        make_reply(call);
}

static void run_fetch(struct bf_task *task, void *context)
{
    struct bf_seam_waiting *call = call_of(task);
    struct bf_fetch *fetch = bf_fetch_context(context);
    const struct bf_topics *topics = call->post.api->conf.topics;
    struct bf_err err = {.msg = "no consumer"};

    if (fetch && bf_fetch_value(fetch, bf_topic_name(topics, BF_TOPIC_RESULTS),
                                call->place.partition, call->place.offset,
                                &call->result, &err) == 0) {
        make_reply(call);
        return;
    }
    bf_problem_set(&call->problem, BF_PROBLEM_INTERNAL, NULL,
                   "the block ran, but its result cannot be had: %s", err.msg);
    call->found = BF_SEAM_FAULT;
}

/* ---- asking ---------------------------------------------------------------*/

static void on_done(struct bf_task *task);

static void ask(struct bf_seam_waiting *call)
{
    call->again = false;
    call->asked = true;
    call->task.run = run_read;
    call->task.done = on_done;
    bf_pool_add(call->post.api->conf.reads, &call->task);
}

static void fetch_elsewhere(struct bf_seam_waiting *call)
{
    call->asked = true;
    call->task.run = run_fetch;
    bf_pool_add(call->post.api->conf.fetches, &call->task);
}

/* A run that has begun has its own time, and its worker keeps it. */
static void not_ended(struct bf_seam_waiting *call)
{
    int64_t now = bf_mono_ms();

    if (call->again) {
        ask(call);
    } else if (now < call->until_ms) {
        return;
    } else if (call->hurried) {
        fail(call, BF_PROBLEM_INTERNAL,
             "this dispatcher is stopping; the block may have run");
    } else if (call->extended) {
        fail(call, BF_PROBLEM_INTERNAL,
             "the end of the run is overdue; the block may have run");
    } else if (call->end.rank >= BF_ROW_STARTED) {
        call->extended = true;
        call->until_ms = now + call->post.api->conf.block_timeout_ms + LATE_MS;
    } else if (call->known_ms >= call->expires_ms) {
        fail(call, BF_PROBLEM_UNAVAILABLE,
             "no worker was free to run the block in time");
    } else if (now < call->latest_ms) {
        /* It may have begun, where a view that is behind cannot see it. */
        call->until_ms = now + AGAIN_MS;
    } else {
        fail(call, BF_PROBLEM_INTERNAL,
             "this dispatcher cannot see the job; the block may have run");
    }
}

/* On the loop. */
static void on_done(struct bf_task *task)
{
    struct bf_seam_waiting *call = call_of(task);

    call->asked = false;
    /* Gone, or answered for another reason meanwhile. */
    if (!call->listed) {
        bf_seam_let_go(call);
        return;
    }
    switch (call->found) {
    case BF_SEAM_NOTHING:
        not_ended(call);
        break;
    case BF_SEAM_ELSEWHERE:
        fetch_elsewhere(call);
        break;
    case BF_SEAM_REPLY:
        answer(call);
        break;
    case BF_SEAM_FAULT:
        bf_seam_fail(call, &call->problem);
        break;
    }
}

/* ---- waiting --------------------------------------------------------------*/

void bf_seam_expect(struct bf_seam_waiting *call, int64_t run_ms)
{
    const struct bf_api_conf *conf = &call->post.api->conf;
    struct bf_seam *seam = seam_of(call);
    int64_t now = bf_mono_ms();

    call->key = bf_exchange_key(call->workspace, call->job);
    call->speak_ms = now + conf->block_keepalive_ms;
    call->until_ms = now + conf->block_expiry_ms + run_ms +
                     (run_ms > 0 ? LATE_MS : BEGIN_MS);
    call->latest_ms = call->until_ms + conf->block_timeout_ms + LATE_MS;
    call->expires_ms = bf_now_ms() + conf->block_expiry_ms;
    call->extended = run_ms > 0;
    call->next = seam->waiting;
    if (call->next)
        call->next->prev = call;
    seam->waiting = call;
    call->listed = true;
    seam->stats.waiting++;
    bf_exchange_expect(conf->exchange, 1);
}

void bf_seam_unlist(struct bf_seam_waiting *call)
{
    if (!call->listed)
        return;
    if (call->next)
        call->next->prev = call->prev;
    if (call->prev)
        call->prev->next = call->next;
    else
        seam_of(call)->waiting = call->next;
    call->listed = false;
    seam_of(call)->stats.waiting--;
    bf_exchange_expect(call->post.api->conf.exchange, -1);
}

static bool is_among(uint64_t key, const uint64_t *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (keys[i] == key)
            return true;
    }
    return false;
}

void bf_seam_wake(struct bf_api *api, const uint64_t *keys, size_t count,
                  bool all)
{
    for (struct bf_seam_waiting *call = api->seam->waiting; call;
         call = call->next) {
        if (!all && !is_among(call->key, keys, count))
            continue;
        if (call->asked)
            call->again = true;
        else
            ask(call);
    }
}

static void hurry(struct bf_seam_waiting *call, int64_t now)
{
    if (!call->post.api->stopping || call->hurried)
        return;
    call->hurried = true;
    if (call->until_ms > now + STOPPING_MS)
        call->until_ms = now + STOPPING_MS;
}

/* When it wants to be looked at next. */
static int64_t look_at(struct bf_seam_waiting *call, int64_t now)
{
    bool speaks = now >= call->speak_ms;

    hurry(call, now);
    if (speaks) {
        speak(call);
        call->speak_ms = now + call->post.api->conf.block_keepalive_ms;
    }
    /* To be told of its end is usual; not to hang on it, is better. */
    if ((speaks || now >= call->until_ms) && !call->asked)
        ask(call);
    if (call->asked)
        return call->speak_ms;
    return call->speak_ms < call->until_ms ? call->speak_ms : call->until_ms;
}

int bf_seam_tick(struct bf_api *api)
{
    int64_t now = bf_mono_ms(), soonest = INT64_MAX;

    for (struct bf_seam_waiting *call = api->seam->waiting; call;
         call = call->next) {
        int64_t next_ms = look_at(call, now);

        if (next_ms < soonest)
            soonest = next_ms;
    }
    return soonest == INT64_MAX ? -1 : (int)(soonest - now);
}
