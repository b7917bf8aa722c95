#include "worker/backend/modal_grpc_private.h"

#include <sodium.h>

#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/json.h"
#include "worker/url.h"

#define UNSAID_MS 1200000 /* of a token that does not say when it ends */
#define FIRST_BACKOFF_MS 500
#define MOST_BACKOFF_MS 60000

/* ---- what all runs share ------------------------------------------------- */

void bf_modal_grpc_free(struct bf_modal_grpc *modal)
{
    if (!modal)
        return;
    bf_buf_release(&modal->origin);
    bf_secret_free(modal->token_id);
    bf_secret_free(modal->token_secret);
    bf_secret_free(modal->jwt);
    bf_modal_cache_free(modal->cache);
    free(modal);
}

static void set_secret(struct bf_modal_grpc *modal, size_t i, const char *name,
                       const struct bf_secret *secret)
{
    modal->peer.secrets[i] = (struct bf_secret_header){name, "", secret};
    modal->peer.nsecrets = i + 1;
}

static int init(struct bf_modal_grpc *modal,
                const struct bf_modal_grpc_config *config, struct bf_err *err)
{
    modal->origin.max = (size_t)2 * BF_MAX_URL;
    if (bf_url_origin(config->url, &modal->origin, err))
        return -1;
    modal->loopback = bf_url_is_loopback(config->url);
    modal->peer.url = modal->origin.data;
    modal->peer.host = strstr(modal->origin.data, "://") + 3;
    set_secret(modal, 0, "x-modal-token-id", modal->token_id);
    set_secret(modal, 1, "x-modal-token-secret", modal->token_secret);
    modal->jwt_backoff_ms = FIRST_BACKOFF_MS;
    bf_pace_init(&modal->calls, config->calls_per_s, config->calls_burst);
    bf_pace_init(&modal->workspaces, config->workspaces_per_s,
                 config->workspaces_burst);
    bf_breaker_init(&modal->breaker);
    randombytes_buf(modal->random, sizeof(modal->random));
    modal->cache = bf_modal_cache_new(err);
    return modal->cache ? 0 : -1;
}

struct bf_modal_grpc *
bf_modal_grpc_new(const struct bf_modal_grpc_config *config,
                  struct bf_secret *token_id, struct bf_secret *token_secret,
                  struct bf_err *err)
{
    struct bf_modal_grpc *modal = calloc(1, sizeof(*modal));

    bf_assert(token_id && token_secret);
    if (!modal) {
        bf_secret_free(token_id);
        bf_secret_free(token_secret);
        bf_err_oom(err);
        return NULL;
    }
    modal->config = *config;
    modal->token_id = token_id;
    modal->token_secret = token_secret;
    if (init(modal, config, err)) {
        bf_modal_grpc_free(modal);
        return NULL;
    }
    return modal;
}

bool bf_modal_grpc_token_ok(const struct bf_modal_grpc *modal, int64_t now_ms)
{
    return modal->jwt && now_ms < modal->jwt_ends_ms;
}

static void drop_token(struct bf_modal_grpc *modal)
{
    bf_secret_free(bf_take(modal->jwt));
    modal->peer.nsecrets = 2;
}

void bf_modal_grpc_refuse_token(struct bf_modal_grpc *modal, uint64_t serial)
{
    if (serial == modal->jwt_serial)
        drop_token(modal);
}

/* A new one after half of its life and a bit, so that a fleet does not come
 * as one. */
int bf_modal_grpc_set_token(struct bf_modal_grpc *modal, struct bf_slice token,
                            int64_t now_ms, struct bf_err *err)
{
    int64_t ends_ms = bf_modal_token_ends_ms(token);
    int64_t left;
    struct bf_secret *jwt = bf_secret_new(token, modal->origin.data, err);

    if (!jwt)
        return -1;
    drop_token(modal);
    modal->jwt = jwt;
    modal->jwt_serial++;
    set_secret(modal, 2, "x-modal-auth-token", jwt);
    left = ends_ms > 0 ? ends_ms - now_ms : UNSAID_MS;
    /* One that is over already, by our clock: use it a little all the same. */
    left = left > FIRST_BACKOFF_MS ? left : FIRST_BACKOFF_MS;
    modal->jwt_ends_ms = now_ms + left;
    modal->jwt_refresh_ms =
        now_ms + left / 2 + left / 10 * (int64_t)randombytes_uniform(100) / 100;
    modal->jwt_backoff_ms = FIRST_BACKOFF_MS;
    return 0;
}

void bf_modal_grpc_no_token(struct bf_modal_grpc *modal, int64_t now_ms)
{
    modal->jwt_refresh_ms = now_ms + modal->jwt_backoff_ms;
    modal->jwt_backoff_ms *= 2;
    if (modal->jwt_backoff_ms > MOST_BACKOFF_MS)
        modal->jwt_backoff_ms = MOST_BACKOFF_MS;
}

/* The oldest has to go where there are too many: it ends by itself, later. */
void bf_modal_grpc_cancel(struct bf_modal_grpc *modal, const char *call_id)
{
    size_t size = sizeof(modal->cancels[0]);

    if (modal->ncancels == BF_MODAL_CANCELS) {
        memmove(modal->cancels[0], modal->cancels[1],
                (BF_MODAL_CANCELS - 1) * size);
        modal->ncancels--;
    }
    snprintf(modal->cancels[modal->ncancels++], size, "%s", call_id);
}

/* ---- a run's life -------------------------------------------------------- */

/* Head, arguments, and the frame around them; the answer's copy comes when
 * these are gone. */
static size_t grpc_weigh(const struct bf_run_input *input)
{
    const struct bf_job *job = input->job;

    return 2 * (job->inputs.len + 2 * job->block.len + job->context.len) + 8192;
}

static struct bf_modal_grpc_run *new_run(struct bf_modal_grpc *modal,
                                         struct bf_err *err)
{
    struct bf_modal_grpc_run *run = calloc(1, sizeof(*run));

    if (!run) {
        bf_err_oom(err);
        return NULL;
    }
    run->run.magic = BF_MODAL_GRPC_MAGIC;
    run->run.backend = &bf_backend_modal_grpc;
    run->modal = modal;
    run->serial = modal->serial++;
    run->pass = BF_PASS_NO;
    run->frame.max = BF_MAX_BLOCK_REQUEST;
    run->args.max = BF_MAX_BLOCK_REQUEST;
    run->result.max = BF_MAX_RESULT + 4096;
    run->blob_url.max = 8192 + 1;
    return run;
}

static struct bf_run *grpc_begin(const struct bf_backend_config *config,
                                 const struct bf_run_input *input,
                                 struct bf_err *err)
{
    struct bf_modal_grpc_run *run;

    if (!config->modal_grpc) {
        bf_err_set(err, BF_ERR_REJECT, "no_backend", "modal.app is not set");
        return NULL;
    }
    if (bf_block_request_check(input, BF_WIRE_BLOCKFLEET, err))
        return NULL;
    run = new_run(config->modal_grpc, err);
    if (!run)
        return NULL;
    run->input = input;
    return &run->run;
}

static void grpc_free(struct bf_run *base)
{
    struct bf_modal_grpc_run *run;

    if (!base)
        return;
    run = bf_modal_grpc_from(base);
    if (run->modal->auth_owner == run)
        run->modal->auth_owner = NULL;
    if (run->modal->class_owner == run)
        run->modal->class_owner = NULL;
    /* Nobody waits for it any more. */
    if (run->chore == BF_CHORE_NONE && run->call_id[0] && !run->ended)
        bf_modal_grpc_cancel(run->modal, run->call_id);
    if (run->pass != BF_PASS_NO)
        bf_breaker_leave(&run->modal->breaker, 0, run->pass, BF_SIGN_NONE, 0);
    bf_buf_release(&run->frame);
    bf_buf_release(&run->args);
    bf_buf_release(&run->blob_url);
    bf_buf_release(&run->result);
    bf_block_answer_release(&run->answer);
    json_decref(run->provider);
    run->run.magic = 0;
    free(run);
}

/* ---- chores -------------------------------------------------------------- */

static struct bf_run *cancel_chore(struct bf_modal_grpc *modal)
{
    struct bf_err ignored = {0};
    struct bf_modal_grpc_run *run = new_run(modal, &ignored);

    if (!run)
        return NULL;
    run->chore = BF_CHORE_CANCEL;
    memcpy(run->call_id, modal->cancels[--modal->ncancels],
           sizeof(run->call_id));
    return &run->run;
}

static struct bf_run *refresh_chore(struct bf_modal_grpc *modal)
{
    struct bf_err ignored = {0};
    struct bf_modal_grpc_run *run = new_run(modal, &ignored);

    if (!run)
        return NULL;
    run->chore = BF_CHORE_REFRESH;
    modal->auth_owner = run;
    return &run->run;
}

static struct bf_run *grpc_chore(const struct bf_backend_config *config,
                                 int64_t now_ms, int64_t mono_ms,
                                 int64_t *ret_next_ms)
{
    struct bf_modal_grpc *modal = config->modal_grpc;

    if (!modal)
        return NULL;
    if (modal->ncancels > 0)
        return cancel_chore(modal);
    /* Nobody needs one any more. */
    if (config->stopping || !modal->jwt || modal->auth_owner)
        return NULL;
    if (now_ms >= modal->jwt_refresh_ms)
        return refresh_chore(modal);
    *ret_next_ms = mono_ms + modal->jwt_refresh_ms - now_ms;
    return NULL;
}

const struct bf_backend bf_backend_modal_grpc = {
    .name = "modal",
    .weigh = grpc_weigh,
    .begin = grpc_begin,
    .step = bf_modal_grpc_step,
    .free = grpc_free,
    .chore = grpc_chore,
};
