#ifndef BF_DISPATCHER_APIKEYS_H
#define BF_DISPATCHER_APIKEYS_H

/*
 * API keys: who may use the HTTP API, and for which workspaces. A file, one
 * key a line, hashes only:
 *
 *     [revoked ]<id> <hash> workspaces=<a,b|*> created=<time>
 *         [expires=<time>] [comment...]
 *
 * What a client sends is bf_<id>_<secret>: the id finds the line, the secret,
 * 32 random bytes, proves it. The hash is BLAKE2b-256 of both. A slow hash
 * (Argon2) slows down who tries likely passwords; nobody guesses one of 2^256
 * equally likely ones, whatever a guess costs, and every request would pay.
 *
 * A set of keys is immutable once parsed: any thread may read.
 */

#include <stdint.h>

#include "schemas/buf.h"

struct bf_err;
struct bf_apikeys;

#define BF_APIKEY_ID_LEN 12
#define BF_APIKEY_ID_SIZE (BF_APIKEY_ID_LEN + 1)
#define BF_APIKEY_HASH_BYTES 32
/* "bf_<id>_" and 32 bytes in base64url, with a NUL. */
#define BF_APIKEY_TOKEN_SIZE (3 + BF_APIKEY_ID_LEN + 1 + 43 + 1)
#define BF_APIKEYS_MAX 20000U /* in one file */
#define BF_APIKEYS_FILE_MAX (8U << 20)

/* Slices point into the set. */
struct bf_apikey {
    char id[BF_APIKEY_ID_SIZE];
    unsigned char hash[BF_APIKEY_HASH_BYTES];
    bool revoked;
    bool all;                   /* of every workspace: an operator's */
    struct bf_slice workspaces; /* "a,b", or "*" */
    int64_t created_ms;
    int64_t expires_ms; /* 0: never */
    struct bf_slice comment;
    unsigned line; /* in the file, from 1 */
};

/* REJECT "bad_api_key" names the line and the rule. Copies text. */
struct bf_apikeys *bf_apikeys_parse(struct bf_slice text, struct bf_err *err);
void bf_apikeys_free(struct bf_apikeys *keys);
BF_DEFINE_CLEANUP(bf_apikeys_freep_, struct bf_apikeys *, bf_apikeys_free)
#define bf_autoapikeys bf_cleanup(bf_apikeys_freep_)

size_t bf_apikeys_count(const struct bf_apikeys *keys);
/* In the order of ids. */
const struct bf_apikey *bf_apikeys_at(const struct bf_apikeys *keys, size_t i);
/* NULL: none. */
const struct bf_apikey *bf_apikeys_find(const struct bf_apikeys *keys,
                                        struct bf_slice id);

/*
 * Whose token this is, revoked and expired ones too; NULL: nobody's. The time
 * it takes says nothing about the secret.
 */
const struct bf_apikey *bf_apikeys_prove(const struct bf_apikeys *keys,
                                         struct bf_slice token);

/* Neither revoked nor expired. */
bool bf_apikey_live(const struct bf_apikey *key, int64_t now_ms);
bool bf_apikey_may(const struct bf_apikey *key, struct bf_slice workspace);
/* Its only workspace; absent when it has several or all. */
struct bf_slice bf_apikey_only(const struct bf_apikey *key);

/* ---- the file -------------------------------------------------------------*/

/*
 * REJECT when others may read it, or write it (config/writers.h). may_miss: no
 * file is a set of no keys.
 */
struct bf_apikeys *bf_apikeys_load(const char *path, bool may_miss,
                                   struct bf_err *err);

/*
 * Make a key like want, whose id and hash are chosen here, and write it down.
 * The file is replaced whole or not at all. The caller wipes the token, which
 * exists nowhere else.
 */
int bf_apikeys_add(const char *path, const struct bf_apikey *want,
                   char ret_id[static BF_APIKEY_ID_SIZE],
                   char ret_token[static BF_APIKEY_TOKEN_SIZE],
                   struct bf_err *err);

/* REJECT "unknown_key". A key that is revoked already is no error. */
int bf_apikeys_revoke(const char *path, const char *id, struct bf_err *err);

#endif
