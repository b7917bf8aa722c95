#ifndef BF_WORKER_BACKEND_MODAL_GRPC_FACTS_H
#define BF_WORKER_BACKEND_MODAL_GRPC_FACTS_H

/*
 * What a failed call of Modal's gRPC API, or the result of a call that ended,
 * tells of a run: tables, no more. Pure.
 */

#include "worker/breaker.h"
#include "worker/verdict.h"
#include "worker/wire/grpc.h"
#include "worker/wire/modal_api.h"

/* What was to be done; all before MAP has started nothing. */
enum bf_modal_stage {
    BF_STAGE_AUTH,
    BF_STAGE_CLASS,
    BF_STAGE_BIND,
    BF_STAGE_UPLOAD,
    BF_STAGE_MAP,
    BF_STAGE_OUTPUTS, /* the call was made: it runs, or did */
    BF_STAGE_DOWNLOAD,
    BF_STAGE_CANCEL, /* of a chore */
    BF_STAGES,
};

struct bf_modal_grpc_fact {
    const char *cause; /* a literal */
    enum bf_try what;
    enum bf_reason reason; /* of FAILED */
    enum bf_sign sign;     /* for the breaker */
    const char *words;     /* for the operator, of a CREDENTIAL; or NULL */
};

/*
 * A call that failed for good. maybe: an attempt may have been carried out.
 * Never NULL.
 */
const struct bf_modal_grpc_fact *
bf_modal_grpc_failure(enum bf_modal_stage stage, enum bf_grpc_status status,
                      bool maybe);

/* A reply that is none: not protobuf, or without what has to be in it. */
const struct bf_modal_grpc_fact *
bf_modal_grpc_nonsense(enum bf_modal_stage stage);

/* How the call itself ended. */
const struct bf_modal_grpc_fact *
bf_modal_grpc_result(enum bf_modal_status status);

#endif
