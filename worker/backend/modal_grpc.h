#ifndef BF_WORKER_BACKEND_MODAL_GRPC_H
#define BF_WORKER_BACKEND_MODAL_GRPC_H

/*
 * Blocks on Modal through its gRPC API: a method of the deployed app's class is
 * called (worker/runner/modal_app.py), its result waited for and, if nobody
 * wants it any more, cancelled. What all runs share: the credential, the token
 * made of it, what is known of the app and of its workspaces. Loop thread.
 */

#include "worker/backend.h"
#include "worker/wire/modal_api.h"

struct bf_modal_grpc;
struct bf_secret;

struct bf_modal_grpc_config {
    const char *url; /* https://api.modal.com */
    struct bf_modal_name name;
    int64_t startup_ms;  /* a cold start, on top of a job's timeout */
    int64_t calls_per_s; /* of this process; 0: no limit */
    int64_t calls_burst;
    int64_t workspaces_per_s; /* that are not known yet */
    int64_t workspaces_burst;
};

/*
 * Takes both secrets, in any case: an API token (ak-…, as-…), bound to the
 * URL's origin. The strings of config are borrowed. REJECT "bad_url".
 */
struct bf_modal_grpc *
bf_modal_grpc_new(const struct bf_modal_grpc_config *config,
                  struct bf_secret *token_id, struct bf_secret *token_secret,
                  struct bf_err *err);
void bf_modal_grpc_free(struct bf_modal_grpc *modal);

#endif
