#ifndef BF_WORKER_BACKEND_GRPC_CALL_H
#define BF_WORKER_BACKEND_GRPC_CALL_H

/*
 * One unary call of Modal's gRPC API, with all of its attempts: the headers
 * that its clients send, and when they try again. Sources: modal-client's
 * _utils/grpc_utils.py and what the SDK was seen to send. Pure.
 */

#include "schemas/ids.h"
#include "worker/backend.h"
#include "worker/wire/grpc.h"

/* Whom to call, the same for all calls; borrowed. */
struct bf_grpc_peer {
    const char *url;  /* https://host, no slash behind it */
    const char *host; /* alone */
    struct bf_secret_header secrets[3];
    size_t nsecrets;
};

#define BF_GRPC_LINES 14
#define BF_GRPC_LINE 96

struct bf_grpc_call {
    const char *rpc; /* a literal */
    bool started;
    int64_t began_ms; /* mono_ms of the first attempt */
    int retries;      /* that count */
    int throttled;    /* that the server asked for */
    bool maybe;       /* an attempt may have been carried out */
    char key[BF_UUID_SIZE];
    char url[512];
    char host[300];
    char lines[BF_GRPC_LINES][BF_GRPC_LINE];
    const char *headers[BF_GRPC_LINES];
};

/* key: names the call, the same for each of its attempts: hex of 128 bits. */
void bf_grpc_call_init(struct bf_grpc_call *call, const char *rpc,
                       const char key[BF_HEX128_SIZE]);

/*
 * The next attempt. body is a whole frame. What *ret points to is the call's,
 * the peer's and the body's. `runs`, grace_ms and idempotent are the caller's.
 */
void bf_grpc_call_send(struct bf_grpc_call *call,
                       const struct bf_grpc_peer *peer, struct bf_slice body,
                       int64_t timeout_ms, int64_t mono_ms,
                       struct bf_request *ret);

enum bf_grpc_news {
    BF_GRPC_ANSWERED, /* message is set */
    BF_GRPC_WAIT,     /* the next attempt, after wait_ms */
    BF_GRPC_FAILED,   /* status and follows say how */
};

struct bf_grpc_outcome {
    enum bf_grpc_news news;
    enum bf_grpc_status status;
    enum bf_grpc_follows follows;
    struct bf_slice message; /* borrowed from the reply */
    int64_t wait_ms;         /* WAIT; FAILED: what the server asked for, or 0 */
};

/* What a reply of any kind but NONE and DEADLINE means for the call. */
struct bf_grpc_outcome bf_grpc_call_take(struct bf_grpc_call *call,
                                         const struct bf_reply *reply,
                                         size_t max_bytes);

#endif
