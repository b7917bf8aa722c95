#include "tests/unit/support.h"

#include <sodium.h>
#include <stdio.h>

#include "schemas/check.h"
#include "worker/backend/sandbox_pool.h"

#define IDLE_MS 60000
#define TTL_MS INT64_C(95000)

static const struct bf_sandbox_pool_config small = {
    .max = 3,
    .max_starting = 2,
    .creates_per_s = 1000,
    .idle_ms = IDLE_MS,
    .renew_below_ms = 30000,
};

static struct bf_sandbox_want want(const char *workspace, int64_t now_ms)
{
    return (struct bf_sandbox_want){
        .key = {.workspace = bf_slice_str(workspace)},
        .owned_since = 5,
        .need_ms = 20000,
        .now_ms = now_ms,
        .wall_ms = 1000000 + now_ms,
    };
}

static struct bf_sandbox *ask(struct bf_sandbox_pool *pool,
                              const struct bf_sandbox_want *what,
                              enum bf_sandbox_offer expected)
{
    struct bf_sandbox *sandbox = NULL;
    struct bf_err err = {0};
    int64_t wait_ms = -1;
    int rc = bf_sandbox_pool_acquire(pool, what, &sandbox, &wait_ms, &err);

    assert_int_equal(rc, expected);
    assert_int_equal(sandbox != NULL, expected != BF_SANDBOX_WAIT);
    if (expected == BF_SANDBOX_WAIT)
        assert_true(wait_ms > 0 && wait_ms <= 1000);
    return sandbox;
}

static struct bf_sandbox *made(struct bf_sandbox_pool *pool,
                               const struct bf_sandbox_want *what,
                               const char *id)
{
    struct bf_sandbox *sandbox = ask(pool, what, BF_SANDBOX_CREATE);

    bf_sandbox_pool_started(pool, sandbox, id, what->now_ms + TTL_MS, NULL);
    bf_sandbox_pool_runs(sandbox);
    return sandbox;
}

static void release(struct bf_sandbox_pool *pool, struct bf_sandbox *sandbox,
                    bool dirty, int64_t now_ms)
{
    bf_sandbox_pool_release(pool, sandbox, dirty, now_ms, 1000000 + now_ms);
}

static struct bf_sandbox *to_delete(struct bf_sandbox_pool *pool,
                                    int64_t now_ms)
{
    return bf_sandbox_pool_to_delete(pool, now_ms, 1000000 + now_ms);
}

static void one_is_used_again_by_its_own_kind(void **unused)
{
    struct bf_err err = {0};
    struct bf_sandbox_pool *pool = bf_sandbox_pool_new(&small, &err);
    struct bf_sandbox_want a = want("a", 0), other;
    struct bf_sandbox *sandbox = made(pool, &a, "i1");

    (void)unused;
    release(pool, sandbox, false, 1000);
    other = want("b", 2000);
    bf_sandbox_pool_failed(pool, ask(pool, &other, BF_SANDBOX_CREATE), false, 0,
                           0);
    other = want("a", 2000);
    other.key.policy = 1;
    bf_sandbox_pool_failed(pool, ask(pool, &other, BF_SANDBOX_CREATE), false, 0,
                           0);
    other = want("a", 2000);
    other.key.shard = 1;
    bf_sandbox_pool_failed(pool, ask(pool, &other, BF_SANDBOX_CREATE), false, 0,
                           0);
    /* not one that ends before it could be done */
    other = want("a", 2000);
    other.need_ms = TTL_MS;
    bf_sandbox_pool_failed(pool, ask(pool, &other, BF_SANDBOX_CREATE), false, 0,
                           0);
    a = want("a", 2000);
    assert_ptr_equal(ask(pool, &a, BF_SANDBOX_HAVE), sandbox);
    /* and only once */
    bf_sandbox_pool_failed(pool, ask(pool, &a, BF_SANDBOX_CREATE), false, 0, 0);
    bf_sandbox_pool_free(pool);
}

static void what_is_dirty_is_deleted(void **unused)
{
    struct bf_err err = {0};
    struct bf_sandbox_pool *pool = bf_sandbox_pool_new(&small, &err);
    struct bf_sandbox_want a = want("a", 0);
    struct bf_sandbox *sandbox = made(pool, &a, "i1");

    (void)unused;
    release(pool, sandbox, true, 1000);
    bf_sandbox_pool_failed(pool, ask(pool, &a, BF_SANDBOX_CREATE), false, 0, 0);
    assert_int_equal(bf_sandbox_pool_wait(pool, 1000, 9000), 0);
    assert_ptr_equal(to_delete(pool, 1000), sandbox);
    assert_null(to_delete(pool, 1000));
    bf_sandbox_pool_undeleted(pool, sandbox, 1000);
    assert_null(to_delete(pool, 1001));
    assert_ptr_equal(to_delete(pool, 9000), sandbox);
    bf_sandbox_pool_gone(pool, sandbox, 9000);
    assert_null(bf_sandbox_pool_at(pool, 0));
    bf_sandbox_pool_free(pool);
}

static void strict_is_one_run_each(void **unused)
{
    struct bf_sandbox_pool_config config = small;
    struct bf_sandbox_want a = want("a", 0);
    struct bf_err err = {0};
    struct bf_sandbox_pool *pool;
    struct bf_sandbox *sandbox;

    (void)unused;
    config.strict = true;
    pool = bf_sandbox_pool_new(&config, &err);
    sandbox = ask(pool, &a, BF_SANDBOX_CREATE);
    bf_sandbox_pool_started(pool, sandbox, "i1", TTL_MS, NULL);
    /* it did not come to the run: still as new */
    release(pool, sandbox, false, 1);
    assert_ptr_equal(ask(pool, &a, BF_SANDBOX_HAVE), sandbox);
    bf_sandbox_pool_runs(sandbox);
    /* a run that is longer than its sandbox's time */
    assert_ptr_equal(bf_sandbox_pool_to_renew(pool, TTL_MS - 1), sandbox);
    bf_sandbox_pool_renewed(sandbox, 2 * TTL_MS, TTL_MS - 1);
    release(pool, sandbox, false, TTL_MS);
    assert_int_equal(sandbox->state, BF_SANDBOX_DOOMED);
    bf_sandbox_pool_free(pool);
}

static void the_longest_idle_one_gives_way(void **unused)
{
    struct bf_err err = {0};
    struct bf_sandbox_pool *pool = bf_sandbox_pool_new(&small, &err);
    struct bf_sandbox_want a = want("a", 0), b = want("b", 0);
    struct bf_sandbox *first = made(pool, &a, "i1");
    struct bf_sandbox *second = made(pool, &a, "i2");
    struct bf_sandbox *third = made(pool, &a, "i3");

    (void)unused;
    ask(pool, &b, BF_SANDBOX_WAIT);
    release(pool, second, false, 1000);
    release(pool, first, false, 2000);
    b = want("b", 3000);
    assert_ptr_equal(ask(pool, &b, BF_SANDBOX_EVICT), second);
    /* its place is not free until it is gone */
    assert_ptr_equal(ask(pool, &b, BF_SANDBOX_EVICT), first);
    ask(pool, &b, BF_SANDBOX_WAIT);
    bf_sandbox_pool_gone(pool, second, 0);
    ask(pool, &b, BF_SANDBOX_CREATE);
    ask(pool, &b, BF_SANDBOX_WAIT);
    release(pool, third, false, 3000);
    bf_sandbox_pool_free(pool);
}

static void creates_have_a_rate(void **unused)
{
    struct bf_sandbox_pool_config config = small;
    struct bf_err err = {0};
    struct bf_sandbox_pool *pool;

    (void)unused;
    config.max = 100;
    config.max_starting = 100;
    config.creates_per_s = 2;
    pool = bf_sandbox_pool_new(&config, &err);
    for (int64_t now = 0, n = 0; now < 5000; now += 10) {
        struct bf_sandbox_want a = want("a", now);
        struct bf_sandbox *sandbox = NULL;
        int64_t wait_ms = 0;

        if (bf_sandbox_pool_acquire(pool, &a, &sandbox, &wait_ms, &err) ==
            BF_SANDBOX_CREATE)
            n++;
        assert_in_range(n, 1, 2 + now / 500);
        assert_true(n >= now / 500);
    }
    bf_sandbox_pool_free(pool);
}

static void those_being_made_have_a_ceiling(void **unused)
{
    struct bf_err err = {0};
    struct bf_sandbox_pool *pool = bf_sandbox_pool_new(&small, &err);
    struct bf_sandbox_want a = want("a", 0);
    struct bf_sandbox *first = ask(pool, &a, BF_SANDBOX_CREATE);

    (void)unused;
    ask(pool, &a, BF_SANDBOX_CREATE);
    ask(pool, &a, BF_SANDBOX_WAIT);
    bf_sandbox_pool_started(pool, first, "i1", TTL_MS, NULL);
    ask(pool, &a, BF_SANDBOX_CREATE);
    bf_sandbox_pool_free(pool);
}

static void idle_ones_go_and_used_ones_are_renewed(void **unused)
{
    struct bf_err err = {0};
    struct bf_sandbox_pool *pool = bf_sandbox_pool_new(&small, &err);
    struct bf_sandbox_want a = want("a", 0);
    struct bf_sandbox *sandbox = made(pool, &a, "i1");

    (void)unused;
    assert_null(bf_sandbox_pool_to_renew(pool, TTL_MS - 30000));
    assert_ptr_equal(bf_sandbox_pool_to_renew(pool, TTL_MS - 29999), sandbox);
    assert_null(bf_sandbox_pool_to_renew(pool, TTL_MS - 29999));
    bf_sandbox_pool_renewed(sandbox, 0, TTL_MS - 29999);
    /* a provider that refuses is not asked without a pause */
    assert_null(bf_sandbox_pool_to_renew(pool, TTL_MS - 29999));
    assert_int_equal(bf_sandbox_pool_wait(pool, TTL_MS - 29999, 100000), 2000);
    assert_null(bf_sandbox_pool_to_renew(pool, TTL_MS - 28000));
    assert_ptr_equal(bf_sandbox_pool_to_renew(pool, TTL_MS - 27999), sandbox);
    bf_sandbox_pool_renewed(sandbox, 2 * TTL_MS, TTL_MS - 27999);
    assert_null(bf_sandbox_pool_to_renew(pool, TTL_MS - 29999));
    release(pool, sandbox, false, 70000);
    assert_int_equal(bf_sandbox_pool_wait(pool, 70000, 100000), IDLE_MS);
    assert_null(to_delete(pool, 70000 + IDLE_MS - 1));
    a = want("a", 70000 + IDLE_MS);
    bf_sandbox_pool_failed(pool, ask(pool, &a, BF_SANDBOX_CREATE), false, 0, 0);
    assert_ptr_equal(to_delete(pool, 70000 + IDLE_MS), sandbox);
    bf_sandbox_pool_free(pool);
}

static void everything_goes_in_the_end(void **unused)
{
    struct bf_err err = {0};
    struct bf_sandbox_pool *pool = bf_sandbox_pool_new(&small, &err);
    struct bf_sandbox_want a = want("a", 0);
    struct bf_sandbox *first = made(pool, &a, "i1");
    struct bf_sandbox *second = made(pool, &a, "i2");

    (void)unused;
    release(pool, first, false, 1000);
    bf_sandbox_pool_stop(pool);
    /* what is idle is not left to the next owner, then */
    bf_sandbox_pool_lost(pool, 0, 1500, 1500);
    assert_ptr_equal(to_delete(pool, 2000), first);
    bf_sandbox_pool_gone(pool, first, 2000);
    release(pool, second, false, 3000);
    assert_ptr_equal(to_delete(pool, 3000), second);
    bf_sandbox_pool_free(pool);
}

static void who_has_kin_waits_a_little(void **unused)
{
    struct bf_err err = {0};
    struct bf_sandbox_pool *pool = bf_sandbox_pool_new(&small, &err);
    struct bf_sandbox_want a = want("a", 0), b = want("b", 0);
    struct bf_sandbox *idle = made(pool, &a, "i1");

    (void)unused;
    made(pool, &b, "i2");
    made(pool, &b, "i3");
    release(pool, idle, false, 1000);
    b = want("b", 2999);
    ask(pool, &b, BF_SANDBOX_WAIT);
    b = want("b", 3000);
    assert_ptr_equal(ask(pool, &b, BF_SANDBOX_EVICT), idle);
    bf_sandbox_pool_free(pool);
}

/* ---- owners ---- */

static void a_lost_shard_is_handed_over(void **unused)
{
    struct bf_err err = {0};
    struct bf_sandbox_pool *pool = bf_sandbox_pool_new(&small, &err);
    struct bf_sandbox_want a = want("a", 0);
    struct bf_sandbox *idle = made(pool, &a, "i1");
    struct bf_sandbox *busy = made(pool, &a, "i2");

    (void)unused;
    release(pool, idle, false, 1000);
    bf_sandbox_pool_lost(pool, 1, 1000, 1000);
    assert_non_null(bf_sandbox_pool_find(pool, S("i1")));
    bf_sandbox_pool_lost(pool, 0, 2000, 2000);
    assert_null(bf_sandbox_pool_find(pool, S("i1")));
    assert_null(to_delete(pool, 2000));
    /* its run is let go of: deleted now or, if that fails, never */
    release(pool, busy, false, 2500);
    assert_ptr_equal(to_delete(pool, 2500), busy);
    bf_sandbox_pool_undeleted(pool, busy, 2500);
    assert_null(to_delete(pool, 12000));
    assert_null(bf_sandbox_pool_at(pool, 0));
    bf_sandbox_pool_free(pool);
}

static int judge(struct bf_sandbox_pool *pool, const char *id,
                 const char *nonce, int64_t its_since, bool adopt)
{
    struct bf_sandbox_seen seen = {
        .id = bf_slice_str(id),
        .nonce = bf_slice_str(nonce),
        .key = {.workspace = S("a")},
        .owned_since = its_since,
        .end_ms = 50000,
        .vcpu = 2,
        .memory_mb = 512,
    };
    struct bf_sandbox_sweep sweep = {
        .owned_since = 5, .adopt = adopt, .now_ms = 1000};
    struct bf_sandbox *sandbox = NULL;
    struct bf_err err = {0};
    int fate = bf_sandbox_pool_judge(pool, &seen, &sweep, &sandbox, &err);

    assert_int_equal(sandbox != NULL, fate != BF_SANDBOX_LEAVE);
    if (fate == BF_SANDBOX_REMOVE)
        assert_int_equal(sandbox->state, BF_SANDBOX_DOOMED);
    if (fate == BF_SANDBOX_ADOPT)
        assert_int_equal(sandbox->state, BF_SANDBOX_STARTING);
    return fate;
}

static void strangers_are_judged_by_their_age(void **unused)
{
    static const struct {
        const char *id, *nonce; /* "": of the one being made */
        int64_t since;
        bool adopt;
        int fate;
    } rows[] = {
        {"i1", "x", 4, true, BF_SANDBOX_LEAVE}, /* known, whatever it says */
        {"i8", "", 5, true, BF_SANDBOX_LEAVE},  /* its answer is under way */
        {"i8", "", 4, true, BF_SANDBOX_LEAVE},
        {"i8", "x", 6, true, BF_SANDBOX_LEAVE},   /* of an owner after us */
        {"i8", "x", 5, true, BF_SANDBOX_REMOVE},  /* ours, and not known */
        {"i8", "x", 4, false, BF_SANDBOX_REMOVE}, /* of one before us */
        {"i8", "x", 4, true, BF_SANDBOX_ADOPT},
    };

    (void)unused;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        struct bf_err err = {0};
        struct bf_sandbox_pool *pool = bf_sandbox_pool_new(&small, &err);
        struct bf_sandbox_want a = want("a", 0);
        struct bf_sandbox *known = made(pool, &a, "i1");
        struct bf_sandbox *making = ask(pool, &a, BF_SANDBOX_CREATE);

        assert_int_equal(judge(pool, rows[i].id,
                               rows[i].nonce[0] ? rows[i].nonce : making->nonce,
                               rows[i].since, rows[i].adopt),
                         rows[i].fate);
        if (i == 0)
            assert_int_equal(known->memory_mb, 512);
        bf_sandbox_pool_free(pool);
    }
}

static void an_adopted_one_is_used(void **unused)
{
    struct bf_err err = {0};
    struct bf_sandbox_pool *pool = bf_sandbox_pool_new(&small, &err);
    struct bf_sandbox_want a = want("a", 2000);
    struct bf_sandbox *sandbox;

    (void)unused;
    assert_int_equal(judge(pool, "i8", "x", 4, true), BF_SANDBOX_ADOPT);
    sandbox = bf_sandbox_pool_find(pool, S("i8"));
    assert_non_null(sandbox);
    bf_sandbox_pool_started(pool, sandbox, sandbox->id, 90000, NULL);
    release(pool, sandbox, false, 2000);
    assert_ptr_equal(ask(pool, &a, BF_SANDBOX_HAVE), sandbox);
    bf_sandbox_pool_free(pool);
}

static void a_ghost_is_found_or_was_none(void **unused)
{
    struct bf_err err = {0};
    struct bf_sandbox_pool *pool = bf_sandbox_pool_new(&small, &err);
    struct bf_sandbox_want a = want("a", 0);
    struct bf_sandbox *first = ask(pool, &a, BF_SANDBOX_CREATE);
    struct bf_sandbox *second = ask(pool, &a, BF_SANDBOX_CREATE);

    (void)unused;
    bf_sandbox_pool_failed(pool, first, true, 100, TTL_MS);
    bf_sandbox_pool_failed(pool, second, true, 100, TTL_MS);
    /* they count */
    assert_int_equal(bf_sandbox_pool_count(pool, BF_SANDBOX_GHOST), 2);
    ask(pool, &a, BF_SANDBOX_CREATE);
    ask(pool, &a, BF_SANDBOX_WAIT);
    assert_int_equal(judge(pool, "i7", first->nonce, 5, true),
                     BF_SANDBOX_REMOVE);
    assert_ptr_equal(to_delete(pool, 1000), first);
    /* a list that was too early proves nothing */
    bf_sandbox_pool_listed(pool, 0, 1000);
    assert_int_equal(bf_sandbox_pool_count(pool, BF_SANDBOX_GHOST), 1);
    bf_sandbox_pool_listed(pool, 1, 60000);
    assert_int_equal(bf_sandbox_pool_count(pool, BF_SANDBOX_GHOST), 1);
    bf_sandbox_pool_listed(pool, 0, 60000);
    assert_int_equal(bf_sandbox_pool_count(pool, BF_SANDBOX_GHOST), 0);
    bf_sandbox_pool_free(pool);
}

/* ---- a long random life ---- */

#define WORKSPACES 4
#define SHARDS 2
#define MOST 6
#define RATE 3

/* What the provider has, as far as the pool was told or not. */
struct model {
    struct bf_sandbox_pool *pool;
    uint64_t random;
    int64_t now_ms;
    int64_t since[SHARDS];
    unsigned int next_id;
    struct {
        struct bf_sandbox *sandbox; /* NULL: none */
        char workspace[2];
        uint32_t shard;
        bool running, dirty;
        int64_t idle_from_ms;
    } used[MOST];
    int64_t idle_ms, billed_ms;
    int64_t created_ms[RATE * 2]; /* the last ones */
    size_t creates;
    bool strict;
};

static unsigned int pick(struct model *m, unsigned int n)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (unsigned int)(m->random >> 33) % n;
}

static int slot_of(const struct model *m, const struct bf_sandbox *sandbox)
{
    int i = 0;

    while (i < MOST && m->used[i].sandbox != sandbox)
        i++;
    return i;
}

static void check_rate(struct model *m)
{
    size_t at = m->creates++ % bf_countof(m->created_ms);

    /* twice a second's worth took longer than a second */
    if (m->creates > bf_countof(m->created_ms))
        assert_true(m->now_ms - m->created_ms[at] >= 1000);
    m->created_ms[at] = m->now_ms;
}

static void remove_it(struct model *m, struct bf_sandbox *sandbox)
{
    int slot = slot_of(m, sandbox);

    if (pick(m, 4) == 0) {
        bf_sandbox_pool_undeleted(m->pool, sandbox, m->now_ms);
        return;
    }
    if (slot < MOST) {
        assert_false(m->used[slot].running);
        m->used[slot].sandbox = NULL;
    }
    bf_sandbox_pool_gone(m->pool, sandbox, m->now_ms);
}

static void model_make(struct model *m, struct bf_sandbox *sandbox)
{
    char id[16];
    int slot = slot_of(m, NULL);

    check_rate(m);
    assert_true(bf_sandbox_pool_count(m->pool, BF_SANDBOX_STARTING) <= 2);
    if (pick(m, 5) == 0) {
        bf_sandbox_pool_failed(m->pool, sandbox, pick(m, 2) == 0, m->now_ms,
                               m->now_ms + TTL_MS);
        return;
    }
    assert_true(slot < MOST);
    snprintf(id, sizeof(id), "i%u", m->next_id++);
    bf_sandbox_pool_started(m->pool, sandbox, id, m->now_ms + TTL_MS, NULL);
    bf_sandbox_pool_runs(sandbox);
    m->used[slot].sandbox = sandbox;
    m->used[slot].running = true;
    m->used[slot].dirty = false;
    m->used[slot].shard = sandbox->shard;
    memcpy(m->used[slot].workspace, sandbox->workspace, 2);
}

static void model_reuse(struct model *m, struct bf_sandbox *sandbox,
                        const struct bf_sandbox_want *what)
{
    int slot = slot_of(m, sandbox);

    assert_true(slot < MOST);
    assert_false(m->strict);
    assert_false(m->used[slot].running);
    assert_false(m->used[slot].dirty);
    assert_true(bf_slice_is(what->key.workspace, m->used[slot].workspace));
    assert_int_equal(what->key.shard, m->used[slot].shard);
    assert_true(sandbox->end_ms >= m->now_ms + what->need_ms);
    m->idle_ms += m->now_ms - m->used[slot].idle_from_ms;
    m->used[slot].running = true;
    bf_sandbox_pool_runs(sandbox);
}

/* Its last idle stretch is over. */
static void model_idled(struct model *m, int slot)
{
    if (slot == MOST || m->used[slot].dirty)
        return;
    m->idle_ms += m->now_ms - m->used[slot].idle_from_ms;
    m->used[slot].dirty = true;
}

static void model_acquire(struct model *m)
{
    static const char *const names[WORKSPACES] = {"a", "b", "c", "d"};
    uint32_t shard = pick(m, SHARDS);
    struct bf_sandbox_want what = {
        .key = {.workspace = bf_slice_str(names[pick(m, WORKSPACES)]),
                .shard = shard},
        .owned_since = m->since[shard],
        .need_ms = 20000,
        .now_ms = m->now_ms,
        .wall_ms = m->now_ms,
    };
    struct bf_sandbox *sandbox = NULL;
    struct bf_err err = {0};
    int64_t wait_ms = 0;

    switch (bf_sandbox_pool_acquire(m->pool, &what, &sandbox, &wait_ms, &err)) {
    case BF_SANDBOX_HAVE:
        model_reuse(m, sandbox, &what);
        break;
    case BF_SANDBOX_CREATE:
        model_make(m, sandbox);
        break;
    case BF_SANDBOX_EVICT:
        model_idled(m, slot_of(m, sandbox));
        remove_it(m, sandbox);
        break;
    default:
        assert_true(wait_ms > 0);
    }
}

static void model_release(struct model *m)
{
    unsigned int slot = pick(m, MOST);

    if (!m->used[slot].sandbox || !m->used[slot].running)
        return;
    m->used[slot].running = false;
    m->used[slot].dirty = pick(m, 4) == 0;
    m->used[slot].idle_from_ms = m->now_ms;
    bf_sandbox_pool_release(m->pool, m->used[slot].sandbox, m->used[slot].dirty,
                            m->now_ms, m->now_ms);
    if (m->used[slot].sandbox->state != BF_SANDBOX_IDLE)
        m->used[slot].dirty = true;
}

static void forget_missing(struct model *m)
{
    for (size_t slot = 0; slot < MOST; slot++) {
        size_t i = 0;
        const struct bf_sandbox *at = bf_sandbox_pool_at(m->pool, 0);

        while (at && at != m->used[slot].sandbox)
            at = bf_sandbox_pool_at(m->pool, ++i);
        if (at || !m->used[slot].sandbox)
            continue;
        assert_false(m->used[slot].running);
        m->used[slot].sandbox = NULL;
    }
}

static void model_lose(struct model *m)
{
    uint32_t shard = pick(m, SHARDS);

    for (size_t slot = 0; slot < MOST; slot++) {
        if (m->used[slot].sandbox && m->used[slot].shard == shard &&
            m->used[slot].sandbox->state == BF_SANDBOX_IDLE)
            m->idle_ms += m->now_ms - m->used[slot].idle_from_ms;
    }
    bf_sandbox_pool_lost(m->pool, shard, m->now_ms, m->now_ms);
    m->since[shard] = m->now_ms;
    forget_missing(m);
}

static void model_chore(struct model *m)
{
    struct bf_sandbox *due =
        bf_sandbox_pool_to_delete(m->pool, m->now_ms, m->now_ms);
    int slot = due ? slot_of(m, due) : MOST;

    forget_missing(m);
    model_idled(m, slot);
    if (due)
        remove_it(m, due);
    due = bf_sandbox_pool_to_renew(m->pool, m->now_ms);
    if (due)
        bf_sandbox_pool_renewed(due, pick(m, 2) ? m->now_ms + TTL_MS : 0,
                                m->now_ms);
}

static void model_bill(struct model *m)
{
    struct bf_sandbox_idle idle;

    while (bf_sandbox_pool_take_idle(m->pool, &idle)) {
        assert_true(idle.idle_ms > 0);
        assert_true(idle.idle_ms <= idle.until_wall_ms - idle.from_wall_ms);
        assert_true(idle.id[0] != '\0');
        m->billed_ms += idle.idle_ms;
    }
}

static void model_check(struct model *m)
{
    size_t n = 0;

    for (size_t slot = 0; slot < MOST; slot++)
        n += m->used[slot].sandbox != NULL;
    assert_true(n <= MOST);
    assert_null(bf_sandbox_pool_at(m->pool, MOST));
}

static void live(uint64_t seed, bool strict)
{
    struct bf_sandbox_pool_config config = {
        .max = MOST,
        .max_starting = 2,
        .creates_per_s = RATE,
        .idle_ms = IDLE_MS,
        .renew_below_ms = 30000,
        .strict = strict,
    };
    struct bf_err err = {0};
    struct model m = {.random = seed, .now_ms = 1000, .strict = strict};

    m.pool = bf_sandbox_pool_new(&config, &err);
    assert_non_null(m.pool);
    for (int i = 0; i < 20000; i++) {
        m.now_ms += pick(&m, pick(&m, 40) == 0 ? 30000 : 300);
        switch (pick(&m, 200) == 0 ? 9 : pick(&m, 4)) {
        case 9:
            model_lose(&m);
            break;
        case 0:
            model_release(&m);
            break;
        case 1:
            model_chore(&m);
            break;
        default:
            model_acquire(&m);
        }
        model_bill(&m);
        model_check(&m);
    }
    /* the end: all that is left is given back, and the idle time adds up */
    for (unsigned int i = 0; i < 2000; i++)
        model_release(&m);
    bf_sandbox_pool_stop(m.pool);
    for (int i = 0; i < 2000 && bf_sandbox_pool_at(m.pool, 0); i++) {
        m.now_ms += 2500;
        model_chore(&m);
        model_bill(&m);
    }
    assert_null(bf_sandbox_pool_at(m.pool, 0));
    assert_int_equal(m.idle_ms, m.billed_ms);
    assert_true(strict || m.billed_ms > 0);
    bf_sandbox_pool_free(m.pool);
}

static void a_long_life(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 20; seed++)
        live(seed * 0x9e3779b97f4a7c15U, seed % 4 == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_is_used_again_by_its_own_kind),
        cmocka_unit_test(what_is_dirty_is_deleted),
        cmocka_unit_test(strict_is_one_run_each),
        cmocka_unit_test(the_longest_idle_one_gives_way),
        cmocka_unit_test(who_has_kin_waits_a_little),
        cmocka_unit_test(creates_have_a_rate),
        cmocka_unit_test(those_being_made_have_a_ceiling),
        cmocka_unit_test(idle_ones_go_and_used_ones_are_renewed),
        cmocka_unit_test(everything_goes_in_the_end),
        cmocka_unit_test(a_lost_shard_is_handed_over),
        cmocka_unit_test(strangers_are_judged_by_their_age),
        cmocka_unit_test(an_adopted_one_is_used),
        cmocka_unit_test(a_ghost_is_found_or_was_none),
        cmocka_unit_test(a_long_life),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
