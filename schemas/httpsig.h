#ifndef BF_SCHEMAS_HTTPSIG_H
#define BF_SCHEMAS_HTTPSIG_H

/*
 * Signatures of forwarded runs: RFC 9421 (HTTP Message Signatures, ed25519)
 * over RFC 9530 (Content-Digest). Source: PROTOCOL.md §9. Pure.
 */

#include "schemas/sign.h"

#define BF_DIGEST_HEADER_SIZE 64
/*
 * "sha-256=:<base64>:" of the body, given in slices. RETRY when libcrypto has
 * no memory.
 */
int bf_content_digest(const struct bf_slice *body, size_t nbody,
                      char out[BF_DIGEST_HEADER_SIZE], struct bf_err *err);

struct bf_http_message {
    const char *method;
    const char *target_uri;
    const char *content_type;
    const char *content_digest;
    const char *run_id; /* becomes the idempotency key */
    int64_t created_s;
    int64_t expires_s;
    const char *nonce; /* hex */
    const char *key_id;
};

/*
 * Values of signature-input and signature, without the header names, into
 * empty buffers. REJECT "bad_http_message" for a part that could not stand in a
 * header; what sign() gives.
 */
int bf_http_sign(const struct bf_http_message *msg, bf_sign_fn *sign, void *key,
                 struct bf_buf *ret_input, struct bf_buf *ret_sig,
                 struct bf_err *err);

/* The signature base (RFC 9421 §2.5), for goldens and verifiers. */
int bf_http_base(const struct bf_http_message *msg, struct bf_buf *out,
                 struct bf_err *err);

/* The same of any components (names in lower case) and signature parameters. */
int bf_http_base_of(const struct bf_header *components, size_t ncomponents,
                    struct bf_slice params, struct bf_buf *out,
                    struct bf_err *err);

#endif
