#include "tests/unit/support.h"

#include "config/secret.h"
#include "schemas/check.h"
#include "worker/backend/e2b_api.h"

#define KEY "e2b_0123456789abcdef"

static const struct bf_e2b_site site = {
    .api_url = "https://api.e2b.app", .sandbox_url = "", .domain = "e2b.app"};

static const struct bf_e2b_pair pairs[] = {
    {"bf.fleet", LIT("main")},
    {"bf.shard", LIT("7")},
};

static struct bf_e2b_request made(void)
{
    struct bf_e2b_request request;

    bf_e2b_request_init(&request, 1 << 16);
    return request;
}

static bool has_line(const struct bf_e2b_request *request, const char *line)
{
    for (size_t i = 0; i < request->nlines; i++) {
        if (strcmp(request->lines[i], line) == 0)
            return true;
    }
    return false;
}

static const struct bf_e2b_create wanted = {
    .template_id = "code-interpreter-v1",
    .ttl_s = 95,
    .metadata = pairs,
    .nmetadata = bf_countof(pairs),
    .idempotency_key = "0f",
};

static void a_sandbox_is_asked_for(void **unused)
{
    struct bf_e2b_request request = made();
    struct bf_e2b_site old = site;
    struct bf_err err = {0};

    (void)unused;
    assert_int_equal(bf_e2b_create_put(&site, &wanted, &request, &err), 0);
    assert_slice(bf_buf_slice(&request.url),
                 "https://api.e2b.app/v2/sandboxes");
    assert_int_equal(request.method, BF_POST);
    assert_slice(bf_buf_slice(&request.body),
                 "{\"templateID\":\"code-interpreter-v1\",\"timeout\":95,"
                 "\"metadata\":{\"bf.fleet\":\"main\",\"bf.shard\":\"7\"},"
                 "\"allow_internet_access\":false,"
                 "\"network\":{\"allowPublicTraffic\":false}}");
    assert_true(has_line(&request, "content-type: application/json"));
    assert_true(has_line(&request, "idempotency-key: 0f"));

    /* the same request once more, by the other routes */
    old.old_routes = true;
    assert_int_equal(bf_e2b_create_put(&old, &wanted, &request, &err), 0);
    assert_slice(bf_buf_slice(&request.url), "https://api.e2b.app/sandboxes");
    assert_non_null(strstr(request.body.data, "\"secure\":true}"));
    bf_e2b_request_release(&request);
}

static void the_rest_of_the_control_plane(void **unused)
{
    struct bf_e2b_request request = made();
    struct bf_e2b_site old = site;
    struct bf_err err = {0};

    (void)unused;
    old.old_routes = true;
    assert_int_equal(bf_e2b_connect_put(&site, "i1", 60, &request, &err), 0);
    assert_slice(bf_buf_slice(&request.url),
                 "https://api.e2b.app/v2/sandboxes/i1/connect");
    assert_slice(bf_buf_slice(&request.body), "{\"timeout\":60}");
    assert_int_equal(bf_e2b_connect_put(&old, "i1", 60, &request, &err), 0);
    assert_slice(bf_buf_slice(&request.url),
                 "https://api.e2b.app/sandboxes/i1/connect");
    assert_int_equal(bf_e2b_ttl_put(&site, "i1", 9, &request, &err), 0);
    assert_slice(bf_buf_slice(&request.url),
                 "https://api.e2b.app/sandboxes/i1/timeout");
    assert_slice(bf_buf_slice(&request.body), "{\"timeout\":9}");
    assert_int_equal(request.method, BF_POST);
    assert_int_equal(bf_e2b_kill_put(&site, "i1", &request, &err), 0);
    assert_slice(bf_buf_slice(&request.url),
                 "https://api.e2b.app/sandboxes/i1");
    assert_int_equal(request.method, BF_DELETE);
    assert_int_equal(request.body.len, 0);
    bf_e2b_request_release(&request);
}

static void lists_go_by_metadata_and_pages(void **unused)
{
    struct bf_e2b_request request = made();
    struct bf_e2b_site old = site;
    struct bf_err err = {0};

    (void)unused;
    assert_int_equal(bf_e2b_list_put(&site, pairs, 2, NONE, &request, &err), 0);
    assert_int_equal(request.method, BF_GET);
    assert_slice(bf_buf_slice(&request.url),
                 "https://api.e2b.app/v2/sandboxes?metadata=bf.fleet%3Dmain"
                 "%26bf.shard%3D7&state=running&limit=100");
    assert_int_equal(
        bf_e2b_list_put(&site, pairs, 1, S("a b&c=/"), &request, &err), 0);
    assert_slice(bf_buf_slice(&request.url),
                 "https://api.e2b.app/v2/sandboxes?metadata=bf.fleet%3Dmain"
                 "&state=running&limit=100&nextToken=a%20b%26c%3D%2F");
    old.old_routes = true;
    assert_int_equal(bf_e2b_list_put(&old, pairs, 1, NONE, &request, &err), 0);
    assert_slice(bf_buf_slice(&request.url),
                 "https://api.e2b.app/sandboxes?metadata=bf.fleet%3Dmain");
    bf_e2b_request_release(&request);
}

/* ---- the data plane ---- */

static void a_sandbox_is_found_by_headers_or_by_name(void **unused)
{
    static const struct {
        const char *sandbox_url, *its_domain;
        bool subdomain;
        const char *url;
        bool routed;
    } rows[] = {
        {"", "", false, "https://sandbox.e2b.app/x", true},
        {"", "eu.e2b.app", false, "https://sandbox.eu.e2b.app/x", true},
        {"http://127.0.0.1:1", "", false, "http://127.0.0.1:1/x", true},
        {"", "", true, "https://8000-i1.e2b.app/x", false},
        {"http://127.0.0.1:1", "eu.e2b.app", true,
         "https://8000-i1.eu.e2b.app/x", false},
    };

    (void)unused;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        struct bf_e2b_site here = site;
        struct bf_e2b_address to = {.id = "i1", .domain = rows[i].its_domain};
        struct bf_e2b_request request = made();
        struct bf_err err = {0};

        here.sandbox_url = rows[i].sandbox_url;
        here.subdomain = rows[i].subdomain;
        assert_int_equal(bf_e2b_post(&here, &to, 8000, "/x", &request, &err),
                         0);
        assert_slice(bf_buf_slice(&request.url), rows[i].url);
        assert_int_equal(has_line(&request, "e2b-sandbox-id: i1"),
                         rows[i].routed);
        assert_int_equal(has_line(&request, "e2b-sandbox-port: 8000"),
                         rows[i].routed);
        bf_e2b_request_release(&request);
    }
}

/* They are only named here: their bytes never get into ours. */
static void tokens_stay_secrets(void **unused)
{
    struct bf_err err = {0};
    bf_autosecret struct bf_secret *key =
        bf_secret_new(S(KEY), "https://api.e2b.app", &err);
    bf_autosecret struct bf_secret *token =
        bf_secret_new(S("feedf00d"), "https://sandbox.e2b.app", &err);
    struct bf_e2b_address to = {
        .id = "i1", .domain = "", .access = token, .traffic = token};
    struct bf_e2b_site here = site;
    struct bf_e2b_request request = made();

    (void)unused;
    here.api_key = key;
    assert_int_equal(bf_e2b_kill_put(&here, "i1", &request, &err), 0);
    assert_int_equal(request.nsecrets, 1);
    assert_string_equal(request.secrets[0].name, "x-api-key");
    assert_ptr_equal(request.secrets[0].secret, key);
    assert_int_equal(
        bf_e2b_execute_put(&here, &to, S("print(1)\n"), &request, &err), 0);
    assert_int_equal(request.nsecrets, 2);
    assert_string_equal(request.secrets[0].name, "x-access-token");
    assert_string_equal(request.secrets[1].name, "e2b-traffic-access-token");
    assert_null(strstr(request.body.data, "feedf00d"));
    bf_e2b_request_release(&request);
}

static void code_files_and_processes(void **unused)
{
    static const struct bf_slice argv[] = {
        LIT("/bin/sh"),
        LIT("-c"),
        LIT("echo \"hi\""),
    };
    static const char body[] =
        "{\"process\":{\"cmd\":\"/bin/sh\",\"args\":[\"-c\","
        "\"echo \\\"hi\\\"\"]},\"stdin\":false}";
    struct bf_e2b_start start = {
        .argv = argv, .nargv = bf_countof(argv), .timeout_ms = 20000};
    struct bf_e2b_address to = {.id = "i1", .domain = ""};
    struct bf_e2b_request request = made();
    struct bf_err err = {0};

    (void)unused;
    assert_int_equal(
        bf_e2b_execute_put(&site, &to, S("print(1)\n"), &request, &err), 0);
    assert_slice(bf_buf_slice(&request.url), "https://sandbox.e2b.app/execute");
    assert_slice(bf_buf_slice(&request.body),
                 "{\"code\":\"print(1)\\n\",\"language\":\"python\"}");
    assert_true(has_line(&request, "e2b-sandbox-port: 49999"));
    assert_int_equal(request.version, BF_HTTP_1_1);

    assert_int_equal(bf_e2b_file_put(&site, &to, "/tmp/a b", &request, &err),
                     0);
    assert_slice(bf_buf_slice(&request.url),
                 "https://sandbox.e2b.app/files?path=%2Ftmp%2Fa%20b");
    assert_true(has_line(&request, "content-type: application/octet-stream"));

    assert_int_equal(bf_e2b_start_put(&site, &to, &start, &request, &err), 0);
    assert_slice(bf_buf_slice(&request.url),
                 "https://sandbox.e2b.app/process.Process/Start");
    assert_true(has_line(&request, "connect-timeout-ms: 20000"));
    assert_true(has_line(&request, "connect-protocol-version: 1"));
    assert_int_equal(request.body.len, 5 + strlen(body));
    assert_memory_equal(request.body.data, "\0\0\0\0", 4);
    assert_int_equal((unsigned char)request.body.data[4], strlen(body));
    assert_string_equal(request.body.data + 5, body);
    bf_e2b_request_release(&request);
}

/* ---- answers ---- */

static void a_created_sandbox(void **unused)
{
    static const char body[] =
        "{\"templateID\":\"t\",\"sandboxID\":\"i0abc\",\"clientID\":\"c\","
        "\"envdVersion\":\"0.6.13\",\"envdAccessToken\":\"ab\","
        "\"trafficAccessToken\":null,\"domain\":null}";
    struct bf_e2b_created created = {0};
    struct bf_err err = {0};

    (void)unused;
    assert_int_equal(bf_e2b_created_read(&site, S(body), &created, &err), 0);
    assert_string_equal(created.id, "i0abc");
    assert_string_equal(created.domain, "");
    assert_slice(created.access_token, "ab");
    assert_null(created.traffic_token.ptr);
    bf_e2b_created_release(&created);
}

static void a_created_sandbox_that_is_none(void **unused)
{
    static const struct {
        struct bf_slice body;
        const char *code;
    } rows[] = {
        {LIT(""), "bad_json"},
        {LIT("[]"), "bad_json"},
        {LIT("{}"), "bad_reply"},
        {LIT("{\"sandboxID\":\"\"}"), "bad_reply"},
        {LIT("{\"sandboxID\":7}"), "bad_reply"},
        {LIT("{\"sandboxID\":\"../team\"}"), "bad_reply"},
        {LIT("{\"sandboxID\":\"a\\r\\nx: y\"}"), "bad_reply"},
        {LIT("{\"sandboxID\":\"i1\",\"domain\":\"evil.example\"}"),
         "foreign_domain"},
        {LIT("{\"sandboxID\":\"i1\",\"domain\":\"note2b.app\"}"),
         "foreign_domain"},
        {LIT("{\"sandboxID\":\"i1\",\"domain\":\"a@b.e2b.app\"}"),
         "foreign_domain"},
        {LIT("{\"sandboxID\":\"i1\",\"domain\":\".e2b.app\"}"),
         "foreign_domain"},
    };

    (void)unused;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        struct bf_e2b_created created = {0};
        struct bf_err err = {0};

        assert_refused(bf_e2b_created_read(&site, rows[i].body, &created, &err),
                       err, rows[i].code);
        bf_e2b_created_release(&created);
    }
}

static void a_domain_within_ours_is_taken(void **unused)
{
    struct bf_e2b_created created = {0};
    struct bf_err err = {0};

    (void)unused;
    assert_int_equal(bf_e2b_created_read(
                         &site,
                         S("{\"sandboxID\":\"i1\",\"domain\":\"eu.e2b.app\"}"),
                         &created, &err),
                     0);
    assert_string_equal(created.domain, "eu.e2b.app");
    bf_e2b_created_release(&created);
}

static void a_list_is_read(void **unused)
{
    static const char body[] =
        "[{\"templateID\":\"t\",\"sandboxID\":\"i1\",\"state\":\"running\","
        "\"startedAt\":\"2026-11-21T07:44:33.030032056Z\","
        "\"endAt\":\"2026-11-21T07:46:33Z\",\"cpuCount\":2,\"memoryMB\":512,"
        "\"metadata\":{\"bf.shard\":\"7\"}},"
        "{\"sandboxID\":\"i2\",\"state\":\"paused\"},"
        "{\"sandboxID\":\"../\"},7,"
        "{\"sandboxID\":\"i3\",\"cpuCount\":-1,\"memoryMB\":\"x\","
        "\"startedAt\":\"yesterday\",\"metadata\":{\"a\":1}}]";
    struct bf_e2b_list list = {0};
    struct bf_err err = {0};

    (void)unused;
    assert_int_equal(bf_e2b_list_read(S(body), &list, &err), 0);
    assert_int_equal(list.nrows, 2);
    assert_slice(list.rows[0].id, "i1");
    assert_int_equal(list.rows[0].started_at_ms, 1795247073000);
    assert_int_equal(list.rows[0].end_at_ms, 1795247193000);
    assert_int_equal(list.rows[0].vcpu, 2);
    assert_int_equal(list.rows[0].memory_mb, 512);
    assert_string_equal(
        json_string_value(json_object_get(list.rows[0].metadata, "bf.shard")),
        "7");
    assert_slice(list.rows[1].id, "i3");
    assert_int_equal(list.rows[1].started_at_ms, 0);
    assert_int_equal(list.rows[1].vcpu, 0);
    assert_int_equal(list.rows[1].memory_mb, 0);
    assert_null(list.rows[1].metadata);
    bf_e2b_list_release(&list);
    assert_int_equal(bf_e2b_list_read(S("[]"), &list, &err), 0);
    assert_int_equal(list.nrows, 0);
    bf_e2b_list_release(&list);
}

static void a_list_that_is_none_is_not_empty(void **unused)
{
    static const struct bf_slice wrong[] = {
        LIT(""), LIT("{}"), LIT("[}"), LIT("null"), LIT("[]],\"rows\":[]"),
    };

    (void)unused;
    for (size_t i = 0; i < bf_countof(wrong); i++) {
        struct bf_e2b_list list = {0};
        struct bf_err err = {0};

        assert_int_equal(bf_e2b_list_read(wrong[i], &list, &err), -1);
        assert_int_equal(err.kind, BF_ERR_REJECT);
        assert_null(list.doc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sandbox_is_asked_for),
        cmocka_unit_test(the_rest_of_the_control_plane),
        cmocka_unit_test(lists_go_by_metadata_and_pages),
        cmocka_unit_test(a_sandbox_is_found_by_headers_or_by_name),
        cmocka_unit_test(tokens_stay_secrets),
        cmocka_unit_test(code_files_and_processes),
        cmocka_unit_test(a_created_sandbox),
        cmocka_unit_test(a_created_sandbox_that_is_none),
        cmocka_unit_test(a_domain_within_ours_is_taken),
        cmocka_unit_test(a_list_is_read),
        cmocka_unit_test(a_list_that_is_none_is_not_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
