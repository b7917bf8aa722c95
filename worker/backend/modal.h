#ifndef BF_WORKER_BACKEND_MODAL_H
#define BF_WORKER_BACKEND_MODAL_H

/*
 * What all runs on Modal share: whom they call, and what was learnt of it. By
 * one credential and one endpoint. Loop thread.
 */

#include "worker/backend.h"
#include "worker/backend/block_request.h"
#include "worker/breaker.h"
#include "worker/gzip.h"
#include "worker/lately.h"
#include "worker/pace.h"

struct bf_modal_config {
    const char *url; /* of execute_block, without ?workspace_id= */
    enum bf_block_wire wire;
    enum bf_gzip_policy gzip;
    int64_t startup_ms;  /* a cold start, on top of a job's timeout */
    int64_t calls_per_s; /* of this process; 0: no limit */
    int64_t calls_burst;
    int64_t workspaces_per_s; /* that were not called lately */
    int64_t workspaces_burst;
};

struct bf_modal {
    struct bf_modal_config config; /* its strings are borrowed */
    struct bf_secret_header secrets[2];
    size_t nsecrets;
    struct bf_secret *token_id, *token_secret; /* owned */
    struct bf_pace calls, workspaces;
    struct bf_lately *seen;  /* workspaces: mono_ms of their first turn */
    struct bf_lately *known; /* code that the endpoint has, of a workspace */
    struct bf_breaker breaker;
};

/*
 * Takes both secrets, in any case; NULL where the endpoint asks for none. They
 * are bound to the URL's origin.
 */
struct bf_modal *bf_modal_new(const struct bf_modal_config *config,
                              struct bf_secret *token_id,
                              struct bf_secret *token_secret,
                              struct bf_err *err);
void bf_modal_free(struct bf_modal *modal);

#endif
