#include "schemas/sign.h"

#include <inttypes.h>

#include "schemas/base64.h"
#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/ids.h"

#define SIGN_LEVELS 6 /* of a tree of BF_MAX_TREE leaves, above the leaves */
#define SIGN_FIELDS 8
#define SIGN_TEXT_MAX 512
#define STATEMENT_MAX 160

/*
 * Statements that were verified, in sets of four by their signature. A tree's
 * records lie in several shards, and of a backlog one shard is read a few
 * thousand jobs ahead of another: with 256 statements every tenth job was
 * verified anew, which was a tenth of a worker's time. They are kept as they
 * are and compared: to hash one for its name cost 4 % of that time.
 */
#define CACHE_SETS 1024
#define CACHE_WAYS 4

_Static_assert(BF_MAX_TREE == 1 << SIGN_LEVELS, "the path has room");

/* This key said this with these bytes: all that a statement is built from. */
struct verified {
    unsigned char root[BF_HASH_SIZE];
    unsigned char bytes[BF_SIGNATURE_SIZE];
    unsigned char public_key[32];
    char key_id[BF_KEY_ID_SIZE];
    enum bf_purpose purpose;
    uint32_t count;
    int64_t created_ms;
};

struct bf_verifier {
    bf_find_key_fn *find;
    void *arg;
    struct cache_set {
        struct verified ways[CACHE_WAYS];
        unsigned int used; /* ever; the oldest is replaced */
    } sets[CACHE_SETS];
};

void bf_key_id(const unsigned char public_key[32], char out[BF_KEY_ID_SIZE])
{
    unsigned char digest[BF_HASH128_BYTES];

    crypto_generichash(digest, sizeof(digest), public_key, 32, NULL, 0);
    sodium_bin2hex(out, BF_KEY_ID_SIZE, digest, BF_KEY_ID_LEN / 2);
}

void bf_leaf(enum bf_purpose purpose, const struct bf_record *rec,
             unsigned char out[BF_HASH_SIZE])
{
    struct bf_hash hash;

    bf_hash_init(&hash, BF_HASH256_BYTES);
    bf_hash_str(&hash, "blockfleet/v1/leaf");
    bf_hash_str(&hash, bf_purpose_name(purpose));
    bf_hash_str(&hash, rec->topic);
    bf_hash_num(&hash, (uint64_t)rec->partition);
    bf_hash_part(&hash, rec->key);
    bf_hash_str(&hash, rec->value.ptr ? "1" : "0");
    bf_hash_part(&hash, rec->value);
    for (size_t i = 0; i < rec->nheaders; i++) {
        if (!bf_record_covered(rec->headers[i].name))
            continue;
        bf_hash_part(&hash, rec->headers[i].name);
        bf_hash_part(&hash, rec->headers[i].value);
    }
    bf_hash_final(&hash, out);
}

static void tree_node(const unsigned char *left, const unsigned char *right,
                      unsigned char out[BF_HASH_SIZE])
{
    struct bf_hash hash;

    bf_hash_init(&hash, BF_HASH256_BYTES);
    bf_hash_str(&hash, "blockfleet/v1/node");
    bf_hash_bytes(&hash, left, BF_HASH_SIZE);
    bf_hash_bytes(&hash, right, BF_HASH_SIZE);
    bf_hash_final(&hash, out);
}

/* A tree: the leaves, then each level above them; level 0 has count nodes. */
struct tree {
    unsigned char nodes[SIGN_LEVELS + 1][BF_MAX_TREE][BF_HASH_SIZE];
    size_t count;
};

/* The level above, of (width + 1) / 2 nodes; an odd last one is promoted. */
static void tree_level_up(struct tree *tree, size_t level, size_t width)
{
    for (size_t i = 0; i < width; i += 2) {
        unsigned char *up = tree->nodes[level + 1][i / 2];

        if (i + 1 < width)
            tree_node(tree->nodes[level][i], tree->nodes[level][i + 1], up);
        else
            memcpy(up, tree->nodes[level][i], BF_HASH_SIZE);
    }
}

/* Build all levels; the root. */
static const unsigned char *tree_build(struct tree *tree)
{
    size_t level = 0;

    for (size_t width = tree->count; width > 1; width = (width + 1) / 2)
        tree_level_up(tree, level++, width);
    return tree->nodes[level][0];
}

/* The siblings from leaf index upwards; their number. */
static size_t tree_path(const struct tree *tree, size_t index,
                        unsigned char path[SIGN_LEVELS][BF_HASH_SIZE])
{
    size_t width = tree->count, level = 0, npath = 0;

    for (; width > 1; width = (width + 1) / 2, index /= 2, level++) {
        if ((index ^ 1) < width)
            memcpy(path[npath++], tree->nodes[level][index ^ 1], BF_HASH_SIZE);
    }
    return npath;
}

static size_t path_length(size_t count, size_t index)
{
    size_t npath = 0;

    for (size_t width = count; width > 1; width = (width + 1) / 2) {
        npath += (index ^ 1) < width;
        index /= 2;
    }
    return npath;
}

/* The root that a leaf and a path of the right length lead to. */
static void path_root(const struct bf_signature *sig,
                      unsigned char node[BF_HASH_SIZE])
{
    size_t index = sig->index, used = 0;

    for (size_t width = sig->count; width > 1; width = (width + 1) / 2) {
        if ((index ^ 1) < width) {
            const unsigned char *sibling = sig->path[used++];

            if (index & 1)
                tree_node(sibling, node, node);
            else
                tree_node(node, sibling, node);
        }
        index /= 2;
    }
}

static void statement_part(unsigned char *out, size_t *len, const void *part,
                           size_t nbytes)
{
    bf_assert(*len + 4 + nbytes <= STATEMENT_MAX);
    bf_put_u32be(out + *len, (uint32_t)nbytes);
    memcpy(out + *len + 4, part, nbytes);
    *len += 4 + nbytes;
}

static void statement_text(unsigned char *out, size_t *len, const char *part)
{
    statement_part(out, len, part, strlen(part));
}

/* What Ed25519 signs, for this root; everything but path and index counts. */
static size_t statement_build(const struct bf_signature *sig,
                              const unsigned char root[BF_HASH_SIZE],
                              unsigned char out[STATEMENT_MAX])
{
    char created[24], count[24];
    size_t len = 0;

    snprintf(created, sizeof(created), "%" PRId64, sig->created_ms);
    snprintf(count, sizeof(count), "%u", sig->count);
    statement_text(out, &len, "blockfleet/v1/root");
    statement_text(out, &len, bf_purpose_name(sig->purpose));
    statement_text(out, &len, sig->key_id);
    statement_text(out, &len, created);
    statement_text(out, &len, count);
    statement_part(out, &len, root, BF_HASH_SIZE);
    return len;
}

/* What stands before a path and behind it: the same for the whole tree. */
struct statement_text {
    char head[SIGN_TEXT_MAX / 2];
    size_t head_len;
    char tail[96];
    size_t tail_len;
};

static void statement_spell(const struct bf_signature *sig,
                            struct statement_text *ret)
{
    ret->head_len = (size_t)snprintf(ret->head, sizeof(ret->head),
                                     "v1.%s.%s.%" PRId64 ".%u.",
                                     bf_purpose_name(sig->purpose), sig->key_id,
                                     sig->created_ms, sig->count);
    ret->tail[0] = '.';
    ret->tail_len =
        (size_t)(bf_base64_url(sig->bytes, BF_SIGNATURE_SIZE, ret->tail + 1) -
                 ret->tail);
}

static struct bf_slice signature_text(const struct statement_text *common,
                                      const struct bf_signature *sig,
                                      char out[SIGN_TEXT_MAX])
{
    char digits[BF_U64_SIZE], *at = out;
    struct bf_slice index = bf_u64_text(sig->index, digits);

    memcpy(at, common->head, common->head_len);
    at += common->head_len;
    memcpy(at, index.ptr, index.len);
    at += index.len;
    *at++ = '.';
    at = bf_base64_url(sig->path[0], sig->npath * BF_HASH_SIZE, at);
    memcpy(at, common->tail, common->tail_len);
    at += common->tail_len;
    return (struct bf_slice){out, (size_t)(at - out)};
}

int bf_sign_tree(const struct bf_signer *signer, int64_t created_ms,
                 struct bf_record *const *records, size_t nrecords,
                 struct bf_err *err)
{
    struct bf_signature sig = {
        .purpose = signer->purpose,
        .created_ms = created_ms,
        .count = (uint32_t)nrecords,
    };
    unsigned char statement[STATEMENT_MAX];
    struct statement_text common;
    char text[SIGN_TEXT_MAX];
    struct tree tree;
    size_t len;

    bf_assert(nrecords >= 1 && nrecords <= BF_MAX_TREE && created_ms >= 0 &&
              strlen(signer->key_id) == BF_KEY_ID_LEN);
    memcpy(sig.key_id, signer->key_id, BF_KEY_ID_SIZE);
    tree.count = nrecords;
    for (size_t i = 0; i < nrecords; i++) {
        bf_assert(!bf_record_find(records[i], "bf_signature"));
        bf_leaf(signer->purpose, records[i], tree.nodes[0][i]);
    }
    len = statement_build(&sig, tree_build(&tree), statement);
    if (signer->sign(signer->key, statement, len, sig.bytes, err))
        return -1;
    statement_spell(&sig, &common);
    for (size_t i = 0; i < nrecords; i++) {
        sig.index = (uint32_t)i;
        sig.npath = tree_path(&tree, i, sig.path);
        if (bf_record_put(records[i], "bf_signature",
                          signature_text(&common, &sig, text), err))
            return -1;
    }
    return 0;
}

static int signature_bad(struct bf_err *err, const char *what)
{
    return bf_err_set(err, BF_ERR_REJECT, "bad_signature", "bf_signature: %s",
                      what);
}

static int signature_numbers(const struct bf_slice *fields,
                             struct bf_signature *sig, struct bf_err *err)
{
    uint64_t created, count, index;

    if (bf_slice_u64(fields[3], (uint64_t)BF_MAX_TIME_MS - 1, &created))
        return signature_bad(err, "the time is not one");
    if (bf_slice_u64(fields[4], BF_MAX_TREE, &count) || count == 0)
        return signature_bad(err, "the count is not 1 to 64");
    if (bf_slice_u64(fields[5], count - 1, &index))
        return signature_bad(err, "the index is not below the count");
    sig->created_ms = (int64_t)created;
    sig->count = (uint32_t)count;
    sig->index = (uint32_t)index;
    return 0;
}

static int signature_bytes(const struct bf_slice *fields,
                           struct bf_signature *sig, struct bf_err *err)
{
    size_t npath, nbytes;

    if (bf_base64_decode(BF_BASE64_URL, fields[6], sig->path[0],
                         sizeof(sig->path), &npath))
        return signature_bad(err, "the path is not base64url");
    sig->npath = path_length(sig->count, sig->index);
    if (npath != sig->npath * BF_HASH_SIZE)
        return signature_bad(err, "the path has not the right length");
    if (bf_base64_decode(BF_BASE64_URL, fields[7], sig->bytes,
                         sizeof(sig->bytes), &nbytes) ||
        nbytes != sizeof(sig->bytes))
        return signature_bad(err, "the signature is not 64 bytes of base64url");
    return 0;
}

int bf_signature_parse(struct bf_slice text, struct bf_signature *ret,
                       struct bf_err *err)
{
    struct bf_slice fields[SIGN_FIELDS];
    struct bf_signature sig = {0};
    int purpose;

    if (!text.ptr || text.len > BF_MAX_HEADER ||
        bf_slice_split(text, '.', fields, SIGN_FIELDS) != SIGN_FIELDS)
        return signature_bad(err, "not eight fields");
    if (!bf_slice_is(fields[0], "v1"))
        return signature_bad(err, "unknown version");
    purpose = bf_purpose_parse(fields[1]);
    if (purpose < 0)
        return signature_bad(err, "unknown purpose");
    if (!bf_hex_ok(fields[2], BF_KEY_ID_LEN))
        return signature_bad(err, "the key id is not 16 hex digits");
    sig.purpose = (enum bf_purpose)purpose;
    memcpy(sig.key_id, fields[2].ptr, BF_KEY_ID_LEN);
    if (signature_numbers(fields, &sig, err) ||
        signature_bytes(fields, &sig, err))
        return -1;
    *ret = sig;
    return 0;
}

struct bf_verifier *bf_verifier_new(bf_find_key_fn *find, void *arg,
                                    struct bf_err *err)
{
    struct bf_verifier *verifier = calloc(1, sizeof(*verifier));

    if (!verifier) {
        bf_err_oom(err);
        return NULL;
    }
    verifier->find = find;
    verifier->arg = arg;
    return verifier;
}

void bf_verifier_free(struct bf_verifier *verifier)
{
    free(verifier);
}

static void verified_fill(struct verified *out, const struct bf_signature *sig,
                          const struct bf_verify_key *key,
                          const unsigned char root[BF_HASH_SIZE])
{
    memcpy(out->root, root, sizeof(out->root));
    memcpy(out->bytes, sig->bytes, sizeof(out->bytes));
    memcpy(out->public_key, key->public_key, sizeof(out->public_key));
    memcpy(out->key_id, sig->key_id, sizeof(out->key_id));
    out->purpose = sig->purpose;
    out->count = sig->count;
    out->created_ms = sig->created_ms;
}

static bool is_same(const struct verified *a, const struct verified *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0 &&
           memcmp(a->root, b->root, sizeof(a->root)) == 0 &&
           memcmp(a->public_key, b->public_key, sizeof(a->public_key)) == 0 &&
           memcmp(a->key_id, b->key_id, sizeof(a->key_id)) == 0 &&
           a->purpose == b->purpose && a->count == b->count &&
           a->created_ms == b->created_ms;
}

static bool cache_has(const struct cache_set *set, const struct verified *this)
{
    for (unsigned int i = 0; i < set->used && i < CACHE_WAYS; i++) {
        if (is_same(&set->ways[i], this))
            return true;
    }
    return false;
}

static void cache_add(struct cache_set *set, const struct verified *this)
{
    set->ways[set->used % CACHE_WAYS] = *this;
    set->used++;
    if (set->used >= 2 * CACHE_WAYS) /* stays full, never wraps to empty */
        set->used -= CACHE_WAYS;
}

static int verify_statement(struct bf_verifier *verifier,
                            const struct bf_signature *sig,
                            const struct bf_verify_key *key,
                            const unsigned char root[BF_HASH_SIZE],
                            struct bf_err *err)
{
    unsigned char statement[STATEMENT_MAX];
    struct cache_set *set =
        &verifier->sets[bf_get_u16be(sig->bytes) % CACHE_SETS];
    struct verified this;
    size_t len;

    verified_fill(&this, sig, key, root);
    if (cache_has(set, &this))
        return 0;
    len = statement_build(sig, root, statement);
    if (crypto_sign_verify_detached(sig->bytes, statement, len,
                                    key->public_key))
        return bf_err_set(err, BF_ERR_REJECT, "bad_signature",
                          "key %s did not sign this record", sig->key_id);
    cache_add(set, &this);
    return 0;
}

/* The record's signature, of this purpose. */
static int verify_read(const struct bf_record *rec, enum bf_purpose purpose,
                       struct bf_signature *sig, struct bf_err *err)
{
    struct bf_slice text = bf_record_get(rec, "bf_signature");

    if (bf_record_check(rec, err))
        return -1;
    if (!text.ptr)
        return bf_err_set(err, BF_ERR_REJECT, "unsigned",
                          "the record has no bf_signature");
    if (bf_signature_parse(text, sig, err))
        return -1;
    if (sig->purpose != purpose)
        return bf_err_set(err, BF_ERR_REJECT, "wrong_purpose",
                          "signed as %s, but the topic is for %s",
                          bf_purpose_name(sig->purpose),
                          bf_purpose_name(purpose));
    return 0;
}

int bf_verify(struct bf_verifier *verifier, enum bf_purpose purpose,
              const struct bf_record *rec, struct bf_slice workspace,
              int64_t now_ms, struct bf_err *err)
{
    unsigned char node[BF_HASH_SIZE];
    struct bf_verify_key key;
    struct bf_signature sig = {0};

    if (verify_read(rec, purpose, &sig, err))
        return -1;
    if (!verifier->find(verifier->arg, purpose, sig.key_id, workspace, &key))
        return bf_err_set(err, BF_ERR_REJECT, "unknown_key",
                          "key %s may not sign this", sig.key_id);
    if (sig.created_ms - (int64_t)BF_CLOCK_AHEAD_MS > now_ms)
        return bf_err_set(err, BF_ERR_REJECT, "created_ahead",
                          "signed more than 5 minutes in the future");
    bf_leaf(purpose, rec, node);
    path_root(&sig, node);
    return verify_statement(verifier, &sig, &key, node, err);
}
