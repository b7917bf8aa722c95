#include "tests/unit/support.h"

#include <sodium.h>

#include "schemas/sign.h"

#define NOW 1795266000123

struct test_key {
    unsigned char public_key[32];
    unsigned char secret[64];
    char id[BF_KEY_ID_SIZE];
    int signatures;
};

static void test_key_init(struct test_key *key, unsigned char first)
{
    unsigned char seed[32];

    for (size_t i = 0; i < sizeof(seed); i++)
        seed[i] = (unsigned char)(first + i);
    crypto_sign_seed_keypair(key->public_key, key->secret, seed);
    bf_key_id(key->public_key, key->id);
    key->signatures = 0;
}

static int test_key_sign(void *arg, const unsigned char *bytes, size_t len,
                         unsigned char ret_signature[BF_SIGNATURE_SIZE],
                         struct bf_err *err)
{
    struct test_key *key = arg;

    (void)err;
    key->signatures++;
    return crypto_sign_detached(ret_signature, NULL, bytes, len, key->secret);
}

static struct bf_signer signer_of(struct test_key *key)
{
    return (struct bf_signer){BF_PURPOSE_JOB, key->id, test_key_sign, key};
}

/* Trusts one key, for one workspace, and counts the questions. */
struct trust {
    const struct test_key *key;
    const char *workspace;
    int asked;
};

static bool trust_find(void *arg, enum bf_purpose purpose, const char *key_id,
                       struct bf_slice workspace, struct bf_verify_key *ret)
{
    struct trust *trust = arg;

    trust->asked++;
    if (!trust->key || purpose != BF_PURPOSE_JOB ||
        strcmp(key_id, trust->key->id) != 0 ||
        !bf_slice_is(workspace, trust->workspace))
        return false;
    memcpy(ret->public_key, trust->key->public_key, 32);
    return true;
}

static void record_fill(struct bf_record *rec, int n)
{
    bf_record_init(rec, "bf.jobs", n);
    rec->key = S("acme");
    rec->value = S("{}");
    bf_record_putu(rec, "bf_n", (uint64_t)n, NULL);
    bf_record_puts(rec, "traceparent", "x", NULL);
}

static void sign_all(struct test_key *key, struct bf_record *recs, size_t n)
{
    struct bf_signer signer = signer_of(key);
    struct bf_record *list[BF_MAX_TREE];

    for (size_t i = 0; i < n; i++) {
        record_fill(&recs[i], (int)i);
        list[i] = &recs[i];
    }
    assert_int_equal(bf_sign_tree(&signer, NOW, list, n, NULL), 0);
}

static void release_all(struct bf_record *recs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bf_record_release(&recs[i]);
}

static void test_key_ids(void **state)
{
    struct test_key key;

    (void)state;
    test_key_init(&key, 0); /* computed with Python's hashlib */
    assert_string_equal(key.id, "40bca4eaf9d2b097");
}

static void test_trees_of_every_size(void **state)
{
    struct trust trust = {.workspace = "acme"};
    struct test_key key;

    (void)state;
    test_key_init(&key, 0);
    trust.key = &key;
    for (size_t n = 1; n <= BF_MAX_TREE; n++) {
        struct bf_verifier *verifier =
            bf_verifier_new(trust_find, &trust, NULL);
        struct bf_record recs[BF_MAX_TREE];

        sign_all(&key, recs, n);
        assert_non_null(verifier);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(bf_verify(verifier, BF_PURPOSE_JOB, &recs[i],
                                       S("acme"), NOW, NULL),
                             0);
        bf_verifier_free(verifier);
        release_all(recs, n);
    }
    assert_int_equal(key.signatures, BF_MAX_TREE); /* one a tree */
}

static void test_every_byte_counts(void **state)
{
    bf_autofree char *text = NULL;
    struct trust trust = {.workspace = "acme"};
    struct bf_verifier *verifier = bf_verifier_new(trust_find, &trust, NULL);
    struct bf_record recs[5];
    struct bf_slice whole;
    struct test_key key;

    (void)state;
    test_key_init(&key, 0);
    trust.key = &key;
    sign_all(&key, recs, 5);
    whole = bf_record_get(&recs[2], "bf_signature");
    text = malloc(whole.len);
    assert_non_null(text);
    for (size_t i = 0; i < whole.len; i++) {
        struct bf_header *last = &recs[2].headers[recs[2].nheaders - 1];

        memcpy(text, whole.ptr, whole.len);
        text[i] = text[i] == 'A' ? 'B' : 'A';
        last->value = (struct bf_slice){text, whole.len};
        assert_int_equal(
            bf_verify(verifier, BF_PURPOSE_JOB, &recs[2], S("acme"), NOW, NULL),
            -1);
    }
    bf_verifier_free(verifier);
    release_all(recs, 5);
}

static void test_what_is_refused(void **state)
{
    struct trust trust = {.workspace = "acme"};
    struct bf_verifier *verifier = bf_verifier_new(trust_find, &trust, NULL);
    struct bf_record recs[1], bare;
    struct test_key key, other;
    struct bf_err err = {0};

    (void)state;
    test_key_init(&key, 0);
    test_key_init(&other, 32);
    trust.key = &key;
    sign_all(&key, recs, 1);
    record_fill(&bare, 0);
    assert_refused(
        bf_verify(verifier, BF_PURPOSE_JOB, &bare, S("acme"), NOW, &err), err,
        "unsigned");
    assert_refused(
        bf_verify(verifier, BF_PURPOSE_CONTROL, recs, S("acme"), NOW, &err),
        err, "wrong_purpose");
    assert_refused(
        bf_verify(verifier, BF_PURPOSE_JOB, recs, S("acm"), NOW, &err), err,
        "unknown_key");
    assert_int_equal(bf_verify(verifier, BF_PURPOSE_JOB, recs, S("acme"),
                               NOW - 300000, &err),
                     0);
    assert_refused(bf_verify(verifier, BF_PURPOSE_JOB, recs, S("acme"),
                             NOW - 300001, &err),
                   err, "created_ahead");
    trust.key = &other;
    assert_refused(
        bf_verify(verifier, BF_PURPOSE_JOB, recs, S("acme"), NOW, &err), err,
        "unknown_key");
    trust.key = &key;
    bf_record_puts(recs, "bf_n", "0", NULL);
    assert_refused(
        bf_verify(verifier, BF_PURPOSE_JOB, recs, S("acme"), NOW, &err), err,
        "duplicate_header");
    bf_verifier_free(verifier);
    release_all(recs, 1);
    bf_record_release(&bare);
}

/*
 * Many trees, more than are remembered, twice over: the memory of one never
 * passes for another, and a forged record of a remembered tree fails.
 */
static void test_memory_of_statements(void **state)
{
    enum { TREES = 600 };
    struct trust trust = {.workspace = "acme"};
    struct bf_verifier *verifier = bf_verifier_new(trust_find, &trust, NULL);
    struct bf_record *recs = calloc(TREES, sizeof(*recs));
    struct bf_err err = {0};
    struct test_key key;

    (void)state;
    assert_non_null(recs);
    test_key_init(&key, 0);
    trust.key = &key;
    for (int i = 0; i < TREES; i++) {
        struct bf_signer signer = signer_of(&key);
        struct bf_record *list[] = {&recs[i]};

        record_fill(&recs[i], i);
        assert_int_equal(bf_sign_tree(&signer, NOW, list, 1, NULL), 0);
    }
    for (int i = 0; i < 2 * TREES; i++)
        assert_int_equal(bf_verify(verifier, BF_PURPOSE_JOB, &recs[i % TREES],
                                   S("acme"), NOW, NULL),
                         0);
    recs[TREES - 1].value = S("[]");
    assert_refused(bf_verify(verifier, BF_PURPOSE_JOB, &recs[TREES - 1],
                             S("acme"), NOW, &err),
                   err, "bad_signature");
    recs[TREES - 1].value = S("{}");
    trust.key = NULL; /* a revocation counts at once */
    assert_refused(bf_verify(verifier, BF_PURPOSE_JOB, &recs[TREES - 1],
                             S("acme"), NOW, &err),
                   err, "unknown_key");
    release_all(recs, TREES);
    free(recs);
    bf_verifier_free(verifier);
}

static int sign_fails(void *key, const unsigned char *bytes, size_t len,
                      unsigned char ret_signature[BF_SIGNATURE_SIZE],
                      struct bf_err *err)
{
    (void)key;
    (void)bytes;
    (void)len;
    (void)ret_signature;
    return bf_err_set(err, BF_ERR_FATAL, "no_key", "no key");
}

static void test_a_signer_that_fails(void **state)
{
    struct bf_signer signer = {BF_PURPOSE_JOB, "0123456789abcdef", sign_fails,
                               NULL};
    struct bf_record rec, *list[] = {&rec};
    struct bf_err err = {0};

    (void)state;
    record_fill(&rec, 0);
    assert_int_equal(bf_sign_tree(&signer, NOW, list, 1, &err), -1);
    assert_int_equal(err.kind, BF_ERR_FATAL);
    assert_null(bf_record_find(&rec, "bf_signature"));
    bf_record_release(&rec);
}

static void test_texts_that_are_no_signatures(void **state)
{
    static const struct bf_slice bad[] = {
        {NULL, 0},
        LIT(""),
        LIT("........"),
        LIT("v1.job.40bca4eaf9d2b097.1.1.0..A\0"),
        LIT("v1.job.40bca4eaf9d2b097.99999999999999999999.1.0.."),
        LIT("v1.job.40bca4eaf9d2b097.1.-1.0.."),
        LIT("v1.job.40bca4eaf9d2b097.1.18446744073709551617.0.."),
        LIT("v1.job.40bca4eaf9d2b097.1.1.0.."),
    };
    static char huge[5000];
    struct bf_signature sig;

    (void)state;
    for (size_t i = 0; i < bf_countof(bad); i++) {
        struct bf_err err = {0};

        assert_refused(bf_signature_parse(bad[i], &sig, &err), err,
                       "bad_signature");
    }
    memset(huge, '.', sizeof(huge));
    assert_int_equal(
        bf_signature_parse((struct bf_slice){huge, sizeof(huge)}, &sig, NULL),
        -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_ids),
        cmocka_unit_test(test_trees_of_every_size),
        cmocka_unit_test(test_every_byte_counts),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_memory_of_statements),
        cmocka_unit_test(test_a_signer_that_fails),
        cmocka_unit_test(test_texts_that_are_no_signatures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
