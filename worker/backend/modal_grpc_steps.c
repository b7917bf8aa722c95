#include "worker/backend/modal_grpc_private.h"

#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/json.h"
#include "schemas/utf8.h"
#include "worker/url.h"

/*
 * The order of a run: a token, the class, the class bound to the workspace, the
 * arguments put into the store of blobs if they are large, FunctionMap, and
 * then FunctionGetOutputs until there is a result. What is known already is
 * left out, so that most runs make the last two calls alone. Each step looks
 * anew at what is missing: next().
 */

#define LOOK_MS 50     /* while another run asks for what we need */
#define UNWELL_MS 1000 /* that run failed: so do those that wait for it */
#define WAIT_S 55      /* as Modal's clients wait for outputs */
#define QUICK_MS 1000  /* "not yet" this soon: the server does not wait */
#define QUICK_WAIT_MS 500
#define FIRST_ASK_MS                                                           \
    250 /* before outputs are asked for again, after trouble                   \
         */
#define MOST_ASK_MS 5000
#define PUT_TRIES 3
#define FIRST_PUT_MS 300
#define GET_TRIES 5
#define FIRST_GET_MS 100
#define SLOW_DOWN_MS 1000 /* 503 of a store */
#define BLOB_MS 120000
#define MOST_THROTTLED_MS                                                      \
    1000 /* before FunctionMap; longer is to begin anew                        \
          */

static const struct stage_row {
    const char *rpc;
    int64_t timeout_ms;
    size_t max_bytes; /* of the reply */
} stages[] = {
    [BF_STAGE_AUTH] = {"AuthTokenGet", 5000, 64 << 10},
    [BF_STAGE_CLASS] = {"FunctionGet", 20000, 4 << 20},
    [BF_STAGE_BIND] = {"FunctionBindParams", 60000, 4 << 20},
    [BF_STAGE_UPLOAD] = {"BlobCreate", 20000, 256 << 10},
    [BF_STAGE_MAP] = {"FunctionMap", 60000, 256 << 10},
    [BF_STAGE_OUTPUTS] = {"FunctionGetOutputs", (WAIT_S + 5) * 1000LL,
                          BF_MAX_RESULT + (1 << 20)},
    [BF_STAGE_DOWNLOAD] = {"BlobGet", 20000, 64 << 10},
    [BF_STAGE_CANCEL] = {"FunctionCallCancel", 20000, 64 << 10},
};

static int next(struct bf_modal_grpc_run *run, const struct bf_reply *reply,
                struct bf_request *ret, struct bf_run_end *end,
                struct bf_err *err);

static struct bf_slice id_of(const char *id)
{
    return bf_slice_str(id);
}

static void copy_id(char out[BF_MODAL_ID_MAX + 1], struct bf_slice id)
{
    bf_assert(id.len <= BF_MODAL_ID_MAX);
    memcpy(out, id.ptr, id.len);
    out[id.len] = '\0';
}

static int pause_for(struct bf_modal_grpc_run *run, enum bf_modal_waits waits,
                     int64_t ms, struct bf_request *ret)
{
    run->after_pause = run->waits;
    run->waits = waits;
    *ret = (struct bf_request){.by = BF_BY_TIMER, .delay_ms = ms > 0 ? ms : 1};
    return BF_STEP_SEND;
}

/* ---- how it ends --------------------------------------------------------- */

static void set_id(struct bf_modal_grpc_run *run, const char *name,
                   struct bf_slice value)
{
    json_t *text;

    if (value.len == 0)
        return;
    if (!run->provider)
        run->provider = json_object();
    /* Without memory for an id the row goes without it. */
    text = json_stringn(value.ptr, value.len);
    if (text)
        json_object_set_new(run->provider, name, text);
}

/*
 * A physical core of theirs is two vCPUs. What a container was given is told
 * once for all of its runs, which may share it.
 */
static void meter(const struct bf_modal_grpc_run *run, struct bf_run_end *end)
{
    const struct bf_modal_function *function = &run->function;
    int64_t us = run->ended_us - run->started_us;

    if (run->started_us <= 0 || us <= 0 || us > 2LL * BF_MAX_TIMEOUT_MS * 1000)
        return;
    if (end->duration_us < 0)
        end->duration_us = us;
    end->vcpu_us = us * function->milli_cpu * 2 / 1000;
    end->memory_gib_us = us * function->memory_mb / 1024;
}

static void tell(struct bf_modal_grpc_run *run, const struct bf_reply *reply,
                 const struct bf_modal_grpc_fact *fact, int64_t after_ms)
{
    enum bf_pass pass = run->pass;

    if (pass == BF_PASS_NO)
        return;
    run->pass = BF_PASS_NO;
    switch (bf_breaker_leave(&run->modal->breaker, reply->mono_ms, pass,
                             fact->sign, after_ms)) {
    case BF_BREAKER_SAME:
        return;
    case BF_BREAKER_OPENED:
        run->alarm = "Modal fails: jobs wait, a few are tried now and then";
        break;
    case BF_BREAKER_STOPPED:
        run->alarm = fact->words ? fact->words : "Modal refuses us";
        break;
    case BF_BREAKER_CLOSED:
        run->alarm = "Modal works again";
        run->relief = true;
        break;
    }
}

static int finish(struct bf_modal_grpc_run *run, const struct bf_reply *reply,
                  const struct bf_modal_grpc_fact *fact, struct bf_run_end *end)
{
    struct bf_verdict_case which;

    if (run->chore != BF_CHORE_NONE)
        return BF_STEP_DONE;
    which = bf_verdict_of(run->input, fact->what);
    which.reason =
        fact->reason != BF_REASON_NONE ? fact->reason : run->answer.reason;
    tell(run, reply, fact, end->again_after_ms);
    set_id(run, "function_call_id", id_of(run->call_id));
    meter(run, end);
    bf_buf_release(&run->args);
    bf_buf_release(&run->frame);
    end->isolation = "container";
    end->cause = fact->cause;
    end->alarm = run->alarm;
    end->relief = run->relief;
    end->provider = run->provider;
    bf_verdict(&which, end);
    return BF_STEP_DONE;
}

static void say(struct bf_modal_grpc_run *run, struct bf_run_end *end,
                const char *cause, struct bf_slice why)
{
    char text[200];
    struct bf_slice part = bf_utf8_cut(why, sizeof(text) - 1);

    snprintf(text, sizeof(text), "%.*s", BF_SLICE_ARG(part));
    bf_block_answer_say(&run->answer, end, "Modal: ", text[0] ? text : cause);
}

/* What it asked for on behalf of others, too, is not to be had. */
static void lead_no_more(struct bf_modal_grpc_run *run,
                         const struct bf_reply *reply,
                         const struct bf_modal_grpc_fact *fact)
{
    struct bf_modal_grpc *modal = run->modal;

    if (modal->auth_owner == run || modal->class_owner == run) {
        modal->unwell = fact;
        modal->unwell_until_ms = reply->mono_ms + UNWELL_MS;
    }
    if (modal->auth_owner == run) {
        bf_modal_grpc_no_token(modal, reply->now_ms);
        modal->auth_owner = NULL;
    }
}

/*
 * Not for want of a token, nor of anything else that comes before the call,
 * may a call that was made, or may have been, be said not to have started.
 */
static enum bf_try at_least(const struct bf_modal_grpc_run *run,
                            enum bf_try what)
{
    bool none = what == BF_TRY_NOT_STARTED || what == BF_TRY_CREDENTIAL ||
                what == BF_TRY_REFUSED;

    return none && (run->call_id[0] || run->maybe) ? BF_TRY_NOBODY_KNOWS : what;
}

static int give_up(struct bf_modal_grpc_run *run, const struct bf_reply *reply,
                   const struct bf_modal_grpc_fact *fact,
                   struct bf_run_end *end)
{
    struct bf_modal_grpc_fact known = *fact;

    lead_no_more(run, reply, fact);
    if (!end->report.message.ptr)
        say(run, end, fact->cause, bf_slice_str(fact->words));
    known.what = at_least(run, fact->what);
    return finish(run, reply, &known, end);
}

/* A call that was made goes on, whoever cannot be asked after it just now. */
static bool goes_on(const struct bf_modal_grpc_run *run)
{
    return run->chore == BF_CHORE_NONE && run->call_id[0];
}

static int ask_later(struct bf_modal_grpc_run *run, struct bf_request *ret)
{
    int64_t ms = FIRST_ASK_MS;

    for (int i = 0; i < run->asks && ms < MOST_ASK_MS; i++)
        ms *= 2;
    run->asks++;
    return pause_for(run, BF_WAITS_LOOK, ms < MOST_ASK_MS ? ms : MOST_ASK_MS,
                     ret);
}

/* ---- calls --------------------------------------------------------------- */

static void make_key(struct bf_modal_grpc_run *run, const char *rpc,
                     char key[BF_HEX128_SIZE])
{
    struct bf_hash hash;

    bf_hash_init(&hash, BF_HASH128_BYTES);
    bf_hash_str(&hash, rpc);
    bf_hash_bytes(&hash, run->modal->random, sizeof(run->modal->random));
    /*
     * Of the try that is to be started, however often that is sent: should it
     * have come through unseen, the next request finds its call. Another try
     * of the same run comes after a call that did not run it, and is not to be
     * given that call's end.
     */
    if (run->stage == BF_STAGE_MAP) {
        bf_hash_num(&hash, run->serial);
        bf_hash_num(&hash, run->renewed);
    } else {
        bf_hash_num(&hash, run->modal->serial++);
    }
    bf_hash_final_hex(&hash, key);
}

static int transmit(struct bf_modal_grpc_run *run, const struct bf_reply *reply,
                    struct bf_request *ret)
{
    const struct stage_row *row = &stages[run->stage];

    bf_grpc_call_send(&run->call, &run->modal->peer, bf_buf_slice(&run->frame),
                      row->timeout_ms, reply->mono_ms, ret);
    /* The token is what it asks for. */
    if (run->stage == BF_STAGE_AUTH)
        ret->nsecrets = 2;
    ret->runs = run->stage == BF_STAGE_MAP;
    ret->idempotent = !ret->runs;
    ret->grace_ms = ret->runs ? run->modal->config.startup_ms : 0;
    ret->max_reply_bytes = row->max_bytes;
    run->waits = BF_WAITS_CALL;
    run->sent_jwt = run->modal->jwt_serial;
    run->asked_ms = reply->mono_ms;
    return BF_STEP_SEND;
}

static int put_message(struct bf_modal_grpc_run *run, int64_t now_ms,
                       struct bf_err *err)
{
    struct bf_modal_grpc *modal = run->modal;
    const struct bf_modal_name *name = &modal->config.name;
    struct bf_buf *buf = &run->frame;
    const struct bf_modal_function *cls;
    struct bf_modal_call call = {.method = name->method};

    switch (run->stage) {
    case BF_STAGE_AUTH:
        return 0; /* an empty message */
    case BF_STAGE_CLASS:
        return bf_modal_put_function_get(buf, name, err);
    case BF_STAGE_BIND:
        cls = bf_modal_cache_class(modal->cache, 0);
        return bf_modal_put_bind(buf, name, cls->id, run->input->job->workspace,
                                 err);
    case BF_STAGE_UPLOAD:
        return bf_modal_put_blob_create(buf, run->args.len, &run->digests, err);
    case BF_STAGE_MAP:
        call.function_id = run->function.id;
        call.args = bf_buf_slice(&run->args);
        call.blob = id_of(run->blob_id);
        return bf_modal_put_map(buf, &call, err);
    case BF_STAGE_OUTPUTS:
        return bf_modal_put_outputs(buf, id_of(run->call_id), WAIT_S, now_ms,
                                    err);
    case BF_STAGE_DOWNLOAD:
        return bf_modal_put_blob_get(buf, id_of(run->blob_id), err);
    case BF_STAGE_CANCEL:
        return bf_modal_put_cancel(buf, id_of(run->call_id), err);
    case BF_STAGES:
        break;
    }
    bf_assert(!"no such stage");
    return -1;
}

static int ask(struct bf_modal_grpc_run *run, enum bf_modal_stage stage,
               const struct bf_reply *reply, struct bf_request *ret,
               struct bf_err *err)
{
    static const unsigned char blank[BF_GRPC_PREFIX];
    char key[BF_HEX128_SIZE];

    run->stage = stage;
    bf_buf_clear(&run->frame);
    if (bf_buf_add(&run->frame, blank, sizeof(blank), err) ||
        put_message(run, reply->now_ms, err))
        return -1;
    bf_grpc_prefix(run->frame.len - BF_GRPC_PREFIX,
                   (unsigned char *)run->frame.data);
    make_key(run, stages[stage].rpc, key);
    bf_grpc_call_init(&run->call, stages[stage].rpc, key);
    return transmit(run, reply, ret);
}

/* ---- what comes next ----------------------------------------------------- */

/* Of those who need it one asks for it, the others wait. */
static int lead(struct bf_modal_grpc_run *run, enum bf_modal_stage stage,
                const struct bf_reply *reply, struct bf_request *ret,
                struct bf_run_end *end, struct bf_err *err)
{
    struct bf_modal_grpc *modal = run->modal;
    const void **owner =
        stage == BF_STAGE_AUTH ? &modal->auth_owner : &modal->class_owner;

    if (*owner && *owner != run)
        return pause_for(run, BF_WAITS_LOOK, LOOK_MS, ret);
    if (reply->mono_ms < modal->unwell_until_ms)
        return goes_on(run) && modal->unwell->sign != BF_SIGN_CREDENTIAL
                   ? ask_later(run, ret)
                   : give_up(run, reply, modal->unwell, end);
    *owner = run;
    return ask(run, stage, reply, ret, err);
}

static int put_head(const struct bf_run_input *input, struct bf_buf *buf,
                    struct bf_err *err)
{
    const struct bf_job *job = input->job;
    struct bf_json_out out;

    bf_json_start(&out, buf, err);
    bf_json_open(&out, NULL, '{');
    bf_json_str(&out, "code_hash", bf_block_code_hash(input->block));
    bf_json_str(&out, "run_function_name", bf_block_run_function(input->block));
    bf_json_raw(&out, "workflow_context",
                job->context.ptr ? job->context : BF_SLICE_LIT("{}"));
    bf_block_put_code(input->block, &out);
    bf_json_seconds(&out, "timeout_seconds", (int64_t)job->timeout_ms * 1000);
    bf_json_text(&out, "workspace_id", job->workspace);
    bf_json_str(&out, "run_id", input->run_id);
    bf_json_close(&out, '}');
    return bf_json_done(&out);
}

static int put_args(struct bf_modal_grpc_run *run, struct bf_err *err)
{
    bf_autobuf struct bf_buf head = BF_BUF_INIT(BF_MAX_BLOCK_REQUEST);
    struct bf_slice inputs = run->input->job->inputs;

    if (run->args.len > 0)
        return 0;
    if (put_head(run->input, &head, err))
        return -1;
    return bf_modal_put_args(&run->args, bf_buf_slice(&head),
                             inputs.ptr ? inputs : BF_SLICE_LIT(""), err);
}

/* Its place in what may be done in a second; false: ret is to wait for it. */
static bool has_turn(struct bf_modal_grpc_run *run, struct bf_pace *pace,
                     bool *placed, const struct bf_reply *reply,
                     struct bf_request *ret)
{
    int64_t wait_ms;

    if (*placed)
        return true;
    *placed = true;
    wait_ms = bf_pace_take_ms(pace, reply->mono_ms);
    if (wait_ms == 0)
        return true;
    pause_for(run, BF_WAITS_LOOK, wait_ms, ret);
    return false;
}

static int map(struct bf_modal_grpc_run *run, const struct bf_reply *reply,
               struct bf_request *ret, struct bf_err *err)
{
    if (!has_turn(run, &run->modal->calls, &run->its_turn, reply, ret))
        return BF_STEP_SEND;
    if (put_args(run, err))
        return -1;
    if (run->args.len <= run->function.max_inline_bytes || run->blob_id[0])
        return ask(run, BF_STAGE_MAP, reply, ret, err);
    if (bf_modal_digest(bf_buf_slice(&run->args), &run->digests, err))
        return -1;
    return ask(run, BF_STAGE_UPLOAD, reply, ret, err);
}

static int next_of_chore(struct bf_modal_grpc_run *run,
                         const struct bf_reply *reply, struct bf_request *ret,
                         struct bf_run_end *end, struct bf_err *err)
{
    if (run->chore == BF_CHORE_REFRESH)
        return ask(run, BF_STAGE_AUTH, reply, ret, err);
    if (!bf_modal_grpc_token_ok(run->modal, reply->now_ms))
        return lead(run, BF_STAGE_AUTH, reply, ret, end, err);
    return ask(run, BF_STAGE_CANCEL, reply, ret, err);
}

static int next(struct bf_modal_grpc_run *run, const struct bf_reply *reply,
                struct bf_request *ret, struct bf_run_end *end,
                struct bf_err *err)
{
    struct bf_modal_grpc *modal = run->modal;
    const struct bf_modal_function *bound;

    if (run->chore != BF_CHORE_NONE)
        return next_of_chore(run, reply, ret, end, err);
    if (!bf_modal_grpc_token_ok(modal, reply->now_ms))
        return lead(run, BF_STAGE_AUTH, reply, ret, end, err);
    if (run->call_id[0])
        return ask(run, run->ended ? BF_STAGE_DOWNLOAD : BF_STAGE_OUTPUTS,
                   reply, ret, err);
    if (!bf_modal_cache_class(modal->cache, reply->mono_ms))
        return lead(run, BF_STAGE_CLASS, reply, ret, end, err);
    bound = bf_modal_cache_bound(modal->cache, run->input->job->workspace,
                                 reply->mono_ms);
    if (bound) {
        run->function = *bound;
        return map(run, reply, ret, err);
    }
    if (!has_turn(run, &modal->workspaces, &run->placed, reply, ret))
        return BF_STEP_SEND;
    return ask(run, BF_STAGE_BIND, reply, ret, err);
}

/* ---- answers ------------------------------------------------------------- */

static int take_token(struct bf_modal_grpc_run *run,
                      const struct bf_reply *reply, struct bf_slice message,
                      struct bf_err *err)
{
    struct bf_slice token;

    if (bf_modal_read_token(message, &token, err))
        return -1;
    run->modal->auth_owner = NULL;
    return bf_modal_grpc_set_token(run->modal, token, reply->now_ms, err);
}

static int take_class(struct bf_modal_grpc_run *run,
                      const struct bf_reply *reply, struct bf_slice message,
                      struct bf_err *err)
{
    struct bf_modal_function function;

    if (bf_modal_read_function(message, &run->modal->config.name, &function,
                               err))
        return -1;
    run->modal->class_owner = NULL;
    bf_modal_cache_put_class(run->modal->cache, &function, reply->mono_ms);
    return 0;
}

static int take_bound(struct bf_modal_grpc_run *run,
                      const struct bf_reply *reply, struct bf_slice message,
                      struct bf_err *err)
{
    struct bf_modal_cache *cache = run->modal->cache;
    const struct bf_modal_function *cls = bf_modal_cache_class(cache, 0);
    struct bf_modal_function function = {0};

    /* Forgotten by another run meanwhile: then it is metered as not told. */
    if (cls)
        function = *cls;
    if (bf_modal_read_bound(message, &run->modal->config.name, &function, err))
        return -1;
    bf_modal_cache_put_bound(cache, run->input->job->workspace, &function,
                             reply->mono_ms);
    return 0;
}

/* A server of ours may have its store here; any other may not lead us here. */
static bool blob_url_ok(const struct bf_modal_grpc *modal, const char *url)
{
    if (bf_url_is_loopback(url))
        return modal->loopback;
    return strncmp(url, "https://", 8) == 0;
}

static int keep_url(struct bf_modal_grpc_run *run, struct bf_slice url,
                    struct bf_err *err)
{
    bf_buf_clear(&run->blob_url);
    if (bf_buf_add(&run->blob_url, url.ptr, url.len, err))
        return -1;
    if (!blob_url_ok(run->modal, run->blob_url.data))
        return bf_err_set(err, BF_ERR_REJECT, "bad_url",
                          "a store of blobs that is not to be trusted");
    run->blob_tries = 0;
    return 0;
}

static int send_put(struct bf_modal_grpc_run *run, struct bf_request *ret)
{
    snprintf(run->content_md5, sizeof(run->content_md5), "content-md5: %s",
             run->digests.md5);
    run->put_headers[0] = "content-type: application/octet-stream";
    run->put_headers[1] = run->content_md5;
    run->waits = BF_WAITS_PUT;
    *ret = (struct bf_request){
        .by = BF_BY_HTTP,
        .method = BF_PUT,
        .url = run->blob_url.data,
        .headers = run->put_headers,
        .nheaders = 2,
        .idempotent = true,
        .timeout_ms = BLOB_MS,
        .max_reply_bytes = 64 << 10,
        .body = {bf_buf_slice(&run->args)},
        .nbody = 1,
    };
    return BF_STEP_SEND;
}

static int send_get(struct bf_modal_grpc_run *run, struct bf_request *ret)
{
    run->waits = BF_WAITS_GET;
    *ret = (struct bf_request){
        .by = BF_BY_HTTP,
        .method = BF_GET,
        .url = run->blob_url.data,
        .idempotent = true,
        .timeout_ms = BLOB_MS,
    };
    return BF_STEP_SEND;
}

/* What the method returned. */
static int take_value(struct bf_modal_grpc_run *run,
                      const struct bf_reply *reply, struct bf_slice data,
                      struct bf_run_end *end, struct bf_err *err)
{
    struct bf_modal_grpc_fact fact = *bf_modal_grpc_result(BF_MODAL_SUCCESS);
    struct bf_modal_value value;
    struct bf_slice result = {NULL, 0};

    if (bf_modal_read_value(data, &value, err))
        return -1;
    if (value.result.ptr) {
        bf_buf_clear(&run->result);
        if (bf_buf_add(&run->result, value.result.ptr, value.result.len, err))
            return -1;
        result = bf_buf_slice(&run->result);
    }
    fact.what =
        bf_block_answer_take_head(&run->answer, value.head, result, end);
    return finish(run, reply, &fact, end);
}

static int take_ended(struct bf_modal_grpc_run *run,
                      const struct bf_reply *reply,
                      const struct bf_modal_outputs *found,
                      struct bf_request *ret, struct bf_run_end *end,
                      struct bf_err *err)
{
    run->ended = true;
    run->started_us = found->started_us;
    run->ended_us = found->ended_us;
    set_id(run, "task_id", found->task_id);
    set_id(run, "input_id", found->input_id);
    if (found->status != BF_MODAL_SUCCESS) {
        const struct bf_modal_grpc_fact *fact =
            bf_modal_grpc_result(found->status);

        say(run, end, fact->cause, found->exception);
        return finish(run, reply, fact, end);
    }
    if (found->blob.len == 0)
        return take_value(run, reply, found->data, end, err);
    copy_id(run->blob_id, found->blob);
    return next(run, reply, ret, end, err);
}

static int take_outputs(struct bf_modal_grpc_run *run,
                        const struct bf_reply *reply, struct bf_slice message,
                        struct bf_request *ret, struct bf_run_end *end,
                        struct bf_err *err)
{
    struct bf_modal_outputs found;

    if (bf_modal_read_outputs(message, &found, err))
        return -1;
    run->asks = 0;
    run->reauthed = false;
    if (found.ended)
        return take_ended(run, reply, &found, ret, end, err);
    if (!found.pending) {
        run->ended = true;
        return give_up(
            run, reply,
            bf_modal_grpc_failure(BF_STAGE_OUTPUTS, BF_GRPC_NOT_FOUND, true),
            end);
    }
    /* It may run for a day, and others wait for what this probe says. */
    if (run->pass == BF_PASS_PROBE)
        tell(run, reply, bf_modal_grpc_result(BF_MODAL_SUCCESS), 0);
    if (reply->mono_ms - run->asked_ms < QUICK_MS)
        return pause_for(run, BF_WAITS_LOOK, QUICK_WAIT_MS, ret);
    return next(run, reply, ret, end, err);
}

/* -1 with a REJECT: the message makes no sense. */
static int take_message(struct bf_modal_grpc_run *run,
                        const struct bf_reply *reply, struct bf_slice message,
                        struct bf_request *ret, struct bf_run_end *end,
                        struct bf_err *err)
{
    struct bf_modal_upload upload;
    struct bf_modal_mapped mapped;
    struct bf_slice url;
    int rc = 0;

    switch (run->stage) {
    case BF_STAGE_AUTH:
        rc = take_token(run, reply, message, err);
        if (rc == 0 && run->chore == BF_CHORE_REFRESH)
            return BF_STEP_DONE;
        break;
    case BF_STAGE_CLASS:
        rc = take_class(run, reply, message, err);
        break;
    case BF_STAGE_BIND:
        rc = take_bound(run, reply, message, err);
        break;
    case BF_STAGE_UPLOAD:
        if (bf_modal_read_upload(message, &upload, err) ||
            keep_url(run, upload.url, err))
            return -1;
        copy_id(run->blob_id, upload.blob_id);
        return send_put(run, ret);
    case BF_STAGE_MAP:
        rc = bf_modal_read_mapped(message, &mapped, err);
        if (rc)
            break;
        copy_id(run->call_id, mapped.call_id);
        bf_buf_release(&run->args);
        break;
    case BF_STAGE_OUTPUTS:
        return take_outputs(run, reply, message, ret, end, err);
    case BF_STAGE_DOWNLOAD:
        if (bf_modal_read_download(message, &url, err) ||
            keep_url(run, url, err))
            return -1;
        return send_get(run, ret);
    case BF_STAGE_CANCEL:
    case BF_STAGES:
        return BF_STEP_DONE;
    }
    return rc ? -1 : next(run, reply, ret, end, err);
}

/* ---- failures ------------------------------------------------------------ */

static int call_failed(struct bf_modal_grpc_run *run,
                       const struct bf_reply *reply,
                       const struct bf_grpc_outcome *outcome,
                       struct bf_request *ret, struct bf_run_end *end,
                       struct bf_err *err)
{
    enum bf_modal_stage stage = run->stage;
    /* Under another id it would be another call. */
    bool asks_twice =
        stage == BF_STAGE_BIND || (stage == BF_STAGE_MAP && !run->maybe);
    bool later =
        outcome->follows == BF_GRPC_AGAIN || outcome->follows == BF_GRPC_LATER;
    bf_autobuf struct bf_buf said = BF_BUF_INIT(1024);
    const struct bf_modal_grpc_fact *fact;

    if (outcome->status == BF_GRPC_UNAUTHENTICATED && stage != BF_STAGE_AUTH &&
        !run->reauthed) {
        run->reauthed = true;
        bf_modal_grpc_refuse_token(run->modal, run->sent_jwt);
        return next(run, reply, ret, end, err);
    }
    if (outcome->follows == BF_GRPC_GONE && asks_twice && !run->renewed) {
        run->renewed = true;
        bf_modal_cache_forget(run->modal->cache);
        return next(run, reply, ret, end, err);
    }
    if (stage == BF_STAGE_OUTPUTS && later)
        return ask_later(run, ret);
    if (stage == BF_STAGE_AUTH && later && goes_on(run)) {
        lead_no_more(run, reply,
                     bf_modal_grpc_failure(stage, outcome->status, false));
        return ask_later(run, ret);
    }
    fact = bf_modal_grpc_failure(stage, outcome->status,
                                 run->maybe || run->call.maybe);
    (void)bf_grpc_message(&said, bf_reply_header(reply, "grpc-message"), 200,
                          NULL);
    say(run, end, fact->cause, bf_buf_slice(&said));
    end->again_after_ms = outcome->wait_ms;
    return give_up(run, reply, fact, end);
}

static int take_call(struct bf_modal_grpc_run *run,
                     const struct bf_reply *reply, struct bf_request *ret,
                     struct bf_run_end *end, struct bf_err *err)
{
    struct bf_grpc_outcome outcome =
        bf_grpc_call_take(&run->call, reply, stages[run->stage].max_bytes);
    int step;

    if (run->stage == BF_STAGE_MAP)
        run->maybe = run->maybe || run->call.maybe;
    if (outcome.news == BF_GRPC_WAIT && run->stage == BF_STAGE_MAP &&
        outcome.wait_ms > MOST_THROTTLED_MS) {
        /* Not on the job's own time, which has begun to count. */
        bf_pace_hold(&run->modal->calls, reply->mono_ms, outcome.wait_ms);
        outcome.news = BF_GRPC_FAILED;
    }
    if (outcome.news == BF_GRPC_WAIT)
        return pause_for(run, BF_WAITS_PAUSE, outcome.wait_ms, ret);
    if (outcome.news == BF_GRPC_FAILED)
        return call_failed(run, reply, &outcome, ret, end, err);
    step = take_message(run, reply, outcome.message, ret, end, err);
    if (step >= 0 || err->kind != BF_ERR_REJECT)
        return step;
    say(run, end, "", bf_slice_str(err->msg));
    return give_up(run, reply, bf_modal_grpc_nonsense(run->stage), end);
}

/* ---- blobs --------------------------------------------------------------- */

/* Once more, or what it means for the run that the store does not do it. */
static int blob_failed(struct bf_modal_grpc_run *run,
                       const struct bf_reply *reply, struct bf_request *ret,
                       struct bf_run_end *end)
{
    bool put = run->waits == BF_WAITS_PUT;
    int64_t ms = (int64_t)(put ? FIRST_PUT_MS : FIRST_GET_MS)
                 << run->blob_tries;
    const char *why = reply->error ? reply->error : "";

    if (reply->status == 503 && ms < SLOW_DOWN_MS)
        ms = SLOW_DOWN_MS;
    if (++run->blob_tries < (put ? PUT_TRIES : GET_TRIES))
        return pause_for(run, BF_WAITS_PAUSE, ms, ret);
    say(run, end, "the store of blobs fails", bf_slice_str(why));
    return give_up(run, reply,
                   bf_modal_grpc_failure(run->stage, BF_GRPC_UNAVAILABLE, true),
                   end);
}

static int take_blob(struct bf_modal_grpc_run *run,
                     const struct bf_reply *reply, struct bf_request *ret,
                     struct bf_run_end *end, struct bf_err *err)
{
    static const struct bf_modal_grpc_fact too_large = {
        "too_large", BF_TRY_TOO_LARGE, BF_REASON_NONE, BF_SIGN_GOOD, NULL};
    bool put = run->waits == BF_WAITS_PUT;
    int step;

    if (reply->kind == BF_REPLY_TOO_LARGE && !put && reply->status == 200)
        return give_up(run, reply, &too_large, end);
    if (reply->kind != BF_REPLY_OK || reply->status < 200 ||
        reply->status > 299)
        return blob_failed(run, reply, ret, end);
    if (put)
        return next(run, reply, ret, end, err);
    step = take_value(run, reply, reply->body, end, err);
    if (step >= 0 || err->kind != BF_ERR_REJECT)
        return step;
    say(run, end, "", bf_slice_str(err->msg));
    return give_up(run, reply, bf_modal_grpc_nonsense(BF_STAGE_DOWNLOAD), end);
}

/* ---- the step ------------------------------------------------------------ */

static int start(struct bf_modal_grpc_run *run, const struct bf_reply *reply,
                 struct bf_request *ret, struct bf_run_end *end,
                 struct bf_err *err)
{
    static const struct bf_modal_grpc_fact shut = {
        "breaker_open", BF_TRY_NOT_STARTED, BF_REASON_NONE, BF_SIGN_NONE, NULL};

    if (run->chore == BF_CHORE_NONE) {
        run->pass = bf_breaker_enter(&run->modal->breaker, reply->mono_ms,
                                     &end->again_after_ms);
        if (run->pass == BF_PASS_NO)
            return give_up(run, reply, &shut, end);
    }
    return next(run, reply, ret, end, err);
}

/* Its time is over: what was sent may run, and is not wanted any more. */
static int over(struct bf_modal_grpc_run *run, const struct bf_reply *reply,
                struct bf_run_end *end)
{
    static const struct bf_modal_grpc_fact deadline = {"deadline",
                                                       BF_TRY_TIMED_OUT,
                                                       BF_REASON_NONE,
                                                       BF_SIGN_NONE, NULL},
                                           never_left = {"never_left",
                                                         BF_TRY_NEVER_LEFT,
                                                         BF_REASON_NONE,
                                                         BF_SIGN_NONE, NULL};
    bool sent = run->call_id[0] || run->maybe || run->call.maybe ||
                (run->waits == BF_WAITS_CALL && run->stage == BF_STAGE_MAP &&
                 !reply->unsent);

    bf_block_answer_say(&run->answer, end, "no answer within the job's timeout",
                        "");
    return finish(run, reply, sent ? &deadline : &never_left, end);
}

static int resume(struct bf_modal_grpc_run *run, const struct bf_reply *reply,
                  struct bf_request *ret)
{
    if (run->after_pause == BF_WAITS_PUT)
        return send_put(run, ret);
    if (run->after_pause == BF_WAITS_GET)
        return send_get(run, ret);
    return transmit(run, reply, ret);
}

static int take_reply(struct bf_modal_grpc_run *run,
                      const struct bf_reply *reply, struct bf_request *ret,
                      struct bf_run_end *end, struct bf_err *err)
{
    static const struct bf_modal_grpc_fact no_turn = {
        "no_turn", BF_TRY_NOT_STARTED, BF_REASON_NONE, BF_SIGN_NONE, NULL};
    bool timer = run->waits == BF_WAITS_LOOK || run->waits == BF_WAITS_PAUSE;

    if (reply->kind == BF_REPLY_DEADLINE)
        return run->chore == BF_CHORE_NONE ? over(run, reply, end)
                                           : BF_STEP_DONE;
    /* The job expires while it waits. */
    if (timer && reply->kind != BF_REPLY_OK)
        return give_up(run, reply, &no_turn, end);
    switch (run->waits) {
    case BF_WAITS_START:
        return start(run, reply, ret, end, err);
    case BF_WAITS_LOOK:
        return next(run, reply, ret, end, err);
    case BF_WAITS_PAUSE:
        return resume(run, reply, ret);
    case BF_WAITS_CALL:
        return take_call(run, reply, ret, end, err);
    case BF_WAITS_PUT:
    case BF_WAITS_GET:
        break;
    }
    return take_blob(run, reply, ret, end, err);
}

int bf_modal_grpc_step(struct bf_run *base, const struct bf_reply *reply,
                       struct bf_request *ret_request,
                       struct bf_run_end *ret_end, struct bf_err *err)
{
    struct bf_modal_grpc_run *run = bf_modal_grpc_from(base);
    struct bf_run_end end = {.duration_us = -1};
    struct bf_request request = {.by = BF_BY_TIMER};
    struct bf_err why = {0};
    int step = take_reply(run, reply, &request, &end, &why);

    if (step == BF_STEP_SEND)
        *ret_request = request;
    else if (step == BF_STEP_DONE)
        *ret_end = end;
    else
        *err = why;
    return step;
}
