#include "worker/backend/e2b_private.h"

#include <sodium.h>

#include "schemas/err.h"
#include "schemas/json.h"

#define STEP_MS 30000
#define LIST_BYTES (4U << 20)
#define CONTROL_BYTES (1U << 20)
#define MAX_PAGES 64 /* of a hundred each */
#define SWEEP_EVERY_MS INT64_C(60000)
#define LISTED_MS 10000 /* that long, at least, what is listed lives */
/* By then an owner before us has given up on what it had under way. */
#define SETTLE_MS 15000
/*
 * Heartbeats go on in a thread of their own: whoever looked at the group's
 * answers for so long, without a gap, would know if it were not its member.
 */
#define STEADY_MS 5000
#define GAP_MS 2500
#define LOOK_MS INT64_C(200) /* between two looks at who owns what */

enum chore_kind {
    CHORE_BILL,
    CHORE_DELETE,
    CHORE_RENEW,
    CHORE_LIST,
    CHORE_CONNECT, /* adoption: its tokens, then our runner anew */
    CHORE_PREPARE,
};

struct e2b_chore {
    struct bf_run run; /* first, see from() */
    struct bf_e2b *e2b;
    enum chore_kind kind;
    struct bf_sandbox *sandbox;  /* DELETE, CONNECT, PREPARE */
    char id[BF_SANDBOX_ID + 1];  /* RENEW: it may go meanwhile */
    struct bf_sandbox_idle idle; /* BILL */
    struct bf_idle_end idle_end; /* the same as a row */
    json_t *provider;
    int64_t asked_ms; /* LIST: the first page */
    unsigned int pages;
    struct bf_buf from;
    char word[BF_HEX128_SIZE];
    struct bf_e2b_request request;
    const char *lines[BF_E2B_LINES];
};

static struct e2b_chore *from(struct bf_run *run)
{
    bf_assert(run && run->magic == BF_E2B_CHORE_MAGIC);
    return (struct e2b_chore *)run;
}

/* No memory: the next time. */
static struct e2b_chore *chore_new(struct bf_e2b *e2b, enum chore_kind kind)
{
    struct e2b_chore *chore = calloc(1, sizeof(*chore));

    if (!chore)
        return NULL;
    chore->run.magic = BF_E2B_CHORE_MAGIC;
    chore->run.backend = &bf_backend_e2b;
    chore->e2b = e2b;
    chore->kind = kind;
    chore->from.max = 4096;
    bf_e2b_request_init(&chore->request, CONTROL_BYTES);
    return chore;
}

/* An adoption that did not come about: it is to be deleted. */
static void reject(struct bf_e2b *e2b, struct bf_sandbox *sandbox)
{
    if (sandbox->state == BF_SANDBOX_STARTING)
        bf_sandbox_pool_started(e2b->pool, sandbox, sandbox->id,
                                sandbox->end_ms, NULL);
    bf_sandbox_pool_release(e2b->pool, sandbox, true, e2b->mono_ms,
                            e2b->wall_ms);
}

/* Given up in the middle. */
static void let_go(struct e2b_chore *chore)
{
    struct bf_e2b *e2b = chore->e2b;
    struct bf_sandbox *sandbox = bf_take(chore->sandbox);

    if (chore->kind == CHORE_LIST)
        e2b->sweeping = false;
    if (chore->kind == CHORE_RENEW && chore->id[0]) {
        sandbox = bf_sandbox_pool_find(e2b->pool, bf_slice_str(chore->id));
        if (sandbox)
            bf_sandbox_pool_renewed(sandbox, 0, e2b->mono_ms);
    } else if (sandbox && chore->kind == CHORE_DELETE) {
        bf_sandbox_pool_undeleted(e2b->pool, sandbox, e2b->mono_ms);
    } else if (sandbox) {
        reject(e2b, sandbox);
    }
}

void bf_e2b_chore_free(struct bf_run *base)
{
    struct e2b_chore *chore = from(base);

    let_go(chore);
    bf_e2b_request_release(&chore->request);
    bf_buf_release(&chore->from);
    json_decref(chore->provider);
    chore->run.magic = 0;
    free(chore);
}

/* ---- who owns what ---- */

static void look_at_shard(struct bf_e2b *e2b, uint32_t i)
{
    struct bf_e2b_shard *shard = &e2b->shards[i];
    struct bf_e2b_shard now = {.ours = false};

    now.ours =
        e2b->config.owner(e2b->config.owner_arg, i, &now.epoch, &now.since_ms);
    if (shard->ours && (!now.ours || now.since_ms != shard->since_ms))
        bf_sandbox_pool_lost(e2b->pool, i, e2b->mono_ms, e2b->wall_ms);
    if (now.ours && (!shard->ours || now.since_ms != shard->since_ms) &&
        (e2b->sweep_ms == 0 || e2b->sweep_ms > e2b->mono_ms + SETTLE_MS))
        e2b->sweep_ms = e2b->mono_ms + SETTLE_MS;
    *shard = now;
}

static void look(struct bf_e2b *e2b)
{
    if (e2b->looked_ms > 0 && e2b->mono_ms - e2b->looked_ms < LOOK_MS)
        return;
    if (e2b->looked_ms == 0 || e2b->mono_ms - e2b->looked_ms > GAP_MS)
        e2b->steady_ms = e2b->mono_ms;
    e2b->looked_ms = e2b->mono_ms;
    for (uint32_t i = 0; i < e2b->config.shards; i++)
        look_at_shard(e2b, i);
}

static bool is_steady(const struct bf_e2b *e2b)
{
    return e2b->mono_ms - e2b->steady_ms >= STEADY_MS;
}

/* ---- the next chore ---- */

static struct bf_run *bill(struct bf_e2b *e2b)
{
    struct bf_sandbox_idle idle;
    struct e2b_chore *chore;

    if (!bf_sandbox_pool_take_idle(e2b->pool, &idle))
        return NULL;
    chore = chore_new(e2b, CHORE_BILL);
    if (!chore)
        return NULL;
    chore->idle = idle;
    return &chore->run;
}

/*
 * After a gap what looks like ours, and long idle, may be another's by now, who
 * has taken it over and uses it.
 */
static struct bf_run *delete_one(struct bf_e2b *e2b, bool stopping)
{
    struct bf_sandbox *sandbox =
        stopping || is_steady(e2b)
            ? bf_sandbox_pool_to_delete(e2b->pool, e2b->mono_ms, e2b->wall_ms)
            : NULL;
    struct e2b_chore *chore = sandbox ? chore_new(e2b, CHORE_DELETE) : NULL;

    if (sandbox && !chore)
        bf_sandbox_pool_undeleted(e2b->pool, sandbox, e2b->mono_ms);
    if (!chore)
        return NULL;
    chore->sandbox = sandbox;
    return &chore->run;
}

static struct bf_run *renew_one(struct bf_e2b *e2b)
{
    struct bf_sandbox *sandbox =
        bf_sandbox_pool_to_renew(e2b->pool, e2b->mono_ms);
    struct e2b_chore *chore = sandbox ? chore_new(e2b, CHORE_RENEW) : NULL;

    if (sandbox && !chore)
        bf_sandbox_pool_renewed(sandbox, 0, e2b->mono_ms);
    if (!chore)
        return NULL;
    memcpy(chore->id, sandbox->id, sizeof(chore->id));
    return &chore->run;
}

static struct bf_run *adopt_one(struct bf_e2b *e2b)
{
    struct e2b_chore *chore;

    /* Its shard went again: the next owner may be at it by now. */
    while (e2b->nadopt > 0 && e2b->adopt[e2b->nadopt - 1]->forget_ms > 0)
        reject(e2b, e2b->adopt[--e2b->nadopt]);
    chore = e2b->nadopt > 0 ? chore_new(e2b, CHORE_CONNECT) : NULL;
    if (!chore)
        return NULL;
    chore->sandbox = e2b->adopt[--e2b->nadopt];
    return &chore->run;
}

static struct bf_run *sweep(struct bf_e2b *e2b)
{
    struct e2b_chore *chore;

    if (e2b->sweeping || e2b->sweep_ms == 0 || e2b->mono_ms < e2b->sweep_ms ||
        !is_steady(e2b))
        return NULL;
    chore = chore_new(e2b, CHORE_LIST);
    if (!chore)
        return NULL;
    chore->asked_ms = e2b->mono_ms;
    e2b->sweeping = true;
    /* A quarter of it random: a fleet does not list as one. */
    e2b->sweep_ms = e2b->mono_ms + SWEEP_EVERY_MS * 7 / 8 +
                    randombytes_uniform((uint32_t)(SWEEP_EVERY_MS / 4));
    return &chore->run;
}

static void stop(struct bf_e2b *e2b)
{
    bf_sandbox_pool_stop(e2b->pool);
    e2b->sweep_ms = 0;
    while (e2b->nadopt > 0)
        reject(e2b, e2b->adopt[--e2b->nadopt]);
}

static int64_t wait_ms(const struct bf_e2b *e2b)
{
    int64_t wait = bf_sandbox_pool_wait(e2b->pool, e2b->mono_ms, LOOK_MS * 5);
    int64_t sweep_in = e2b->sweep_ms > 0 && !e2b->sweeping
                           ? e2b->sweep_ms - e2b->mono_ms
                           : wait;

    wait = sweep_in > 0 && sweep_in < wait ? sweep_in : wait;
    return wait > 10 ? wait : 10;
}

struct bf_run *bf_e2b_chore(const struct bf_backend_config *config,
                            int64_t now_ms, int64_t mono_ms,
                            int64_t *ret_next_ms)
{
    struct bf_e2b *e2b = config->e2b;
    struct bf_run *run;

    e2b->mono_ms = mono_ms;
    e2b->wall_ms = now_ms;
    look(e2b);
    if (config->stopping)
        stop(e2b);
    run = bill(e2b);
    run = run ? run : delete_one(e2b, config->stopping);
    run = run ? run : renew_one(e2b);
    run = run ? run : adopt_one(e2b);
    run = run ? run : sweep(e2b);
    if (!run)
        *ret_next_ms = mono_ms + wait_ms(e2b);
    return run;
}

/* ---- requests ---- */

static int transmit(struct e2b_chore *chore, size_t max_reply,
                    struct bf_request *ret_request)
{
    *ret_request = bf_e2b_http(&chore->request, chore->lines);
    ret_request->timeout_ms = STEP_MS;
    ret_request->max_reply_bytes = max_reply;
    ret_request->idempotent = chore->request.method != BF_POST;
    return BF_STEP_SEND;
}

static int put(struct e2b_chore *chore, struct bf_err *err)
{
    const struct bf_e2b *e2b = chore->e2b;
    const struct bf_e2b_pair fleet = {"bf.fleet",
                                      bf_slice_str(e2b->config.fleet)};
    struct bf_slice page = {chore->from.data, chore->from.len};

    switch (chore->kind) {
    case CHORE_DELETE:
        return bf_e2b_kill_put(&e2b->site, chore->sandbox->id, &chore->request,
                               err);
    case CHORE_RENEW:
        return bf_e2b_ttl_put(&e2b->site, chore->id, bf_e2b_ttl_s(e2b),
                              &chore->request, err);
    case CHORE_LIST:
        return bf_e2b_list_put(&e2b->site, &fleet, 1,
                               chore->pages > 0 ? page
                                                : (struct bf_slice){NULL, 0},
                               &chore->request, err);
    case CHORE_CONNECT:
        return bf_e2b_connect_put(&e2b->site, chore->sandbox->id,
                                  bf_e2b_ttl_s(e2b), &chore->request, err);
    case CHORE_PREPARE:
        return bf_e2b_prepare_put(e2b, chore->sandbox, chore->word,
                                  &chore->request, err);
    case CHORE_BILL:
        break;
    }
    bf_assert(!"nothing to be sent");
    return -1;
}

static int send(struct e2b_chore *chore, struct bf_request *ret_request,
                struct bf_err *err)
{
    if (put(chore, err))
        return -1;
    return transmit(chore,
                    chore->kind == CHORE_LIST ? LIST_BYTES : CONTROL_BYTES,
                    ret_request);
}

/* ---- the end of a chore ---- */

static int done(const struct bf_e2b_cause *cause, struct bf_run_end *ret_end)
{
    *ret_end = (struct bf_run_end){
        .isolation = "microvm",
        .duration_us = -1,
        .cause = cause->name,
        .alarm = bf_e2b_alarm(cause),
    };
    return BF_STEP_DONE;
}

static const struct bf_e2b_cause fine = {"fine", BF_TRY_NOT_STARTED,
                                         BF_E2B_KEEP, BF_E2B_GO_ON, false};

static int end_bill(struct e2b_chore *chore, struct bf_run_end *ret_end)
{
    const struct bf_sandbox_idle *idle = &chore->idle;
    const struct bf_e2b *e2b = chore->e2b;

    chore->provider = json_pack("{s:s, s:s}", "sandbox_id", idle->id,
                                "template", e2b->config.template_id);
    chore->idle_end = (struct bf_idle_end){
        .idle = {.workspace = bf_slice_str(idle->workspace),
                 .sandbox = bf_slice_str(idle->id),
                 .backend = "e2b",
                 .isolation = "microvm",
                 .started_at_ms = idle->from_wall_ms,
                 .billed_until_ms = idle->until_wall_ms,
                 .billable = true,
                 .vcpu_us = idle->idle_ms * 1000 * idle->vcpu,
                 .memory_gib_us = idle->idle_ms * 1000 * idle->memory_mb / 1024,
                 .provider = chore->provider},
        .shard = idle->shard,
        .epoch = e2b->shards[idle->shard].epoch,
    };
    done(&fine, ret_end);
    ret_end->idle = &chore->idle_end;
    return BF_STEP_DONE;
}

static int end_delete(struct e2b_chore *chore, const struct bf_e2b_cause *cause,
                      struct bf_run_end *ret_end)
{
    struct bf_e2b *e2b = chore->e2b;
    struct bf_sandbox *sandbox = bf_take(chore->sandbox);

    if (cause->next == BF_E2B_GO_ON)
        bf_sandbox_pool_gone(e2b->pool, sandbox, e2b->wall_ms);
    else
        bf_sandbox_pool_undeleted(e2b->pool, sandbox, e2b->mono_ms);
    return done(cause, ret_end);
}

/* One that is gone, and idle, is forgotten; a run in it will see for itself. */
static int end_renew(struct e2b_chore *chore, const struct bf_e2b_cause *cause,
                     struct bf_run_end *ret_end)
{
    struct bf_e2b *e2b = chore->e2b;
    struct bf_sandbox *sandbox =
        bf_sandbox_pool_find(e2b->pool, bf_slice_str(chore->id));
    bool gone = cause->fate == BF_E2B_FORGET;

    chore->id[0] = '\0';
    if (sandbox && gone && sandbox->state == BF_SANDBOX_IDLE)
        bf_sandbox_pool_gone(e2b->pool, sandbox, e2b->wall_ms);
    else if (sandbox)
        bf_sandbox_pool_renewed(sandbox,
                                !gone && cause->next == BF_E2B_GO_ON
                                    ? e2b->mono_ms + e2b->config.ttl_ms
                                    : 0,
                                e2b->mono_ms);
    return done(cause, ret_end);
}

/* ---- the sweep ---- */

static struct bf_slice said(const struct bf_e2b_row *row, const char *name)
{
    return bf_json_slice(json_object_get(row->metadata, name));
}

/*
 * It is listed, so it is not over, whatever our clock says, or when nothing was
 * said; nor does one that nobody can delete count for longer than one of ours
 * would: a later list has it again.
 */
static int64_t left_ms(const struct bf_e2b *e2b, const struct bf_e2b_row *row)
{
    int64_t left = row->end_at_ms - e2b->wall_ms;

    left = left < e2b->config.ttl_ms ? left : e2b->config.ttl_ms;
    return left > LISTED_MS ? left : LISTED_MS;
}

/* Does it look like one of this fleet's? */
static bool read_row(const struct bf_e2b *e2b, const struct bf_e2b_row *row,
                     struct bf_sandbox_seen *ret)
{
    uint64_t shard = 0, since = 0;

    if (!bf_slice_is(said(row, "bf.fleet"), e2b->config.fleet) ||
        bf_slice_u64(said(row, "bf.shard"), e2b->config.shards - 1, &shard) ||
        bf_slice_u64(said(row, "bf.since"), (uint64_t)BF_MAX_TIME_MS, &since) ||
        !bf_workspace_ok(said(row, "bf.workspace")))
        return false;
    *ret = (struct bf_sandbox_seen){
        .id = row->id,
        .nonce = said(row, "bf.nonce"),
        .key = {.workspace = said(row, "bf.workspace"),
                .policy = e2b->policy,
                .shard = (uint32_t)shard},
        .owned_since = (int64_t)since,
        .end_ms = e2b->mono_ms + left_ms(e2b, row),
        .vcpu = row->vcpu,
        .memory_mb = row->memory_mb,
    };
    return true;
}

static void judge_row(struct bf_e2b *e2b, const struct bf_e2b_row *row)
{
    struct bf_sandbox_seen seen;
    struct bf_sandbox_sweep as = {.now_ms = e2b->mono_ms};
    struct bf_sandbox *sandbox = NULL;

    if (!read_row(e2b, row, &seen) || !e2b->shards[seen.key.shard].ours)
        return;
    as.owned_since = e2b->shards[seen.key.shard].since_ms;
    /* Our own server would have to be told to start anew; it is not. */
    as.adopt = e2b->config.adopt && e2b->nadopt < BF_E2B_ADOPTIONS &&
               e2b->config.path == BF_E2B_BY_EXECUTE &&
               bf_slice_is(said(row, "bf.policy"), e2b->policy_text);
    /* No memory: at the next sweep. */
    if (bf_sandbox_pool_judge(e2b->pool, &seen, &as, &sandbox,
                              &(struct bf_err){0}) == BF_SANDBOX_ADOPT)
        e2b->adopt[e2b->nadopt++] = sandbox;
}

static int next_page(struct e2b_chore *chore, const struct bf_reply *reply,
                     struct bf_request *ret_request, struct bf_run_end *ret_end,
                     struct bf_err *err)
{
    struct bf_slice token = bf_reply_header(reply, "x-next-token");
    struct bf_e2b *e2b = chore->e2b;

    if (token.len > 0 && token.len <= chore->from.max / 2 &&
        ++chore->pages < MAX_PAGES) {
        bf_buf_clear(&chore->from);
        if (bf_buf_add(&chore->from, token.ptr, token.len, err))
            return -1;
        return send(chore, ret_request, err);
    }
    for (uint32_t i = 0; token.len == 0 && i < e2b->config.shards; i++) {
        if (e2b->shards[i].ours)
            bf_sandbox_pool_listed(e2b->pool, i, chore->asked_ms);
    }
    e2b->sweeping = false;
    return done(&fine, ret_end);
}

static const struct bf_e2b_cause bad_list = {
    "list_bad_reply", BF_TRY_NOT_STARTED, BF_E2B_KEEP, BF_E2B_END, false};

/* An answer that is no list is no empty one: nothing follows from it. */
static int end_list(struct e2b_chore *chore, const struct bf_reply *reply,
                    struct bf_request *ret_request, struct bf_run_end *ret_end,
                    struct bf_err *err)
{
    struct bf_e2b *e2b = chore->e2b;
    struct bf_e2b_list list = {.nrows = 0};
    struct bf_err why = {0};

    if (!is_steady(e2b) || bf_e2b_list_read(reply->body, &list, &why)) {
        e2b->sweeping = false;
        return done(&bad_list, ret_end);
    }
    for (size_t i = 0; i < list.nrows; i++)
        judge_row(e2b, &list.rows[i]);
    bf_e2b_list_release(&list);
    return next_page(chore, reply, ret_request, ret_end, err);
}

/* ---- adoption ---- */

static int not_adopted(struct e2b_chore *chore,
                       const struct bf_e2b_cause *cause,
                       struct bf_run_end *ret_end)
{
    struct bf_sandbox *sandbox = bf_take(chore->sandbox);

    if (cause->fate == BF_E2B_FORGET)
        bf_sandbox_pool_gone(chore->e2b->pool, sandbox, chore->e2b->wall_ms);
    else
        reject(chore->e2b, sandbox);
    return done(cause, ret_end);
}

static int connected(struct e2b_chore *chore, const struct bf_reply *reply,
                     struct bf_request *ret_request, struct bf_run_end *ret_end,
                     struct bf_err *err)
{
    struct bf_e2b *e2b = chore->e2b;
    struct bf_e2b_created created;
    struct bf_e2b_box *box = NULL;
    int rc = bf_e2b_created_read(&e2b->site, reply->body, &created,
                                 &(struct bf_err){0});

    /* To prepare it ends what runs there: not if the shard went meanwhile. */
    if (rc == 0 && chore->sandbox->forget_ms == 0 &&
        strcmp(created.id, chore->sandbox->id) == 0)
        box = bf_e2b_box_new(e2b, &created, &(struct bf_err){0});
    bf_e2b_created_release(&created);
    if (!box)
        return not_adopted(chore, &bad_list, ret_end);
    bf_sandbox_pool_started(e2b->pool, chore->sandbox, chore->sandbox->id,
                            e2b->mono_ms + e2b->config.ttl_ms, box);
    /* Whatever still runs there ends: it gets a runner anew. */
    chore->kind = CHORE_PREPARE;
    bf_e2b_word(chore->word);
    return send(chore, ret_request, err);
}

static int prepared(struct e2b_chore *chore, const struct bf_reply *reply,
                    struct bf_run_end *ret_end, struct bf_err *err)
{
    struct bf_e2b *e2b = chore->e2b;
    struct bf_e2b_error error;
    struct bf_e2b_evidence what =
        bf_e2b_evidence(BF_E2B_ASK_PREPARE, reply, &error);
    const struct bf_e2b_cause *cause;
    struct bf_sandbox *sandbox;
    struct bf_e2b_box *box = chore->sandbox->own;

    if (bf_e2b_prepare_read(e2b, reply, chore->word, &what, err))
        return -1;
    cause = bf_e2b_judge(&what);
    if (cause->next != BF_E2B_GO_ON)
        return not_adopted(chore, cause, ret_end);
    box->prepared = true;
    sandbox = bf_take(chore->sandbox);
    bf_sandbox_pool_release(e2b->pool, sandbox, false, e2b->mono_ms,
                            e2b->wall_ms);
    return done(cause, ret_end);
}

/* ---- steps ---- */

static const struct bf_e2b_cause *judge(struct e2b_chore *chore,
                                        const struct bf_reply *reply)
{
    static const enum bf_e2b_ask asks[] = {
        [CHORE_DELETE] = BF_E2B_ASK_KILL,
        [CHORE_RENEW] = BF_E2B_ASK_TTL,
        [CHORE_LIST] = BF_E2B_ASK_LIST,
        [CHORE_CONNECT] = BF_E2B_ASK_CONNECT,
    };
    struct bf_e2b_error error;
    struct bf_e2b_evidence what =
        bf_e2b_evidence(asks[chore->kind], reply, &error);

    return bf_e2b_judge(&what);
}

static int take(struct e2b_chore *chore, const struct bf_reply *reply,
                struct bf_request *ret_request, struct bf_run_end *ret_end,
                struct bf_err *err)
{
    const struct bf_e2b_cause *cause;

    if (chore->kind == CHORE_PREPARE)
        return prepared(chore, reply, ret_end, err);
    cause = judge(chore, reply);
    if (chore->kind == CHORE_DELETE)
        return end_delete(chore, cause, ret_end);
    if (chore->kind == CHORE_RENEW)
        return end_renew(chore, cause, ret_end);
    if (cause->next == BF_E2B_GO_ON && cause->fate == BF_E2B_KEEP)
        return chore->kind == CHORE_LIST
                   ? end_list(chore, reply, ret_request, ret_end, err)
                   : connected(chore, reply, ret_request, ret_end, err);
    if (chore->kind == CHORE_CONNECT)
        return not_adopted(chore, cause, ret_end);
    chore->e2b->sweeping = false;
    return done(cause, ret_end);
}

int bf_e2b_chore_step(struct bf_run *base, const struct bf_reply *reply,
                      struct bf_request *ret_request,
                      struct bf_run_end *ret_end, struct bf_err *err)
{
    struct e2b_chore *chore = from(base);

    bf_e2b_see(chore->e2b, reply);
    /* Nobody asks for the next chore while all places are taken. */
    look(chore->e2b);
    if (chore->kind == CHORE_BILL)
        return end_bill(chore, ret_end);
    if (reply->kind == BF_REPLY_NONE)
        return send(chore, ret_request, err);
    return take(chore, reply, ret_request, ret_end, err);
}
