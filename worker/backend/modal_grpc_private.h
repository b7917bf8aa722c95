#ifndef BF_WORKER_BACKEND_MODAL_GRPC_PRIVATE_H
#define BF_WORKER_BACKEND_MODAL_GRPC_PRIVATE_H

/* Between modal_grpc.c (what is shared, life) and modal_grpc_steps.c. */

#include "config/secret.h"
#include "worker/backend/block_request.h"
#include "worker/backend/grpc_call.h"
#include "worker/backend/modal_cache.h"
#include "worker/backend/modal_grpc.h"
#include "worker/backend/modal_grpc_facts.h"
#include "worker/pace.h"

#define BF_MODAL_CANCELS 1024

struct bf_modal_grpc {
    struct bf_modal_grpc_config config;
    struct bf_buf origin; /* of config.url, and whom the secrets are for */
    bool loopback;        /* so may its blobs be */
    struct bf_grpc_peer peer;
    struct bf_secret *token_id, *token_secret;
    struct bf_secret *jwt;   /* made of them; NULL: none yet */
    uint64_t jwt_serial;     /* of it, or of the last one that was had */
    int64_t jwt_ends_ms;     /* Unix time */
    int64_t jwt_refresh_ms;  /* Unix time: a new one from then on */
    int64_t jwt_backoff_ms;  /* after one that was refused */
    const void *auth_owner;  /* the run that asks for one; NULL: none */
    const void *class_owner; /* the same, for the class */
    /* The last such run failed, and so do those that waited for it. */
    const struct bf_modal_grpc_fact *unwell;
    int64_t unwell_until_ms; /* mono_ms */
    struct bf_modal_cache *cache;
    struct bf_pace calls, workspaces;
    struct bf_breaker breaker;
    char cancels[BF_MODAL_CANCELS][BF_MODAL_ID_MAX + 1]; /* calls */
    size_t ncancels;
    unsigned char random[16];
    uint64_t serial; /* of what has an idempotency key of its own */
};

/* What a run waits for. */
enum bf_modal_waits {
    BF_WAITS_START,
    BF_WAITS_LOOK,  /* a timer, to see what comes next */
    BF_WAITS_PAUSE, /* a timer, before the same attempt again */
    BF_WAITS_CALL,  /* a call's answer */
    BF_WAITS_PUT,   /* the blob store's, of the arguments */
    BF_WAITS_GET,   /* the blob store's, of the result */
};

enum bf_modal_chore { BF_CHORE_NONE, BF_CHORE_REFRESH, BF_CHORE_CANCEL };

struct bf_modal_grpc_run {
    struct bf_run run;
    struct bf_modal_grpc *modal;
    const struct bf_run_input *input; /* NULL: a chore */
    enum bf_modal_chore chore;
    enum bf_modal_waits waits;
    enum bf_modal_waits after_pause;
    enum bf_modal_stage stage;
    enum bf_pass pass;
    bool placed;   /* it had its turn to bind a workspace */
    bool its_turn; /* the same, to be called */
    bool reauthed, renewed;
    bool maybe;        /* a FunctionMap may have been carried out */
    bool ended;        /* the call is over; nobody has to cancel it */
    uint64_t serial;   /* of this try; the run's id is that of all its tries */
    uint64_t sent_jwt; /* jwt_serial of the call under way */
    struct bf_grpc_call call;
    struct bf_buf frame; /* of the call under way */
    struct bf_buf args;
    struct bf_modal_digests digests;
    char content_md5[48];
    const char *put_headers[2];
    char blob_id[BF_MODAL_ID_MAX + 1];
    struct bf_buf blob_url;
    int blob_tries;
    char call_id[BF_MODAL_ID_MAX + 1];
    int64_t asked_ms;
    int asks; /* for outputs, in a row, that failed */
    int64_t started_us, ended_us;
    struct bf_modal_function function; /* its resources; no id */
    struct bf_buf result;
    struct bf_block_answer answer;
    const char *alarm;
    bool relief;
    json_t *provider;
};

#define BF_MODAL_GRPC_MAGIC 0x4d475250U

static inline struct bf_modal_grpc_run *bf_modal_grpc_from(struct bf_run *run)
{
    bf_assert(run && run->magic == BF_MODAL_GRPC_MAGIC);
    return (struct bf_modal_grpc_run *)run;
}

bool bf_modal_grpc_token_ok(const struct bf_modal_grpc *modal, int64_t now_ms);
int bf_modal_grpc_set_token(struct bf_modal_grpc *modal, struct bf_slice token,
                            int64_t now_ms, struct bf_err *err);
/* That one was refused; a newer one stays. */
void bf_modal_grpc_refuse_token(struct bf_modal_grpc *modal, uint64_t serial);
/* A token was to be had and was not. */
void bf_modal_grpc_no_token(struct bf_modal_grpc *modal, int64_t now_ms);

/* To be cancelled by a chore. */
void bf_modal_grpc_cancel(struct bf_modal_grpc *modal, const char *call_id);

int bf_modal_grpc_step(struct bf_run *base, const struct bf_reply *reply,
                       struct bf_request *ret_request,
                       struct bf_run_end *ret_end, struct bf_err *err);

#endif
