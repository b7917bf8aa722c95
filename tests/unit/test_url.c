#include "tests/unit/support.h"

#include "schemas/err.h"
#include "schemas/limits.h"
#include "worker/url.h"

static const struct {
    const char *url;
    const char *origin; /* NULL: refused */
    bool loopback;
} origins[] = {
    {"https://Acme--Web.modal.run/x?y#z", "https://acme--web.modal.run", false},
    {"HTTPS://a:443/", "https://a", false},
    {"http://a:80", "http://a", false},
    {"http://a:443", "http://a:443", false},
    {"https://a:", "https://a", false},
    {"http://127.0.0.1:8080/run", "http://127.0.0.1:8080", true},
    {"http://LocalHost/", "http://localhost", true},
    {"http://[::1]:9/", "http://[::1]:9", true},
    {"http://127.0.0.1.example/", "http://127.0.0.1.example", false},
    {"http://128.0.0.1/", "http://128.0.0.1", false},
    {"ftp://a/", NULL, false},
    {"https://", NULL, false},
    {"https://user@a/", NULL, false},
    {"https://a@b", NULL, false},
    {"https://[::1/", NULL, false},
    {"//a/", NULL, false},
};

static void test_origins(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(origins); i++) {
        bf_autobuf struct bf_buf out = BF_BUF_INIT(BF_MAX_URL);
        struct bf_err err = {0};
        int rc = bf_url_origin(origins[i].url, &out, &err);

        assert_int_equal(rc, origins[i].origin ? 0 : -1);
        if (rc == 0)
            assert_string_equal(out.data, origins[i].origin);
        else
            assert_string_equal(err.code, "bad_url");
        assert_int_equal(bf_url_is_loopback(origins[i].url),
                         origins[i].loopback);
    }
}

static void test_escape(void **state)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(100);
    bf_autobuf struct bf_buf little = BF_BUF_INIT(5);
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(bf_url_escape(S("aZ09-._~"), &out, &err), 0);
    assert_int_equal(bf_url_escape(S("a b&c=d/\xc3\xa9%"), &out, &err), 0);
    assert_string_equal(out.data, "aZ09-._~a%20b%26c%3Dd%2F%C3%A9%25");
    assert_int_equal(bf_url_escape(S("a&&"), &little, &err), -1);
    assert_int_equal(err.kind, BF_ERR_REJECT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_escape),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
