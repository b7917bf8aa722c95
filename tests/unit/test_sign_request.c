#include "tests/unit/support.h"

#include <sodium.h>
#include <stdio.h>

#include "schemas/httpsig.h"
#include "worker/sign_request.h"
#include "worker/url.h"

#define RUN_ID "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"

static unsigned char public_key[32], secret_key[64];
static char key_id[BF_KEY_ID_SIZE];

static int sign(void *key, const unsigned char *bytes, size_t len,
                unsigned char ret_signature[BF_SIGNATURE_SIZE],
                struct bf_err *err)
{
    (void)err;
    crypto_sign_detached(ret_signature, NULL, bytes, len, key);
    return 0;
}

static const struct bf_signer signer = {
    .purpose = BF_PURPOSE_RUN,
    .key_id = key_id,
    .sign = sign,
    .key = secret_key,
};

static int make_keys(void **state)
{
    (void)state;
    assert_true(sodium_init() >= 0);
    crypto_sign_keypair(public_key, secret_key);
    bf_key_id(public_key, key_id);
    return 0;
}

static const struct bf_slice body[] = {LIT("{\"a\":"), LIT("1}")};

static const struct bf_forwarded what = {
    .url = "https://Example.org:443?workspace=w#part",
    .body = body,
    .nbody = 2,
    .run_id = RUN_ID,
    .now_ms = 1795266000999,
    .timeout_ms = 20001,
};

/* The value of a header that must be there. */
static const char *value_of(const struct bf_run_headers *headers,
                            const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < headers->n; i++) {
        if (strncmp(headers->line[i], name, len) == 0 &&
            strncmp(headers->line[i] + len, ": ", 2) == 0)
            return headers->line[i] + len + 2;
    }
    fail_msg("no %s", name);
    return NULL;
}

/* As a runner would check it, from the headers alone. */
static void test_signature_holds(void **state)
{
    bf_autoheaders struct bf_run_headers headers = {.n = 0};
    bf_autobuf struct bf_buf base = BF_BUF_INIT(4096);
    const char *input, *text;
    char digest[BF_DIGEST_HEADER_SIZE], nonce[64];
    unsigned char signature[64];
    struct bf_err err = {0};
    size_t len;

    (void)state;
    assert_int_equal(bf_sign_request(&what, &signer, &headers, &err), 0);
    assert_int_equal(headers.n, 5);
    assert_string_equal(value_of(&headers, "content-type"), "application/json");
    assert_string_equal(value_of(&headers, "idempotency-key"),
                        "\"" RUN_ID "\"");
    bf_content_digest(&(struct bf_slice)LIT("{\"a\":1}"), 1, digest, &err);
    assert_string_equal(value_of(&headers, "content-digest"), digest);
    input = value_of(&headers, "signature-input");
    assert_non_null(strstr(input, ";created=1795266000;expires=1795266051;"));
    assert_non_null(strstr(input, key_id));
    text = strstr(input, "nonce=\"");
    assert_non_null(text);
    snprintf(nonce, sizeof(nonce), "%.32s", text + 7);

    assert_int_equal(bf_http_base(
                         &(struct bf_http_message){
                             .method = "POST",
                             .target_uri = "https://Example.org/?workspace=w",
                             .content_type = "application/json",
                             .content_digest = digest,
                             .run_id = RUN_ID,
                             .created_s = 1795266000,
                             .expires_s = 1795266051,
                             .nonce = nonce,
                             .key_id = key_id,
                         },
                         &base, &err),
                     0);
    text = value_of(&headers, "signature");
    assert_int_equal(strncmp(text, "bf=:", 4), 0);
    assert_int_equal(sodium_base642bin(signature, 64, text + 4, 88, NULL, &len,
                                       NULL, sodium_base64_VARIANT_ORIGINAL),
                     0);
    assert_int_equal(len, 64);
    assert_int_equal(crypto_sign_verify_detached(signature,
                                                 (unsigned char *)base.data,
                                                 base.len, public_key),
                     0);
}

static void test_nonces_differ(void **state)
{
    bf_autoheaders struct bf_run_headers one = {.n = 0};
    bf_autoheaders struct bf_run_headers two = {.n = 0};
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(bf_sign_request(&what, &signer, &one, &err), 0);
    assert_int_equal(bf_sign_request(&what, &signer, &two, &err), 0);
    assert_string_not_equal(value_of(&one, "signature-input"),
                            value_of(&two, "signature-input"));
}

static void test_unsigned(void **state)
{
    bf_autoheaders struct bf_run_headers headers = {.n = 0};
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(bf_sign_request(&what, NULL, &headers, &err), 0);
    assert_int_equal(headers.n, 2);
    value_of(&headers, "content-type");
    value_of(&headers, "idempotency-key");
}

static const struct {
    const char *url;
    bool may_go_unsigned;
} hosts[] = {
    {"http://127.0.0.1:8080/run", true},
    {"http://127.8.9.10", true},
    {"http://localhost:1/", true},
    {"https://LOCALHOST", true},
    {"http://[::1]:80/", true},
    {"http://[::1]", true},
    {"http://127.0.0.1.example.org/", false},
    {"http://localhost.example.org/", false},
    {"http://127.1/", false},
    {"http://10.0.0.1/", false},
    {"http://[::2]/", false},
    {"http://[::1].example.org/", false},
    {"http://example.org/?127.0.0.1", false},
    {"http://user@127.0.0.1/", false},
    {"ftp://127.0.0.1/", false},
    {"http:///", false},
};

static void test_who_may_go_unsigned(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(hosts); i++) {
        struct bf_err err = {0};
        int rc = bf_sign_request_check(hosts[i].url, NULL, &err);

        if (rc != (hosts[i].may_go_unsigned ? 0 : -1))
            fail_msg("%s", hosts[i].url);
        if (rc)
            assert_int_equal(err.kind, BF_ERR_FATAL);
    }
    assert_int_equal(
        bf_sign_request_check("https://example.org/", &signer, NULL), 0);
}

static const struct {
    const char *url, *target;
} targets[] = {
    {"http://h", "http://h/"},
    {"http://h/", "http://h/"},
    {"http://h/a/../b?c=d", "http://h/a/../b?c=d"},
    {"http://h?x", "http://h/?x"},
    {"http://h#x", "http://h/"},
    {"http://h:80/p", "http://h/p"},
    {"http://h:443/p", "http://h:443/p"},
    {"https://h:443/p", "https://h/p"},
    {"https://h:80/p", "https://h:80/p"},
    {"HTTP://h:8080/p", "http://h:8080/p"},
    {"http://h:/p", "http://h/p"},
    {"http://[::1]:8080/p", "http://[::1]:8080/p"},
};

static void test_targets(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(targets); i++) {
        bf_autobuf struct bf_buf out = BF_BUF_INIT(256);
        struct bf_err err = {0};

        assert_int_equal(bf_target_uri(targets[i].url, &out, &err), 0);
        assert_string_equal(out.data, targets[i].target);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signature_holds),
        cmocka_unit_test(test_nonces_differ),
        cmocka_unit_test(test_unsigned),
        cmocka_unit_test(test_who_may_go_unsigned),
        cmocka_unit_test(test_targets),
    };

    return cmocka_run_group_tests(tests, make_keys, NULL);
}
