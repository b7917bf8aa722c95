#ifndef BF_DISPATCHER_CLI_CLIENT_H
#define BF_DISPATCHER_CLI_CLIENT_H

/*
 * The dispatcher's HTTP API from the other side: one connection, one request
 * at a time, blocking. One thread.
 */

#include <jansson.h>
#include <stdio.h>

#include "schemas/buf.h"

struct bf_err;

struct bf_client;

/*
 * base: "http://127.0.0.1:8080", a path may follow. token: sent as a bearer
 * token, NULL for none; wiped when freed. REJECT "usage" for another scheme.
 */
struct bf_client *bf_client_new(const char *base, const char *token,
                                struct bf_err *err);
void bf_client_free(struct bf_client *client);
BF_DEFINE_CLEANUP(bf_client_freep_, struct bf_client *, bf_client_free)
#define bf_autoclient bf_cleanup(bf_client_freep_)

/* Trust an https:// base by this PEM file, borrowed; "" is the system's. */
void bf_client_trust(struct bf_client *client, const char *ca_file);

/* Everything is borrowed; NULL for what a request does not have. */
struct bf_client_request {
    const char *method;
    const char *path; /* with its query, escaped */
    struct bf_slice body;
    const char *content_type;
    const char *idempotency_key;
    int timeout_ms;
    int tries;  /* 1: once; more is for requests that are safe to repeat */
    FILE *sink; /* takes a successful answer's body as it comes */
};

#define BF_CLIENT_MAX_REPLY (32U << 20)

struct bf_client_reply {
    unsigned status;
    struct bf_buf body;
    char cursor[160]; /* Bf-Cursor; "" for none */
    int64_t sunk;     /* bytes that went into the sink */
    int retry_after_ms;
};
#define BF_CLIENT_REPLY                                                        \
    {                                                                          \
        .body = BF_BUF_INIT(BF_CLIENT_MAX_REPLY)                               \
    }
void bf_client_reply_release(struct bf_client_reply *reply);
#define bf_autoreply bf_cleanup(bf_client_reply_release)

/*
 * 0: a status below 400. -1: RETRY "unreachable" (no answer, or 502-504 to the
 * end), REJECT "refused" (any other status, with the problem's own words),
 * "local" (the sink). A request is repeated after no answer, 429 and 502-504,
 * with growing pauses, as often as it says.
 */
int bf_client_send(struct bf_client *client,
                   const struct bf_client_request *request,
                   struct bf_client_reply *ret, struct bf_err *err);

/*
 * GET a JSON object, patiently; new reference, NULL on failure. ret_status may
 * be NULL; 0 when there was no answer.
 */
json_t *bf_client_get(struct bf_client *client, const char *path,
                      unsigned *ret_status, struct bf_err *err);

/*
 * GET what comes in pages, an object a line, all of it: path has a query, but
 * no cursor. The doc is borrowed for the call and may be changed. 1: no more of
 * them are wanted.
 */
typedef int bf_client_row_fn(void *arg, json_t *doc, struct bf_err *err);
int bf_client_rows(struct bf_client *client, const char *path,
                   bf_client_row_fn *row, void *arg, struct bf_err *err);

/* Append name=value to a path, escaped, with ? or & before it. */
int bf_client_query(struct bf_buf *path, const char *name, const char *value,
                    struct bf_err *err);

/* Append one segment of a path, escaped, with / before it. */
int bf_client_segment(struct bf_buf *path, const char *segment,
                      struct bf_err *err);

/* One sentence from an application/problem+json body; "" when it is none. */
void bf_client_problem(struct bf_slice body, char *out, size_t size);

#endif
