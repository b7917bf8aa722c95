#ifndef BF_WORKER_WIRE_GRPC_H
#define BF_WORKER_WIRE_GRPC_H

/*
 * gRPC over HTTP/2 as a client of unary calls sees it: the frame around a
 * message, what the trailers say, and what follows from a status. Sources:
 * grpc's doc/PROTOCOL-HTTP2.md and doc/http-grpc-status-mapping.md; what
 * follows, as Modal's clients do it. Pure.
 */

#include "schemas/buf.h"

struct bf_err;

/* ---- frames -------------------------------------------------------------- */

#define BF_GRPC_PREFIX 5

/* Stands before a message of len bytes, which is not compressed. */
void bf_grpc_prefix(size_t len, unsigned char out[BF_GRPC_PREFIX]);

/*
 * Takes one whole frame off the front of *in. 1: *ret is its message, borrowed;
 * 0: more bytes are wanted, none were taken. REJECT "grpc" for a compressed
 * frame, which nobody asked for, and for one of more than max bytes: nothing
 * after it can be read.
 */
int bf_grpc_next(struct bf_slice *in, size_t max, struct bf_slice *ret,
                 struct bf_err *err);

/* The one message of a whole body; REJECT "grpc" for none, half, or more. */
int bf_grpc_unary(struct bf_slice body, size_t max, struct bf_slice *ret,
                  struct bf_err *err);

/* ---- statuses ------------------------------------------------------------ */

enum bf_grpc_status {
    BF_GRPC_OK,
    BF_GRPC_CANCELLED,
    BF_GRPC_UNKNOWN,
    BF_GRPC_INVALID_ARGUMENT,
    BF_GRPC_DEADLINE_EXCEEDED,
    BF_GRPC_NOT_FOUND,
    BF_GRPC_ALREADY_EXISTS,
    BF_GRPC_PERMISSION_DENIED,
    BF_GRPC_RESOURCE_EXHAUSTED,
    BF_GRPC_FAILED_PRECONDITION,
    BF_GRPC_ABORTED,
    BF_GRPC_OUT_OF_RANGE,
    BF_GRPC_UNIMPLEMENTED,
    BF_GRPC_INTERNAL,
    BF_GRPC_UNAVAILABLE,
    BF_GRPC_DATA_LOSS,
    BF_GRPC_UNAUTHENTICATED,
    BF_GRPC_STATUSES,
};

enum bf_grpc_follows {
    BF_GRPC_DONE,    /* there is a message */
    BF_GRPC_AGAIN,   /* the same call again, soon and a few times */
    BF_GRPC_LATER,   /* not taken: from the start, after a while */
    BF_GRPC_GONE,    /* an id is not known there (any more) */
    BF_GRPC_REFUSED, /* this call never will be taken */
    BF_GRPC_STOP,    /* no call of this credential or client will be */
};

/* "UNAVAILABLE". */
const char *bf_grpc_status_name(enum bf_grpc_status status);
enum bf_grpc_follows bf_grpc_follows(enum bf_grpc_status status);

/*
 * Of a reply: its HTTP status, and grpc-status (ptr NULL: there was none, as
 * when the peer died, or a proxy answered in its place).
 */
enum bf_grpc_status bf_grpc_status_of(int http_status, struct bf_slice text);

/*
 * Appends what grpc-message says, at most max bytes of it, percent-decoded, as
 * UTF-8 and without control characters. RETRY on no memory.
 */
int bf_grpc_message(struct bf_buf *out, struct bf_slice text, size_t max,
                    struct bf_err *err);

#define BF_GRPC_DETAILS_MAX 4096          /* bytes of grpc-status-details-bin */
#define BF_GRPC_RETRY_AFTER_MAX_MS 600000 /* whatever a server says */

/*
 * The wait that a modal.client.RPCRetryPolicy in grpc-status-details-bin asks
 * for, in ms and at least 100; 0 when there is none, or none to be read.
 */
int64_t bf_grpc_retry_after_ms(struct bf_slice details);

#endif
