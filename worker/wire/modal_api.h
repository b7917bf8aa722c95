#ifndef BF_WORKER_WIRE_MODAL_API_H
#define BF_WORKER_WIRE_MODAL_API_H

/*
 * The messages of Modal's gRPC API with which a method of a parametrized class
 * is called: requests are appended to a buffer, replies are read into structs
 * whose slices borrow from them. The numbers are in modal_fields.h. REJECT
 * "modal_api" for a reply that lacks what we need, "protobuf" for one that is
 * none, "too_large" at the buffer's ceiling, RETRY on no memory. Pure.
 */

#include "schemas/buf.h"

struct bf_err;

#define BF_MODAL_SERVICE "/modal.client.ModalClient/"
/* Ids are short; what is longer is refused. */
#define BF_MODAL_ID_MAX 128

/* -> {1 token}: the token; REJECT for one that is none. */
int bf_modal_read_token(struct bf_slice reply, struct bf_slice *ret,
                        struct bf_err *err);

/* When a JWT ends, in Unix ms; 0 when it does not say. */
int64_t bf_modal_token_ends_ms(struct bf_slice token);

struct bf_modal_name {
    const char *app;
    const char *cls;
    const char *method;
    const char *environment; /* "" for the default one */
};

/* A class's function, before and after it is bound to parameters. */
struct bf_modal_function {
    struct bf_slice id;
    uint64_t max_inline_bytes;       /* of a SYNC call */
    uint64_t max_async_inline_bytes; /* of an ASYNC call */
    uint32_t milli_cpu;              /* physical cores; 0: not told */
    uint32_t memory_mb;
};

int bf_modal_put_function_get(struct bf_buf *buf,
                              const struct bf_modal_name *name,
                              struct bf_err *err);
/*
 * REJECT, besides, for one that cannot be called as we do: other parameters
 * than the workspace_id, no such method, no CBOR, an input plane.
 */
int bf_modal_read_function(struct bf_slice reply,
                           const struct bf_modal_name *name,
                           struct bf_modal_function *ret, struct bf_err *err);

int bf_modal_put_bind(struct bf_buf *buf, const struct bf_modal_name *name,
                      struct bf_slice function_id, struct bf_slice workspace,
                      struct bf_err *err);
/* *ret: what FunctionGet told, with the bound id and limits in its place. */
int bf_modal_read_bound(struct bf_slice reply, const struct bf_modal_name *name,
                        struct bf_modal_function *ret, struct bf_err *err);

/*
 * The arguments of method(head: bytes, inputs: bytes), as CBOR, and what it
 * returned: [head: bytes, result: bytes | None] (worker/runner/modal_app.py).
 */
int bf_modal_put_args(struct bf_buf *buf, struct bf_slice head,
                      struct bf_slice inputs, struct bf_err *err);
struct bf_modal_value {
    struct bf_slice head;
    struct bf_slice result; /* ptr NULL: None */
};
int bf_modal_read_value(struct bf_slice data, struct bf_modal_value *ret,
                        struct bf_err *err);

struct bf_modal_call {
    struct bf_slice function_id;
    const char *method;
    bool async;           /* its outputs are kept for days */
    struct bf_slice args; /* inline; or */
    struct bf_slice blob; /* where they are, if that is set */
};
int bf_modal_put_map(struct bf_buf *buf, const struct bf_modal_call *call,
                     struct bf_err *err);
struct bf_modal_mapped {
    struct bf_slice call_id;
    struct bf_slice input_id;
};
int bf_modal_read_mapped(struct bf_slice reply, struct bf_modal_mapped *ret,
                         struct bf_err *err);

/* wait_s: how long the server may wait; now_ms: Unix time. */
int bf_modal_put_outputs(struct bf_buf *buf, struct bf_slice call_id,
                         float wait_s, int64_t now_ms, struct bf_err *err);

enum bf_modal_status { /* GenericResult's; what we do not know is UNKNOWN */
                       BF_MODAL_UNKNOWN,
                       BF_MODAL_SUCCESS,
                       BF_MODAL_FAILURE,
                       BF_MODAL_TERMINATED,
                       BF_MODAL_TIMEOUT,
                       BF_MODAL_INIT_FAILURE,
                       BF_MODAL_INTERNAL_FAILURE,
                       BF_MODAL_IDLE_TIMEOUT,
                       BF_MODAL_OUT_OF_MEMORY,
                       BF_MODAL_STATUSES,
};

struct bf_modal_outputs {
    bool ended;   /* the rest is set; else: */
    bool pending; /* it is under way; else: its result is gone */
    enum bf_modal_status status;
    struct bf_slice exception;
    struct bf_slice data; /* CBOR; or */
    struct bf_slice blob; /* where it is, if that is set */
    struct bf_slice task_id;
    struct bf_slice input_id;
    int64_t started_us; /* Unix time; 0: not told */
    int64_t ended_us;
};
int bf_modal_read_outputs(struct bf_slice reply, struct bf_modal_outputs *ret,
                          struct bf_err *err);

int bf_modal_put_cancel(struct bf_buf *buf, struct bf_slice call_id,
                        struct bf_err *err);

/* What a store of blobs checks. md5 and sha256 as base64. */
#define BF_MODAL_MD5_SIZE 25
#define BF_MODAL_SHA256_SIZE 45
struct bf_modal_digests {
    char md5[BF_MODAL_MD5_SIZE];
    char sha256[BF_MODAL_SHA256_SIZE];
};
int bf_modal_digest(struct bf_slice bytes, struct bf_modal_digests *ret,
                    struct bf_err *err);

int bf_modal_put_blob_create(struct bf_buf *buf, size_t len,
                             const struct bf_modal_digests *digests,
                             struct bf_err *err);
struct bf_modal_upload {
    struct bf_slice blob_id;
    struct bf_slice url;
};
/* REJECT, besides, when it wants the blob in parts. */
int bf_modal_read_upload(struct bf_slice reply, struct bf_modal_upload *ret,
                         struct bf_err *err);

int bf_modal_put_blob_get(struct bf_buf *buf, struct bf_slice blob_id,
                          struct bf_err *err);
int bf_modal_read_download(struct bf_slice reply, struct bf_slice *ret_url,
                           struct bf_err *err);

#endif
