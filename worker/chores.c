#include "worker/chores.h"

#include "config/clock.h"
#include "config/fleet_topics.h"
#include "config/log.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "worker/committer.h"
#include "worker/forward.h"

#define AT_ONCE 8
#define WHOLE_MS 120000 /* of one chore, with all of its steps */
#define LOOK_MS 1000    /* at the latest, for new ones */
#define MORE 64         /* that may be begun in one turn of the loop */

struct chore {
    struct bf_run *run; /* NULL: this place is free */
    struct bf_http_call *call;
    int64_t due_ms;  /* the step under way is over */
    int64_t over_ms; /* the chore is */
    bool waits;      /* that step is to wait for just that */
};

struct bf_chores {
    struct bf_chores_config config;
    struct bf_forward forward;
    struct chore all[AT_ONCE];
    size_t active;
    int64_t look_ms; /* for the next one */
};

struct bf_chores *bf_chores_new(const struct bf_chores_config *config,
                                struct bf_err *err)
{
    struct bf_chores *chores = calloc(1, sizeof(*chores));

    bf_assert(config->backend->chore);
    if (!chores) {
        bf_err_oom(err);
        return NULL;
    }
    chores->config = *config;
    chores->config.http.max_connections = AT_ONCE;
    chores->forward.pool = bf_http_pool_new(&chores->config.http, err);
    if (!chores->forward.pool) {
        free(chores);
        return NULL;
    }
    return chores;
}

int bf_chores_fd(const struct bf_chores *chores)
{
    return bf_http_pool_fd(chores->forward.pool);
}

static void end(struct bf_chores *chores, struct chore *chore)
{
    if (chore->call)
        bf_http_call_cancel(bf_take(chore->call));
    chores->config.backend->free(bf_take(chore->run));
    chores->active--;
    chores->look_ms = 0;
}

void bf_chores_free(struct bf_chores *chores)
{
    if (!chores)
        return;
    for (size_t i = 0; i < AT_ONCE; i++) {
        if (chores->all[i].run)
            end(chores, &chores->all[i]);
    }
    bf_http_pool_free(chores->forward.pool);
    free(chores);
}

/* ---- idle stretches ---- */

static void free_item(struct bf_item *item)
{
    bf_item_drop(item);
    free(item);
}

void bf_chores_answered(struct bf_item *item)
{
    bf_assert(item->of_chore);
    if (item->end != BF_ITEM_COMMITTED)
        bf_log_warn("idle_not_billed", bf_kv_int("shard", item->shard),
                    bf_kv_bool("refused", item->end == BF_ITEM_REFUSED));
    free_item(item);
}

static struct bf_item *new_item(const struct bf_chores *chores,
                                const struct bf_idle_end *idle,
                                struct bf_err *err)
{
    const struct bf_task_names *names = &chores->config.names;
    struct bf_item *item = calloc(1, sizeof(*item));
    struct bf_record *rec;

    if (!item) {
        bf_err_oom(err);
        return NULL;
    }
    item->msg.kind = BF_MSG_ITEM;
    item->of_chore = true;
    item->shard = idle->shard;
    item->epoch = idle->epoch;
    rec = bf_item_add(item, bf_topic_name(names->topics, BF_TOPIC_USAGE), err);
    if (!rec || bf_idle_build(&idle->idle, names->fleet, rec, err)) {
        free_item(item);
        return NULL;
    }
    item->bytes = bf_record_bytes(rec);
    return item;
}

/* Whoever owns the shard then accounts for what is not accounted for here. */
static void commit_idle(struct bf_chores *chores,
                        const struct bf_idle_end *idle)
{
    struct bf_err err = {0};
    struct bf_item *item = NULL;

    if (bf_shards_owns(chores->config.shards, idle->shard, idle->epoch)) {
        item = new_item(chores, idle, &err);
        if (!item)
            bf_log_err(BF_LOG_ERROR, "idle_not_billed", &err);
    }
    if (item)
        bf_committer_put(chores->config.committer, &item->msg);
}

/* ---- steps ---- */

static void advance(struct bf_chores *chores, struct chore *chore,
                    const struct bf_reply *reply);

static void transmit(struct bf_chores *chores, struct chore *chore,
                     const struct bf_request *request)
{
    struct bf_err err = {0};
    struct bf_reply unsent = {.kind = BF_REPLY_UNSENT, .error = err.msg};
    int64_t ms = request->timeout_ms > 0 ? request->timeout_ms : BF_STEP_MS;

    bf_assert(!request->runs && !request->sign);
    chore->waits = request->by == BF_BY_TIMER;
    if (chore->waits)
        ms = request->delay_ms;
    chore->due_ms = bf_mono_ms() + ms;
    if (chore->due_ms > chore->over_ms)
        chore->due_ms = chore->over_ms;
    if (chore->waits)
        return;
    bf_assert(request->by == BF_BY_HTTP);
    chore->call = bf_forward_send(&chores->forward, NULL, request, chore, &err);
    if (!chore->call)
        advance(chores, chore, &unsent);
}

static void done(struct bf_chores *chores, struct chore *chore,
                 const struct bf_run_end *run_end)
{
    const char *backend = chores->config.backend->name;

    if (run_end->alarm && run_end->relief)
        bf_log_info("provider_well", bf_kv_str("backend", backend),
                    bf_kv_str("message", run_end->alarm));
    else if (run_end->alarm)
        bf_log_error("provider", bf_kv_str("backend", backend),
                     bf_kv_str("cause", run_end->cause),
                     bf_kv_str("error", run_end->alarm));
    if (run_end->idle)
        commit_idle(chores, run_end->idle);
    end(chores, chore);
}

static void advance(struct bf_chores *chores, struct chore *chore,
                    const struct bf_reply *reply)
{
    struct bf_request request = {0};
    struct bf_run_end run_end = {0};
    struct bf_reply told = *reply;
    struct bf_err err = {0};
    int step;

    told.now_ms = bf_now_ms();
    told.mono_ms = bf_mono_ms();
    step = chores->config.backend->step(chore->run, &told, &request, &run_end,
                                        &err);
    if (step == BF_STEP_SEND) {
        transmit(chores, chore, &request);
        return;
    }
    if (step == BF_STEP_DONE) {
        done(chores, chore, &run_end);
        return;
    }
    bf_log_err(BF_LOG_ERROR, "chore_failed", &err);
    end(chores, chore);
}

static struct chore *find_place(struct bf_chores *chores)
{
    size_t i = 0;

    while (chores->all[i].run)
        i++;
    return &chores->all[i];
}

static void begin_more(struct bf_chores *chores)
{
    const struct bf_chores_config *config = &chores->config;
    const struct bf_reply first = {.kind = BF_REPLY_NONE};

    for (int i = 0; i < MORE && chores->active < AT_ONCE; i++) {
        int64_t now = bf_mono_ms();
        int64_t next = now + LOOK_MS;
        struct bf_run *run = config->backend->chore(&config->backend_config,
                                                    bf_now_ms(), now, &next);
        struct chore *chore;

        if (!run) {
            chores->look_ms = next < now + LOOK_MS ? next : now + LOOK_MS;
            return;
        }
        chore = find_place(chores);
        *chore = (struct chore){.run = run, .over_ms = now + WHOLE_MS};
        chores->active++;
        advance(chores, chore, &first);
    }
}

static void serve_due(struct bf_chores *chores, struct chore *chore)
{
    int64_t now = bf_mono_ms();
    bool over = now >= chore->over_ms;
    struct bf_reply reply = {.kind = over           ? BF_REPLY_DEADLINE
                                     : chore->waits ? BF_REPLY_OK
                                                    : BF_REPLY_LATE};

    if (!chore->run || now < chore->due_ms)
        return;
    if (chore->call)
        reply = bf_forward_kill(bf_take(chore->call), reply.kind);
    advance(chores, chore, &reply);
}

int bf_chores_serve(struct bf_chores *chores, struct bf_err *err)
{
    struct bf_http_pool *pool = chores->forward.pool;
    struct bf_http_call *call;
    struct bf_http_done finished;

    if (bf_http_pool_serve(pool, err))
        return -1;
    while ((call = bf_http_pool_take(pool, &finished))) {
        struct chore *chore = finished.opaque;
        struct bf_reply reply = bf_forward_reply(&finished);

        chore->call = NULL;
        advance(chores, chore, &reply);
        bf_http_call_free(call);
    }
    for (size_t i = 0; i < AT_ONCE; i++)
        serve_due(chores, &chores->all[i]);
    begin_more(chores);
    return 0;
}

int bf_chores_wait(const struct bf_chores *chores, int max_ms)
{
    int64_t now = bf_mono_ms(), due = now + max_ms;

    if (chores->active < AT_ONCE && chores->look_ms < due)
        due = chores->look_ms;
    for (size_t i = 0; i < AT_ONCE; i++) {
        if (chores->all[i].run && chores->all[i].due_ms < due)
            due = chores->all[i].due_ms;
    }
    return bf_http_pool_wait(chores->forward.pool,
                             due > now ? (int)(due - now) : 0);
}

void bf_chores_stop(struct bf_chores *chores)
{
    chores->config.backend_config.stopping = true;
    chores->look_ms = 0;
}

bool bf_chores_busy(const struct bf_chores *chores)
{
    return chores->active > 0 || chores->look_ms == 0;
}
