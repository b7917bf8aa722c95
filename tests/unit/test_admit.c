#include "tests/unit/support.h"

#include <sodium.h>

#include "worker/admit.h"

#define T0 1795266000000 /* 2026-11-21T13:00:00.000Z */
#define BLOCK "{\"run_function_code\":\"def run():\\n  return {}\\n\"}"

static const struct bf_job good = {
    .kind = LIT("block"),
    .workspace = LIT("acme"),
    .id = LIT("j-1"),
    .spread = 4,
    .accepted_at_ms = T0,
    .expires_at_ms = T0 + 86400000,
    .timeout_ms = 20000,
    .max_attempts = 1,
    .block = LIT(BLOCK),
    .inputs = LIT("{}"),
};

struct keys {
    unsigned char public_key[32], secret[64];
    char id[BF_KEY_ID_SIZE];
};

static int keys_sign(void *key, const unsigned char *bytes, size_t len,
                     unsigned char ret_signature[BF_SIGNATURE_SIZE],
                     struct bf_err *err)
{
    (void)err;
    return crypto_sign_detached(ret_signature, NULL, bytes, len,
                                ((struct keys *)key)->secret);
}

static bool keys_find(void *arg, enum bf_purpose purpose, const char *key_id,
                      struct bf_slice workspace, struct bf_verify_key *ret)
{
    const struct keys *keys = arg;

    (void)workspace;
    memcpy(ret->public_key, keys->public_key, sizeof(ret->public_key));
    return purpose == BF_PURPOSE_JOB && strcmp(keys->id, key_id) == 0;
}

/* The header's value as given, or none when NULL. */
static void put_header(struct bf_record *rec, const char *name,
                       const char *value)
{
    for (size_t i = 0; i < rec->nheaders; i++) {
        if (bf_slice_is(rec->headers[i].name, name))
            rec->headers[i] = rec->headers[--rec->nheaders];
    }
    if (value)
        bf_record_puts(rec, name, value, NULL);
}

struct fault {
    const char *name, *value; /* header, set before signing */
    const char *key;          /* record key, or NULL */
    int32_t partition;
    int64_t now_ms;
    bool is_signed;
    enum bf_admission want;
    const char *code;
};

static const struct fault faults[] = {
    {NULL, NULL, NULL, 3, T0, true, BF_ADMIT_RUN, NULL},
    {NULL, NULL, NULL, 3, T0, false, BF_ADMIT_UNTRUSTED, "unsigned"},
    {NULL, NULL, "other", 3, T0, true, BF_ADMIT_UNTRUSTED, "misplaced"},
    {NULL, NULL, NULL, 2, T0, true, BF_ADMIT_UNTRUSTED, "misplaced"},
    {"bf_timeout_ms", "0", NULL, 3, T0, true, BF_ADMIT_REJECTED, "bad_record"},
    {"bf_timeout_ms", "0", "other", 3, T0, true, BF_ADMIT_UNTRUSTED,
     "misplaced"},
    {"bf_timeout_ms", "0", NULL, 2, T0, true, BF_ADMIT_UNTRUSTED, "misplaced"},
    {"bf_spread", "x", NULL, 3, T0, true, BF_ADMIT_REJECTED, "bad_record"},
    {"bf_kind", "x", NULL, 3, T0, true, BF_ADMIT_REJECTED, "unknown_kind"},
    {"bf_block", "{}", NULL, 3, T0, true, BF_ADMIT_REJECTED, "bad_block"},
    {"bf_job", NULL, NULL, 3, T0, true, BF_ADMIT_NOBODY, "bad_record"},
    {"bf_workspace", "a.b", NULL, 3, T0, true, BF_ADMIT_UNTRUSTED,
     "bad_workspace"},
    {NULL, NULL, NULL, 3, T0 + 86400000, true, BF_ADMIT_EXPIRED, "expired"},
};

static void make(const struct fault *fault, struct keys *keys,
                 struct bf_record *rec)
{
    struct bf_signer signer = {BF_PURPOSE_JOB, keys->id, keys_sign, keys};
    struct bf_record *list[] = {rec};

    bf_record_init(rec, "bf.jobs", fault->partition);
    assert_int_equal(bf_job_build(&good, "f1", rec, NULL), 0);
    if (fault->name)
        put_header(rec, fault->name, fault->value);
    if (fault->key)
        rec->key = bf_slice_str(fault->key);
    if (fault->is_signed)
        assert_int_equal(bf_sign_tree(&signer, T0, list, 1, NULL), 0);
}

static void test_each_fault(void **state)
{
    struct keys keys;
    struct bf_verifier *verifier = bf_verifier_new(keys_find, &keys, NULL);

    (void)state;
    crypto_sign_keypair(keys.public_key, keys.secret);
    bf_key_id(keys.public_key, keys.id);
    for (size_t i = 0; i < bf_countof(faults); i++) {
        const struct fault *fault = &faults[i];
        struct bf_admit_rules rules = {
            .verifier = verifier, .shards = 12, .now_ms = fault->now_ms};
        bf_autoblock struct bf_block *block = NULL;
        bf_autorecord struct bf_record rec;
        struct bf_err err = {0};
        struct bf_job job;

        make(fault, &keys, &rec);
        assert_int_equal(bf_admit(&rules, &rec, &job, &block, &err),
                         fault->want);
        assert_int_equal(!block, fault->want != BF_ADMIT_RUN);
        if (fault->code)
            assert_string_equal(err.code, fault->code);
    }
    bf_verifier_free(verifier);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
