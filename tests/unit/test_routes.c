#include "support.h"

#include "dispatcher/routes.h"

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
        {"GET", "/", NULL, ""},
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_finds_its_row),
        cmocka_unit_test(a_path_is_taken_apart),
        cmocka_unit_test(every_row_says_whom_it_is_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
