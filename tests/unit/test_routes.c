#include "tests/unit/generated.h"

#include <stdio.h>
#include <stdlib.h>

#include "dispatcher/about.h"
#include "dispatcher/routes.h"
#include "schemas/json.h"

#define PATH BF_SOURCE_DIR "/dispatcher/routes.json"

static void a_request_finds_its_row(void **state)
{
    static const struct {
        const char *method, *path, *found, *allowed;
    } rows[] = {
        {"GET", "/healthz", "/healthz", NULL},
        {"HEAD", "/healthz", "/healthz", NULL},
        {"POST", "/v1/jobs", "/v1/jobs", NULL},
        {"GET", "/v1/jobs/j.1", "/v1/jobs/{id}", NULL},
        {"GET", "/v1/jobs/j/result", "/v1/jobs/{id}/result", NULL},
        {"POST", "/healthz", NULL, "GET, HEAD"},
        {"DELETE", "/v1/jobs/j", NULL, "GET, HEAD"},
        {"GET", "/v1/jobs/", NULL, ""},
        {"GET", "/v1/jobs/j/", NULL, ""},
        {"GET", "/v1/jobs//result", NULL, ""},
        {"GET", "/v1/jobs/j/result/x", NULL, ""},
        {"GET", "/v1", NULL, ""},
        {"POST", "/", "/", NULL},
        {"POST", "/execute_block", "/execute_block", NULL},
        {"GET", "/", NULL, "POST"},
        {"GET", "", NULL, ""},
        {"GET", "healthz", NULL, ""},
        {"GET", "/healthz/", NULL, ""},
        {"GET", "/Healthz", NULL, ""},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        char allowed[BF_ALLOWED_SIZE];
        struct bf_path path = {0};
        const struct bf_route *route =
            bf_route_find(rows[i].method, rows[i].path, &path, allowed);

        if (!route != !rows[i].found)
            fail_msg("%s %s", rows[i].method, rows[i].path);
        if (route)
            assert_string_equal(route->path, rows[i].found);
        else
            assert_string_equal(allowed, rows[i].allowed);
    }
}

static void a_path_is_taken_apart(void **state)
{
    char allowed[BF_ALLOWED_SIZE];
    struct bf_path path = {0};

    (void)state;
    assert_non_null(
        bf_route_find("GET", "/v1/jobs/a.b/result", &path, allowed));
    assert_int_equal(path.count, 3);
    assert_slice(path.segments[0], "jobs");
    assert_slice(path.segments[1], "a.b");
    assert_slice(path.segments[2], "result");
}

/* A new row that forgets whom it is for fails here, before it serves anyone. */
static void every_row_says_whom_it_is_for(void **state)
{
    const struct bf_route *route;

    (void)state;
    for (size_t i = 0; (route = bf_route_at(i)); i++) {
        bool is_v1 = strncmp(route->path, "/v1/", 4) == 0;

        if (route->scope == BF_SCOPE_FORGOTTEN ||
            (is_v1 && route->scope == BF_SCOPE_EVERYONE))
            fail_msg("%s %s", route->method, route->path);
        assert_non_null(route->begin);
        assert_int_equal(bf_route_takes(route, "workspace"),
                         route->scope == BF_SCOPE_QUERY ||
                             route->scope == BF_SCOPE_QUERY_OR_ALL);
        assert_false(bf_route_takes(route, "nonsense"));
    }
}

static const char *scope_name(enum bf_scope scope)
{
    static const char *const names[] = {
        [BF_SCOPE_FORGOTTEN] = "forgotten",
        [BF_SCOPE_EVERYONE] = "everyone",
        [BF_SCOPE_QUERY] = "query",
        [BF_SCOPE_QUERY_OR_ALL] = "query_or_all",
        [BF_SCOPE_BODY] = "body",
        [BF_SCOPE_OPERATOR] = "operator",
        [BF_SCOPE_MODAL] = "modal",
    };

    return names[scope];
}

static void put_route(struct bf_json_out *out, const struct bf_route *route)
{
    bf_json_open(out, NULL, '{');
    bf_json_str(out, "method", route->method);
    bf_json_str(out, "path", route->path);
    bf_json_str(out, "scope", scope_name(route->scope));
    bf_json_open(out, "query", '[');
    if (bf_route_takes(route, "workspace"))
        bf_json_str(out, NULL, "workspace");
    for (size_t i = 0; i < BF_ROUTE_QUERY && route->query[i]; i++)
        bf_json_str(out, NULL, route->query[i]);
    bf_json_close(out, ']');
    bf_json_close(out, '}');
}

static void put_problem(struct bf_json_out *out, enum bf_problem_code code)
{
    bf_json_open(out, bf_problem_name(code), '{');
    bf_json_int(out, "status", bf_problem_status(code));
    bf_json_str(out, "title", bf_problem_title(code));
    bf_json_close(out, '}');
}

static int put_table(struct bf_buf *text)
{
    const struct bf_route *route;
    struct bf_json_out out;

    bf_json_start(&out, text, NULL);
    bf_json_open(&out, NULL, '{');
    bf_json_open(&out, "routes", '[');
    for (size_t i = 0; (route = bf_route_at(i)); i++)
        put_route(&out, route);
    bf_json_close(&out, ']');
    bf_json_open(&out, "problems", '{');
    for (int code = 0; code < BF_PROBLEMS; code++)
        put_problem(&out, (enum bf_problem_code)code);
    bf_json_close(&out, '}');
    bf_json_close(&out, '}');
    return bf_json_done(&out) || bf_buf_adds(text, "\n", NULL) ? -1 : 0;
}

/* What test_openapi.py holds schemas/openapi.yaml to. */
static void the_table_is_written_down(void **state)
{
    bf_autobuf struct bf_buf want = BF_BUF_INIT(1U << 20);

    (void)state;
    assert_int_equal(put_table(&want), 0);
    check_generated(PATH, want.data);
}

static void the_document_is_built_in(void **state)
{
    struct bf_slice text = bf_openapi();
    char have[1U << 16];
    FILE *file = fopen(BF_SOURCE_DIR "/schemas/openapi.yaml", "re");
    size_t len;

    (void)state;
    assert_non_null(file);
    len = fread(have, 1, sizeof(have), file);
    fclose(file);
    assert_int_equal(text.len, len);
    assert_memory_equal(text.ptr, have, len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_finds_its_row),
        cmocka_unit_test(a_path_is_taken_apart),
        cmocka_unit_test(every_row_says_whom_it_is_for),
        cmocka_unit_test(the_table_is_written_down),
        cmocka_unit_test(the_document_is_built_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
