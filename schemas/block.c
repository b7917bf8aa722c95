#include "schemas/block.h"

#include <openssl/evp.h>
#include <sodium.h>

#include "schemas/err.h"
#include "schemas/json.h"
#include "schemas/limits.h"
#include "schemas/utf8.h"

#define BLOCK_MAX_NAME 256

struct bf_block {
    size_t holders;
    json_t *doc;
    struct bf_slice run_code;
    struct bf_slice run_function;
    struct bf_slice init_code; /* ptr NULL: none */
    struct bf_slice init_function;
    struct bf_slice type;
    const json_t *imports; /* NULL: none */
    char code_hash[BF_MD5_SIZE];
    char fingerprint[BF_FINGERPRINT_SIZE];
};

BF_DEFINE_CLEANUP(bf_md_ctx_freep_, EVP_MD_CTX *, EVP_MD_CTX_free)

static int block_bad(struct bf_err *err, const char *name, const char *rule)
{
    return bf_err_set(err, BF_ERR_REJECT, "bad_block", "bf_block: %s %s", name,
                      rule);
}

/* A member that may be missing; *ret stays as it is then. */
static int block_string(const json_t *doc, const char *name,
                        struct bf_slice *ret, struct bf_err *err)
{
    const json_t *value = json_object_get(doc, name);

    if (!value)
        return 0;
    if (!json_is_string(value))
        return block_bad(err, name, "is not a string");
    *ret = bf_json_slice(value);
    return 0;
}

static int block_function(const json_t *doc, const char *name,
                          struct bf_slice *ret, struct bf_err *err)
{
    if (block_string(doc, name, ret, err))
        return -1;
    if (ret->len == 0 || ret->len > BLOCK_MAX_NAME)
        return block_bad(err, name, "has not 1 to 256 bytes");
    return 0;
}

static int block_imports(struct bf_block *block, struct bf_err *err)
{
    const json_t *imports = json_object_get(block->doc, "imports");

    if (!imports)
        return 0;
    if (!json_is_array(imports))
        return block_bad(err, "imports", "is not an array");
    for (size_t i = 0; i < json_array_size(imports); i++) {
        if (!json_is_string(json_array_get(imports, i)))
            return block_bad(err, "imports", "has more than strings in it");
    }
    block->imports = imports;
    return 0;
}

static int block_names(const json_t *doc, struct bf_err *err)
{
    static const char *const names[] = {
        "run_function_code",  "run_function_name",  "imports",
        "init_function_code", "init_function_name", "block_type"};
    size_t known = 0;

    for (size_t i = 0; i < bf_countof(names); i++)
        known += json_object_get(doc, names[i]) ? 1 : 0;
    if (known != json_object_size(doc))
        return block_bad(err, "a member", "has an unknown name");
    return 0;
}

static int block_read(struct bf_block *block, struct bf_err *err)
{
    const json_t *doc = block->doc;

    block->run_function = BF_SLICE_LIT("run");
    block->init_function = BF_SLICE_LIT("init");
    block->type = BF_SLICE_LIT("");
    if (block_names(doc, err) ||
        block_string(doc, "run_function_code", &block->run_code, err) ||
        block_function(doc, "run_function_name", &block->run_function, err) ||
        block_imports(block, err) ||
        block_function(doc, "init_function_name", &block->init_function, err) ||
        block_string(doc, "block_type", &block->type, err))
        return -1;
    if (!block->run_code.ptr)
        return block_bad(err, "run_function_code", "is missing");
    if (block->type.len > BLOCK_MAX_NAME)
        return block_bad(err, "block_type", "has more than 256 bytes");
    if (json_is_null(json_object_get(doc, "init_function_code")))
        return 0;
    return block_string(doc, "init_function_code", &block->init_code, err);
}

static bool digest_add(EVP_MD_CTX *ctx, struct bf_slice bytes)
{
    return EVP_DigestUpdate(ctx, bytes.ptr, bytes.len) == 1;
}

/* md5 of the code, a line feed, and the imports joined by line feeds. */
static int block_code_hash(struct bf_block *block, struct bf_err *err)
{
    bf_cleanup(bf_md_ctx_freep_) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char digest[EVP_MAX_MD_SIZE];
    size_t n = bf_block_imports(block);
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) == 1 &&
              digest_add(ctx, block->run_code) &&
              digest_add(ctx, BF_SLICE_LIT("\n"));

    for (size_t i = 0; ok && i < n; i++)
        ok = (i == 0 || digest_add(ctx, BF_SLICE_LIT("\n"))) &&
             digest_add(ctx, bf_slice_str(bf_block_import(block, i)));
    if (!ok || EVP_DigestFinal_ex(ctx, digest, NULL) != 1)
        return bf_err_set(err, BF_ERR_RETRY, "md5", "libcrypto gives no md5");
    sodium_bin2hex(block->code_hash, BF_MD5_SIZE, digest, 16);
    return 0;
}

static uint32_t utf8_decode(struct bf_slice c)
{
    uint32_t point = (unsigned char)c.ptr[0];

    if (c.len > 1)
        point &= 0xffU >> (c.len + 1);
    for (size_t i = 1; i < c.len; i++)
        point = point << 6 | ((unsigned char)c.ptr[i] & 0x3f);
    return point;
}

/* A character as Python's json.dumps() prints it with ensure_ascii. */
static int python_char(struct bf_buf *out, struct bf_slice c,
                       struct bf_err *err)
{
    static const char plain[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
    uint32_t point = utf8_decode(c);
    const char *at = NULL;

    if (point > 0 && point < 0x80)
        at = strchr(plain, (int)point);

    if (at)
        return bf_buf_addf(out, err, "\\%c", letters[at - plain]);
    if (point >= 0x20 && point < 0x7f)
        return bf_buf_add(out, c.ptr, 1, err);
    if (point < 0x10000)
        return bf_buf_addf(out, err, "\\u%04x", point);
    point -= 0x10000;
    return bf_buf_addf(out, err, "\\u%04x\\u%04x", 0xd800 + (point >> 10),
                       0xdc00 + (point & 0x3ff));
}

static int python_string(struct bf_buf *out, struct bf_slice text,
                         struct bf_err *err)
{
    if (bf_buf_add(out, "\"", 1, err))
        return -1;
    for (size_t i = 0; i < text.len;) {
        bool ok;
        size_t len =
            bf_utf8_next((struct bf_slice){text.ptr + i, text.len - i}, &ok);

        bf_assert(ok); /* jansson has checked it */
        if (python_char(out, (struct bf_slice){text.ptr + i, len}, err))
            return -1;
        i += len;
    }
    return bf_buf_add(out, "\"", 1, err);
}

/* json.dumps([code, init or "", imports]) */
static int python_block(const struct bf_block *block, struct bf_buf *out,
                        struct bf_err *err)
{
    if (bf_buf_adds(out, "[", err) ||
        python_string(out, block->run_code, err) ||
        bf_buf_adds(out, ", ", err) ||
        python_string(out, block->init_code, err) ||
        bf_buf_adds(out, ", [", err))
        return -1;
    for (size_t i = 0; i < bf_block_imports(block); i++) {
        if ((i > 0 && bf_buf_adds(out, ", ", err)) ||
            python_string(out, bf_slice_str(bf_block_import(block, i)), err))
            return -1;
    }
    return bf_buf_adds(out, "]]", err);
}

static int block_fingerprint(struct bf_block *block, struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT((size_t)8 * BF_MAX_BLOCK);
    unsigned char digest[EVP_MAX_MD_SIZE];
    char hex[2 * 32 + 1];

    if (python_block(block, &text, err))
        return -1;
    if (EVP_Digest(text.data, text.len, digest, NULL, EVP_sha256(), NULL) != 1)
        return bf_err_set(err, BF_ERR_RETRY, "sha256",
                          "libcrypto gives no SHA-256");
    sodium_bin2hex(hex, sizeof(hex), digest, 32);
    memcpy(block->fingerprint, hex, BF_FINGERPRINT_SIZE - 1);
    block->fingerprint[BF_FINGERPRINT_SIZE - 1] = '\0';
    return 0;
}

static int block_fill(struct bf_block *block, struct bf_slice text,
                      struct bf_err *err)
{
    block->doc = bf_json_parse(text, BF_MAX_BLOCK, err);
    if (!block->doc) {
        bf_err_prefix(err, "bf_block");
        if (err && err->kind == BF_ERR_REJECT)
            err->code = "bad_block";
        return -1;
    }
    if (block_read(block, err) || block_code_hash(block, err))
        return -1;
    return block_fingerprint(block, err);
}

struct bf_block *bf_block_parse(struct bf_slice text, struct bf_err *err)
{
    struct bf_block *block = calloc(1, sizeof(*block));

    if (!block) {
        bf_err_oom(err);
        return NULL;
    }
    block->holders = 1;
    if (block_fill(block, text, err)) {
        bf_block_free(block);
        return NULL;
    }
    return block;
}

struct bf_block *bf_block_ref(struct bf_block *block)
{
    block->holders++;
    return block;
}

void bf_block_free(struct bf_block *block)
{
    if (!block || --block->holders > 0)
        return;
    json_decref(block->doc);
    free(block);
}

const char *bf_block_run_code(const struct bf_block *block)
{
    return block->run_code.ptr;
}

const char *bf_block_run_function(const struct bf_block *block)
{
    return block->run_function.ptr;
}

const char *bf_block_init_code(const struct bf_block *block)
{
    return block->init_code.ptr;
}

const char *bf_block_init_function(const struct bf_block *block)
{
    return block->init_function.ptr;
}

const char *bf_block_type(const struct bf_block *block)
{
    return block->type.ptr;
}

const char *bf_block_code_hash(const struct bf_block *block)
{
    return block->code_hash;
}

const char *bf_block_fingerprint(const struct bf_block *block)
{
    return block->fingerprint;
}

size_t bf_block_imports(const struct bf_block *block)
{
    return json_array_size(block->imports);
}

const char *bf_block_import(const struct bf_block *block, size_t i)
{
    bf_assert(i < bf_block_imports(block));
    return json_string_value(json_array_get(block->imports, i));
}

void bf_block_init_hash(const struct bf_block *block,
                        char out[BF_INIT_HASH_SIZE])
{
    struct bf_slice name = block->init_function;
    struct bf_slice code = block->init_code;
    unsigned char digest[16];
    crypto_generichash_state state;

    out[0] = '\0';
    if (code.len == 0)
        return;
    crypto_generichash_init(&state, NULL, 0, sizeof(digest));
    crypto_generichash_update(&state, (const unsigned char *)name.ptr,
                              name.len + 1); /* with its NUL */
    crypto_generichash_update(&state, (const unsigned char *)code.ptr,
                              code.len);
    crypto_generichash_final(&state, digest, sizeof(digest));
    sodium_bin2hex(out, BF_INIT_HASH_SIZE, digest, sizeof(digest));
}

void bf_block_put_run_code(const struct bf_block *block,
                           struct bf_json_out *out)
{
    bf_json_str(out, "code_str", bf_block_run_code(block));
    bf_json_open(out, "imports", '[');
    for (size_t i = 0; i < bf_block_imports(block); i++)
        bf_json_str(out, NULL, bf_block_import(block, i));
    bf_json_close(out, ']');
}

void bf_block_put_code(const struct bf_block *block, struct bf_json_out *out)
{
    bf_block_put_run_code(block, out);
    bf_json_text(out, "init_function_code", block->init_code);
    bf_json_str(out, "init_function_name", bf_block_init_function(block));
}
