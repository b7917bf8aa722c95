/*
 * Whatever stands as bf_signature: it is refused or within its bounds, and no
 * key that did not sign makes it right.
 */

#include <stddef.h>
#include <stdint.h>

#include "schemas/err.h"
#include "schemas/ids.h"
#include "schemas/sign.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every key is trusted, as the base point of the curve. */
static bool trust_anything(void *arg, enum bf_purpose purpose,
                           const char *key_id, struct bf_slice workspace,
                           struct bf_verify_key *ret)
{
    (void)arg;
    (void)purpose;
    (void)key_id;
    (void)workspace;
    memset(ret->public_key, 0x66, sizeof(ret->public_key));
    ret->public_key[0] = 0x58;
    return true;
}

static void check_verify(struct bf_slice text, enum bf_purpose purpose)
{
    struct bf_verifier *verifier = bf_verifier_new(trust_anything, NULL, NULL);
    bf_autorecord struct bf_record rec;
    struct bf_err err = {0};

    bf_assert(verifier);
    bf_record_init(&rec, "bf.jobs", 0);
    rec.value = BF_SLICE_LIT("{}");
    bf_record_ref(&rec, BF_SLICE_LIT("bf_signature"), text, NULL);
    bf_assert(bf_verify(verifier, purpose, &rec, BF_SLICE_LIT("acme"),
                        INT64_MAX, &err) == -1);
    bf_assert(err.kind == BF_ERR_REJECT);
    bf_verifier_free(verifier);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bf_slice text = {(const char *)data, size};
    struct bf_signature sig;
    struct bf_err err = {0};

    if (bf_signature_parse(text, &sig, &err)) {
        bf_assert(strcmp(err.code, "bad_signature") == 0);
        return 0;
    }
    bf_assert(sig.count >= 1 && sig.count <= BF_MAX_TREE);
    bf_assert(sig.index < sig.count && sig.npath <= bf_countof(sig.path));
    bf_assert(bf_hex_ok(bf_slice_str(sig.key_id), BF_KEY_ID_LEN));
    check_verify(text, sig.purpose);
    return 0;
}
