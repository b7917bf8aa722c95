#ifndef BF_WORKER_SIGN_REQUEST_H
#define BF_WORKER_SIGN_REQUEST_H

/*
 * The headers of a forwarded run: who sends it, and a signature over method,
 * target, body and run id that the other side can check. Source: PROTOCOL.md
 * §9. No I/O; libsodium is initialised.
 */

#include "schemas/buf.h"
#include "schemas/sign.h"

struct bf_err;

#define BF_RUN_HEADERS 5

/* "name: value" lines for bf_http_pool_send(). */
struct bf_run_headers {
    char *line[BF_RUN_HEADERS];
    size_t n;
};

#define bf_autoheaders bf_cleanup(bf_run_headers_release)
void bf_run_headers_release(struct bf_run_headers *headers);

/* What is to be signed; everything is borrowed. */
struct bf_forwarded {
    const char *url;
    const struct bf_slice *body;
    size_t nbody;
    const char *run_id;
    int64_t now_ms;
    int64_t timeout_ms; /* how long the other side may take */
};

/*
 * *ret is empty. signer is of purpose run; NULL leaves it unsigned. FATAL when
 * the signer fails, RETRY on no memory, REJECT for a URL that cannot stand in a
 * header.
 */
int bf_sign_request(const struct bf_forwarded *what,
                    const struct bf_signer *signer, struct bf_run_headers *ret,
                    struct bf_err *err);

/*
 * May runs go to this URL? Unsigned ones only within this machine: FATAL
 * "unsigned" otherwise. To be asked once, at the start.
 */
int bf_sign_request_check(const char *url, const struct bf_signer *signer,
                          struct bf_err *err);

#endif
