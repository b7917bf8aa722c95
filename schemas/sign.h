#ifndef BF_SCHEMAS_SIGN_H
#define BF_SCHEMAS_SIGN_H

/*
 * Record signatures: Merkle trees of up to 64 records under one Ed25519
 * signature. Source: PROTOCOL.md §6. No I/O; keys come from outside.
 */

#include "schemas/purpose.h"
#include "schemas/record.h"

struct bf_err;

#define BF_KEY_ID_LEN 16
#define BF_KEY_ID_SIZE (BF_KEY_ID_LEN + 1)
#define BF_HASH_SIZE 32
#define BF_SIGNATURE_SIZE 64

/* Sign len bytes; what config/keys.h gives. Returns 0, or -1 with *err set. */
typedef int bf_sign_fn(void *key, const unsigned char *bytes, size_t len,
                       unsigned char ret_signature[BF_SIGNATURE_SIZE],
                       struct bf_err *err);

/* Who signs: one key of one purpose. Everything is borrowed. */
struct bf_signer {
    enum bf_purpose purpose;
    const char *key_id;
    bf_sign_fn *sign;
    void *key; /* sign's first argument */
};

void bf_key_id(const unsigned char public_key[32], char out[BF_KEY_ID_SIZE]);

/* The leaf of a record: everything but bf_signature must be in place. */
void bf_leaf(enum bf_purpose purpose, const struct bf_record *rec,
             unsigned char out[BF_HASH_SIZE]);

/*
 * Sign 1..64 records as one tree and put bf_signature into each. All records
 * are of the signer's purpose and unsigned, with room for one more header.
 * After a failure for want of memory some of them may be signed: throw them
 * away.
 */
int bf_sign_tree(const struct bf_signer *signer, int64_t created_ms,
                 struct bf_record *const *records, size_t nrecords,
                 struct bf_err *err);

/* A parsed bf_signature. */
struct bf_signature {
    enum bf_purpose purpose;
    char key_id[BF_KEY_ID_SIZE];
    int64_t created_ms;
    uint32_t count;
    uint32_t index;
    unsigned char path[6][BF_HASH_SIZE];
    size_t npath;
    unsigned char bytes[BF_SIGNATURE_SIZE];
};
/* REJECT "bad_signature"; *ret untouched then. */
int bf_signature_parse(struct bf_slice text, struct bf_signature *ret,
                       struct bf_err *err);

/*
 * The trusted public key of this purpose and id that may sign for this
 * workspace; false when there is none. Asked for every record, so that a
 * revocation counts at once.
 */
struct bf_verify_key {
    unsigned char public_key[32];
};
typedef bool bf_find_key_fn(void *arg, enum bf_purpose purpose,
                            const char *key_id, struct bf_slice workspace,
                            struct bf_verify_key *ret);

/*
 * Verifies records of one purpose; remembers the last verified statements, so
 * that 64 records cost one Ed25519 verification. One thread.
 */
struct bf_verifier;
struct bf_verifier *bf_verifier_new(bf_find_key_fn *find, void *arg,
                                    struct bf_err *err);
void bf_verifier_free(struct bf_verifier *verifier);

/*
 * purpose: the topic's. workspace: whose record it claims to be; the key must
 * be allowed to sign for it. REJECT "unsigned", "duplicate_header",
 * "bad_signature", "unknown_key", "wrong_purpose", "created_ahead".
 */
int bf_verify(struct bf_verifier *verifier, enum bf_purpose purpose,
              const struct bf_record *rec, struct bf_slice workspace,
              int64_t now_ms, struct bf_err *err);

#endif
