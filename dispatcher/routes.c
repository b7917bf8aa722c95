#include "dispatcher/routes.h"

#include "dispatcher/about.h"
#include "dispatcher/get.h"
#include "dispatcher/seam.h"

static const struct bf_route routes[] = {
    {"GET", "/healthz", BF_SCOPE_EVERYONE, {NULL}, bf_about_health},
    {"GET", "/readyz", BF_SCOPE_EVERYONE, {NULL}, bf_about_ready},
    {"GET", "/version", BF_SCOPE_EVERYONE, {NULL}, bf_about_version},
    {"GET", "/metrics", BF_SCOPE_OPERATOR, {NULL}, bf_about_metrics},
    {"GET", "/openapi.yaml", BF_SCOPE_EVERYONE, {NULL}, bf_about_openapi},
    {"POST", "/v1/jobs", BF_SCOPE_BODY, {"first_line"}, bf_post_begin},
    {"GET",
     "/v1/jobs",
     BF_SCOPE_QUERY,
     {"status", "batch", "order_key", "label", "from", "to", "cursor", "limit"},
     bf_get_jobs},
    {"GET", "/v1/jobs/{id}", BF_SCOPE_QUERY, {"wait"}, bf_get_job},
    {"GET", "/v1/jobs/{id}/result", BF_SCOPE_QUERY, {NULL}, bf_get_result},
    {"GET",
     "/v1/results",
     BF_SCOPE_QUERY,
     {"batch", "cursor", "limit"},
     bf_get_page},
    {"GET", "/v1/batches", BF_SCOPE_QUERY, {"cursor", "limit"}, bf_get_batches},
    {"POST", "/v1/batches", BF_SCOPE_QUERY, {NULL}, bf_post_batch},
    {"GET", "/v1/batches/{batch}", BF_SCOPE_QUERY, {NULL}, bf_get_batch},
    {"POST", "/v1/batches/{batch}/seal", BF_SCOPE_QUERY, {NULL}, bf_post_seal},
    {"GET",
     "/v1/usage",
     BF_SCOPE_QUERY_OR_ALL,
     {"group_by", "from", "to"},
     bf_get_usage},
    {"POST", "/", BF_SCOPE_MODAL, {"workspace_id"}, bf_seam_begin},
    {"POST", "/execute_block", BF_SCOPE_MODAL, {"workspace_id"}, bf_seam_begin},
};

const struct bf_route *bf_route_at(size_t i)
{
    return i < bf_countof(routes) ? &routes[i] : NULL;
}

/* The segment after the slash that *path begins with; *path goes on past it. */
static struct bf_slice next_segment(const char **path)
{
    struct bf_slice segment = {*path + 1, strcspn(*path + 1, "/")};

    *path += 1 + segment.len;
    return segment;
}

static bool segment_fits(struct bf_slice wanted, struct bf_slice segment)
{
    if (wanted.len > 0 && wanted.ptr[0] == '{')
        return segment.len > 0;
    return bf_slice_eq(wanted, segment);
}

static bool path_fits(const struct bf_route *route, const char *path)
{
    const char *wanted = route->path;

    while (*wanted == '/' && *path == '/') {
        if (!segment_fits(next_segment(&wanted), next_segment(&path)))
            return false;
    }
    return *wanted == '\0' && *path == '\0';
}

/* All but the "v1". */
static void split(const char *path, struct bf_path *ret)
{
    next_segment(&path);
    for (ret->count = 0; *path && ret->count < BF_PATH_SEGMENTS; ret->count++)
        ret->segments[ret->count] = next_segment(&path);
}

static void allow(char *allowed, const char *method)
{
    size_t len = strlen(allowed);

    snprintf(allowed + len, BF_ALLOWED_SIZE - len, "%s%s%s", len ? ", " : "",
             method, strcmp(method, "GET") == 0 ? ", HEAD" : "");
}

const struct bf_route *bf_route_find(const char *method, const char *path,
                                     struct bf_path *ret,
                                     char allowed[static BF_ALLOWED_SIZE])
{
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;

    allowed[0] = '\0';
    for (size_t i = 0; i < bf_countof(routes); i++) {
        if (!path_fits(&routes[i], path))
            continue;
        if (strcmp(wanted, routes[i].method) == 0) {
            split(path, ret);
            return &routes[i];
        }
        allow(allowed, routes[i].method);
    }
    return NULL;
}

bool bf_route_takes(const struct bf_route *route, const char *name)
{
    if ((route->scope == BF_SCOPE_QUERY ||
         route->scope == BF_SCOPE_QUERY_OR_ALL) &&
        strcmp(name, "workspace") == 0)
        return true;
    for (size_t i = 0; i < BF_ROUTE_QUERY && route->query[i]; i++) {
        if (strcmp(name, route->query[i]) == 0)
            return true;
    }
    return false;
}
