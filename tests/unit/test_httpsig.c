#include "tests/unit/support.h"

#include <sodium.h>

#include "schemas/httpsig.h"

#define RUN "87ca9100b538bab1b032f3610d9d74f6"

static int seed_sign(void *key, const unsigned char *bytes, size_t len,
                     unsigned char ret_signature[BF_SIGNATURE_SIZE],
                     struct bf_err *err)
{
    unsigned char public_key[32], secret[64];

    (void)err;
    crypto_sign_seed_keypair(public_key, secret, key);
    return crypto_sign_detached(ret_signature, NULL, bytes, len, secret);
}

static void test_digest_of_rfc_9530(void **state)
{
    const struct bf_slice body[] = {S("{\"hello\""), S(""), NONE,
                                    S(": \"world\"}")};
    char digest[BF_DIGEST_HEADER_SIZE];

    (void)state;
    assert_int_equal(bf_content_digest(body, 4, digest, NULL), 0);
    assert_string_equal(
        digest, "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:");
    assert_int_equal(bf_content_digest(NULL, 0, digest, NULL), 0);
    assert_string_equal(
        digest, "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
}

/* RFC 9421 B.2.6: its key, its base, its signature. */
static void test_signature_of_rfc_9421(void **state)
{
    static const struct bf_header parts[] = {
        {LIT("date"), LIT("Tue, 20 Apr 2021 02:07:55 GMT")},
        {LIT("@method"), LIT("POST")},
        {LIT("@path"), LIT("/foo")},
        {LIT("@authority"), LIT("example.com")},
        {LIT("content-type"), LIT("application/json")},
        {LIT("content-length"), LIT("18")},
    };
    bf_autobuf struct bf_buf base = BF_BUF_INIT(4096);
    unsigned char der[64], signature[BF_SIGNATURE_SIZE];
    char base64[96];
    size_t len;

    (void)state;
    assert_int_equal(
        bf_http_base_of(parts, bf_countof(parts),
                        S("(\"date\" \"@method\" \"@path\" \"@authority\" "
                          "\"content-type\" \"content-length\")"
                          ";created=1618884473;keyid=\"test-key-ed25519\""),
                        &base, NULL),
        0);
    assert_int_equal(
        sodium_base642bin(
            der, sizeof(der),
            "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF",
            64, NULL, &len, NULL, sodium_base64_VARIANT_ORIGINAL),
        0);
    assert_int_equal(len, 48);
    seed_sign(der + 16, (const unsigned char *)base.data, base.len, signature,
              NULL);
    sodium_bin2base64(base64, sizeof(base64), signature, sizeof(signature),
                      sodium_base64_VARIANT_ORIGINAL);
    assert_string_equal(base64, "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK"
                                "1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==");
}

static const struct bf_http_message message = {
    .method = "POST",
    .target_uri = "https://example.com/run?w=a",
    .content_type = "application/json",
    .content_digest = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
    .run_id = RUN,
    .created_s = 1795266000,
    .expires_s = 1795266050,
    .nonce = "00ff",
    .key_id = "40bca4eaf9d2b097",
};

static void test_base_of_a_run(void **state)
{
    bf_autobuf struct bf_buf base = BF_BUF_INIT(4096);

    (void)state;
    assert_int_equal(bf_http_base(&message, &base, NULL), 0);
    assert_string_equal(
        base.data,
        "\"@method\": POST\n"
        "\"@target-uri\": https://example.com/run?w=a\n"
        "\"content-type\": application/json\n"
        "\"content-digest\": "
        "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:\n"
        "\"idempotency-key\": \"" RUN "\"\n"
        "\"@signature-params\": (\"@method\" \"@target-uri\" \"content-type\" "
        "\"content-digest\" \"idempotency-key\");created=1795266000"
        ";expires=1795266050;nonce=\"00ff\";keyid=\"40bca4eaf9d2b097\""
        ";alg=\"ed25519\"");
}

static void test_a_signed_run(void **state)
{
    bf_autobuf struct bf_buf input = BF_BUF_INIT(4096);
    bf_autobuf struct bf_buf sig = BF_BUF_INIT(4096);
    bf_autobuf struct bf_buf base = BF_BUF_INIT(4096);
    unsigned char seed[32] = {1}, public_key[32], secret[64], raw[64];
    const char *params;
    size_t len;

    (void)state;
    assert_int_equal(
        bf_http_sign(&message, seed_sign, seed, &input, &sig, NULL), 0);
    assert_int_equal(bf_http_base(&message, &base, NULL), 0);
    params = strstr(base.data, "\"@signature-params\": ");
    assert_non_null(params);
    assert_memory_equal(input.data, "bf=", 3);
    assert_string_equal(input.data + 3,
                        params + strlen("\"@signature-params\": "));
    assert_memory_equal(sig.data, "bf=:", 4);
    assert_int_equal(sig.data[sig.len - 1], ':');
    assert_int_equal(sodium_base642bin(raw, sizeof(raw), sig.data + 4,
                                       sig.len - 5, NULL, &len, NULL,
                                       sodium_base64_VARIANT_ORIGINAL),
                     0);
    crypto_sign_seed_keypair(public_key, secret, seed);
    assert_int_equal(
        crypto_sign_verify_detached(raw, (const unsigned char *)base.data,
                                    base.len, public_key),
        0);
}

static void test_what_cannot_stand_in_a_header(void **state)
{
    struct bf_http_message bad[11];

    (void)state;
    for (size_t i = 0; i < bf_countof(bad); i++)
        bad[i] = message;
    bad[0].method = "";
    bad[1].method = "PO ST";
    bad[2].target_uri = "http://x/\n\"@method\": GET";
    bad[3].content_type = "a\r\nb";
    bad[4].content_digest = NULL;
    bad[5].run_id = RUN "\"";
    bad[6].nonce = "00\"";
    bad[7].nonce = "";
    bad[8].key_id = "40bca4eaf9d2b09";
    bad[9].created_s = -1;
    bad[10].expires_s = bad[10].created_s - 1;
    for (size_t i = 0; i < bf_countof(bad); i++) {
        bf_autobuf struct bf_buf input = BF_BUF_INIT(4096);
        bf_autobuf struct bf_buf sig = BF_BUF_INIT(4096);
        unsigned char seed[32] = {1};
        struct bf_err err = {0};

        assert_refused(
            bf_http_sign(&bad[i], seed_sign, seed, &input, &sig, &err), err,
            "bad_http_message");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digest_of_rfc_9530),
        cmocka_unit_test(test_signature_of_rfc_9421),
        cmocka_unit_test(test_base_of_a_run),
        cmocka_unit_test(test_a_signed_run),
        cmocka_unit_test(test_what_cannot_stand_in_a_header),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
