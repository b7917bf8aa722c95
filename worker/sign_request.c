#include "worker/sign_request.h"

#include <sodium.h>

#include "schemas/err.h"
#include "schemas/httpsig.h"
#include "schemas/limits.h"
#include "worker/url.h"

#define CONTENT_TYPE "application/json"
#define NONCE_BYTES 16
#define GRACE_S 30 /* the signature outlives the run's timeout by this */

void bf_run_headers_release(struct bf_run_headers *headers)
{
    for (size_t i = 0; i < headers->n; i++)
        free(headers->line[i]);
    headers->n = 0;
}

static int add(struct bf_run_headers *headers, const char *name,
               const char *value, struct bf_err *err)
{
    char *line = NULL;

    bf_assert(headers->n < BF_RUN_HEADERS);
    if (asprintf(&line, "%s: %s", name, value) < 0)
        return bf_err_oom(err);
    headers->line[headers->n++] = line;
    return 0;
}

int bf_sign_request_check(const char *url, const struct bf_signer *signer,
                          struct bf_err *err)
{
    bf_autobuf struct bf_buf origin = BF_BUF_INIT(BF_MAX_URL + 16);

    if (bf_url_origin(url, &origin, err)) {
        err->kind = BF_ERR_FATAL;
        return -1;
    }
    if (signer || bf_url_is_loopback(url))
        return 0;
    return bf_err_set(err, BF_ERR_FATAL, "unsigned",
                      "runs would leave this machine unsigned (%.100s): make "
                      "a key with `blockfleet keys new run`",
                      url);
}

/* ---- headers ---- */

static void new_nonce(char out[2 * NONCE_BYTES + 1])
{
    unsigned char bytes[NONCE_BYTES];

    randombytes_buf(bytes, sizeof(bytes));
    sodium_bin2hex(out, 2 * NONCE_BYTES + 1, bytes, sizeof(bytes));
}

static int add_signature(const struct bf_forwarded *what,
                         const struct bf_signer *signer,
                         struct bf_run_headers *ret, struct bf_err *err)
{
    bf_autobuf struct bf_buf target = BF_BUF_INIT(BF_MAX_URL + 16);
    bf_autobuf struct bf_buf input = BF_BUF_INIT(4096);
    bf_autobuf struct bf_buf signature = BF_BUF_INIT(4096);
    char digest[BF_DIGEST_HEADER_SIZE], nonce[2 * NONCE_BYTES + 1];
    int64_t now_s = what->now_ms / 1000;
    struct bf_http_message message = {
        .method = "POST",
        .content_type = CONTENT_TYPE,
        .content_digest = digest,
        .run_id = what->run_id,
        .created_s = now_s,
        .expires_s = now_s + (what->timeout_ms + 999) / 1000 + GRACE_S,
        .nonce = nonce,
        .key_id = signer->key_id,
    };

    bf_assert(signer->purpose == BF_PURPOSE_RUN);
    new_nonce(nonce);
    if (bf_target_uri(what->url, &target, err) ||
        bf_content_digest(what->body, what->nbody, digest, err))
        return -1;
    message.target_uri = target.data;
    if (bf_http_sign(&message, signer->sign, signer->key, &input, &signature,
                     err) ||
        add(ret, "content-digest", digest, err) ||
        add(ret, "signature-input", input.data, err) ||
        add(ret, "signature", signature.data, err))
        return -1;
    return 0;
}

int bf_sign_request(const struct bf_forwarded *what,
                    const struct bf_signer *signer, struct bf_run_headers *ret,
                    struct bf_err *err)
{
    char key[BF_HEX128_SIZE + 2];

    bf_assert(ret->n == 0);
    snprintf(key, sizeof(key), "\"%s\"", what->run_id);
    if (add(ret, "content-type", CONTENT_TYPE, err) ||
        add(ret, "idempotency-key", key, err) ||
        (signer && add_signature(what, signer, ret, err))) {
        bf_run_headers_release(ret);
        return -1;
    }
    return 0;
}
