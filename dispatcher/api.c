#include "dispatcher/api.h"

#include "config/clock.h"
#include "config/log.h"
#include "dispatcher/get.h"
#include "dispatcher/loop.h"
#include "dispatcher/metrics.h"
#include "dispatcher/rate.h"
#include "dispatcher/routes.h"
#include "dispatcher/seam.h"
#include "schemas/ids.h"

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

int bf_api_allow(const struct bf_api *api, const char *workspace,
                 struct bf_problem *problem)
{
    int64_t wait_ms = 0;

    if (api->conf.rate)
        wait_ms = bf_rate_wait_ms(api->conf.rate, bf_slice_str(workspace),
                                  bf_mono_us());
    if (wait_ms == 0)
        return 0;
    bf_problem_set(problem, BF_PROBLEM_RATE, "workspace",
                   "workspace: %s submits faster than it may; again in %lld ms",
                   workspace, (long long)wait_ms);
    problem->retry_after_s = (unsigned)((wait_ms + 999) / 1000);
    return -1;
}

void bf_api_charge(const struct bf_api *api, const char *workspace,
                   size_t bytes)
{
    if (api->conf.rate)
        bf_rate_charge(api->conf.rate, bf_slice_str(workspace), bytes,
                       bf_mono_us());
}

/* ---- the door -------------------------------------------------------------*/

static int no_workspace(struct bf_problem *problem, const char *rule)
{
    return bf_problem_set(problem, BF_PROBLEM_BAD_REQUEST, "workspace",
                          "workspace: %s", rule);
}

/* That of the query, or the only one that the key is for. */
static int find_workspace(struct bf_api *api, const struct bf_request *req,
                          struct bf_path *path, struct bf_problem *problem)
{
    struct bf_slice text = bf_slice_str(bf_request_query(req, "workspace"));

    if (!text.ptr)
        text = bf_door_usual(api->conf.door, &path->caller);
    if (!text.ptr)
        return no_workspace(problem, "is required in the query");
    if (!bf_workspace_ok(text))
        return no_workspace(problem,
                            "must be 1-64 characters of A-Z a-z 0-9 _ -");
    snprintf(path->workspace, sizeof(path->workspace), "%.*s",
             BF_SLICE_ARG(text));
    return 0;
}

/* The same as a Roboflow inference server names both, see seam.h. */
static int check_modal(struct bf_api *api, const struct bf_request *req,
                       struct bf_path *path, struct bf_problem *problem)
{
    const struct bf_door *door = api->conf.door;
    const char *id = bf_request_header(req, "Modal-Key");
    const char *secret = bf_request_header(req, "Modal-Secret");
    struct bf_slice text = bf_slice_str(bf_request_query(req, "workspace_id"));

    if (bf_door_enter_modal(door, id, secret, &path->caller, problem))
        return -1;
    if (!bf_workspace_ok(text))
        return bf_problem_set(problem, BF_PROBLEM_BAD_REQUEST, "workspace_id",
                              "workspace_id: must be 1-64 characters of A-Z "
                              "a-z 0-9 _ -");
    snprintf(path->workspace, sizeof(path->workspace), "%.*s",
             BF_SLICE_ARG(text));
    return bf_door_check(door, &path->caller, text, problem);
}

static int check_workspace(struct bf_api *api, const struct bf_request *req,
                           struct bf_path *path, struct bf_problem *problem)
{
    if (find_workspace(api, req, path, problem))
        return -1;
    return bf_door_check(api->conf.door, &path->caller,
                         bf_slice_str(path->workspace), problem);
}

static int check_scope(struct bf_api *api, const struct bf_request *req,
                       const struct bf_route *route, struct bf_path *path,
                       struct bf_problem *problem)
{
    const struct bf_door *door = api->conf.door;

    if (route->scope == BF_SCOPE_EVERYONE)
        return 0;
    if (route->scope == BF_SCOPE_MODAL)
        return check_modal(api, req, path, problem);
    if (bf_door_enter(door, bf_request_header(req, "Authorization"),
                      &path->caller, problem))
        return -1;
    switch (route->scope) {
    case BF_SCOPE_QUERY_OR_ALL:
        if (!bf_request_query(req, "workspace") &&
            bf_door_check_operator(door, &path->caller, NULL) == 0)
            return 0;
        return check_workspace(api, req, path, problem);
    case BF_SCOPE_QUERY:
        return check_workspace(api, req, path, problem);
    case BF_SCOPE_OPERATOR:
        return bf_door_check_operator(door, &path->caller, problem);
    case BF_SCOPE_BODY:
        return 0;
    case BF_SCOPE_EVERYONE:
    case BF_SCOPE_MODAL:
    case BF_SCOPE_FORGOTTEN:
        break;
    }
    bf_assert(!"a route says whom it is for");
    return -1;
}

static int check_query(const struct bf_request *req,
                       const struct bf_route *route, struct bf_problem *problem)
{
    const char *name;

    for (size_t i = 0; (name = bf_request_query_name(req, i)); i++) {
        if (!bf_route_takes(route, name))
            return bf_problem_set(problem, BF_PROBLEM_BAD_REQUEST, name,
                                  "%.64s: %s has no such parameter", name,
                                  route->path);
    }
    return 0;
}

/* ---- requests -------------------------------------------------------------*/

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
    bf_answer_header(&answer, "Allow", allowed);
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

static void on_begin(void *arg, struct bf_request *req)
{
    struct bf_api *api = arg;
    char allowed[BF_ALLOWED_SIZE];
    struct bf_path path = {0};
    const struct bf_route *route = bf_route_find(
        bf_request_method(req), bf_request_path(req), &path, allowed);
    struct bf_problem problem;

    bf_request_set_mark(req, route);
    if (route && route->scope == BF_SCOPE_MODAL)
        bf_request_set_plain(req);
    if (!route && allowed[0])
        refuse_method(req, allowed);
    else if (!route)
        refuse_path(req);
    else if (check_scope(api, req, route, &path, &problem) ||
             check_query(req, route, &problem))
        bf_request_refuse(req, &problem);
    else
        route->begin(api, req, &path);
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
    const struct bf_api *api = arg;

    bf_http_stats_add(api->stats, bf_request_mark(req), bf_request_status(req),
                      bf_request_age_us(req));
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
    bf_autoapi struct bf_api *api = calloc(1, sizeof(*api));

    if (!api) {
        bf_err_oom(err);
        return NULL;
    }
    api->conf = *conf;
    api->stats = bf_http_stats_new(err);
    api->seam = api->stats ? bf_seam_new(err) : NULL;
    return api->seam ? bf_take(api) : NULL;
}

void bf_api_free(struct bf_api *api)
{
    if (!api)
        return;
    bf_seam_free(api->seam);
    bf_http_stats_free(api->stats);
    free(api);
}

void bf_api_set_http(struct bf_api *api, const struct bf_http *http)
{
    api->http = http;
}

static void refresh_door(struct bf_api *api)
{
    struct bf_err err;
    int rc = bf_door_refresh(api->conf.door, &err);

    if (rc > 0)
        bf_log_info("api_keys_read",
                    bf_kv_int("keys", (int64_t)bf_door_keys(api->conf.door)));
    if (rc < 0)
        bf_log_err(BF_LOG_ERROR, "api_keys_not_read", &err);
}

int bf_api_tick(struct bf_api *api)
{
    refresh_door(api);
    bf_outbox_flush(api->conf.outbox);
    if (api->accepted)
        bf_feed_wake(api->conf.feed);
    api->accepted = false;
    return bf_sooner_ms(bf_sooner_ms(bf_post_resume(api), bf_get_tick(api)),
                        bf_seam_tick(api));
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
