/*
 * What we send to E2B beside what the vendor's own clients send for the same
 * thing, field by field. Theirs is captured: tests/python/test_e2b_dialect.py
 * writes tests/providers/e2b_dialect.json.
 */

#include "tests/unit/support.h"

#include "config/secret.h"
#include "schemas/check.h"
#include "schemas/json.h"
#include "worker/backend/e2b_api.h"
#include "worker/wire/connect.h"

#define FILE_NAME BF_SOURCE_DIR "/tests/providers/e2b_dialect.json"
#define API "https://api.e2b.app"
#define SANDBOX "https://sandbox.e2b.app"

struct world {
    json_t *theirs; /* of one client: operations by name */
    struct bf_secret *key, *access, *traffic;
    struct bf_e2b_site site;
    struct bf_e2b_address envd, port; /* a port of ours gets both tokens */
    struct bf_e2b_request request;
};

/* What they send and we do not, and why that is the same to the server. */
static const char *const left_out[] = {
    "connect-accept-encoding",  /* identity: so it is without */
    "connect-content-encoding", /* identity: so it is without */
    "idempotency-key",          /* one of the clients has none */
    "accept",                   /* theirs is dropped from the capture */
    "keepalive-ping-interval",  /* ours is shorter */
};

static bool is_left_out(const char *name)
{
    for (size_t i = 0; i < bf_countof(left_out); i++) {
        if (strcmp(name, left_out[i]) == 0)
            return true;
    }
    return false;
}

static void drop_left_out(json_t *headers)
{
    const char *name;
    json_t *value;
    void *next;

    json_object_foreach_safe(headers, next, name, value)
    {
        if (is_left_out(name))
            json_object_del(headers, name);
    }
}

static json_t *text(struct bf_slice from)
{
    return json_stringn(from.ptr, from.len);
}

static json_t *headers_of(const struct bf_e2b_request *request)
{
    json_t *all = json_object();

    for (size_t i = 0; i < request->nlines; i++) {
        const char *line = request->lines[i];
        const char *colon = strstr(line, ": ");

        assert_non_null(colon);
        json_object_setn_new(all, line, (size_t)(colon - line),
                             json_string(colon + 2));
    }
    for (size_t i = 0; i < request->nsecrets; i++) {
        const struct bf_secret_header *one = &request->secrets[i];
        const char *origin = strcmp(one->name, "x-api-key") ? SANDBOX : API;

        json_object_set_new(all, one->name,
                            text(bf_secret_reveal(one->secret, origin)));
    }
    return all;
}

static int nibble(char c)
{
    return c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
}

static json_t *unescaped(const char *from, size_t len)
{
    char out[256];
    size_t n = 0;

    assert_in_range(len, 0, sizeof(out) - 1);
    for (size_t i = 0; i < len; i++) {
        if (from[i] == '%' && i + 2 < len) {
            out[n++] = (char)(nibble(from[i + 1]) * 16 + nibble(from[i + 2]));
            i += 2;
        } else {
            out[n++] = from[i];
        }
    }
    return json_stringn(out, n);
}

/* What is behind the '?', by name. */
static json_t *query_of(const char *query)
{
    json_t *all = json_object();

    while (query && *query) {
        size_t len = strcspn(query, "&");
        const char *equals = memchr(query, '=', len);

        assert_non_null(equals);
        json_object_setn_new(
            all, query, (size_t)(equals - query),
            unescaped(equals + 1, len - (size_t)(equals + 1 - query)));
        query += len + (query[len] == '&');
    }
    return all;
}

/* Nulls and empty objects are what is not said. */
static void drop_unsaid(json_t *body)
{
    const char *name;
    json_t *value;
    void *next;

    json_object_foreach_safe(body, next, name, value)
    {
        if (json_is_null(value) ||
            (json_is_object(value) && json_object_size(value) == 0))
            json_object_del(body, name);
    }
}

static void assert_json(const char *operation, const char *what, json_t *ours,
                        json_t *theirs)
{
    char *left = json_dumps(ours, JSON_SORT_KEYS | JSON_ENCODE_ANY);
    char *right = json_dumps(theirs, JSON_SORT_KEYS | JSON_ENCODE_ANY);

    if (!json_equal(ours, theirs))
        fail_msg("%s: %s: ours %s, theirs %s", operation, what, left, right);
    free(left);
    free(right);
}

static void check_url(const char *operation, const struct world *world,
                      const json_t *theirs, const char *origin)
{
    static const char *const names[] = {"POST", "GET", "PUT", "DELETE",
                                        "PATCH"};
    const char *url = world->request.url.data;
    const char *query = strchr(url, '?');
    size_t len = query ? (size_t)(query - url) : strlen(url);
    const char *path = json_string_value(json_object_get(theirs, "path"));
    bf_autojson json_t *asked = query_of(query ? query + 1 : NULL);

    assert_string_equal(names[world->request.method],
                        json_string_value(json_object_get(theirs, "method")));
    assert_int_equal(len, strlen(origin) + strlen(path));
    assert_memory_equal(url, origin, strlen(origin));
    assert_memory_equal(url + strlen(origin), path, strlen(path));
    assert_json(operation, "query", asked, json_object_get(theirs, "query"));
}

static void check_body(const char *operation, const struct world *world,
                       json_t *theirs)
{
    struct bf_slice body = bf_buf_slice(&world->request.body);
    json_t *wanted = json_object_get(theirs, "body");
    bf_autojson json_t *ours = NULL;

    if (!json_is_object(wanted)) { /* none, or bytes that the caller adds */
        assert_int_equal(body.len, 0);
        return;
    }
    if (strcmp(operation, "start") == 0) {
        body.ptr += BF_CONNECT_PREFIX;
        body.len -= BF_CONNECT_PREFIX;
    }
    ours = bf_json_parse(body, 1 << 16, NULL);
    assert_non_null(ours);
    drop_unsaid(wanted);
    assert_json(operation, "body", ours, wanted);
}

/* Consumes the request. */
static void check(struct world *world, const char *operation,
                  const char *origin)
{
    json_t *theirs = json_object_get(world->theirs, operation);
    bf_autojson json_t *ours = headers_of(&world->request);
    json_t *headers = json_object_get(theirs, "headers");

    assert_non_null(theirs);
    check_url(operation, world, theirs, origin);
    drop_left_out(ours);
    drop_left_out(headers);
    assert_json(operation, "headers", ours, headers);
    check_body(operation, world, theirs);
    bf_e2b_request_release(&world->request);
    bf_e2b_request_init(&world->request, 1 << 16);
}

static const struct bf_e2b_pair pairs[] = {
    {"bf", LIT("1")},
    {"bf.owner", LIT("w-1")},
};

static void check_control(struct world *world)
{
    static const struct bf_e2b_create create = {
        .template_id = "code-interpreter-v1",
        .ttl_s = 95,
        .metadata = pairs,
        .nmetadata = bf_countof(pairs),
        .idempotency_key = "0f",
    };
    const struct bf_e2b_site *site = &world->site;
    struct bf_e2b_request *to = &world->request;

    assert_int_equal(bf_e2b_create_put(site, &create, to, NULL), 0);
    check(world, "create", API);
    assert_int_equal(
        bf_e2b_list_put(site, pairs, bf_countof(pairs), NONE, to, NULL), 0);
    check(world, "list", API);
    assert_int_equal(bf_e2b_connect_put(site, "{id}", 60, to, NULL), 0);
    check(world, "connect", API);
    assert_int_equal(bf_e2b_ttl_put(site, "{id}", 60, to, NULL), 0);
    check(world, "timeout", API);
    assert_int_equal(bf_e2b_kill_put(site, "{id}", to, NULL), 0);
    check(world, "delete", API);
}

static void check_data(struct world *world)
{
    static const struct bf_slice argv[] = {LIT("/bin/bash"), LIT("-l"),
                                           LIT("-c"), LIT("exec sleep 60")};
    static const struct bf_e2b_start start = {
        .argv = argv, .nargv = bf_countof(argv), .timeout_ms = 60000};
    const struct bf_e2b_site *site = &world->site;
    struct bf_e2b_request *to = &world->request;

    assert_int_equal(bf_e2b_execute_put(site, &world->port, S("1"), to, NULL),
                     0);
    assert_int_equal(to->version, BF_HTTP_1_1);
    check(world, "execute", SANDBOX);
    assert_int_equal(
        bf_e2b_file_put(site, &world->envd, "/tmp/in.bin", to, NULL), 0);
    check(world, "upload", SANDBOX);
    assert_int_equal(bf_e2b_start_put(site, &world->envd, &start, to, NULL), 0);
    check(world, "start", SANDBOX);
}

static void compare(const char *client)
{
    bf_autojson json_t *all = json_load_file(FILE_NAME, 0, NULL);
    struct world world = {
        .theirs = json_object_get(json_object_get(all, client), "operations"),
        .key = bf_secret_new(S("{key}"), API, NULL),
        .access = bf_secret_new(S("{access}"), SANDBOX, NULL),
        .traffic = bf_secret_new(S("{traffic}"), SANDBOX, NULL),
    };

    assert_non_null(world.theirs);
    world.site = (struct bf_e2b_site){.api_url = API,
                                      .sandbox_url = "",
                                      .domain = "e2b.app",
                                      .api_key = world.key};
    world.envd = (struct bf_e2b_address){
        .id = "{id}", .domain = "", .access = world.access};
    world.port = world.envd;
    world.port.traffic = world.traffic;
    bf_e2b_request_init(&world.request, 1 << 16);
    check_control(&world);
    check_data(&world);
    bf_e2b_request_release(&world.request);
    bf_secret_free(world.key);
    bf_secret_free(world.access);
    bf_secret_free(world.traffic);
}

static void as_pypis_clients_say_it(void **unused)
{
    (void)unused;
    compare("python");
}

static void as_npms_clients_say_it(void **unused)
{
    (void)unused;
    compare("javascript");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_pypis_clients_say_it),
        cmocka_unit_test(as_npms_clients_say_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
