#include "dispatcher/api.h"

#include "dispatcher/get.h"
#include "dispatcher/handler.h"
#include "schemas/json.h"

static void health(struct bf_api *api, struct bf_request *req,
                   const struct bf_path *path);
static void ready(struct bf_api *api, struct bf_request *req,
                  const struct bf_path *path);
static void version(struct bf_api *api, struct bf_request *req,
                    const struct bf_path *path);

/* A segment * stands for any. HEAD is GET without its body. */
static const struct route {
    const char *method;
    const char *segments[BF_PATH_SEGMENTS + 1];
    bf_begin_fn *begin;
} routes[] = {
    {"GET", {"healthz"}, health},
    {"GET", {"readyz"}, ready},
    {"GET", {"version"}, version},
    {"POST", {"v1", "jobs"}, bf_post_begin},
    {"GET", {"v1", "jobs", "*"}, bf_get_job},
    {"GET", {"v1", "jobs", "*", "result"}, bf_get_result},
    {"GET", {"v1", "results"}, bf_get_page},
    {"GET", {"v1", "batches", "*"}, bf_get_batch},
    {"GET", {"v1", "usage"}, bf_get_usage},
};

/* ---- answers --------------------------------------------------------------*/

void bf_api_answer(struct bf_request *req, unsigned status, struct bf_buf *json)
{
    struct bf_answer answer = {
        .status = status, .content_type = "application/json", .body = *json};

    *json = (struct bf_buf){0};
    bf_request_answer(req, &answer);
}

uint32_t bf_api_shards(struct bf_api *api, struct bf_problem *problem)
{
    struct bf_feed_state state;

    bf_exchange_state(api->conf.exchange, &state);
    if (api->stopping) {
        bf_problem_set(problem, BF_PROBLEM_UNAVAILABLE, NULL,
                       "this dispatcher is stopping");
        return 0;
    }
    if (state.shards == 0)
        bf_problem_set(problem, BF_PROBLEM_UNAVAILABLE, NULL, "%s", state.why);
    return state.shards;
}

static void answer_json(struct bf_request *req, unsigned status, int failed,
                        struct bf_buf *json)
{
    struct bf_problem problem;

    if (!failed) {
        bf_api_answer(req, status, json);
        return;
    }
    bf_problem_set(&problem, BF_PROBLEM_INTERNAL, NULL, "out of memory");
    bf_request_refuse(req, &problem);
}

static void health(struct bf_api *api, struct bf_request *req,
                   const struct bf_path *path)
{
    bf_autobuf struct bf_buf json = BF_BUF_INIT(256);

    (void)api;
    (void)path;
    answer_json(req, 200, bf_buf_adds(&json, "{\"alive\":true}", NULL), &json);
}

static void version(struct bf_api *api, struct bf_request *req,
                    const struct bf_path *path)
{
    bf_autobuf struct bf_buf json = BF_BUF_INIT(1024);
    struct bf_json_out out;

    (void)api;
    (void)path;
    bf_json_start(&out, &json, NULL);
    bf_json_open(&out, NULL, '{');
    bf_json_str(&out, "version", BF_VERSION);
    bf_json_str(&out, "librdkafka", rd_kafka_version_str());
    bf_json_close(&out, '}');
    answer_json(req, 200, bf_json_done(&out), &json);
}

/* Ready to take jobs and to tell of them. */
static void ready(struct bf_api *api, struct bf_request *req,
                  const struct bf_path *path)
{
    bf_autobuf struct bf_buf json = BF_BUF_INIT(4096);
    struct bf_feed_state state;
    struct bf_problem problem;
    struct bf_json_out out;
    bool accepts = bf_api_shards(api, &problem) > 0;

    (void)path;
    bf_exchange_state(api->conf.exchange, &state);
    bf_json_start(&out, &json, NULL);
    bf_json_open(&out, NULL, '{');
    bf_json_bool(&out, "ready", accepts && state.caught_up);
    bf_json_open(&out, "reasons", '[');
    if (!accepts)
        bf_json_str(&out, NULL, problem.detail);
    if (!state.caught_up)
        bf_json_str(&out, NULL, state.view_why);
    bf_json_close(&out, ']');
    bf_json_close(&out, '}');
    answer_json(req, accepts && state.caught_up ? 200 : 503, bf_json_done(&out),
                &json);
}

/* ---- routes ---------------------------------------------------------------*/

struct segments {
    struct bf_slice items[BF_PATH_SEGMENTS + 1];
    size_t count; /* more than fit: a path that nothing has */
};

static void split_path(const char *path, struct segments *ret)
{
    *ret = (struct segments){0};
    while (*path == '/' && ret->count <= BF_PATH_SEGMENTS + 1) {
        size_t len = strcspn(path + 1, "/");

        if (ret->count < bf_countof(ret->items))
            ret->items[ret->count] = (struct bf_slice){path + 1, len};
        ret->count++;
        path += 1 + len;
    }
}

static bool path_fits(const struct route *route, const struct segments *path)
{
    size_t i;

    for (i = 0; i < bf_countof(route->segments) && route->segments[i]; i++) {
        if (i >= path->count || path->items[i].len == 0 ||
            (strcmp(route->segments[i], "*") != 0 &&
             !bf_slice_is(path->items[i], route->segments[i])))
            return false;
    }
    return i == path->count;
}

static bool method_fits(const struct route *route, const char *method)
{
    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    return strcmp(method, route->method) == 0;
}

static void refuse_method(struct bf_request *req, const char *allowed)
{
    struct bf_problem problem;
    struct bf_answer answer = {
        .status = 405,
        .content_type = "application/problem+json",
        .body = BF_BUF_INIT(16U << 10),
    };

    bf_problem_set(&problem, BF_PROBLEM_METHOD, NULL, "%s is not for this",
                   bf_request_method(req));
    bf_answer_header(&answer, "Allow",
                     strcmp(allowed, "GET") == 0 ? "GET, HEAD" : allowed);
    if (bf_problem_json(&problem, bf_request_path(req), &answer.body, NULL))
        answer.content_type = NULL;
    bf_request_answer(req, &answer);
}

static void refuse_path(struct bf_request *req)
{
    struct bf_problem problem;

    bf_problem_set(&problem, BF_PROBLEM_NOT_FOUND, NULL,
                   "no resource has this path");
    bf_request_refuse(req, &problem);
}

/* Without the "v1". */
static void begin_route(struct bf_api *api, struct bf_request *req,
                        const struct route *route, const struct segments *path)
{
    struct bf_path rest = {0};

    for (size_t i = 1; i < path->count; i++)
        rest.segments[rest.count++] = path->items[i];
    route->begin(api, req, &rest);
}

static void on_begin(void *arg, struct bf_request *req)
{
    const char *allowed = NULL;
    struct segments path;

    split_path(bf_request_path(req), &path);
    for (size_t i = 0; i < bf_countof(routes); i++) {
        if (!path_fits(&routes[i], &path))
            continue;
        allowed = routes[i].method;
        if (method_fits(&routes[i], bf_request_method(req))) {
            begin_route(arg, req, &routes[i], &path);
            return;
        }
    }
    if (allowed)
        refuse_method(req, allowed);
    else
        refuse_path(req);
}

static size_t on_body(void *arg, struct bf_request *req, struct bf_slice piece)
{
    struct bf_handler *handler = bf_request_state(req);

    (void)arg;
    if (!handler || !handler->body)
        return piece.len;
    return handler->body(handler, piece);
}

static void on_end(void *arg, struct bf_request *req)
{
    struct bf_handler *handler = bf_request_state(req);

    (void)arg;
    bf_assert(handler); /* whoever has no handler was answered */
    handler->end(handler);
}

static void on_gone(void *arg, struct bf_request *req)
{
    struct bf_handler *handler = bf_request_state(req);

    (void)arg;
    if (handler)
        handler->gone(handler);
}

const struct bf_http_ops *bf_api_http_ops(void)
{
    static const struct bf_http_ops ops = {
        .begin = on_begin, .body = on_body, .end = on_end, .gone = on_gone};

    return &ops;
}

/* ---- life -----------------------------------------------------------------*/

struct bf_api *bf_api_new(const struct bf_api_conf *conf, struct bf_err *err)
{
    struct bf_api *api = calloc(1, sizeof(*api));

    if (!api) {
        bf_err_oom(err);
        return NULL;
    }
    api->conf = *conf;
    return api;
}

void bf_api_free(struct bf_api *api)
{
    free(api);
}

int bf_api_tick(struct bf_api *api)
{
    bf_outbox_flush(api->conf.outbox);
    bf_post_resume(api);
    if (api->accepted)
        bf_feed_wake(api->conf.feed);
    api->accepted = false;
    return bf_get_tick(api);
}

void bf_api_wake(struct bf_api *api)
{
    bf_pool_serve(api->conf.reads);
    bf_pool_serve(api->conf.fetches);
    bf_get_wake_ended(api);
}

void bf_api_stop(struct bf_api *api)
{
    api->stopping = true;
}
