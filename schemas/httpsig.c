#include "schemas/httpsig.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <sodium.h>

#include "schemas/err.h"
#include "schemas/ids.h"
#include "schemas/utf8.h"

#define COMPONENTS 5
#define BASE_MAX 16384
#define PARAMS_MAX 1024
#define NONCE_MAX 128
#define SHA256_BYTES 32

BF_DEFINE_CLEANUP(bf_md_ctx_freep_, EVP_MD_CTX *, EVP_MD_CTX_free)

int bf_content_digest(const struct bf_slice *body, size_t nbody,
                      char out[BF_DIGEST_HEADER_SIZE], struct bf_err *err)
{
    bf_cleanup(bf_md_ctx_freep_) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;
    unsigned char digest[EVP_MAX_MD_SIZE];
    char base64[48];

    for (size_t i = 0; ok && i < nbody; i++)
        ok = EVP_DigestUpdate(ctx, body[i].ptr, body[i].len) == 1;
    if (!ok || EVP_DigestFinal_ex(ctx, digest, NULL) != 1)
        return bf_err_set(err, BF_ERR_RETRY, "sha256",
                          "libcrypto gives no SHA-256");
    sodium_bin2base64(base64, sizeof(base64), digest, SHA256_BYTES,
                      sodium_base64_VARIANT_ORIGINAL);
    snprintf(out, BF_DIGEST_HEADER_SIZE, "sha-256=:%s:", base64);
    return 0;
}

static bool printable_ok(struct bf_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < 0x20 || text.ptr[i] > 0x7e)
            return false;
    }
    return text.len > 0;
}

static bool graphic_ok(struct bf_slice text)
{
    return text.len > 0 && bf_graphic_ok(text);
}

static bool nonce_ok(struct bf_slice nonce)
{
    return nonce.len > 0 && nonce.len <= NONCE_MAX &&
           bf_hex_ok(nonce, nonce.len);
}

static bool key_id_ok(struct bf_slice id)
{
    return bf_hex_ok(id, BF_KEY_ID_LEN);
}

/* Nothing in it can end a line or a quoted string of the base. */
static int http_check(const struct bf_http_message *msg, struct bf_err *err)
{
    const struct {
        const char *name, *value;
        bool (*ok)(struct bf_slice);
    } parts[] = {
        {"method", msg->method, graphic_ok},
        {"target_uri", msg->target_uri, graphic_ok},
        {"content_type", msg->content_type, printable_ok},
        {"content_digest", msg->content_digest, graphic_ok},
        {"run_id", msg->run_id, bf_hex128_ok},
        {"nonce", msg->nonce, nonce_ok},
        {"key_id", msg->key_id, key_id_ok},
    };

    for (size_t i = 0; i < bf_countof(parts); i++) {
        if (!parts[i].value || !parts[i].ok(bf_slice_str(parts[i].value)))
            return bf_err_set(err, BF_ERR_REJECT, "bad_http_message",
                              "%s cannot be signed", parts[i].name);
    }
    if (msg->created_s < 0 || msg->expires_s < msg->created_s)
        return bf_err_set(err, BF_ERR_REJECT, "bad_http_message",
                          "expires before it was created");
    return 0;
}

/* The value of @signature-params. */
static int http_params(const struct bf_http_message *msg, struct bf_buf *out,
                       struct bf_err *err)
{
    return bf_buf_addf(out, err,
                       "(\"@method\" \"@target-uri\" \"content-type\" "
                       "\"content-digest\" \"idempotency-key\")"
                       ";created=%" PRId64 ";expires=%" PRId64
                       ";nonce=\"%s\";keyid=\"%s\";alg=\"ed25519\"",
                       msg->created_s, msg->expires_s, msg->nonce, msg->key_id);
}

int bf_http_base_of(const struct bf_header *components, size_t ncomponents,
                    struct bf_slice params, struct bf_buf *out,
                    struct bf_err *err)
{
    for (size_t i = 0; i < ncomponents; i++) {
        const struct bf_header *part = &components[i];

        if (bf_buf_addf(out, err, "\"%.*s\": %.*s\n", BF_SLICE_ARG(part->name),
                        BF_SLICE_ARG(part->value)))
            return -1;
    }
    return bf_buf_addf(out, err, "\"@signature-params\": %.*s",
                       BF_SLICE_ARG(params));
}

int bf_http_base(const struct bf_http_message *msg, struct bf_buf *out,
                 struct bf_err *err)
{
    bf_autobuf struct bf_buf params = BF_BUF_INIT(PARAMS_MAX);
    struct bf_header parts[COMPONENTS] = {
        {BF_SLICE_LIT("@method"), bf_slice_str(msg->method)},
        {BF_SLICE_LIT("@target-uri"), bf_slice_str(msg->target_uri)},
        {BF_SLICE_LIT("content-type"), bf_slice_str(msg->content_type)},
        {BF_SLICE_LIT("content-digest"), bf_slice_str(msg->content_digest)},
    };
    char run_id[BF_HEX128_SIZE + 2];

    if (http_check(msg, err) || http_params(msg, &params, err))
        return -1;
    snprintf(run_id, sizeof(run_id), "\"%s\"", msg->run_id);
    parts[4].name = BF_SLICE_LIT("idempotency-key");
    parts[4].value = bf_slice_str(run_id);
    return bf_http_base_of(parts, COMPONENTS, bf_buf_slice(&params), out, err);
}

int bf_http_sign(const struct bf_http_message *msg, bf_sign_fn *sign, void *key,
                 struct bf_buf *ret_input, struct bf_buf *ret_sig,
                 struct bf_err *err)
{
    bf_autobuf struct bf_buf base = BF_BUF_INIT(BASE_MAX);
    unsigned char signature[BF_SIGNATURE_SIZE];
    char base64[96];

    if (bf_http_base(msg, &base, err) ||
        sign(key, (const unsigned char *)base.data, base.len, signature, err))
        return -1;
    sodium_bin2base64(base64, sizeof(base64), signature, sizeof(signature),
                      sodium_base64_VARIANT_ORIGINAL);
    if (bf_buf_adds(ret_input, "bf=", err) || http_params(msg, ret_input, err))
        return -1;
    return bf_buf_addf(ret_sig, err, "bf=:%s:", base64);
}
