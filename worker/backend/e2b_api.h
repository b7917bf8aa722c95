#ifndef BF_WORKER_BACKEND_E2B_API_H
#define BF_WORKER_BACKEND_E2B_API_H

/*
 * E2B's wire: requests as bytes, answers as facts. Sources: e2b-dev/E2B,
 * spec/openapi.yml and spec/envd; e2b-dev/code-interpreter; the npm SDK
 * 2.51.0. What an answer means is e2b_cause.h. Pure.
 */

#include <jansson.h>

#include "schemas/buf.h"
#include "worker/http_kinds.h"

struct bf_err;

#define BF_E2B_PORT_ENVD 49983
#define BF_E2B_PORT_EXECUTE 49999

#define BF_E2B_ID 64     /* of a sandbox; opaque, but of harmless characters */
#define BF_E2B_DOMAIN 96 /* a host name */

/* Where the provider is, and as whom we come. Borrowed. */
struct bf_e2b_site {
    const char *api_url;     /* without a slash at its end */
    const char *sandbox_url; /* "": of the domain */
    const char *domain;
    bool subdomain;  /* https://{port}-{id}.{domain}, not routing headers */
    bool old_routes; /* v1: what compatible clouds have */
    const struct bf_secret *api_key; /* bound to api_url's origin */
};

#define BF_E2B_LINES 6
#define BF_E2B_LINE 192
#define BF_E2B_SECRETS 2

/* A request and its bytes. Zero it but for url.max and body.max. */
struct bf_e2b_request {
    enum bf_method method;
    enum bf_http_version version;
    struct bf_buf url;
    char lines[BF_E2B_LINES][BF_E2B_LINE];
    size_t nlines;
    struct bf_secret_header secrets[BF_E2B_SECRETS];
    size_t nsecrets;
    struct bf_buf body;
};

void bf_e2b_request_init(struct bf_e2b_request *request, size_t max_body);
void bf_e2b_request_release(struct bf_e2b_request *request);

/* ---- the control plane ---- */

struct bf_e2b_pair {
    const char *name;
    struct bf_slice value; /* of A-Z a-z 0-9 . _ - */
};

struct bf_e2b_create {
    const char *template_id;
    int64_t ttl_s;
    bool internet; /* may user code reach the network? */
    const struct bf_e2b_pair *metadata;
    size_t nmetadata;
    const char *idempotency_key; /* of a-z 0-9 */
};

int bf_e2b_create_put(const struct bf_e2b_site *site,
                      const struct bf_e2b_create *what,
                      struct bf_e2b_request *ret, struct bf_err *err);

/* Gives the tokens again; its time to live is extended to ttl_s, never cut. */
int bf_e2b_connect_put(const struct bf_e2b_site *site, const char *id,
                       int64_t ttl_s, struct bf_e2b_request *ret,
                       struct bf_err *err);

/* From now on. */
int bf_e2b_ttl_put(const struct bf_e2b_site *site, const char *id,
                   int64_t ttl_s, struct bf_e2b_request *ret,
                   struct bf_err *err);

int bf_e2b_kill_put(const struct bf_e2b_site *site, const char *id,
                    struct bf_e2b_request *ret, struct bf_err *err);

/* Running ones with all of the pairs, a hundred a page. from: a page's token
 * or ptr NULL. */
int bf_e2b_list_put(const struct bf_e2b_site *site,
                    const struct bf_e2b_pair *pairs, size_t npairs,
                    struct bf_slice from, struct bf_e2b_request *ret,
                    struct bf_err *err);

/* What create and connect answer. */
struct bf_e2b_created {
    char id[BF_E2B_ID + 1];
    char domain[BF_E2B_DOMAIN + 1]; /* "": the configured one */
    struct bf_slice access_token;   /* borrowed from doc; ptr NULL: none */
    struct bf_slice traffic_token;
    json_t *doc;
};

void bf_e2b_created_release(struct bf_e2b_created *created);

/*
 * REJECT "bad_reply" for what is no such answer, REJECT "foreign_domain" for a
 * domain that is neither the site's nor within it; the id is there, then.
 */
int bf_e2b_created_read(const struct bf_e2b_site *site, struct bf_slice body,
                        struct bf_e2b_created *ret, struct bf_err *err);

struct bf_e2b_row {
    struct bf_slice id;
    int64_t started_at_ms, end_at_ms; /* 0: not said */
    int64_t vcpu, memory_mb;          /* 0: not said */
    const json_t *metadata;           /* object of strings, or NULL */
};

struct bf_e2b_list {
    struct bf_e2b_row *rows;
    size_t nrows;
    json_t *doc;
};

void bf_e2b_list_release(struct bf_e2b_list *list);

/* Rows of other states, or with ids that are none, are skipped. */
int bf_e2b_list_read(struct bf_slice body, struct bf_e2b_list *ret,
                     struct bf_err *err);

/* ---- the data plane ---- */

/* One sandbox as it is spoken to. Borrowed. */
struct bf_e2b_address {
    const char *id;
    const char *domain;              /* "": the configured one */
    const struct bf_secret *access;  /* bound to this port's origin, or NULL */
    const struct bf_secret *traffic; /* the same */
};

/* Where one port is: scheme and authority. What its secrets are bound to. */
int bf_e2b_origin(const struct bf_e2b_site *site,
                  const struct bf_e2b_address *to, unsigned int port,
                  struct bf_buf *ret, struct bf_err *err);

/* POST path at a port, with routing and tokens; the body is the caller's. */
int bf_e2b_post(const struct bf_e2b_site *site, const struct bf_e2b_address *to,
                unsigned int port, const char *path, struct bf_e2b_request *ret,
                struct bf_err *err);

/* Python for the kernel. HTTP/1.1, so that a closed connection is seen. */
int bf_e2b_execute_put(const struct bf_e2b_site *site,
                       const struct bf_e2b_address *to, struct bf_slice code,
                       struct bf_e2b_request *ret, struct bf_err *err);

/* A file, whole; its bytes are sent as they are: the caller's to add. */
int bf_e2b_file_put(const struct bf_e2b_site *site,
                    const struct bf_e2b_address *to, const char *path,
                    struct bf_e2b_request *ret, struct bf_err *err);

/* cmd, its arguments; stdin is closed. timeout_ms is what envd keeps. */
struct bf_e2b_start {
    const struct bf_slice *argv;
    size_t nargv;
    int64_t timeout_ms;
};

int bf_e2b_start_put(const struct bf_e2b_site *site,
                     const struct bf_e2b_address *to,
                     const struct bf_e2b_start *what,
                     struct bf_e2b_request *ret, struct bf_err *err);

/* ---- errors ---- */

struct bf_e2b_error {
    char message[200];   /* "" when not said */
    char error_code[64]; /* the same */
    bool about_port;     /* the proxy's: the sandbox runs, its port is closed */
    bool did_not_run;    /* our block server's promise, PROTOCOL.md §9 */
};

/* Of any answer, JSON or not. */
void bf_e2b_error_read(struct bf_slice body, struct bf_e2b_error *ret);

#endif
