#ifndef BF_WORKER_HTTP_H
#define BF_WORKER_HTTP_H

/*
 * HTTP requests, many at once, without blocking: the only file that knows
 * libcurl. Its one promise beyond that: a request that is not idempotent and
 * whose body has begun to leave us is never sent twice, and each call ends
 * with what is known of its delivery. http and https only; no redirects,
 * cookies, credentials or compression; no proxy from the environment. Loop
 * thread only; the process ignores SIGPIPE.
 */

#include <stdint.h>

#include "schemas/buf.h"
#include "worker/http_kinds.h"

struct bf_err;
struct bf_http_pool;
struct bf_http_call;

struct bf_http_config {
    size_t max_connections; /* calls beyond it wait for a free one */
    size_t max_reply_bytes; /* ceiling of one reply's body */
    /*
     * Of all replies together; 0: none. Beyond it the largest ones that are
     * not whole yet end as TOO_LARGE, without a body.
     */
    size_t max_held_bytes;
    int64_t connect_timeout_ms;
    const char *proxy;   /* its URL; NULL: none. Borrowed */
    const char *ca_file; /* authorities, PEM; NULL: the system's. Borrowed */
};

struct bf_http_pool *bf_http_pool_new(const struct bf_http_config *config,
                                      struct bf_err *err);

/* Aborts every call. Those that were taken are freed before. */
void bf_http_pool_free(struct bf_http_pool *pool);

/* Readable when a socket has something for bf_http_pool_serve(). */
int bf_http_pool_fd(const struct bf_http_pool *pool);

/*
 * Milliseconds until bf_http_pool_serve() must be called whatever the
 * descriptor says, at most max_ms; 0 when a finished call waits to be taken.
 */
int bf_http_pool_wait(const struct bf_http_pool *pool, int max_ms);

/* Move every call as far as it goes. -1: FATAL. */
int bf_http_pool_serve(struct bf_http_pool *pool, struct bf_err *err);

/* Calls that are not finished, and bytes of replies that are held. */
size_t bf_http_pool_active(const struct bf_http_pool *pool);
size_t bf_http_pool_bytes(const struct bf_http_pool *pool);

#define BF_HTTP_SLICES 4

/*
 * The body stays valid until the call is taken or cancelled; the rest is
 * copied. All zero but the URL: a POST of nothing.
 */
struct bf_http_send {
    enum bf_method method;
    const char *url;
    const char *const *headers; /* "name: value" */
    size_t nheaders;
    const struct bf_secret_header *secrets;
    size_t nsecrets;
    const struct bf_slice *body; /* sent one after the other */
    size_t nbody;                /* at most BF_HTTP_SLICES */
    enum bf_http_version version;
    bool idempotent;        /* libcurl may send it again */
    size_t max_reply_bytes; /* 0: the pool's */
};

/*
 * Begins with the next bf_http_pool_serve(); never answers from inside of this
 * call. RETRY on no memory, REJECT "bad_url", "bad_header" or "bad_origin" (a
 * secret that is not for this URL).
 */
struct bf_http_call *bf_http_pool_send(struct bf_http_pool *pool,
                                       const struct bf_http_send *what,
                                       void *opaque, struct bf_err *err);

/* Kept of the lines of an answer's headers and trailers. */
#define BF_HTTP_HEADER_BYTES 16384

/* Whatever a server says: nobody is to stop us for good. */
#define BF_HTTP_RETRY_AFTER_MAX_MS 600000

enum bf_http_end {
    BF_HTTP_ANSWERED,  /* a whole answer: look at the status */
    BF_HTTP_UNSENT,    /* not a byte of the body left us */
    BF_HTTP_LOST,      /* some of it may have, and no whole answer came */
    BF_HTTP_TOO_LARGE, /* an answer came that is over a ceiling */
};

/* Borrowed from the call. */
struct bf_http_done {
    void *opaque;
    enum bf_http_end end;
    int status; /* 0: none came */
    struct bf_slice body;
    struct bf_slice headers; /* lines "name: value", trailers behind them */
    int64_t retry_after_ms;  /* 0: not said; BF_HTTP_RETRY_AFTER_MAX_MS */
    const char *error;       /* one sentence; "" when answered */
};

/* The last header or trailer of that name in such lines; ptr NULL: none. */
struct bf_slice bf_http_header(struct bf_slice headers, const char *name);

/* A finished call, now the caller's to free; NULL: none. */
struct bf_http_call *bf_http_pool_take(struct bf_http_pool *pool,
                                       struct bf_http_done *ret);

/* A call that was taken. NULL is a no-op. */
void bf_http_call_free(struct bf_http_call *call);

/*
 * Abort a call that was not taken: its connection is closed (HTTP/2: its
 * stream is reset), nothing more leaves us. Frees it. Returns UNSENT or LOST.
 */
enum bf_http_end bf_http_call_cancel(struct bf_http_call *call);

#endif
