#include "dispatcher/apikeys.h"

#include <sodium.h>

#include "dispatcher/apikeys_private.h"
#include "schemas/base64.h"
#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/ids.h"
#include "schemas/time.h"

#define PREFIX "bf_"
#define SECRET_TEXT 43 /* 32 bytes in base64url */

struct bf_apikeys {
    char *text; /* the keys' slices point into it */
    struct bf_apikey *keys;
    size_t count, cap;
};

/* ---- one line -------------------------------------------------------------*/

static int bad(unsigned line, const char *rule, struct bf_err *err)
{
    return bf_err_set(err, BF_ERR_REJECT, "bad_api_key", "line %u: %s", line,
                      rule);
}

/* What stands before the next blank; *rest begins after it. */
static struct bf_slice next_word(struct bf_slice *rest)
{
    const char *end = rest->len ? memchr(rest->ptr, ' ', rest->len) : NULL;
    struct bf_slice word = *rest;

    if (end) {
        word.len = (size_t)(end - rest->ptr);
        rest->ptr += word.len + 1;
        rest->len -= word.len + 1;
    } else {
        rest->ptr += rest->len;
        rest->len = 0;
    }
    return word;
}

/* The value of a word that is "name=value". */
static bool is_named(struct bf_slice word, const char *name,
                     struct bf_slice *ret)
{
    size_t len = strlen(name);

    if (word.len < len || memcmp(word.ptr, name, len) != 0)
        return false;
    *ret = (struct bf_slice){word.ptr + len, word.len - len};
    return true;
}

static struct bf_slice next_item(struct bf_slice *rest)
{
    const char *end = memchr(rest->ptr, ',', rest->len);
    struct bf_slice item = *rest;

    if (!end) {
        *rest = (struct bf_slice){0};
        return item;
    }
    item.len = (size_t)(end - rest->ptr);
    rest->ptr += item.len + 1;
    rest->len -= item.len + 1;
    return item;
}

static bool workspaces_ok(struct bf_slice list)
{
    do {
        if (!bf_workspace_ok(next_item(&list)))
            return false;
    } while (list.ptr);
    return true;
}

static int read_id(struct bf_apikey *key, struct bf_slice *rest,
                   struct bf_err *err)
{
    struct bf_slice id = next_word(rest);

    if (!bf_hex_ok(id, BF_APIKEY_ID_LEN))
        return bad(key->line, "must begin with an id of 12 hex digits", err);
    memcpy(key->id, id.ptr, BF_APIKEY_ID_LEN);
    return 0;
}

static int read_hash(struct bf_apikey *key, struct bf_slice *rest,
                     struct bf_err *err)
{
    struct bf_slice hash = next_word(rest);

    if (!bf_hex_ok(hash, (size_t)2 * BF_APIKEY_HASH_BYTES))
        return bad(key->line, "the hash must be 64 hex digits", err);
    sodium_hex2bin(key->hash, sizeof(key->hash), hash.ptr, hash.len, NULL, NULL,
                   NULL);
    return 0;
}

static int read_workspaces(struct bf_apikey *key, struct bf_slice *rest,
                           struct bf_err *err)
{
    if (!is_named(next_word(rest), "workspaces=", &key->workspaces))
        return bad(key->line, "workspaces= must follow the hash", err);
    key->all = bf_slice_is(key->workspaces, "*");
    if (!key->all && !workspaces_ok(key->workspaces))
        return bad(key->line,
                   "workspaces= must be * or names separated by commas", err);
    return 0;
}

static int read_created(struct bf_apikey *key, struct bf_slice *rest,
                        struct bf_err *err)
{
    struct bf_slice value;

    if (!is_named(next_word(rest), "created=", &value) ||
        bf_time_parse(value, &key->created_ms))
        return bad(key->line, "created= must be a time in UTC", err);
    return 0;
}

static int read_expires(struct bf_apikey *key, struct bf_slice *rest,
                        struct bf_err *err)
{
    struct bf_slice after = *rest, value;

    if (!is_named(next_word(&after), "expires=", &value))
        return 0;
    *rest = after;
    if (bf_time_parse(value, &key->expires_ms) || key->expires_ms == 0)
        return bad(key->line, "expires= must be a time in UTC", err);
    return 0;
}

static int read_key(struct bf_slice line, struct bf_apikey *ret,
                    struct bf_err *err)
{
    struct bf_slice after = line;

    if (bf_slice_is(next_word(&after), "revoked")) {
        ret->revoked = true;
        line = after;
    }
    if (read_id(ret, &line, err) || read_hash(ret, &line, err) ||
        read_workspaces(ret, &line, err) || read_created(ret, &line, err) ||
        read_expires(ret, &line, err))
        return -1;
    ret->comment = line;
    return 0;
}

/* ---- all lines ------------------------------------------------------------*/

static struct bf_apikey *add_key(struct bf_apikeys *keys, struct bf_err *err)
{
    size_t cap = keys->cap ? keys->cap * 2 : 16;
    struct bf_apikey *more;

    if (keys->count == BF_APIKEYS_MAX) {
        bf_err_set(err, BF_ERR_REJECT, "bad_api_key",
                   "more than %u keys in one file", BF_APIKEYS_MAX);
        return NULL;
    }
    if (keys->count == keys->cap) {
        more = reallocarray(keys->keys, cap, sizeof(*more));
        if (!more) {
            bf_err_oom(err);
            return NULL;
        }
        keys->keys = more;
        keys->cap = cap;
    }
    more = &keys->keys[keys->count++];
    *more = (struct bf_apikey){0};
    return more;
}

static int read_line(struct bf_apikeys *keys, struct bf_slice line,
                     unsigned number, struct bf_err *err)
{
    struct bf_apikey *key;

    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    if (line.len == 0 || line.ptr[0] == '#')
        return 0;
    key = add_key(keys, err);
    if (!key)
        return -1;
    key->line = number;
    return read_key(line, key, err);
}

static int by_id(const void *a, const void *b)
{
    const struct bf_apikey *left = a, *right = b;

    return strcmp(left->id, right->id);
}

static int sort(struct bf_apikeys *keys, struct bf_err *err)
{
    if (keys->count > 0)
        qsort(keys->keys, keys->count, sizeof(*keys->keys), by_id);
    for (size_t i = 1; i < keys->count; i++) {
        if (by_id(&keys->keys[i - 1], &keys->keys[i]) == 0)
            return bad(keys->keys[i].line, "its id stands there twice", err);
    }
    return 0;
}

static int read_lines(struct bf_apikeys *keys, struct bf_slice text,
                      struct bf_err *err)
{
    unsigned number = 1;

    while (text.len > 0) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t len = end ? (size_t)(end - text.ptr) : text.len;

        if (read_line(keys, (struct bf_slice){text.ptr, len}, number++, err))
            return -1;
        len += end ? 1 : 0;
        text.ptr += len;
        text.len -= len;
    }
    return sort(keys, err);
}

struct bf_apikeys *bf_apikeys_parse(struct bf_slice text, struct bf_err *err)
{
    bf_autoapikeys struct bf_apikeys *keys = calloc(1, sizeof(*keys));

    if (keys)
        keys->text = malloc(text.len + 1);
    if (!keys || !keys->text) {
        bf_err_oom(err);
        return NULL;
    }
    if (text.len > 0)
        memcpy(keys->text, text.ptr, text.len);
    keys->text[text.len] = '\0';
    if (read_lines(keys, (struct bf_slice){keys->text, text.len}, err))
        return NULL;
    return bf_take(keys);
}

void bf_apikeys_free(struct bf_apikeys *keys)
{
    if (!keys)
        return;
    free(keys->keys);
    free(keys->text);
    free(keys);
}

/* ---- asking ---------------------------------------------------------------*/

size_t bf_apikeys_count(const struct bf_apikeys *keys)
{
    return keys->count;
}

const struct bf_apikey *bf_apikeys_at(const struct bf_apikeys *keys, size_t i)
{
    bf_assert(i < keys->count);
    return &keys->keys[i];
}

const struct bf_apikey *bf_apikeys_find(const struct bf_apikeys *keys,
                                        struct bf_slice id)
{
    struct bf_apikey wanted = {0};

    if (id.len != BF_APIKEY_ID_LEN || keys->count == 0)
        return NULL;
    memcpy(wanted.id, id.ptr, id.len);
    return bsearch(&wanted, keys->keys, keys->count, sizeof(*keys->keys),
                   by_id);
}

void bf_apikey_hash(struct bf_slice id,
                    const unsigned char secret[BF_APIKEY_SECRET_BYTES],
                    unsigned char out[BF_APIKEY_HASH_BYTES])
{
    struct bf_hash hash;

    bf_hash_init(&hash, BF_APIKEY_HASH_BYTES);
    bf_hash_str(&hash, "bf-api-key-1");
    bf_hash_part(&hash, id);
    bf_hash_bytes(&hash, secret, BF_APIKEY_SECRET_BYTES);
    bf_hash_final(&hash, out);
    sodium_memzero(&hash, sizeof(hash));
}

const struct bf_apikey *bf_apikeys_prove(const struct bf_apikeys *keys,
                                         struct bf_slice token)
{
    static const unsigned char nobody[BF_APIKEY_HASH_BYTES];
    unsigned char secret[BF_APIKEY_SECRET_BYTES] = {0};
    unsigned char hash[BF_APIKEY_HASH_BYTES];
    struct bf_slice id = {token.ptr + strlen(PREFIX), BF_APIKEY_ID_LEN};
    struct bf_slice text = {id.ptr + id.len + 1, SECRET_TEXT};
    const struct bf_apikey *key;
    size_t len = 0;
    bool same;

    if (token.len != BF_APIKEY_TOKEN_SIZE - 1 ||
        memcmp(token.ptr, PREFIX, strlen(PREFIX)) != 0 || text.ptr[-1] != '_' ||
        bf_base64_decode(BF_BASE64_URL, text, secret, sizeof(secret), &len) ||
        len != sizeof(secret))
        return NULL;
    key = bf_apikeys_find(keys, id);
    bf_apikey_hash(id, secret, hash);
    same = sodium_memcmp(hash, key ? key->hash : nobody, sizeof(hash)) == 0;
    sodium_memzero(secret, sizeof(secret));
    return key && same ? key : NULL;
}

bool bf_apikey_live(const struct bf_apikey *key, int64_t now_ms)
{
    return !key->revoked && (key->expires_ms == 0 || now_ms < key->expires_ms);
}

bool bf_apikey_may(const struct bf_apikey *key, struct bf_slice workspace)
{
    struct bf_slice rest = key->workspaces;

    if (key->all)
        return true;
    while (rest.ptr) {
        if (bf_slice_eq(next_item(&rest), workspace))
            return true;
    }
    return false;
}

struct bf_slice bf_apikey_only(const struct bf_apikey *key)
{
    if (key->all || memchr(key->workspaces.ptr, ',', key->workspaces.len))
        return (struct bf_slice){0};
    return key->workspaces;
}
