#ifndef BF_WORKER_BACKEND_MODAL_CACHE_H
#define BF_WORKER_BACKEND_MODAL_CACHE_H

/*
 * What is known of an app at Modal: its class's function, and that function
 * bound to each of the workspaces that were called lately. Pure.
 */

#include "worker/wire/modal_api.h"

/* As bf_modal_function, with an id of its own. */
struct bf_modal_known {
    char id[BF_MODAL_ID_MAX + 1];      /* "": nothing is known */
    struct bf_modal_function function; /* its id is the one above */
    int64_t until_ms;                  /* mono_ms; old news from then on */
};

/* For so long what was learnt is believed. */
#define BF_MODAL_KNOWN_MS 300000

struct bf_modal_cache;

struct bf_modal_cache *bf_modal_cache_new(struct bf_err *err);
void bf_modal_cache_free(struct bf_modal_cache *cache);

/* NULL: not known, or no more. Until the next call of any other function. */
const struct bf_modal_function *
bf_modal_cache_class(const struct bf_modal_cache *cache, int64_t mono_ms);
const struct bf_modal_function *
bf_modal_cache_bound(struct bf_modal_cache *cache, struct bf_slice workspace,
                     int64_t mono_ms);

void bf_modal_cache_put_class(struct bf_modal_cache *cache,
                              const struct bf_modal_function *function,
                              int64_t mono_ms);
void bf_modal_cache_put_bound(struct bf_modal_cache *cache,
                              struct bf_slice workspace,
                              const struct bf_modal_function *function,
                              int64_t mono_ms);

/* All of it: the app was deployed anew. */
void bf_modal_cache_forget(struct bf_modal_cache *cache);

#endif
