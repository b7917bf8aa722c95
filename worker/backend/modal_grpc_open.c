#include "worker/backend/modal_grpc_open.h"

#include "config/secret.h"
#include "schemas/err.h"
#include "schemas/limits.h"
#include "worker/url.h"

/* Of the app that we deploy: worker/runner/modal_app.py. */
#define CLS "Executor"
#define METHOD "call"

static struct bf_modal_grpc_config config_of(const struct bf_settings *s)
{
    return (struct bf_modal_grpc_config){
        .url = s->modal.api_url,
        .name = {.app = s->modal.app,
                 .cls = CLS,
                 .method = METHOD,
                 .environment = s->modal.environment},
        .startup_ms = s->modal.startup_ms,
        .calls_per_s = s->modal.rate,
        .calls_burst = s->modal.burst,
        .workspaces_per_s = s->modal.new_workspaces,
        .workspaces_burst = s->modal.new_workspaces_burst,
    };
}

/* A token that may do anything goes to nobody who could be overheard. */
static int check(const struct bf_settings *s, struct bf_err *err)
{
    if (strncmp(s->modal.api_url, "https:", 6) != 0 &&
        !bf_url_is_loopback(s->modal.api_url))
        return bf_err_set(err, BF_ERR_REJECT, "cleartext",
                          "modal.api_url must be https:// beyond this machine");
    if (!s->modal.app[0])
        return bf_err_set(err, BF_ERR_REJECT, "no_app", "modal.app is empty");
    if (s->modal.dialect == BF_MODAL_WEBEXEC)
        return bf_err_set(err, BF_ERR_REJECT, "dialect",
                          "modal.dialect webexec has no grpc transport");
    return 0;
}

struct bf_modal_grpc *bf_modal_grpc_open(const struct bf_settings *settings,
                                         struct bf_err *err)
{
    struct bf_modal_grpc_config config = config_of(settings);
    bf_autobuf struct bf_buf origin = BF_BUF_INIT(BF_MAX_URL + 16);
    bf_autosecret struct bf_secret *id = NULL;
    bf_autosecret struct bf_secret *secret = NULL;

    if (check(settings, err) || bf_url_origin(config.url, &origin, err) ||
        bf_secret_find(settings->modal.token_id_file, "MODAL_TOKEN_ID",
                       origin.data, &id, err) ||
        bf_secret_find(settings->modal.token_secret_file, "MODAL_TOKEN_SECRET",
                       origin.data, &secret, err))
        return NULL;
    if (!id || !secret) {
        bf_err_set(err, BF_ERR_REJECT, "no_token",
                   "modal.transport grpc needs MODAL_TOKEN_ID and "
                   "MODAL_TOKEN_SECRET, an API token");
        return NULL;
    }
    return bf_modal_grpc_new(&config, bf_take(id), bf_take(secret), err);
}
