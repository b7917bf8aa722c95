#ifndef BF_WORKER_FORWARD_H
#define BF_WORKER_FORWARD_H

/*
 * Runs that go over HTTP: a backend's request becomes a call, signed if that
 * is asked for, what came of it becomes the backend's reply. Loop thread only.
 */

#include "schemas/sign.h"
#include "worker/backend.h"
#include "worker/http.h"

struct bf_forward {
    struct bf_http_pool *pool;
    const struct bf_signer *signer; /* purpose run; NULL: unsigned */
};

/*
 * Signs anew on every call, since nonces are for one use. The request's bytes
 * stay valid until the call is taken or cancelled. input: of a run; NULL for a
 * chore, which nobody signs.
 */
struct bf_http_call *bf_forward_send(const struct bf_forward *forward,
                                     const struct bf_run_input *input,
                                     const struct bf_request *request,
                                     void *opaque, struct bf_err *err);

/* What a backend is told of a call that was taken; borrows from done. */
struct bf_reply bf_forward_reply(const struct bf_http_done *done);

/* Its time has passed: aborts the call, frees it. kind: DEADLINE or LATE. */
struct bf_reply bf_forward_kill(struct bf_http_call *call,
                                enum bf_reply_kind kind);

#endif
