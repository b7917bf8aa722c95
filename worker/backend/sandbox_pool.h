#ifndef BF_WORKER_BACKEND_SANDBOX_POOL_H
#define BF_WORKER_BACKEND_SANDBOX_POOL_H

/*
 * Which sandbox a run gets, and which are to be given back. A sandbox is one
 * workspace's, under one code policy, and belongs to the shard that it was
 * made for; it runs one thing at a time, and what a run left in disorder is
 * never used again. The ceiling on how many there are holds for all that may
 * exist: those being made and those not yet deleted, too.
 *
 *   STARTING -> BUSY <-> IDLE -> DELETING -> (gone)
 *      |          \________ DOOMED ____/
 *      `-> GHOST: made perhaps, and nobody was told its id
 *
 * Pure: times come from the caller. now_ms never goes back; wall_ms is Unix
 * time, for records. Loop thread only.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "schemas/ids.h"

struct bf_err;
struct bf_sandbox_pool;

enum bf_sandbox_state {
    BF_SANDBOX_STARTING,
    BF_SANDBOX_BUSY,
    BF_SANDBOX_IDLE,
    BF_SANDBOX_DOOMED,   /* to be deleted */
    BF_SANDBOX_DELETING, /* somebody is at it */
    BF_SANDBOX_GHOST,
};

#define BF_SANDBOX_ID 64

struct bf_sandbox_key {
    struct bf_slice workspace;
    uint32_t policy; /* equal ones may share */
    uint32_t shard;
};

/* Read-only but for own; the pool's, until it is gone. */
struct bf_sandbox {
    enum bf_sandbox_state state;
    char id[BF_SANDBOX_ID + 1]; /* "" until it is told */
    char nonce[BF_HEX128_SIZE]; /* ours, in its metadata: unique */
    char workspace[BF_MAX_ID + 1];
    uint32_t policy;
    uint32_t shard;
    int64_t owned_since; /* the shard's ownership that it was made in */
    int64_t end_ms;      /* when the provider ends it by itself */
    int64_t due_ms;      /* IDLE: deleted then; DOOMED: not before;
                          * GHOST: lists have it by then */
    int64_t forget_ms;   /* DOOMED: not ours to delete after it; 0: always */
    bool renewing;
    int64_t renew_ms;              /* not before: the last try failed */
    uint32_t runs;                 /* begun */
    int64_t vcpu, memory_mb;       /* as allocated; 0: not told */
    int64_t idle_from_wall_ms;     /* IDLE: since then */
    int64_t unbilled_from_wall_ms; /* of the stretches in unbilled_ms */
    int64_t unbilled_ms;
    void *own; /* the provider's, freed by config.free_own */
};

struct bf_sandbox_pool_config {
    size_t max;          /* of them, all states together */
    size_t max_starting; /* of those being made */
    int64_t creates_per_s;
    int64_t idle_ms;        /* longest time IDLE */
    int64_t renew_below_ms; /* renew when its end is nearer than that */
    bool strict;            /* one run each */
    void (*free_own)(void *own);
};

struct bf_sandbox_pool *
bf_sandbox_pool_new(const struct bf_sandbox_pool_config *config,
                    struct bf_err *err);
/* Forgets all of them: what should be given back was before. */
void bf_sandbox_pool_free(struct bf_sandbox_pool *pool);

/* ---- runs ---- */

enum bf_sandbox_offer {
    BF_SANDBOX_HAVE,   /* *ret is BUSY and yours, released in the end */
    BF_SANDBOX_CREATE, /* *ret is STARTING and yours: make it */
    BF_SANDBOX_EVICT,  /* *ret is DELETING: delete it, then ask again */
    BF_SANDBOX_WAIT,   /* ask again in *ret_wait_ms */
};

struct bf_sandbox_want {
    struct bf_sandbox_key key;
    int64_t owned_since; /* see struct bf_sandbox */
    int64_t need_ms;     /* it must live that long */
    int64_t now_ms, wall_ms;
};

/* -1: RETRY on no memory. */
int bf_sandbox_pool_acquire(struct bf_sandbox_pool *pool,
                            const struct bf_sandbox_want *want,
                            struct bf_sandbox **ret, int64_t *ret_wait_ms,
                            struct bf_err *err);

/* The provider has no room although we have: the longest idle one, DELETING
 * from here on; or NULL. */
struct bf_sandbox *bf_sandbox_pool_evict(struct bf_sandbox_pool *pool,
                                         int64_t now_ms, int64_t wall_ms);

/* It is there: STARTING becomes BUSY. Takes own. */
void bf_sandbox_pool_started(struct bf_sandbox_pool *pool,
                             struct bf_sandbox *sandbox, const char *id,
                             int64_t end_ms, void *own);

/* It is not; maybe: it may exist. In that case at the latest until end_ms. */
void bf_sandbox_pool_failed(struct bf_sandbox_pool *pool,
                            struct bf_sandbox *sandbox, bool maybe,
                            int64_t now_ms, int64_t end_ms);

/* A run begins in it, or ended. dirty: nothing else may run there. */
void bf_sandbox_pool_runs(struct bf_sandbox *sandbox);
void bf_sandbox_pool_release(struct bf_sandbox_pool *pool,
                             struct bf_sandbox *sandbox, bool dirty,
                             int64_t now_ms, int64_t wall_ms);

/* The provider has none of that id any more: frees it. */
void bf_sandbox_pool_gone(struct bf_sandbox_pool *pool,
                          struct bf_sandbox *sandbox, int64_t wall_ms);

/* It could not be deleted: later. */
void bf_sandbox_pool_undeleted(struct bf_sandbox_pool *pool,
                               struct bf_sandbox *sandbox, int64_t now_ms);

/* ---- housekeeping ---- */

/* One that is to be deleted now, DELETING from here on; or NULL. */
struct bf_sandbox *bf_sandbox_pool_to_delete(struct bf_sandbox_pool *pool,
                                             int64_t now_ms, int64_t wall_ms);

/* One whose end is near although it is used; answered by _renewed(); or NULL.
 * It may be gone by then: ask bf_sandbox_pool_find(). */
struct bf_sandbox *bf_sandbox_pool_to_renew(struct bf_sandbox_pool *pool,
                                            int64_t now_ms);
/* end_ms 0: it failed, and is tried again in a moment. */
void bf_sandbox_pool_renewed(struct bf_sandbox *sandbox, int64_t end_ms,
                             int64_t now_ms);

/* From now on nothing is kept: everything IDLE is deleted. */
void bf_sandbox_pool_stop(struct bf_sandbox_pool *pool);

/*
 * The shard is not ours any more, or was not in between: what it has IDLE is
 * left to its next owner, what was under way is deleted at once or never.
 */
void bf_sandbox_pool_lost(struct bf_sandbox_pool *pool, uint32_t shard,
                          int64_t now_ms, int64_t wall_ms);

/* Milliseconds until there is housekeeping, at most max_ms. */
int64_t bf_sandbox_pool_wait(const struct bf_sandbox_pool *pool, int64_t now_ms,
                             int64_t max_ms);

struct bf_sandbox *bf_sandbox_pool_find(const struct bf_sandbox_pool *pool,
                                        struct bf_slice id);
size_t bf_sandbox_pool_count(const struct bf_sandbox_pool *pool,
                             enum bf_sandbox_state state);
/* In no order; NULL past the last. For sweeps: do not change it meanwhile. */
const struct bf_sandbox *bf_sandbox_pool_at(const struct bf_sandbox_pool *pool,
                                            size_t i);

/* ---- what the provider lists ---- */

struct bf_sandbox_seen {
    struct bf_slice id;
    struct bf_slice nonce;
    struct bf_sandbox_key key;
    int64_t owned_since; /* of its metadata */
    int64_t end_ms;
    int64_t vcpu, memory_mb;
};

enum bf_sandbox_fate {
    BF_SANDBOX_LEAVE,  /* ours and known, or not for us to judge */
    BF_SANDBOX_REMOVE, /* *ret is DOOMED now */
    BF_SANDBOX_ADOPT,  /* *ret is STARTING: bring it up or give it back */
};

/* As whom we look at a list. */
struct bf_sandbox_sweep {
    int64_t owned_since; /* the shard is ours since then, for certain */
    bool adopt;          /* what fits may be used on */
    int64_t now_ms;
};

/*
 * Only older ones of strangers are touched; what we have made and nobody told
 * us of is removed. -1: RETRY on no memory.
 */
int bf_sandbox_pool_judge(struct bf_sandbox_pool *pool,
                          const struct bf_sandbox_seen *seen,
                          const struct bf_sandbox_sweep *sweep,
                          struct bf_sandbox **ret, struct bf_err *err);

/* A whole list of the shard's that was asked for at asked_ms had no such. */
void bf_sandbox_pool_listed(struct bf_sandbox_pool *pool, uint32_t shard,
                            int64_t asked_ms);

/* ---- what nobody's run paid for ---- */

/* A stretch, or several in one: idle_ms may be less than it spans. */
struct bf_sandbox_idle {
    char id[BF_SANDBOX_ID + 1];
    char workspace[BF_MAX_ID + 1];
    uint32_t shard;
    int64_t from_wall_ms, until_wall_ms;
    int64_t idle_ms;
    int64_t vcpu, memory_mb;
};

/* Takes the next one; false: none. */
bool bf_sandbox_pool_take_idle(struct bf_sandbox_pool *pool,
                               struct bf_sandbox_idle *ret);

#endif
