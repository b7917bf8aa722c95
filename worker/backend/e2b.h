#ifndef BF_WORKER_BACKEND_E2B_H
#define BF_WORKER_BACKEND_E2B_H

/*
 * The backend e2b: sandboxes of E2B, or of a cloud that is compatible with it.
 * What all runs of a process share; loop thread only.
 */

#include "worker/backend.h"

struct bf_secret;

/* How a run gets into a sandbox. */
enum bf_e2b_path {
    BF_E2B_BY_EXECUTE, /* the code interpreter's kernel: the stock template */
    BF_E2B_BY_ENVD,    /* a process of its own: any template with Python */
    BF_E2B_BY_SERVER,  /* our block server: a template of ours */
};

/*
 * Is the shard ours now? Then in which epoch, and since when by the wall
 * clock: of two owners the one after the other has the greater one.
 */
typedef bool bf_e2b_owner_fn(const void *arg, uint32_t shard,
                             uint32_t *ret_epoch, int64_t *ret_since_ms);

struct bf_e2b_config {
    const char *api_url;     /* "": https://api.<domain> */
    const char *sandbox_url; /* "": of the domain */
    const char *domain;
    bool subdomain;
    const char *template_id;
    enum bf_e2b_path path;
    unsigned int port; /* of our block server */
    int64_t ttl_ms;  /* the provider ends a sandbox that long after a renewal */
    int64_t idle_ms; /* we do, when it is idle for that long */
    bool internet;   /* may user code reach the network? */
    bool strict;     /* a sandbox for each run */
    bool adopt;      /* use what an owner before us has left */
    size_t max;      /* sandboxes of this process */
    int64_t creates_per_s;
    int64_t vcpu, memory_mb; /* of the template, until E2B says it */
    const char *fleet;
    uint32_t shards;
    bf_e2b_owner_fn *owner;
    const void *owner_arg;
};

/*
 * config is copied; what it points to is borrowed. Takes the key, bound to
 * the API's origin, in any case. REJECT for a bad URL.
 */
struct bf_e2b *bf_e2b_new(const struct bf_e2b_config *config,
                          struct bf_secret *api_key, struct bf_err *err);
/* After the runs. */
void bf_e2b_free(struct bf_e2b *e2b);

struct bf_e2b_count {
    size_t starting, busy, idle;
    size_t leaving; /* to be deleted */
    size_t ghosts;  /* may exist: only a later list tells */
};
void bf_e2b_count(const struct bf_e2b *e2b, struct bf_e2b_count *ret);

#endif
