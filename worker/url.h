#ifndef BF_WORKER_URL_H
#define BF_WORKER_URL_H

/*
 * The parts of an http or https URL that matter to us: whom it goes to, and
 * how the other side sees it. Takes what config/ let through; REJECT "bad_url"
 * for the rest. Pure.
 */

#include "schemas/buf.h"

struct bf_err;

/*
 * @target-uri of RFC 9421 as the other side sees it: scheme, authority without
 * a default port, at least "/", query, no fragment.
 */
int bf_target_uri(const char *url, struct bf_buf *out, struct bf_err *err);

/*
 * Whom it goes to, in one spelling: "https://host", ":port" behind it unless
 * it is the scheme's own, host in lower case. What a secret is bound to.
 */
int bf_url_origin(const char *url, struct bf_buf *out, struct bf_err *err);

/* Does it stay within this machine? */
bool bf_url_is_loopback(const char *url);

/* Appends text as a part of a query: all but A-Z a-z 0-9 - . _ ~ escaped. */
int bf_url_escape(struct bf_slice text, struct bf_buf *out, struct bf_err *err);

#endif
