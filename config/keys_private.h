#ifndef BF_CONFIG_KEYS_PRIVATE_H
#define BF_CONFIG_KEYS_PRIVATE_H

/* Shared by keys.c, keys_trusted.c and keys_dir.c alone; see keys.h. */

#include "config/keys.h"
#include "config/secret.h"

#define BF_TRUSTED_FILE_MAX (4U << 20) /* bytes */

struct bf_signing_key;

struct bf_keyring {
    char *text; /* the trusted file; slices of keys point into it */
    struct bf_trusted *keys;
    size_t count;
    struct bf_signing_key *signers[BF_PURPOSES]; /* NULL: none */
};

/* Any purpose, revoked too; NULL: not in the file. */
struct bf_trusted *bf_keyring_by_id(const struct bf_keyring *ring,
                                    const char *key_id);

/* "<dir>/<name>" into a path of size bytes; REJECT "bad_path". */
int bf_keys_path(char *out, size_t size, const char *dir, const char *name,
                 struct bf_err *err);

/*
 * The whole trusted file; "" if it is missing and may_miss. REJECT "no_keys",
 * "keys_mode", "keys_owner" or "keys_dir".
 */
int bf_trusted_read(const char *dir, bool may_miss, struct bf_buf *ret,
                    struct bf_err *err);

#endif
