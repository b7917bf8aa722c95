#ifndef BF_WORKER_WIRE_CONNECT_H
#define BF_WORKER_WIRE_CONNECT_H

/*
 * The Connect protocol as E2B's envd speaks it over HTTP/1.1 with JSON: frames
 * of a server stream, the codes of errors, and the events of
 * process.Process/Start. Sources: connectrpc.com/docs/protocol; e2b-dev/infra,
 * packages/envd/spec/process/process.proto. Pure.
 */

#include <stdbool.h>
#include <stdint.h>

#include "schemas/buf.h"

struct bf_err;

/* ---- codes ---- */

/* X(ENUM, name, HTTP status of a unary error that has it) */
#define BF_CONNECT_TABLE(X)                                                    \
    X(OK, "ok", 200)                                                           \
    X(CANCELED, "canceled", 499)                                               \
    X(UNKNOWN, "unknown", 0)                                                   \
    X(INVALID_ARGUMENT, "invalid_argument", 400)                               \
    X(DEADLINE_EXCEEDED, "deadline_exceeded", 504)                             \
    X(NOT_FOUND, "not_found", 404)                                             \
    X(ALREADY_EXISTS, "already_exists", 409)                                   \
    X(PERMISSION_DENIED, "permission_denied", 403)                             \
    X(RESOURCE_EXHAUSTED, "resource_exhausted", 429)                           \
    X(FAILED_PRECONDITION, "failed_precondition", 0)                           \
    X(ABORTED, "aborted", 0)                                                   \
    X(OUT_OF_RANGE, "out_of_range", 0)                                         \
    X(UNIMPLEMENTED, "unimplemented", 501)                                     \
    X(INTERNAL, "internal", 500)                                               \
    X(UNAVAILABLE, "unavailable", 503)                                         \
    X(DATA_LOSS, "data_loss", 0)                                               \
    X(UNAUTHENTICATED, "unauthenticated", 401)

enum bf_connect_code {
#define X(id, name, status) BF_CONNECT_##id,
    BF_CONNECT_TABLE(X)
#undef X
        BF_CONNECT_CODES,
};

const char *bf_connect_code_name(enum bf_connect_code code);

/* UNKNOWN for a name that is none. */
enum bf_connect_code bf_connect_code_parse(struct bf_slice name);

/* Of an answer that is not Connect's, as the vendor's SDK takes it. */
enum bf_connect_code bf_connect_code_of_status(int status);

#define BF_CONNECT_MESSAGE 200

struct bf_connect_error {
    enum bf_connect_code code;
    char message[BF_CONNECT_MESSAGE]; /* valid UTF-8, cut; "" when not said */
};

/*
 * Of an HTTP answer other than 200: {"code":"not_found","message":…}, or envd's
 * and the proxy's {"code":401,…}, or anything: then the status decides.
 */
void bf_connect_error_read(int status, struct bf_slice body,
                           struct bf_connect_error *ret);

/* ---- frames ---- */

#define BF_CONNECT_PREFIX 5
#define BF_CONNECT_MAX_FRAME (8U << 20)

enum {
    BF_CONNECT_COMPRESSED = 0x01, /* never, unless it was offered */
    BF_CONNECT_END = 0x02,        /* the last one: its JSON is the verdict */
};

void bf_connect_prefix(size_t len, unsigned char out[BF_CONNECT_PREFIX]);

struct bf_connect_frame {
    unsigned int flags;
    struct bf_slice data; /* borrowed */
};

/*
 * Cuts one frame off the front of *body. 1: *ret is filled in. 0: what is left
 * is no whole frame, none when *body is empty. REJECT "frame" for flags that
 * nobody asked for and lengths over the ceiling.
 */
int bf_connect_next(struct bf_slice *body, struct bf_connect_frame *ret,
                    struct bf_err *err);

/* ---- process.Process/Start ---- */

/* What the stream said, as far as it came. */
struct bf_process {
    struct bf_buf out, err; /* ceilings by the caller; the rest is dropped */
    bool out_cut, err_cut;
    bool started;
    uint32_t pid;
    bool ended;    /* its end came */
    bool exited;   /* by itself: exit_code holds; else by a signal */
    int exit_code; /* -1: none */
    bool whole;    /* the end frame came: nothing was lost */
    bool broken;   /* bytes came that are no such stream */
    struct bf_connect_error error; /* of the end frame */
};

void bf_process_release(struct bf_process *process);

/*
 * Takes what there is of a stream's body, which may be cut anywhere. Only RETRY
 * on no memory is an error.
 */
int bf_process_read(struct bf_slice body, struct bf_process *process,
                    struct bf_err *err);

#endif
