#include "worker/backend/sandbox_pool.h"

#include <sodium.h>

#include "schemas/check.h"
#include "schemas/err.h"

#define POLL_MS 50   /* for one of those under way to end */
#define REST_MS 2000 /* see make_room() */
#define DELETE_AGAIN_MS 2000
#define RENEW_AGAIN_MS 2000
#define HAND_OVER_MS 10000 /* of what was under way when a shard was lost */
#define SHOWS_MS 30000     /* by then what was made stands in lists */
#define BILL_AFTER_MS 60000
#define MAX_UNBILLED 4096

struct bf_sandbox_pool {
    struct bf_sandbox_pool_config config;
    struct bf_sandbox **all;
    size_t n;
    size_t starting;
    bool stopping;
    /* creates: thousandths of one, and when they were counted */
    int64_t tokens;
    int64_t tokens_ms;
    struct bf_sandbox_idle *idle; /* a ring */
    size_t idle_first, nidle;
};

struct bf_sandbox_pool *
bf_sandbox_pool_new(const struct bf_sandbox_pool_config *config,
                    struct bf_err *err)
{
    struct bf_sandbox_pool *pool = calloc(1, sizeof(*pool));

    if (!pool) {
        bf_err_oom(err);
        return NULL;
    }
    pool->config = *config;
    pool->tokens = config->creates_per_s * 1000;
    pool->all = calloc(config->max, sizeof(struct bf_sandbox *));
    pool->idle = calloc(MAX_UNBILLED, sizeof(*pool->idle));
    if (!pool->all || !pool->idle) {
        bf_sandbox_pool_free(pool);
        bf_err_oom(err);
        return NULL;
    }
    return pool;
}

static void sandbox_free(struct bf_sandbox_pool *pool,
                         struct bf_sandbox *sandbox)
{
    if (sandbox && sandbox->own)
        pool->config.free_own(sandbox->own);
    free(sandbox);
}

void bf_sandbox_pool_free(struct bf_sandbox_pool *pool)
{
    if (!pool)
        return;
    for (size_t i = 0; pool->all && i < pool->n; i++)
        sandbox_free(pool, pool->all[i]);
    free(pool->all);
    free(pool->idle);
    free(pool);
}

static void set_state(struct bf_sandbox_pool *pool, struct bf_sandbox *sandbox,
                      enum bf_sandbox_state state)
{
    pool->starting -= sandbox->state == BF_SANDBOX_STARTING;
    sandbox->state = state;
    pool->starting += state == BF_SANDBOX_STARTING;
}

/* Room was seen to be there. */
static struct bf_sandbox *add(struct bf_sandbox_pool *pool,
                              const struct bf_sandbox_key *key,
                              struct bf_err *err)
{
    struct bf_sandbox *sandbox = calloc(1, sizeof(*sandbox));

    bf_assert(pool->all && pool->n < pool->config.max);
    bf_assert(key->workspace.len <= BF_MAX_ID);
    if (!sandbox) {
        bf_err_oom(err);
        return NULL;
    }
    memcpy(sandbox->workspace, key->workspace.ptr, key->workspace.len);
    sandbox->policy = key->policy;
    sandbox->shard = key->shard;
    pool->all[pool->n++] = sandbox;
    pool->starting++; /* STARTING is what calloc() makes of it */
    return sandbox;
}

static void drop(struct bf_sandbox_pool *pool, struct bf_sandbox *sandbox)
{
    size_t i = 0;

    bf_assert(sandbox);
    while (pool->all[i] != sandbox)
        bf_assert(++i < pool->n);
    pool->starting -= sandbox->state == BF_SANDBOX_STARTING;
    pool->all[i] = pool->all[--pool->n];
    sandbox_free(pool, sandbox);
}

/* ---- what nobody's run paid for ---- */

static void push_idle(struct bf_sandbox_pool *pool, struct bf_sandbox *sandbox,
                      int64_t wall_ms)
{
    struct bf_sandbox_idle *row;

    if (sandbox->unbilled_ms <= 0)
        return;
    /* Nobody takes them: the oldest are the ones that are lost. */
    if (pool->nidle == MAX_UNBILLED) {
        pool->idle_first = (pool->idle_first + 1) % MAX_UNBILLED;
        pool->nidle--;
    }
    row = &pool->idle[(pool->idle_first + pool->nidle++) % MAX_UNBILLED];
    *row = (struct bf_sandbox_idle){
        .shard = sandbox->shard,
        .from_wall_ms = sandbox->unbilled_from_wall_ms,
        .until_wall_ms = wall_ms,
        .idle_ms = sandbox->unbilled_ms,
        .vcpu = sandbox->vcpu,
        .memory_mb = sandbox->memory_mb,
    };
    memcpy(row->id, sandbox->id, sizeof(row->id));
    memcpy(row->workspace, sandbox->workspace, sizeof(row->workspace));
    sandbox->unbilled_ms = 0;
}

/* It is IDLE no more. Short stretches are gathered. */
static void end_idle(struct bf_sandbox_pool *pool, struct bf_sandbox *sandbox,
                     int64_t wall_ms, bool for_good)
{
    int64_t idle_ms = wall_ms - sandbox->idle_from_wall_ms;

    /* The wall clock may have been set back. */
    if (sandbox->state == BF_SANDBOX_IDLE && idle_ms > 0) {
        if (sandbox->unbilled_ms == 0)
            sandbox->unbilled_from_wall_ms = sandbox->idle_from_wall_ms;
        sandbox->unbilled_ms += idle_ms;
    }
    if (for_good || wall_ms - sandbox->unbilled_from_wall_ms >= BILL_AFTER_MS)
        push_idle(pool, sandbox, wall_ms);
}

bool bf_sandbox_pool_take_idle(struct bf_sandbox_pool *pool,
                               struct bf_sandbox_idle *ret)
{
    if (pool->nidle == 0)
        return false;
    *ret = pool->idle[pool->idle_first];
    pool->idle_first = (pool->idle_first + 1) % MAX_UNBILLED;
    pool->nidle--;
    return true;
}

/* ---- runs ---- */

static bool fits(const struct bf_sandbox *sandbox,
                 const struct bf_sandbox_want *want)
{
    return sandbox->state == BF_SANDBOX_IDLE &&
           bf_slice_is(want->key.workspace, sandbox->workspace) &&
           sandbox->policy == want->key.policy &&
           sandbox->shard == want->key.shard &&
           sandbox->end_ms - want->now_ms >= want->need_ms &&
           sandbox->due_ms > want->now_ms;
}

/* The one used last, so that those too many fall idle for good. */
static struct bf_sandbox *find_idle(const struct bf_sandbox_pool *pool,
                                    const struct bf_sandbox_want *want)
{
    struct bf_sandbox *best = NULL;

    for (size_t i = 0; i < pool->n; i++) {
        if (fits(pool->all[i], want) &&
            (!best || pool->all[i]->due_ms > best->due_ms))
            best = pool->all[i];
    }
    return best;
}

/* Idle since then or longer; NULL: none is. */
static struct bf_sandbox *longest_idle(const struct bf_sandbox_pool *pool,
                                       int64_t since_ms)
{
    struct bf_sandbox *best = NULL;

    for (size_t i = 0; i < pool->n; i++) {
        if (pool->all[i]->state == BF_SANDBOX_IDLE &&
            pool->all[i]->due_ms <= since_ms + pool->config.idle_ms &&
            (!best || pool->all[i]->due_ms < best->due_ms))
            best = pool->all[i];
    }
    return best;
}

/* Will one of its own kind be free some time? */
static bool has_kin(const struct bf_sandbox_pool *pool,
                    const struct bf_sandbox_key *key)
{
    for (size_t i = 0; i < pool->n; i++) {
        const struct bf_sandbox *sandbox = pool->all[i];

        if ((sandbox->state == BF_SANDBOX_BUSY ||
             sandbox->state == BF_SANDBOX_STARTING) &&
            bf_slice_is(key->workspace, sandbox->workspace) &&
            sandbox->policy == key->policy && sandbox->shard == key->shard)
            return true;
    }
    return false;
}

/* A second's worth at the most; 0: there is one, else when there will be. */
static int64_t count_tokens(struct bf_sandbox_pool *pool, int64_t now_ms)
{
    int64_t rate = pool->config.creates_per_s;
    int64_t passed = now_ms - pool->tokens_ms;

    passed = passed < 1000 ? passed : 1000;
    pool->tokens += passed * rate;
    if (pool->tokens > rate * 1000)
        pool->tokens = rate * 1000;
    pool->tokens_ms = now_ms;
    return pool->tokens >= 1000 ? 0 : (1000 - pool->tokens + rate - 1) / rate;
}

static int create(struct bf_sandbox_pool *pool,
                  const struct bf_sandbox_want *want, struct bf_sandbox **ret,
                  struct bf_err *err)
{
    struct bf_sandbox *sandbox = add(pool, &want->key, err);
    unsigned char nonce[BF_HEX128_LEN / 2];

    if (!sandbox)
        return -1;
    randombytes_buf(nonce, sizeof(nonce));
    sodium_bin2hex(sandbox->nonce, sizeof(sandbox->nonce), nonce,
                   sizeof(nonce));
    sandbox->owned_since = want->owned_since;
    pool->tokens -= 1000;
    *ret = sandbox;
    return BF_SANDBOX_CREATE;
}

static struct bf_sandbox *evict(struct bf_sandbox_pool *pool, int64_t since_ms,
                                int64_t wall_ms)
{
    struct bf_sandbox *victim = longest_idle(pool, since_ms);

    if (!victim)
        return NULL;
    end_idle(pool, victim, wall_ms, true);
    set_state(pool, victim, BF_SANDBOX_DELETING);
    return victim;
}

struct bf_sandbox *bf_sandbox_pool_evict(struct bf_sandbox_pool *pool,
                                         int64_t now_ms, int64_t wall_ms)
{
    return evict(pool, now_ms, wall_ms);
}

/*
 * All that may exist are in use, or idle: then the longest idle one goes. But
 * whoever only has to wait for one of its own kind does not take what another
 * has just put down.
 */
static int make_room(struct bf_sandbox_pool *pool,
                     const struct bf_sandbox_want *want,
                     struct bf_sandbox **ret, int64_t *ret_wait_ms)
{
    int64_t rest_ms = has_kin(pool, &want->key) ? REST_MS : 0;

    *ret_wait_ms = POLL_MS;
    *ret = evict(pool, want->now_ms - rest_ms, want->wall_ms);
    return *ret ? BF_SANDBOX_EVICT : BF_SANDBOX_WAIT;
}

int bf_sandbox_pool_acquire(struct bf_sandbox_pool *pool,
                            const struct bf_sandbox_want *want,
                            struct bf_sandbox **ret, int64_t *ret_wait_ms,
                            struct bf_err *err)
{
    struct bf_sandbox *found = find_idle(pool, want);
    int64_t wait;

    if (found) {
        end_idle(pool, found, want->wall_ms, false);
        set_state(pool, found, BF_SANDBOX_BUSY);
        *ret = found;
        return BF_SANDBOX_HAVE;
    }
    if (pool->n >= pool->config.max)
        return make_room(pool, want, ret, ret_wait_ms);
    wait = count_tokens(pool, want->now_ms);
    if (wait == 0 && pool->starting < pool->config.max_starting)
        return create(pool, want, ret, err);
    *ret_wait_ms = wait > 0 ? wait : POLL_MS;
    return BF_SANDBOX_WAIT;
}

void bf_sandbox_pool_started(struct bf_sandbox_pool *pool,
                             struct bf_sandbox *sandbox, const char *id,
                             int64_t end_ms, void *own)
{
    bf_assert(sandbox->state == BF_SANDBOX_STARTING);
    bf_assert(strlen(id) <= BF_SANDBOX_ID);
    memmove(sandbox->id, id, strlen(id) + 1);
    sandbox->end_ms = end_ms;
    sandbox->own = own;
    set_state(pool, sandbox, BF_SANDBOX_BUSY);
}

void bf_sandbox_pool_failed(struct bf_sandbox_pool *pool,
                            struct bf_sandbox *sandbox, bool maybe,
                            int64_t now_ms, int64_t end_ms)
{
    bf_assert(sandbox->state == BF_SANDBOX_STARTING);
    if (!maybe) {
        drop(pool, sandbox);
        return;
    }
    sandbox->end_ms = end_ms;
    sandbox->due_ms = now_ms + SHOWS_MS;
    set_state(pool, sandbox, BF_SANDBOX_GHOST);
}

void bf_sandbox_pool_runs(struct bf_sandbox *sandbox)
{
    bf_assert(sandbox->state == BF_SANDBOX_BUSY);
    sandbox->runs++;
}

void bf_sandbox_pool_release(struct bf_sandbox_pool *pool,
                             struct bf_sandbox *sandbox, bool dirty,
                             int64_t now_ms, int64_t wall_ms)
{
    bool used = sandbox->runs > 0 && pool->config.strict;

    bf_assert(sandbox->state == BF_SANDBOX_BUSY);
    if (dirty || used || pool->stopping || sandbox->forget_ms > 0) {
        sandbox->due_ms = now_ms;
        set_state(pool, sandbox, BF_SANDBOX_DOOMED);
        return;
    }
    sandbox->due_ms = now_ms + pool->config.idle_ms;
    sandbox->idle_from_wall_ms = wall_ms;
    set_state(pool, sandbox, BF_SANDBOX_IDLE);
}

void bf_sandbox_pool_gone(struct bf_sandbox_pool *pool,
                          struct bf_sandbox *sandbox, int64_t wall_ms)
{
    end_idle(pool, sandbox, wall_ms, true);
    drop(pool, sandbox);
}

void bf_sandbox_pool_undeleted(struct bf_sandbox_pool *pool,
                               struct bf_sandbox *sandbox, int64_t now_ms)
{
    sandbox->due_ms = now_ms + DELETE_AGAIN_MS;
    set_state(pool, sandbox, BF_SANDBOX_DOOMED);
}

/* ---- housekeeping ---- */

/* It ended by itself long ago, or it is another owner's by now. */
static bool is_over(const struct bf_sandbox *sandbox, int64_t now_ms)
{
    bool ours = sandbox->state == BF_SANDBOX_DOOMED ||
                sandbox->state == BF_SANDBOX_GHOST;

    return ours && ((sandbox->forget_ms > 0 && now_ms >= sandbox->forget_ms) ||
                    (sandbox->end_ms > 0 && now_ms >= sandbox->end_ms));
}

static void forget_over(struct bf_sandbox_pool *pool, int64_t now_ms,
                        int64_t wall_ms)
{
    for (size_t i = pool->n; i > 0; i--) {
        if (is_over(pool->all[i - 1], now_ms))
            bf_sandbox_pool_gone(pool, pool->all[i - 1], wall_ms);
    }
}

static bool is_due(const struct bf_sandbox_pool *pool,
                   const struct bf_sandbox *sandbox, int64_t now_ms)
{
    if (sandbox->state == BF_SANDBOX_IDLE)
        return pool->stopping || now_ms >= sandbox->due_ms;
    return sandbox->state == BF_SANDBOX_DOOMED && now_ms >= sandbox->due_ms;
}

struct bf_sandbox *bf_sandbox_pool_to_delete(struct bf_sandbox_pool *pool,
                                             int64_t now_ms, int64_t wall_ms)
{
    forget_over(pool, now_ms, wall_ms);
    for (size_t i = 0; i < pool->n; i++) {
        struct bf_sandbox *sandbox = pool->all[i];

        if (!is_due(pool, sandbox, now_ms))
            continue;
        end_idle(pool, sandbox, wall_ms, true);
        set_state(pool, sandbox, BF_SANDBOX_DELETING);
        return sandbox;
    }
    return NULL;
}

static bool is_ending(const struct bf_sandbox_pool *pool,
                      const struct bf_sandbox *sandbox, int64_t now_ms)
{
    return (sandbox->state == BF_SANDBOX_IDLE ||
            sandbox->state == BF_SANDBOX_BUSY) &&
           !sandbox->renewing && !pool->stopping &&
           now_ms >= sandbox->renew_ms &&
           sandbox->end_ms - now_ms < pool->config.renew_below_ms;
}

struct bf_sandbox *bf_sandbox_pool_to_renew(struct bf_sandbox_pool *pool,
                                            int64_t now_ms)
{
    for (size_t i = 0; i < pool->n; i++) {
        if (!is_ending(pool, pool->all[i], now_ms))
            continue;
        pool->all[i]->renewing = true;
        return pool->all[i];
    }
    return NULL;
}

void bf_sandbox_pool_renewed(struct bf_sandbox *sandbox, int64_t end_ms,
                             int64_t now_ms)
{
    sandbox->renewing = false;
    if (end_ms == 0)
        sandbox->renew_ms = now_ms + RENEW_AGAIN_MS;
    if (end_ms > sandbox->end_ms)
        sandbox->end_ms = end_ms;
}

void bf_sandbox_pool_stop(struct bf_sandbox_pool *pool)
{
    pool->stopping = true;
}

void bf_sandbox_pool_lost(struct bf_sandbox_pool *pool, uint32_t shard,
                          int64_t now_ms, int64_t wall_ms)
{
    for (size_t i = pool->n; i > 0; i--) {
        struct bf_sandbox *sandbox = pool->all[i - 1];

        if (sandbox->shard != shard || sandbox->forget_ms > 0)
            continue;
        if (sandbox->state == BF_SANDBOX_IDLE && !pool->stopping)
            bf_sandbox_pool_gone(pool, sandbox, wall_ms);
        else
            sandbox->forget_ms = now_ms + HAND_OVER_MS;
    }
}

static int64_t renew_at(const struct bf_sandbox_pool *pool,
                        const struct bf_sandbox *sandbox)
{
    int64_t near_ms = sandbox->end_ms - pool->config.renew_below_ms + 1;

    if (sandbox->renewing || pool->stopping)
        return INT64_MAX;
    return near_ms > sandbox->renew_ms ? near_ms : sandbox->renew_ms;
}

static int64_t due_at(const struct bf_sandbox_pool *pool,
                      const struct bf_sandbox *sandbox)
{
    int64_t renew_ms = renew_at(pool, sandbox);

    switch (sandbox->state) {
    case BF_SANDBOX_BUSY:
        return renew_ms;
    case BF_SANDBOX_IDLE:
        if (pool->stopping)
            return 0;
        return renew_ms < sandbox->due_ms ? renew_ms : sandbox->due_ms;
    case BF_SANDBOX_DOOMED:
        return sandbox->due_ms;
    case BF_SANDBOX_GHOST:
        return sandbox->end_ms;
    case BF_SANDBOX_STARTING:
    case BF_SANDBOX_DELETING:
        break;
    }
    return INT64_MAX;
}

int64_t bf_sandbox_pool_wait(const struct bf_sandbox_pool *pool, int64_t now_ms,
                             int64_t max_ms)
{
    int64_t due = now_ms + max_ms;

    if (pool->nidle > 0)
        return 0;
    for (size_t i = 0; i < pool->n; i++) {
        int64_t at = due_at(pool, pool->all[i]);

        due = at < due ? at : due;
    }
    return due > now_ms ? due - now_ms : 0;
}

struct bf_sandbox *bf_sandbox_pool_find(const struct bf_sandbox_pool *pool,
                                        struct bf_slice id)
{
    for (size_t i = 0; i < pool->n; i++) {
        if (id.len > 0 && bf_slice_is(id, pool->all[i]->id))
            return pool->all[i];
    }
    return NULL;
}

size_t bf_sandbox_pool_count(const struct bf_sandbox_pool *pool,
                             enum bf_sandbox_state state)
{
    size_t n = 0;

    for (size_t i = 0; i < pool->n; i++)
        n += pool->all[i]->state == state;
    return n;
}

const struct bf_sandbox *bf_sandbox_pool_at(const struct bf_sandbox_pool *pool,
                                            size_t i)
{
    return i < pool->n ? pool->all[i] : NULL;
}

/* ---- what the provider lists ---- */

static struct bf_sandbox *find_nonce(const struct bf_sandbox_pool *pool,
                                     struct bf_slice nonce)
{
    for (size_t i = 0; i < pool->n; i++) {
        if (nonce.len > 0 && bf_slice_is(nonce, pool->all[i]->nonce))
            return pool->all[i];
    }
    return NULL;
}

/* One that we do not know by its id. */
static int take_in(struct bf_sandbox_pool *pool,
                   const struct bf_sandbox_seen *seen,
                   enum bf_sandbox_state state, struct bf_sandbox **ret,
                   struct bf_err *err)
{
    struct bf_sandbox *sandbox;

    /* It counts, but there is no room to count it: at the next sweep. */
    if (pool->n >= pool->config.max)
        return BF_SANDBOX_LEAVE;
    sandbox = add(pool, &seen->key, err);
    if (!sandbox)
        return -1;
    memcpy(sandbox->id, seen->id.ptr, seen->id.len);
    sandbox->owned_since = seen->owned_since;
    sandbox->end_ms = seen->end_ms;
    sandbox->vcpu = seen->vcpu;
    sandbox->memory_mb = seen->memory_mb;
    set_state(pool, sandbox, state);
    *ret = sandbox;
    return state == BF_SANDBOX_STARTING ? BF_SANDBOX_ADOPT : BF_SANDBOX_REMOVE;
}

static int found_ghost(struct bf_sandbox_pool *pool, struct bf_sandbox *ghost,
                       const struct bf_sandbox_seen *seen,
                       struct bf_sandbox **ret)
{
    memcpy(ghost->id, seen->id.ptr, seen->id.len);
    ghost->due_ms = 0;
    set_state(pool, ghost, BF_SANDBOX_DOOMED);
    *ret = ghost;
    return BF_SANDBOX_REMOVE;
}

static void learn(struct bf_sandbox *known, const struct bf_sandbox_seen *seen)
{
    if (seen->vcpu > 0)
        known->vcpu = seen->vcpu;
    if (seen->memory_mb > 0)
        known->memory_mb = seen->memory_mb;
}

static bool may_adopt(const struct bf_sandbox_pool *pool,
                      const struct bf_sandbox_seen *seen,
                      const struct bf_sandbox_sweep *sweep)
{
    return sweep->adopt && seen->owned_since < sweep->owned_since &&
           seen->end_ms - sweep->now_ms >= pool->config.renew_below_ms &&
           !pool->config.strict && !pool->stopping;
}

int bf_sandbox_pool_judge(struct bf_sandbox_pool *pool,
                          const struct bf_sandbox_seen *seen,
                          const struct bf_sandbox_sweep *sweep,
                          struct bf_sandbox **ret, struct bf_err *err)
{
    struct bf_sandbox *known = bf_sandbox_pool_find(pool, seen->id);
    struct bf_sandbox *made = find_nonce(pool, seen->nonce);

    bf_assert(seen->id.len <= BF_SANDBOX_ID);
    if (known) {
        learn(known, seen);
        return BF_SANDBOX_LEAVE;
    }
    if (made && made->state == BF_SANDBOX_GHOST)
        return found_ghost(pool, made, seen, ret);
    /* Being made; or of an owner after us: then it is we who do not know. */
    if (made || seen->owned_since > sweep->owned_since)
        return BF_SANDBOX_LEAVE;
    return take_in(pool, seen,
                   may_adopt(pool, seen, sweep) ? BF_SANDBOX_STARTING
                                                : BF_SANDBOX_DOOMED,
                   ret, err);
}

void bf_sandbox_pool_listed(struct bf_sandbox_pool *pool, uint32_t shard,
                            int64_t asked_ms)
{
    for (size_t i = pool->n; i > 0; i--) {
        struct bf_sandbox *ghost = pool->all[i - 1];

        if (ghost->state == BF_SANDBOX_GHOST && ghost->shard == shard &&
            asked_ms >= ghost->due_ms)
            drop(pool, ghost);
    }
}
