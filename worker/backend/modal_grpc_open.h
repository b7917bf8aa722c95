#ifndef BF_WORKER_BACKEND_MODAL_GRPC_OPEN_H
#define BF_WORKER_BACKEND_MODAL_GRPC_OPEN_H

/* The gRPC transport of the modal backend as the options have it. */

#include "config/settings.h"
#include "worker/backend/modal_grpc.h"

/*
 * Finds the token, too. settings are borrowed. REJECT says which option, or
 * what of the environment, is missing or not to be used.
 */
struct bf_modal_grpc *bf_modal_grpc_open(const struct bf_settings *settings,
                                         struct bf_err *err);

#endif
