#ifndef BF_DISPATCHER_HTTP_H
#define BF_DISPATCHER_HTTP_H

/*
 * HTTP/1.1 in front of an application: the only file that knows libmicrohttpd
 * (0.9.75 and later). Runs on the caller's loop: one thread, never blocks. A
 * request may be answered at once or any time later, from the same thread;
 * until then its connection is suspended and costs nothing.
 */

#include <sys/types.h>

#include "schemas/buf.h"

struct bf_err;
struct bf_http;
struct bf_problem;
struct bf_request;

/*
 * What the application does with a request. begin: the headers are there; the
 * request may be answered now, which spares reading its body. body: a piece of
 * it, returns how many bytes were taken; with fewer than all, the rest comes
 * again after bf_request_resume(). end: all of it was taken. gone: the request
 * is over, answered or not; its state must be let go of. An unknown method
 * comes like any other.
 */
struct bf_http_ops {
    void (*begin)(void *arg, struct bf_request *req);
    size_t (*body)(void *arg, struct bf_request *req, struct bf_slice piece);
    void (*end)(void *arg, struct bf_request *req);
    void (*gone)(void *arg, struct bf_request *req);
};

/* Memory of a connection: request line and headers have to fit. */
#define BF_HTTP_HEAD_BYTES (64U << 10)

/* Borrowed until bf_http_free(), save listen. */
struct bf_http_conf {
    const char *listen; /* host:port or [IPv6]:port; port 0: any free one */
    unsigned max_connections;
    unsigned connections_per_ip; /* 0: as many as there are */
    int64_t header_timeout_ms;   /* until a request's headers are there */
    uint64_t least_bytes_per_s;  /* of a body or an answer; 0: any */
    unsigned timeout_s;          /* of a connection on which nothing moves */
    size_t max_body_bytes;       /* more is discarded and answered with 413 */
    const char *tls_cert, *tls_key; /* PEM files; NULL: HTTP without TLS */
    const struct bf_http_ops *ops;
    void *arg;
};

struct bf_http *bf_http_new(const struct bf_http_conf *conf,
                            struct bf_err *err);

/* NULL is a no-op. Requests without an answer lose their connections. */
void bf_http_free(struct bf_http *http);
BF_DEFINE_CLEANUP(bf_http_freep_, struct bf_http *, bf_http_free)
#define bf_autohttp bf_cleanup(bf_http_freep_)

/* "127.0.0.1:43211", as bound. */
const char *bf_http_address(const struct bf_http *http);
bool bf_http_is_loopback(const struct bf_http *http);

/* Readable when bf_http_run() has something to do. */
int bf_http_fd(const struct bf_http *http);
/* Call it after this many ms at the latest; -1: no need. */
int bf_http_timeout_ms(struct bf_http *http);
void bf_http_run(struct bf_http *http);

/*
 * Once a second or so. 1: the certificate or its key have changed, and new
 * connections get the new one; those that are there keep theirs and are closed
 * with their next answer, or when none is asked for. 0: nothing new. -1: they
 * have changed and cannot be used; the old ones go on, and *err is set once for
 * each change.
 */
int bf_http_renew(struct bf_http *http, struct bf_err *err);

/* No new connections; those that are there are closed with their answers. */
void bf_http_quiesce(struct bf_http *http);
/* Requests that have begun and are not gone. */
size_t bf_http_active(const struct bf_http *http);
size_t bf_http_connections(const struct bf_http *http);
/* Bytes of answers in memory that are not sent to their end. */
size_t bf_http_held_bytes(const struct bf_http *http);
/* Connections that were closed for being slow, so far. */
uint64_t bf_http_expired(const struct bf_http *http);

const char *bf_request_method(const struct bf_request *req);
/* Decoded, without the query. */
const char *bf_request_path(const struct bf_request *req);
/* NULL when absent. */
const char *bf_request_query(const struct bf_request *req, const char *name);
/* The name of the i-th parameter, from 0; NULL: there are no more. */
const char *bf_request_query_name(const struct bf_request *req, size_t i);
const char *bf_request_header(const struct bf_request *req, const char *name);

/* Since its headers were there; so far. */
int64_t bf_request_age_us(const struct bf_request *req);
/* That of its answer; 0: none was sent, or not to its end. */
unsigned bf_request_status(const struct bf_request *req);

/* A mark of the application, besides its state; NULL at the beginning. */
void bf_request_set_mark(struct bf_request *req, const void *mark);
const void *bf_request_mark(const struct bf_request *req);

/* The application's own; NULL at the beginning. */
void bf_request_set_state(struct bf_request *req, void *state);
void *bf_request_state(const struct bf_request *req);

/* A body that is not in memory. Loop thread. */
#define BF_ANSWER_OPEN UINT64_MAX
#define BF_ANSWER_END ((ssize_t)-2)
struct bf_answer_stream {
    uint64_t bytes; /* in all; BF_ANSWER_OPEN: nobody knows yet */
    /*
     * 1 to size bytes from pos on; -1 cuts the connection. Of an open one also
     * BF_ANSWER_END, and 0 for none yet: it is asked again after
     * bf_request_resume(). free may come before the request is gone or after.
     */
    ssize_t (*read)(void *arg, uint64_t pos, char *out, size_t size);
    void (*free)(void *arg);
    void *arg;
};

#define BF_ANSWER_HEADERS 6
struct bf_answer {
    unsigned status;
    const char *content_type; /* a literal; NULL: no body */
    struct {
        const char *name; /* a literal */
        char value[400];
    } headers[BF_ANSWER_HEADERS];
    size_t nheaders;
    struct bf_buf body;             /* taken */
    struct bf_answer_stream stream; /* instead, when read is set; taken */
};
/* A value that is too long or has line breaks is left out. */
void bf_answer_header(struct bf_answer *answer, const char *name,
                      const char *value);

/*
 * Answer a request that has none yet. Takes the body or stream; the first
 * answer wins, a second one is dropped.
 */
void bf_request_answer(struct bf_request *req, struct bf_answer *answer);
/* With problem details, and Retry-After where one should come again. */
void bf_request_refuse(struct bf_request *req,
                       const struct bf_problem *problem);
bool bf_request_answered(const struct bf_request *req);

/* Its refusals are a line of text: it is of a client that knows no others. */
void bf_request_set_plain(struct bf_request *req);

/* In begin: the application sets its own limit on this body. */
void bf_request_unlimit(struct bf_request *req);

/*
 * Go on with a body of which not all was taken, or with an open answer that
 * has more.
 */
void bf_request_resume(struct bf_request *req);

#endif
