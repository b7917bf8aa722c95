#include "worker/backend/modal.h"

#include "config/secret.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/json.h"
#include "worker/backend/modal_web.h"

/*
 * Blocks on Modal, through the web endpoint of a deployed app: a POST, and
 * what Modal's edge makes of it. A call that takes longer than its edge waits
 * (150 s) is answered with a 303, and asked after at the address that it
 * names. Source: modal.com/docs/guide/webhook-timeouts; the meaning of each
 * answer is in modal_web.c.
 */

#define MODAL_MAGIC 0x4d4f444cU

#define SEEN_SETS 4096U   /* 16,384 workspaces */
#define KNOWN_SETS 16384U /* 65,536 blocks */
#define ASK_MS 180000     /* for a result: the edge waits 150 s itself */
#define FIRST_PAUSE_MS 250
#define MOST_PAUSE_MS 5000
#define GONE_ASKS 3 /* for a result that the edge does not know */
#define GONE_PAUSE_MS 1000
#define MAX_URL ((size_t)2 * BF_MAX_URL)
#define QUICK_MS                                                               \
    1000             /* an edge that says "not yet" this soon is not waiting   \
                      */
#define BUSY_MS 1000 /* 429 without Retry-After */

enum phase {
    PHASE_NEW,
    PHASE_TURN,   /* waits until it may call */
    PHASE_CALL,   /* the POST is under way */
    PHASE_RESULT, /* a GET of its result is */
    PHASE_PAUSE,  /* before the next GET */
};

struct modal_run {
    struct bf_run run; /* first, see modal_from() */
    const struct bf_run_input *input;
    struct bf_modal *modal;
    enum phase phase;
    enum bf_pass pass; /* NO: none is held */
    bool with_code;
    struct bf_buf url;        /* of the call */
    struct bf_buf result_url; /* once there was a 303 */
    char call_id[72];         /* "" before */
    int64_t asked_ms;
    int asks; /* in a row, that brought nothing */
    int gone; /* of these, since the last 303: nobody knew of the call */
    struct bf_buf request;
    const char *headers[2];
    struct bf_block_answer answer;
    const char *alarm;
    bool relief;
    json_t *provider;
};

static struct modal_run *modal_from(struct bf_run *run)
{
    bf_assert(run && run->magic == MODAL_MAGIC);
    return (struct modal_run *)run;
}

/* ---- what all of them share ---- */

void bf_modal_free(struct bf_modal *modal)
{
    if (!modal)
        return;
    bf_secret_free(modal->token_id);
    bf_secret_free(modal->token_secret);
    bf_lately_free(modal->seen);
    bf_lately_free(modal->known);
    free(modal);
}

struct bf_modal *bf_modal_new(const struct bf_modal_config *config,
                              struct bf_secret *token_id,
                              struct bf_secret *token_secret,
                              struct bf_err *err)
{
    struct bf_modal *modal = calloc(1, sizeof(*modal));

    if (!modal) {
        bf_secret_free(token_id);
        bf_secret_free(token_secret);
        bf_err_oom(err);
        return NULL;
    }
    modal->config = *config;
    modal->token_id = token_id;
    modal->token_secret = token_secret;
    if (token_id && token_secret) {
        modal->secrets[0] =
            (struct bf_secret_header){"Modal-Key", "", token_id};
        modal->secrets[1] =
            (struct bf_secret_header){"Modal-Secret", "", token_secret};
        modal->nsecrets = 2;
    }
    bf_pace_init(&modal->calls, config->calls_per_s, config->calls_burst);
    bf_pace_init(&modal->workspaces, config->workspaces_per_s,
                 config->workspaces_burst);
    bf_breaker_init(&modal->breaker);
    modal->seen = bf_lately_new(SEEN_SETS, err);
    modal->known = modal->seen ? bf_lately_new(KNOWN_SETS, err) : NULL;
    if (!modal->known) {
        bf_modal_free(modal);
        return NULL;
    }
    return modal;
}

/* Names code to an endpoint: that of a workspace, init code and all. */
static uint64_t code_hash(const struct bf_run_input *input)
{
    char init_hash[BF_INIT_HASH_SIZE];
    unsigned char out[BF_HASH128_BYTES];
    struct bf_hash hash;

    bf_block_init_hash(input->block, init_hash);
    bf_hash_init(&hash, sizeof(out));
    bf_hash_part(&hash, input->job->workspace);
    bf_hash_str(&hash, bf_block_code_hash(input->block));
    bf_hash_str(&hash, init_hash);
    bf_hash_final(&hash, out);
    return bf_get_u64be(out);
}

/*
 * How long until it may call. A workspace that was not called lately makes
 * Modal set up containers of its own, which it does once a second.
 */
static int64_t take_turn(struct bf_modal *modal, struct bf_slice workspace,
                         int64_t mono_ms)
{
    uint64_t hash = bf_hash64(workspace);
    const int64_t *first = bf_lately_find(modal->seen, hash);
    int64_t from_ms = first ? *first : mono_ms;
    int64_t wait = bf_pace_take_ms(&modal->calls, mono_ms);

    if (!first) {
        from_ms += bf_pace_take_ms(&modal->workspaces, mono_ms);
        bf_lately_put(modal->seen, hash, from_ms);
    }
    return wait > from_ms - mono_ms ? wait : from_ms - mono_ms;
}

/* ---- a run ---- */

/* Beside the request itself what gzip makes of it. */
static size_t modal_weigh(const struct bf_run_input *input)
{
    return bf_block_request_weigh(input) / 3 * 5;
}

static void modal_free(struct bf_run *run)
{
    struct modal_run *modal;

    if (!run)
        return;
    modal = modal_from(run);
    if (modal->pass != BF_PASS_NO)
        bf_breaker_leave(&modal->modal->breaker, 0, modal->pass, BF_SIGN_NONE,
                         0);
    bf_buf_release(&modal->url);
    bf_buf_release(&modal->result_url);
    bf_buf_release(&modal->request);
    bf_block_answer_release(&modal->answer);
    json_decref(modal->provider);
    modal->run.magic = 0;
    free(modal);
}

static struct bf_run *modal_begin(const struct bf_backend_config *config,
                                  const struct bf_run_input *input,
                                  struct bf_err *err)
{
    struct modal_run *run;

    if (!config->modal) {
        bf_err_set(err, BF_ERR_REJECT, "no_backend", "modal.url is not set");
        return NULL;
    }
    if (bf_block_request_check(input, config->modal->config.wire, err))
        return NULL;
    run = calloc(1, sizeof(*run));
    if (!run) {
        bf_err_oom(err);
        return NULL;
    }
    run->run.magic = MODAL_MAGIC;
    run->run.backend = &bf_backend_modal;
    run->input = input;
    run->modal = config->modal;
    run->url.max = MAX_URL;
    run->result_url.max = MAX_URL;
    run->request.max = BF_MAX_BLOCK_REQUEST;
    if (bf_modal_call_url(run->modal->config.url, input->job->workspace,
                          &run->url, err)) {
        modal_free(&run->run);
        return NULL;
    }
    return &run->run;
}

/* ---- requests ---- */

static int pack(struct modal_run *run, struct bf_err *err)
{
    struct bf_slice plain = bf_buf_slice(&run->request);
    struct bf_buf packed = BF_BUF_INIT(BF_MAX_BLOCK_REQUEST);

    run->headers[0] = NULL;
    if (!bf_gzip_pays(run->modal->config.gzip, plain))
        return 0;
    if (bf_gzip_put(plain, &packed, err))
        return -1;
    bf_buf_release(&run->request);
    run->request = packed;
    run->headers[0] = "content-encoding: gzip";
    return 0;
}

static int put_call(struct modal_run *run, struct bf_request *ret,
                    struct bf_err *err)
{
    const struct bf_modal_config *config = &run->modal->config;
    bool ours = config->wire == BF_WIRE_BLOCKFLEET;
    size_t nheaders = 0;

    bf_buf_clear(&run->request);
    if (bf_block_request_put(run->input, config->wire, run->with_code,
                             &run->request, err) ||
        pack(run, err))
        return -1;
    if (run->headers[0])
        nheaders++;
    /* A signature brings it. */
    if (!ours)
        run->headers[nheaders++] = "content-type: application/json";
    run->phase = PHASE_CALL;
    *ret = (struct bf_request){
        .by = BF_BY_HTTP,
        .runs = true,
        .sign = ours,
        .grace_ms = config->startup_ms,
        .url = run->url.data,
        .headers = run->headers,
        .nheaders = nheaders,
        .secrets = run->modal->secrets,
        .nsecrets = run->modal->nsecrets,
        .body = {bf_buf_slice(&run->request)},
        .nbody = 1,
    };
    return BF_STEP_SEND;
}

static int put_ask(struct modal_run *run, const struct bf_reply *reply,
                   struct bf_request *ret)
{
    run->phase = PHASE_RESULT;
    run->asked_ms = reply->mono_ms;
    *ret = (struct bf_request){
        .by = BF_BY_HTTP,
        .method = BF_GET,
        .idempotent = true,
        .timeout_ms = ASK_MS,
        .url = run->result_url.data,
        .secrets = run->modal->secrets,
        .nsecrets = run->modal->nsecrets,
    };
    return BF_STEP_SEND;
}

static int put_pause(struct modal_run *run, int64_t at_least_ms,
                     struct bf_request *ret)
{
    int64_t ms = FIRST_PAUSE_MS;

    for (int i = 0; i < run->asks && ms < MOST_PAUSE_MS; i++)
        ms *= 2;
    ms = ms < MOST_PAUSE_MS ? ms : MOST_PAUSE_MS;
    run->asks++;
    run->phase = PHASE_PAUSE;
    *ret = (struct bf_request){.by = BF_BY_TIMER,
                               .delay_ms = ms > at_least_ms ? ms : at_least_ms};
    return BF_STEP_SEND;
}

/* By its name, where the endpoint has it; it says when it has not. */
static int put_turn(struct modal_run *run, const struct bf_reply *reply,
                    struct bf_request *ret, struct bf_err *err)
{
    int64_t wait =
        take_turn(run->modal, run->input->job->workspace, reply->mono_ms);

    if (wait == 0)
        return put_call(run, ret, err);
    run->phase = PHASE_TURN;
    *ret = (struct bf_request){.by = BF_BY_TIMER, .delay_ms = wait};
    return BF_STEP_SEND;
}

/* ---- how it ends ---- */

static void set_id(struct modal_run *run, const char *name,
                   struct bf_slice value)
{
    json_t *text;

    if (!value.ptr || value.len == 0 || value.len > 128)
        return;
    if (!run->provider)
        run->provider = json_object();
    /* Without memory for an id the row goes without it. */
    text = json_stringn(value.ptr, value.len);
    if (text)
        json_object_set_new(run->provider, name, text);
}

static void keep_ids(struct modal_run *run, const struct bf_reply *reply)
{
    struct bf_slice id = bf_reply_header(reply, "modal-function-call-id");

    if (run->call_id[0])
        id = bf_slice_str(run->call_id);
    if (bf_modal_is_call_id(id))
        set_id(run, "function_call_id", id);
    if (run->answer.doc)
        set_id(run, "container_id",
               bf_json_slice(json_object_get(run->answer.doc, "container_id")));
}

static int finish(struct modal_run *run, const struct bf_reply *reply,
                  const struct bf_modal_fact *fact, struct bf_run_end *end)
{
    struct bf_verdict_case which = bf_verdict_of(run->input, fact->what);

    which.reason = run->answer.reason;
    keep_ids(run, reply);
    bf_buf_release(&run->request);
    end->isolation = "container";
    end->cause = fact->cause;
    end->alarm = run->alarm;
    end->relief = run->relief;
    end->provider = run->provider;
    bf_verdict(&which, end);
    if (end->again && end->again_after_ms < reply->retry_after_ms)
        end->again_after_ms = reply->retry_after_ms;
    return BF_STEP_DONE;
}

/* What this answer told of Modal, to everybody. */
static void tell(struct modal_run *run, const struct bf_reply *reply,
                 enum bf_sign sign, const char *words)
{
    enum bf_pass pass = run->pass == BF_PASS_NO ? BF_PASS_YES : run->pass;

    run->pass = BF_PASS_NO;
    switch (bf_breaker_leave(&run->modal->breaker, reply->mono_ms, pass, sign,
                             reply->retry_after_ms)) {
    case BF_BREAKER_SAME:
        return;
    case BF_BREAKER_OPENED:
        run->alarm = "Modal fails: jobs wait, a few are tried now and then";
        break;
    case BF_BREAKER_STOPPED:
        run->alarm = words ? words : "Modal refuses us";
        break;
    case BF_BREAKER_CLOSED:
        run->alarm = "Modal works again";
        run->relief = true;
        break;
    }
}

/* Evidence that is not in an answer. */
static const struct bf_modal_fact
    unreachable = {"unreachable", BF_MODAL_END, BF_TRY_NOT_STARTED,
                   BF_SIGN_FAULT, NULL},
    lost = {"answer_lost", BF_MODAL_END, BF_TRY_NOBODY_KNOWS, BF_SIGN_FAULT,
            NULL},
    too_large = {"too_large", BF_MODAL_END, BF_TRY_TOO_LARGE, BF_SIGN_GOOD,
                 NULL},
    deadline = {"deadline", BF_MODAL_END, BF_TRY_TIMED_OUT, BF_SIGN_NONE, NULL},
    never_left = {"never_left", BF_MODAL_END, BF_TRY_NEVER_LEFT, BF_SIGN_NONE,
                  NULL},
    no_turn = {"no_turn", BF_MODAL_END, BF_TRY_NOT_STARTED, BF_SIGN_NONE, NULL},
    shut = {"breaker_open", BF_MODAL_END, BF_TRY_NOT_STARTED, BF_SIGN_NONE,
            NULL},
    bad_location = {"bad_location", BF_MODAL_END, BF_TRY_NOBODY_KNOWS,
                    BF_SIGN_FAULT, NULL},
    ask_again = {"result_lost", BF_MODAL_ASK, BF_TRY_NOBODY_KNOWS, BF_SIGN_NONE,
                 NULL};

static const struct bf_modal_fact *fact_of_reply(const struct modal_run *run,
                                                 const struct bf_reply *reply)
{
    bool result = run->phase != PHASE_CALL;
    enum bf_modal_phase phase = result ? BF_MODAL_RESULT : BF_MODAL_POST;

    switch (reply->kind) {
    case BF_REPLY_OK:
        return bf_modal_fact(phase, reply->status, reply->body);
    case BF_REPLY_UNSENT:
        return result ? &ask_again : &unreachable;
    case BF_REPLY_LOST:
        /* A status that says it all needs no body. */
        if (reply->status != 0 && reply->status != 200)
            return bf_modal_fact(phase, reply->status, reply->body);
        return result ? &ask_again : &lost;
    case BF_REPLY_TOO_LARGE:
        return reply->status == 200
                   ? &too_large
                   : bf_modal_fact(phase, reply->status, reply->body);
    case BF_REPLY_DEADLINE:
        return !result && reply->unsent ? &never_left : &deadline;
    case BF_REPLY_LATE:
        return result ? &ask_again : &deadline;
    case BF_REPLY_NONE:
        break;
    }
    bf_assert(!"a reply of no kind");
    return &lost;
}

static void say(struct modal_run *run, const struct bf_reply *reply,
                const struct bf_modal_fact *fact, struct bf_run_end *end)
{
    char why[192];

    snprintf(why, sizeof(why), "%s%s%s", fact->cause,
             reply->error && reply->error[0] ? ": " : "",
             reply->error ? reply->error : "");
    if (reply->kind == BF_REPLY_OK && reply->status != 0)
        snprintf(why, sizeof(why), "%s (HTTP status %d)", fact->cause,
                 reply->status);
    bf_block_answer_say(&run->answer, end, "Modal: ", why);
}

/* A 200: the answer of the app itself. */
static int read_answer(struct modal_run *run, const struct bf_reply *reply,
                       struct bf_request *ret_request, struct bf_run_end *end,
                       struct bf_err *err)
{
    struct bf_lately *known = run->modal->known;
    uint64_t hash = code_hash(run->input);
    struct bf_modal_fact fact = {.cause = "answered"};

    fact.what = bf_block_answer_take(&run->answer, reply->body, end);
    if (run->answer.wants_code && !run->with_code) {
        bf_lately_forget(known, hash);
        run->with_code = true;
        run->call_id[0] = '\0';
        *end = (struct bf_run_end){.duration_us = -1};
        return put_turn(run, reply, ret_request, err);
    }
    if (fact.what == BF_TRY_SUCCEEDED || fact.what == BF_TRY_FAILED)
        bf_lately_put(known, hash, 0);
    return finish(run, reply, &fact, end);
}

static int follow(struct modal_run *run, const struct bf_reply *reply,
                  struct bf_request *ret_request, struct bf_run_end *end)
{
    struct bf_slice location = bf_reply_header(reply, "location");
    struct bf_buf url = BF_BUF_INIT(MAX_URL);
    struct bf_slice id = {NULL, 0};
    struct bf_err why = {0};

    if (bf_modal_result_url(run->url.data, location, &url, &id, &why) ||
        (run->call_id[0] && !bf_slice_is(id, run->call_id))) {
        bf_buf_release(&url);
        say(run, reply, &bad_location, end);
        return finish(run, reply, &bad_location, end);
    }
    snprintf(run->call_id, sizeof(run->call_id), "%.*s", BF_SLICE_ARG(id));
    bf_buf_release(&run->result_url);
    run->result_url = url;
    run->gone = 0;
    /* It is not to be believed that it says so at once, again and again. */
    if (run->phase == PHASE_RESULT && reply->mono_ms - run->asked_ms < QUICK_MS)
        return put_pause(run, 0, ret_request);
    run->asks = 0;
    return put_ask(run, reply, ret_request);
}

static int take_reply(struct modal_run *run, const struct bf_reply *reply,
                      struct bf_request *ret_request, struct bf_run_end *end,
                      struct bf_err *err)
{
    const struct bf_modal_fact *fact = fact_of_reply(run, reply);

    tell(run, reply, fact->sign, fact->words);
    if (reply->status == 429 && fact->what != BF_TRY_CREDENTIAL)
        bf_pace_hold(&run->modal->calls, reply->mono_ms,
                     reply->retry_after_ms > 0 ? reply->retry_after_ms
                                               : BUSY_MS);
    switch (fact->next) {
    case BF_MODAL_READ:
        return read_answer(run, reply, ret_request, end, err);
    case BF_MODAL_FOLLOW:
        return follow(run, reply, ret_request, end);
    case BF_MODAL_ASK:
        return put_pause(run, reply->retry_after_ms, ret_request);
    case BF_MODAL_ASK_A_FEW:
        if (run->gone++ < GONE_ASKS)
            return put_pause(run, GONE_PAUSE_MS, ret_request);
        break;
    case BF_MODAL_END:
        break;
    }
    say(run, reply, fact, end);
    return finish(run, reply, fact, end);
}

static int start(struct modal_run *run, const struct bf_reply *reply,
                 struct bf_request *ret_request, struct bf_run_end *end,
                 struct bf_err *err)
{
    struct bf_modal *modal = run->modal;

    run->with_code = !bf_lately_find(modal->known, code_hash(run->input));
    run->pass =
        bf_breaker_enter(&modal->breaker, reply->mono_ms, &end->again_after_ms);
    if (run->pass != BF_PASS_NO)
        return put_turn(run, reply, ret_request, err);
    say(run, reply, &shut, end);
    return finish(run, reply, &shut, end);
}

static int modal_step(struct bf_run *base, const struct bf_reply *reply,
                      struct bf_request *ret_request,
                      struct bf_run_end *ret_end, struct bf_err *err)
{
    struct modal_run *run = modal_from(base);
    struct bf_run_end end = {.duration_us = -1};
    struct bf_request request = {.by = BF_BY_TIMER};
    int step;

    if (run->phase == PHASE_NEW)
        step = start(run, reply, &request, &end, err);
    else if (run->phase == PHASE_TURN && reply->kind == BF_REPLY_OK)
        step = put_call(run, &request, err);
    else if (run->phase == PHASE_TURN)
        step = finish(run, reply, &no_turn, &end);
    else if (run->phase == PHASE_PAUSE && reply->kind == BF_REPLY_OK)
        step = put_ask(run, reply, &request);
    else
        step = take_reply(run, reply, &request, &end, err);
    if (step == BF_STEP_SEND)
        *ret_request = request;
    else if (step == BF_STEP_DONE)
        *ret_end = end;
    return step;
}

const struct bf_backend bf_backend_modal = {
    .name = "modal",
    .weigh = modal_weigh,
    .begin = modal_begin,
    .step = modal_step,
    .free = modal_free,
};
