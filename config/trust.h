#ifndef BF_CONFIG_TRUST_H
#define BF_CONFIG_TRUST_H

/*
 * Who is trusted now: the trusted file of a directory of keys (config/keys.h),
 * read again when it changes. Each reading is an immutable ring that takes the
 * last one's place at once; a file that is wrong changes nothing. One thread
 * looks, any thread asks.
 */

#include <stdbool.h>
#include <stdint.h>

#include "schemas/check.h"
#include "schemas/purpose.h"
#include "schemas/sign.h"

struct bf_err;
struct bf_trust;

/* REJECT as bf_keyring_load() would. dir is copied. */
struct bf_trust *bf_trust_new(const char *dir, struct bf_err *err);
void bf_trust_free(struct bf_trust *trust);
BF_DEFINE_CLEANUP(bf_trust_freep_, struct bf_trust *, bf_trust_free)
#define bf_autotrust bf_cleanup(bf_trust_freep_)

enum bf_trust_news {
    BF_TRUST_SAME,
    BF_TRUST_CHANGED, /* who is trusted is what the file says now */
    BF_TRUST_BAD,     /* *err says why it stays as it was; said once, and
                         tried again at each look */
};

/*
 * Has the file changed? Asks the file system once a second at most; now_ms is
 * of a monotonic clock. A change counts when the file stays the same from one
 * look to the next, so that nobody is caught in the middle of writing.
 */
enum bf_trust_news bf_trust_look(struct bf_trust *trust, int64_t now_ms,
                                 struct bf_err *err);

/* A bf_find_key_fn; arg is a struct bf_trust *. Any thread. */
bool bf_trust_find_key(void *arg, enum bf_purpose purpose, const char *key_id,
                       struct bf_slice workspace, struct bf_verify_key *ret);

/* May this key still sign at all? NULL may not. Any thread. */
bool bf_trust_has(struct bf_trust *trust, const struct bf_signer *signer);

/* How many keys are trusted, those revoked not counted. Any thread. */
size_t bf_trust_count(struct bf_trust *trust);

#endif
