#include "worker/backend/modal_cache.h"

#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/limits.h"

#define SETS 512U
#define WAYS 4U /* 2,048 workspaces */

struct bound {
    char workspace[BF_MAX_ID + 1];
    int64_t used_ms;
    struct bf_modal_known known;
};

struct bf_modal_cache {
    struct bf_modal_known cls;
    struct bound bound[SETS][WAYS];
};

struct bf_modal_cache *bf_modal_cache_new(struct bf_err *err)
{
    struct bf_modal_cache *cache = calloc(1, sizeof(*cache));

    if (!cache)
        bf_err_oom(err);
    return cache;
}

void bf_modal_cache_free(struct bf_modal_cache *cache)
{
    free(cache);
}

static void set_known(struct bf_modal_known *known,
                      const struct bf_modal_function *function, int64_t mono_ms)
{
    bf_assert(function->id.len <= BF_MODAL_ID_MAX);
    memcpy(known->id, function->id.ptr, function->id.len);
    known->id[function->id.len] = '\0';
    known->function = *function;
    known->function.id = (struct bf_slice){known->id, function->id.len};
    known->until_ms = mono_ms + BF_MODAL_KNOWN_MS;
}

static bool is_known(const struct bf_modal_known *known, int64_t mono_ms)
{
    return known->id[0] && mono_ms < known->until_ms;
}

const struct bf_modal_function *
bf_modal_cache_class(const struct bf_modal_cache *cache, int64_t mono_ms)
{
    return is_known(&cache->cls, mono_ms) ? &cache->cls.function : NULL;
}

void bf_modal_cache_put_class(struct bf_modal_cache *cache,
                              const struct bf_modal_function *function,
                              int64_t mono_ms)
{
    set_known(&cache->cls, function, mono_ms);
}

static struct bound *set_of(struct bf_modal_cache *cache,
                            struct bf_slice workspace)
{
    return cache->bound[bf_hash64(workspace) % SETS];
}

const struct bf_modal_function *
bf_modal_cache_bound(struct bf_modal_cache *cache, struct bf_slice workspace,
                     int64_t mono_ms)
{
    struct bound *set = set_of(cache, workspace);

    for (size_t i = 0; i < WAYS; i++) {
        if (!is_known(&set[i].known, mono_ms) ||
            !bf_slice_is(workspace, set[i].workspace))
            continue;
        set[i].used_ms = mono_ms;
        return &set[i].known.function;
    }
    return NULL;
}

void bf_modal_cache_put_bound(struct bf_modal_cache *cache,
                              struct bf_slice workspace,
                              const struct bf_modal_function *function,
                              int64_t mono_ms)
{
    struct bound *set = set_of(cache, workspace), *place = set;

    bf_assert(set && workspace.ptr && workspace.len <= BF_MAX_ID);
    for (size_t i = 0; i < WAYS; i++) {
        if (bf_slice_is(workspace, set[i].workspace)) {
            place = &set[i];
            break;
        }
        if (set[i].used_ms < place->used_ms)
            place = &set[i];
    }
    memcpy(place->workspace, workspace.ptr, workspace.len);
    place->workspace[workspace.len] = '\0';
    place->used_ms = mono_ms;
    set_known(&place->known, function, mono_ms);
}

void bf_modal_cache_forget(struct bf_modal_cache *cache)
{
    memset(cache, 0, sizeof(*cache));
}
