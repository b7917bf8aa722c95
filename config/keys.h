#ifndef BF_CONFIG_KEYS_H
#define BF_CONFIG_KEYS_H

/*
 * Ed25519 keys by purpose, in one directory:
 *
 *   trusted                  one public key a line:
 *                            [revoked] <purpose> ed25519 <base64 of 32 bytes>
 *                            [workspaces=a,b] [comment]; # begins a comment
 *   <purpose>.<key id>.key   a private key, mode 0600:
 *                            ed25519 <purpose> <base64 of the 32-byte seed>
 *   <purpose>.signing        optional: the id of the key that signs; else the
 *                            youngest file that is not revoked does
 *
 * A key id is the first 16 hex digits of BLAKE2b-128 of the public key. A key
 * has one purpose; with workspaces, it speaks for these alone.
 *
 * What everybody may write to is not read ("keys_mode"), nor, where everybody
 * may make files, a trusted file of a user who is neither root, nor us, nor the
 * directory's owner ("keys_owner").
 *
 * A ring is immutable: to reload, load another, as config/trust.h does for
 * those who verify. Any thread may read and sign.
 * Errors name file, line and rule, never key material.
 */

#include <stdbool.h>

#include "schemas/buf.h"
#include "schemas/check.h"
#include "schemas/purpose.h"
#include "schemas/sign.h"

struct bf_err;
struct bf_keyring;

#define BF_KEYS_MAX 4096

/* A line of the trusted file; borrowed from the ring. */
struct bf_trusted {
    enum bf_purpose purpose;
    char id[BF_KEY_ID_SIZE];
    unsigned char public_key[32];
    bool revoked;
    struct bf_slice workspaces; /* "a,b"; empty: all */
    struct bf_slice comment;    /* may be empty */
    unsigned line;
};

/*
 * Trusted keys and, of each purpose that has one, the signing key. REJECT for
 * what is wrong in the files ("bad_key", "secret_mode", ...); a signing key
 * that this directory does not trust is wrong too.
 */
struct bf_keyring *bf_keyring_load(const char *dir, struct bf_err *err);

/* The text of a trusted file; a ring without signers. */
struct bf_keyring *bf_keyring_parse(struct bf_slice text, struct bf_err *err);

/* NULL is a no-op. */
void bf_keyring_free(struct bf_keyring *ring);
BF_DEFINE_CLEANUP(bf_keyring_freep, struct bf_keyring *, bf_keyring_free)
#define bf_autokeyring bf_cleanup(bf_keyring_freep)

/* In the order of the file, revoked ones too. i < count. */
size_t bf_keyring_count(const struct bf_keyring *ring);
const struct bf_trusted *bf_keyring_at(const struct bf_keyring *ring, size_t i);

/* NULL: unknown, revoked or of another purpose. */
const struct bf_trusted *bf_keyring_find(const struct bf_keyring *ring,
                                         enum bf_purpose purpose,
                                         const char *key_id);

bool bf_trusted_allows(const struct bf_trusted *key, struct bf_slice workspace);

/* A bf_find_key_fn; arg is a struct bf_keyring *. */
bool bf_keyring_find_key(void *arg, enum bf_purpose purpose, const char *key_id,
                         struct bf_slice workspace, struct bf_verify_key *ret);

/*
 * For bf_sign_tree(); borrowed from the ring. NULL: this directory has no
 * private key of that purpose.
 */
const struct bf_signer *bf_keyring_signer(const struct bf_keyring *ring,
                                          enum bf_purpose purpose);

/* One signature; any bf_signer of a ring, which cannot fail. */
void bf_sign(const struct bf_signer *signer, struct bf_slice bytes,
             unsigned char out[static BF_SIGNATURE_SIZE]);

/*
 * The following change a directory: under its lock, atomically and durably.
 * They make it (mode 0700) when it is missing.
 */

/*
 * A new key pair: the public half trusted, then the private file written.
 * workspaces and comment may be NULL. The new key signs at once unless
 * <purpose>.signing says otherwise.
 */
int bf_keyring_generate(const char *dir, enum bf_purpose purpose,
                        const char *workspaces, const char *comment,
                        char ret_id[static BF_KEY_ID_SIZE], struct bf_err *err);

/* One more line for the trusted file, checked as when it is read. */
int bf_keyring_trust(const char *dir, struct bf_slice line, struct bf_err *err);

/* REJECT "unknown_key". Revoking twice is no error. */
int bf_keyring_revoke(const char *dir, const char *key_id, struct bf_err *err);

#endif
