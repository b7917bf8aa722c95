#include "worker/backend/e2b_private.h"

#include <sodium.h>

#include "config/secret.h"
#include "schemas/err.h"
#include "schemas/json.h"
#include "worker/backend/runner_words.h"
#include "worker/frame.h"

#define MAX_AGAIN 3       /* times that the same is asked again, 0.7 s in all */
#define AGAIN_MS 100      /* and twice as long each time */
#define MAX_FRESH 2       /* other sandboxes that are tried */
#define MAX_WAIT_MS 30000 /* for a place; others may be more urgent then */
#define CREATE_MS 30000
#define PREPARE_MS 60000
#define CONTROL_BYTES (1U << 20)
#define RUN_BYTES (32U << 20) /* a result as base64 in base64, and some */

/* On top of a run's time, which is kept inside, too. */
#define GRACE_MS 5000
#define COLD_GRACE_MS 15000

/* An argument of a process has 128 KiB at the most; what is longer in base64
 * than this goes by a file. A kernel takes 10 MiB. */
#define INLINE_ENVD ((size_t)72 << 10)
#define INLINE_KERNEL ((size_t)2 << 20)

enum phase {
    ACQUIRE,
    EVICT,   /* its sandbox: DELETING */
    CREATE,  /* STARTING */
    PREPARE, /* BUSY, and so for the rest */
    UPLOAD,
    RUN,
};

struct e2b_run {
    struct bf_run run; /* first, see from() */
    struct bf_e2b *e2b;
    const struct bf_run_input *input;
    enum phase phase;
    bool paused; /* by a timer: the same again after it */
    struct bf_sandbox *sandbox;
    int64_t held_ms; /* mono: it is ours since then */
    bool cold;
    enum bf_pass pass; /* through the breaker, while it creates */
    bool old_routes;   /* it tries them */
    unsigned int again, fresh, redone;
    int64_t waited_ms;
    char word[BF_HEX128_SIZE]; /* of this run in this sandbox */
    bool in_file;              /* its payload is there */
    bool sent;                 /* user code may have started in it */
    struct bf_e2b_request request;
    const char *lines[BF_E2B_LINES];
    struct bf_buf head; /* of the payload: a frame's prefix and head */
    struct bf_e2b_answer answer;
    json_t *provider;
};

/* One call of step(): what came, and where what follows is put. */
struct turn {
    struct e2b_run *run;
    const struct bf_reply *reply;
    struct bf_request *request;
    struct bf_run_end *end;
    struct bf_err *err;
};

static struct e2b_run *from(struct bf_run *run)
{
    bf_assert(run && run->magic == BF_E2B_RUN_MAGIC);
    return (struct e2b_run *)run;
}

/* ---- birth and death ---- */

static size_t inline_bytes(enum bf_e2b_path path)
{
    return path == BF_E2B_BY_ENVD ? INLINE_ENVD : INLINE_KERNEL;
}

size_t bf_e2b_weigh(const struct bf_run_input *input)
{
    size_t inputs = input->job->inputs.len;

    /* Inline it is copied and becomes base64, twice each. */
    return 32768 + 10 * input->job->block.len +
           (inputs <= INLINE_KERNEL ? 6 * inputs : 0);
}

static int check_input(const struct bf_e2b *e2b,
                       const struct bf_run_input *input, struct bf_err *err)
{
    return e2b->config.path == BF_E2B_BY_SERVER
               ? bf_block_request_check(input, BF_WIRE_BLOCKFLEET, err)
               : 0;
}

struct bf_run *bf_e2b_run_begin(const struct bf_backend_config *config,
                                const struct bf_run_input *input,
                                struct bf_err *err)
{
    struct e2b_run *run;

    if (check_input(config->e2b, input, err))
        return NULL;
    run = calloc(1, sizeof(*run));
    if (!run) {
        bf_err_oom(err);
        return NULL;
    }
    run->run.magic = BF_E2B_RUN_MAGIC;
    run->run.backend = &bf_backend_e2b;
    run->e2b = config->e2b;
    run->input = input;
    run->head.max = BF_MAX_RUN_HEAD + BF_FRAME_PREFIX;
    bf_e2b_request_init(&run->request, BF_MAX_BLOCK_REQUEST);
    return &run->run;
}

/* What it holds of the shared state, as nobody waits for it any more. */
static void let_go(struct e2b_run *run)
{
    struct bf_e2b *e2b = run->e2b;
    struct bf_sandbox *sandbox = bf_take(run->sandbox);

    if (run->pass != BF_PASS_NO)
        bf_breaker_leave(&e2b->breaker, e2b->mono_ms, run->pass, BF_SIGN_NONE,
                         0);
    if (!sandbox)
        return;
    if (run->phase == CREATE)
        bf_sandbox_pool_failed(e2b->pool, sandbox, true, e2b->mono_ms,
                               e2b->mono_ms + e2b->config.ttl_ms);
    else if (run->phase == EVICT)
        bf_sandbox_pool_undeleted(e2b->pool, sandbox, e2b->mono_ms);
    else
        bf_sandbox_pool_release(e2b->pool, sandbox, true, e2b->mono_ms,
                                e2b->wall_ms);
}

void bf_e2b_run_free(struct bf_run *base)
{
    struct e2b_run *run;

    if (!base)
        return;
    run = from(base);
    let_go(run);
    bf_e2b_request_release(&run->request);
    bf_buf_release(&run->head);
    bf_e2b_answer_release(&run->answer);
    json_decref(run->provider);
    run->run.magic = 0;
    free(run);
}

/* ---- the end ---- */

static void put_word(json_t *object, const char *name, const char *word)
{
    /* No memory: a row without it is better than none. */
    (void)json_object_set_new(object, name, json_string(word));
}

static void tell_provider(struct e2b_run *run, struct bf_run_end *end)
{
    static const char *const paths[] = {
        [BF_E2B_BY_EXECUTE] = "execute",
        [BF_E2B_BY_ENVD] = "envd",
        [BF_E2B_BY_SERVER] = "server",
    };
    const struct bf_e2b *e2b = run->e2b;

    if (!run->provider)
        run->provider = json_object();
    put_word(run->provider, "template", e2b->config.template_id);
    put_word(run->provider, "path", paths[e2b->config.path]);
    if (run->sandbox && run->sandbox->id[0]) {
        put_word(run->provider, "sandbox_id", run->sandbox->id);
        put_word(run->provider, "start", run->cold ? "cold" : "warm");
    }
    end->provider = run->provider;
}

/* What of its sandbox's time is this run's to pay. */
static void tell_usage(const struct e2b_run *run, struct bf_run_end *end)
{
    int64_t ms = run->e2b->mono_ms - run->held_ms;

    if (!run->sandbox || run->phase < PREPARE)
        return;
    end->vcpu_us = ms * 1000 * run->sandbox->vcpu;
    end->memory_gib_us = ms * 1000 * run->sandbox->memory_mb / 1024;
}

static struct bf_run_end new_end(struct e2b_run *run)
{
    struct bf_run_end end = {.isolation = "microvm", .duration_us = -1};

    tell_provider(run, &end);
    tell_usage(run, &end);
    return end;
}

/* The sandbox is not this run's any more. */
static void give_back(struct e2b_run *run, enum bf_e2b_fate fate)
{
    struct bf_e2b *e2b = run->e2b;
    struct bf_sandbox *sandbox = bf_take(run->sandbox);

    if (!sandbox)
        return;
    if (run->phase == CREATE)
        bf_sandbox_pool_failed(e2b->pool, sandbox, fate == BF_E2B_GHOST,
                               e2b->mono_ms, e2b->mono_ms + e2b->config.ttl_ms);
    else if (fate == BF_E2B_FORGET)
        bf_sandbox_pool_gone(e2b->pool, sandbox, e2b->wall_ms);
    else
        bf_sandbox_pool_release(e2b->pool, sandbox, fate == BF_E2B_DELETE,
                                e2b->mono_ms, e2b->wall_ms);
}

static int finish(struct turn *t, const struct bf_e2b_cause *cause)
{
    struct e2b_run *run = t->run;
    struct bf_run_end end = new_end(run);
    struct bf_verdict_case which = bf_verdict_of(run->input, cause->what);
    const char *error = t->reply->error ? t->reply->error : "";

    snprintf(run->answer.block.message, sizeof(run->answer.block.message),
             "E2B: %s%s%s", cause->name,
             run->answer.words[0] || error[0] ? ": " : "",
             run->answer.words[0] ? run->answer.words : error);
    end.report.message = bf_slice_str(run->answer.block.message);
    bf_verdict(&which, &end);
    end.cause = cause->name;
    end.alarm = bf_e2b_alarm(cause);
    if (end.again)
        end.again_after_ms = t->reply->retry_after_ms;
    give_back(run, cause->fate);
    *t->end = end;
    return BF_STEP_DONE;
}

/* It did not start, for a reason that is ours. */
static int postpone(struct turn *t, const char *name, int64_t ms)
{
    const struct bf_e2b_cause cause = {
        .name = name,
        .what = BF_TRY_NOT_STARTED,
        .fate = BF_E2B_KEEP,
    };
    int step = finish(t, &cause);

    t->end->again_after_ms = ms;
    return step;
}

/* ---- sending ---- */

static int pause_for(struct turn *t, int64_t ms)
{
    t->run->paused = true;
    *t->request = (struct bf_request){.by = BF_BY_TIMER, .delay_ms = ms};
    return BF_STEP_SEND;
}

static int transmit(struct turn *t, int64_t timeout_ms, size_t max_reply)
{
    *t->request = bf_e2b_http(&t->run->request, t->run->lines);
    t->request->timeout_ms = timeout_ms;
    t->request->max_reply_bytes = max_reply;
    return BF_STEP_SEND;
}

static int use(struct turn *t);

/* What a sandbox tells its next owner. */
struct labels {
    char shard[12], since[24];
    struct bf_e2b_pair pairs[6];
};

static void put_labels(const struct bf_e2b *e2b,
                       const struct bf_sandbox *sandbox, struct labels *ret)
{
    snprintf(ret->shard, sizeof(ret->shard), "%u", sandbox->shard);
    snprintf(ret->since, sizeof(ret->since), "%lld",
             (long long)sandbox->owned_since);
    ret->pairs[0] =
        (struct bf_e2b_pair){"bf.fleet", bf_slice_str(e2b->config.fleet)};
    ret->pairs[1] = (struct bf_e2b_pair){"bf.shard", bf_slice_str(ret->shard)};
    ret->pairs[2] = (struct bf_e2b_pair){"bf.since", bf_slice_str(ret->since)};
    ret->pairs[3] =
        (struct bf_e2b_pair){"bf.nonce", bf_slice_str(sandbox->nonce)};
    ret->pairs[4] =
        (struct bf_e2b_pair){"bf.workspace", bf_slice_str(sandbox->workspace)};
    ret->pairs[5] =
        (struct bf_e2b_pair){"bf.policy", bf_slice_str(e2b->policy_text)};
}

static int send_create(struct turn *t)
{
    struct e2b_run *run = t->run;
    struct bf_e2b *e2b = run->e2b;
    struct bf_e2b_site site = e2b->site;
    struct labels labels;
    struct bf_e2b_create what = {
        .template_id = e2b->config.template_id,
        .ttl_s = bf_e2b_ttl_s(e2b),
        .internet = e2b->config.internet,
        .metadata = labels.pairs,
        .nmetadata = bf_countof(labels.pairs),
        .idempotency_key = run->sandbox->nonce,
    };

    put_labels(e2b, run->sandbox, &labels);
    site.old_routes = site.old_routes || run->old_routes;
    if (bf_e2b_create_put(&site, &what, &run->request, t->err))
        return -1;
    return transmit(t, CREATE_MS, CONTROL_BYTES);
}

static int send_evict(struct turn *t)
{
    if (bf_e2b_kill_put(&t->run->e2b->site, t->run->sandbox->id,
                        &t->run->request, t->err))
        return -1;
    return transmit(t, CREATE_MS, CONTROL_BYTES);
}

static int send_prepare(struct turn *t)
{
    struct e2b_run *run = t->run;

    if (bf_e2b_prepare_put(run->e2b, run->sandbox, run->word, &run->request,
                           t->err))
        return -1;
    return transmit(t, PREPARE_MS, CONTROL_BYTES);
}

/* ---- the payload ---- */

static int put_payload(struct e2b_run *run, struct bf_err *err)
{
    static const char room[BF_FRAME_PREFIX] = {0};

    bf_buf_clear(&run->head);
    if (bf_buf_add(&run->head, room, sizeof(room), err) ||
        bf_run_head_put(run->input, true, &run->head, err))
        return -1;
    bf_frame_prefix(run->head.len - sizeof(room), run->input->job->inputs.len,
                    (unsigned char *)run->head.data);
    return 0;
}

static bool goes_by_file(const struct e2b_run *run)
{
    return run->e2b->config.path != BF_E2B_BY_SERVER &&
           run->head.len + run->input->job->inputs.len >
               inline_bytes(run->e2b->config.path);
}

static int send_upload(struct turn *t)
{
    struct e2b_run *run = t->run;
    struct bf_e2b_address envd = bf_e2b_envd_address(run->sandbox);
    char path[BF_E2B_PATH];

    bf_e2b_inputs_path(run->word, path);
    if (bf_e2b_file_put(&run->e2b->site, &envd, path, &run->request, t->err))
        return -1;
    transmit(t, PREPARE_MS, CONTROL_BYTES);
    t->request->body[0] = bf_buf_slice(&run->head);
    t->request->body[1] = run->input->job->inputs;
    t->request->nbody = 2;
    return BF_STEP_SEND;
}

/* base64 of the payload, or where it is. */
static int put_given(const struct e2b_run *run, struct bf_buf *out,
                     struct bf_err *err)
{
    struct bf_slice inputs = run->input->job->inputs;
    bf_autobuf struct bf_buf raw = BF_BUF_INIT(run->head.len + inputs.len + 1);
    char path[BF_E2B_PATH];
    size_t size = sodium_base64_encoded_len(run->head.len + inputs.len,
                                            sodium_base64_VARIANT_ORIGINAL);

    if (run->in_file) {
        bf_e2b_inputs_path(run->word, path);
        return bf_buf_addf(out, err, "@%s", path);
    }
    if (bf_buf_add(&raw, run->head.data, run->head.len, err) ||
        bf_buf_add(&raw, inputs.ptr ? inputs.ptr : "", inputs.len, err) ||
        bf_buf_reserve(out, size, err))
        return -1;
    sodium_bin2base64(out->data + out->len, size,
                      (const unsigned char *)raw.data, raw.len,
                      sodium_base64_VARIANT_ORIGINAL);
    out->len += size - 1;
    return 0;
}

/* ---- the run itself ---- */

static int put_by_kernel(struct e2b_run *run, struct bf_err *err)
{
    bf_autobuf struct bf_buf given = BF_BUF_INIT(2 * INLINE_KERNEL);
    bf_autobuf struct bf_buf code = BF_BUF_INIT(2 * INLINE_KERNEL + 1024);
    struct bf_e2b_address to = bf_e2b_run_address(run->sandbox);

    return put_given(run, &given, err) ||
                   bf_e2b_run_code(run->word, bf_buf_slice(&given), &code,
                                   err) ||
                   bf_e2b_execute_put(&run->e2b->site, &to, bf_buf_slice(&code),
                                      &run->request, err)
               ? -1
               : 0;
}

static int put_by_envd(struct e2b_run *run, int64_t patience_ms,
                       struct bf_err *err)
{
    bf_autobuf struct bf_buf given = BF_BUF_INIT(2 * INLINE_KERNEL);
    struct bf_e2b_address to = bf_e2b_run_address(run->sandbox);
    struct bf_e2b_args args;
    struct bf_e2b_start start = {
        .argv = args.arg,
        .nargv = BF_E2B_ARGS,
        .timeout_ms = patience_ms + 2000,
    };

    if (put_given(run, &given, err))
        return -1;
    bf_e2b_run_args(run->word, bf_buf_slice(&given), patience_ms, &args);
    return bf_e2b_start_put(&run->e2b->site, &to, &start, &run->request, err);
}

static int put_by_server(struct e2b_run *run, struct bf_err *err)
{
    struct bf_e2b_address to = bf_e2b_run_address(run->sandbox);

    return bf_e2b_post(&run->e2b->site, &to, run->e2b->config.port, "/",
                       &run->request, err) ||
                   bf_block_request_put(run->input, BF_WIRE_BLOCKFLEET, true,
                                        &run->request.body, err)
               ? -1
               : 0;
}

static int put_run(struct e2b_run *run, int64_t grace_ms, struct bf_err *err)
{
    switch (run->e2b->config.path) {
    case BF_E2B_BY_EXECUTE:
        return put_by_kernel(run, err);
    case BF_E2B_BY_ENVD:
        /* Ours ends before envd's, and that before the worker's. */
        return put_by_envd(
            run, (int64_t)run->input->job->timeout_ms + grace_ms / 2, err);
    case BF_E2B_BY_SERVER:
        break;
    }
    return put_by_server(run, err);
}

static int send_run(struct turn *t)
{
    struct e2b_run *run = t->run;
    int64_t grace =
        run->sandbox->runs > 0 && !run->cold ? GRACE_MS : COLD_GRACE_MS;

    if (put_run(run, grace, t->err))
        return -1;
    if (!run->sent)
        bf_sandbox_pool_runs(run->sandbox);
    run->sent = true;
    transmit(t, 0, RUN_BYTES);
    t->request->runs = true;
    t->request->grace_ms = grace;
    t->request->sign = run->e2b->config.path == BF_E2B_BY_SERVER;
    return BF_STEP_SEND;
}

/* ---- from a sandbox to the run ---- */

static int send_phase(struct turn *t)
{
    switch (t->run->phase) {
    case EVICT:
        return send_evict(t);
    case CREATE:
        return send_create(t);
    case PREPARE:
        return send_prepare(t);
    case UPLOAD:
        return send_upload(t);
    case RUN:
        return send_run(t);
    case ACQUIRE:
        break;
    }
    bf_assert(!"nothing to be sent");
    return -1;
}

static int enter(struct turn *t, enum phase phase)
{
    t->run->phase = phase;
    return send_phase(t);
}

/* The next thing that its sandbox lacks, or the run. */
static int use(struct turn *t)
{
    struct e2b_run *run = t->run;
    const struct bf_e2b_box *box = run->sandbox->own;

    if (!box->prepared)
        return enter(t, PREPARE);
    if (run->head.len == 0 && put_payload(run, t->err))
        return -1;
    if (goes_by_file(run) && !run->in_file)
        return enter(t, UPLOAD);
    return enter(t, RUN);
}

static int use_it(struct turn *t, struct bf_sandbox *sandbox, bool cold)
{
    struct e2b_run *run = t->run;

    run->phase = PREPARE;
    run->sandbox = sandbox;
    run->held_ms = run->e2b->mono_ms;
    run->cold = cold;
    run->in_file = false;
    run->sent = false;
    run->again = 0;
    bf_e2b_word(run->word);
    return use(t);
}

static int wait_for_place(struct turn *t, int64_t ms)
{
    t->run->waited_ms += ms;
    return t->run->waited_ms > MAX_WAIT_MS ? postpone(t, "no_place", ms)
                                           : pause_for(t, ms);
}

static int create(struct turn *t, struct bf_sandbox *sandbox)
{
    struct e2b_run *run = t->run;
    int64_t wait_ms = 0;

    run->sandbox = sandbox;
    run->phase = CREATE;
    run->pass =
        bf_breaker_enter(&run->e2b->breaker, run->e2b->mono_ms, &wait_ms);
    return run->pass == BF_PASS_NO ? postpone(t, "breaker_open", wait_ms)
                                   : send_create(t);
}

static int acquire(struct turn *t)
{
    struct e2b_run *run = t->run;
    struct bf_e2b *e2b = run->e2b;
    int64_t need_ms = (int64_t)run->input->job->timeout_ms + GRACE_MS;
    struct bf_sandbox_want want = {
        .key = {.workspace = run->input->job->workspace,
                .policy = e2b->policy,
                .shard = run->input->shard},
        /* What runs for longer is renewed meanwhile. */
        .need_ms =
            need_ms < e2b->config.ttl_ms / 2 ? need_ms : e2b->config.ttl_ms / 2,
        .now_ms = e2b->mono_ms,
        .wall_ms = e2b->wall_ms,
    };
    struct bf_sandbox *found = NULL;
    int64_t wait_ms = 0;
    uint32_t epoch = 0;

    run->phase = ACQUIRE;
    if (!e2b->config.owner(e2b->config.owner_arg, run->input->shard, &epoch,
                           &want.owned_since))
        return postpone(t, "not_ours", 0);
    switch (
        bf_sandbox_pool_acquire(e2b->pool, &want, &found, &wait_ms, t->err)) {
    case BF_SANDBOX_HAVE:
        return use_it(t, found, found->runs == 0);
    case BF_SANDBOX_CREATE:
        return create(t, found);
    case BF_SANDBOX_EVICT:
        run->sandbox = found;
        return enter(t, EVICT);
    case BF_SANDBOX_WAIT:
        return wait_for_place(t, wait_ms);
    default:
        return -1;
    }
}

/* ---- what follows from a cause ---- */

static int try_fresh(struct turn *t, const struct bf_e2b_cause *cause)
{
    struct e2b_run *run = t->run;

    if (run->fresh >= MAX_FRESH)
        return finish(t, cause);
    run->fresh++;
    give_back(run, cause->fate);
    return acquire(t);
}

static int redo(struct turn *t, const struct bf_e2b_cause *cause)
{
    struct e2b_run *run = t->run;
    struct bf_e2b_box *box = run->sandbox->own;

    if (run->redone > 0)
        return try_fresh(t, cause);
    run->redone++;
    run->in_file = false;
    box->prepared = false;
    return use(t);
}

static int follow(struct turn *t, const struct bf_e2b_cause *cause)
{
    struct e2b_run *run = t->run;

    switch (cause->next) {
    case BF_E2B_AGAIN:
        if (run->again < MAX_AGAIN)
            return pause_for(t, AGAIN_MS << run->again++);
        return try_fresh(t, cause);
    case BF_E2B_FRESH:
        return try_fresh(t, cause);
    case BF_E2B_REDO:
        return redo(t, cause);
    case BF_E2B_END:
    case BF_E2B_GO_ON:
    case BF_E2B_OLD:
    case BF_E2B_EVICT:
        break;
    }
    return finish(t, cause);
}

/* What answered knows them, and may repeat them: reports are for users. */
static void redact(struct e2b_run *run)
{
    const struct bf_e2b_box *box = run->sandbox ? run->sandbox->own : NULL;
    char *words = run->answer.words;
    size_t len = strlen(words);

    bf_secret_redact(run->e2b->api_key, words, len);
    if (!box)
        return;
    bf_secret_redact(box->envd_access, words, len);
    bf_secret_redact(box->run_access, words, len);
    bf_secret_redact(box->run_traffic, words, len);
}

static const struct bf_e2b_cause *
judge(struct turn *t, struct bf_e2b_evidence *what, struct bf_e2b_error *error)
{
    const struct bf_e2b_cause *cause = bf_e2b_judge(what);

    if (error->message[0])
        memcpy(t->run->answer.words, error->message, sizeof(error->message));
    redact(t->run);
    return cause;
}

/* ---- replies ---- */

static int take_evicted(struct turn *t)
{
    struct e2b_run *run = t->run;
    struct bf_e2b_error error;
    struct bf_e2b_evidence what =
        bf_e2b_evidence(BF_E2B_ASK_KILL, t->reply, &error);
    const struct bf_e2b_cause *cause = judge(t, &what, &error);
    struct bf_sandbox *sandbox = bf_take(run->sandbox);

    if (cause->next == BF_E2B_GO_ON) {
        bf_sandbox_pool_gone(run->e2b->pool, sandbox, run->e2b->wall_ms);
        return acquire(t);
    }
    bf_sandbox_pool_undeleted(run->e2b->pool, sandbox, run->e2b->mono_ms);
    run->phase = ACQUIRE;
    return finish(t, cause);
}

/* Others have made some, too: one of ours that is idle gives way. */
static int make_room(struct turn *t, const struct bf_e2b_cause *cause)
{
    struct e2b_run *run = t->run;
    struct bf_sandbox *victim;

    give_back(run, cause->fate);
    run->phase = ACQUIRE;
    victim = run->fresh < MAX_FRESH
                 ? bf_sandbox_pool_evict(run->e2b->pool, run->e2b->mono_ms,
                                         run->e2b->wall_ms)
                 : NULL;
    if (!victim)
        return postpone(t, cause->name, 1000);
    run->fresh++;
    run->sandbox = victim;
    return enter(t, EVICT);
}

static int not_created(struct turn *t, const struct bf_e2b_cause *cause)
{
    struct e2b_run *run = t->run;

    if (cause->next == BF_E2B_OLD && !run->e2b->site.old_routes &&
        !run->old_routes) {
        run->old_routes = true;
        run->pass = BF_PASS_NO;
        return create(t, run->sandbox);
    }
    if (cause->next == BF_E2B_EVICT)
        return make_room(t, cause);
    return finish(t, cause);
}

static const struct bf_e2b_cause bad_reply = {
    "create_bad_reply", BF_TRY_NOT_STARTED, BF_E2B_GHOST, BF_E2B_END, false};
static const struct bf_e2b_cause foreign = {
    "foreign_domain", BF_TRY_NOT_STARTED, BF_E2B_DELETE, BF_E2B_END, true};

static int take_created(struct turn *t)
{
    struct e2b_run *run = t->run;
    struct bf_e2b *e2b = run->e2b;
    struct bf_e2b_created created;
    struct bf_e2b_box *box = NULL;
    struct bf_err why = {0};
    int rc = bf_e2b_created_read(&e2b->site, t->reply->body, &created, &why);

    if (rc == 0)
        box = bf_e2b_box_new(e2b, &created, &why);
    bf_e2b_created_release(&created);
    /* One that is another run's, or another tenant's: not for two. */
    if (!created.id[0] ||
        bf_sandbox_pool_find(e2b->pool, bf_slice_str(created.id))) {
        bf_e2b_box_free(box);
        return finish(t, &bad_reply);
    }
    e2b->site.old_routes = e2b->site.old_routes || run->old_routes;
    bf_sandbox_pool_started(e2b->pool, run->sandbox, created.id,
                            e2b->mono_ms + e2b->config.ttl_ms, box);
    run->sandbox->vcpu = e2b->config.vcpu;
    run->sandbox->memory_mb = e2b->config.memory_mb;
    run->phase = PREPARE;
    run->held_ms = e2b->mono_ms;
    return box ? use_it(t, run->sandbox, true) : finish(t, &foreign);
}

static int take_create(struct turn *t)
{
    struct e2b_run *run = t->run;
    struct bf_e2b_error error;
    struct bf_e2b_evidence what =
        bf_e2b_evidence(BF_E2B_ASK_CREATE, t->reply, &error);
    const struct bf_e2b_cause *cause = judge(t, &what, &error);
    bool other_routes = cause->next == BF_E2B_OLD && !run->old_routes &&
                        !run->e2b->site.old_routes;

    bf_breaker_leave(&run->e2b->breaker, run->e2b->mono_ms, run->pass,
                     other_routes ? BF_SIGN_NONE : bf_e2b_sign(&what, cause),
                     t->reply->retry_after_ms);
    run->pass = BF_PASS_NO;
    return cause->next == BF_E2B_GO_ON ? take_created(t)
                                       : not_created(t, cause);
}

/* Nothing of the user's ran in either. */
static int take_inside(struct turn *t)
{
    struct e2b_run *run = t->run;
    struct bf_e2b_box *box = run->sandbox->own;
    struct bf_e2b_error error;
    struct bf_e2b_evidence what =
        bf_e2b_evidence(BF_E2B_ASK_PREPARE, t->reply, &error);
    const struct bf_e2b_cause *cause;

    if (run->phase == PREPARE &&
        bf_e2b_prepare_read(run->e2b, t->reply, run->word, &what, t->err))
        return -1;
    if (run->phase == UPLOAD && t->reply->kind == BF_REPLY_OK &&
        t->reply->status == 200)
        what.stream = BF_E2B_STREAM_READY;
    cause = judge(t, &what, &error);
    if (cause->next != BF_E2B_GO_ON)
        return follow(t, cause);
    box->prepared = true;
    run->in_file = run->phase == UPLOAD;
    run->again = 0;
    return use(t);
}

static bool is_clean(enum bf_try what)
{
    return what != BF_TRY_TIMED_OUT && what != BF_TRY_NOBODY_KNOWS;
}

static int take_answer(struct turn *t, const struct bf_e2b_cause *cause)
{
    struct e2b_run *run = t->run;
    struct bf_run_end end = new_end(run);
    struct bf_verdict_case which = bf_e2b_answer_judge(
        run->input, run->e2b->config.path, t->reply, &run->answer, &end);

    bf_verdict(&which, &end);
    end.cause = cause->name;
    give_back(run, is_clean(which.what) ? BF_E2B_KEEP : BF_E2B_DELETE);
    *t->end = end;
    return BF_STEP_DONE;
}

static int take_run(struct turn *t)
{
    struct e2b_run *run = t->run;
    enum bf_e2b_path path = run->e2b->config.path;
    struct bf_e2b_error error;
    struct bf_e2b_evidence what =
        bf_e2b_evidence(BF_E2B_ASK_RUN, t->reply, &error);
    const struct bf_e2b_cause *cause;

    bf_e2b_answer_release(&run->answer);
    if (error.did_not_run)
        what.stream = BF_E2B_STREAM_PROMISED;
    else if (bf_e2b_answer_read(path, t->reply, run->word, &run->answer, &what,
                                t->err))
        return -1;
    cause = judge(t, &what, &error);
    return cause->next == BF_E2B_GO_ON ? take_answer(t, cause)
                                       : follow(t, cause);
}

/* A timer, not an answer: unless its time is over. */
static int wake(struct turn *t)
{
    static const struct bf_e2b_cause late = {"waited", BF_TRY_NEVER_LEFT,
                                             BF_E2B_KEEP, BF_E2B_END, false};

    t->run->paused = false;
    if (t->reply->kind == BF_REPLY_DEADLINE)
        return finish(t, &late);
    if (t->reply->kind != BF_REPLY_OK)
        return postpone(t, "waited", 0);
    return t->run->phase == ACQUIRE ? acquire(t) : send_phase(t);
}

static int take(struct turn *t)
{
    if (t->reply->kind == BF_REPLY_NONE)
        return acquire(t);
    if (t->run->paused)
        return wake(t);
    switch (t->run->phase) {
    case EVICT:
        return take_evicted(t);
    case CREATE:
        return take_create(t);
    case PREPARE:
    case UPLOAD:
        return take_inside(t);
    case RUN:
        return take_run(t);
    case ACQUIRE:
        break;
    }
    bf_assert(!"a reply to nothing");
    return -1;
}

int bf_e2b_run_step(struct bf_run *base, const struct bf_reply *reply,
                    struct bf_request *ret_request, struct bf_run_end *ret_end,
                    struct bf_err *err)
{
    struct turn turn = {
        .run = from(base),
        .reply = reply,
        .request = ret_request,
        .end = ret_end,
        .err = err,
    };

    bf_e2b_see(turn.run->e2b, reply);
    return take(&turn);
}
