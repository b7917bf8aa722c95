#include "dispatcher/about.h"

#include "dispatcher/metrics.h"
#include "schemas/json.h"

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

void bf_about_health(struct bf_api *api, struct bf_request *req,
                     const struct bf_path *path)
{
    bf_autobuf struct bf_buf json = BF_BUF_INIT(256);

    (void)api;
    (void)path;
    answer_json(req, 200, bf_buf_adds(&json, "{\"alive\":true}", NULL), &json);
}

void bf_about_version(struct bf_api *api, struct bf_request *req,
                      const struct bf_path *path)
{
    bf_autobuf struct bf_buf json = BF_BUF_INIT(1024);
    struct bf_json_out out;

    (void)path;
    bf_json_start(&out, &json, NULL);
    bf_json_open(&out, NULL, '{');
    bf_json_str(&out, "version", BF_VERSION);
    bf_json_str(&out, "librdkafka", rd_kafka_version_str());
    bf_json_open(&out, "limits", '{');
    bf_json_int(&out, "inputs_bytes", (int64_t)api->conf.max_inputs_bytes);
    bf_json_int(&out, "block_bytes", (int64_t)api->conf.max_block_bytes);
    bf_json_close(&out, '}');
    bf_json_close(&out, '}');
    answer_json(req, 200, bf_json_done(&out), &json);
}

/* Ready to take jobs, and to tell of them where that is kept. */
void bf_about_ready(struct bf_api *api, struct bf_request *req,
                    const struct bf_path *path)
{
    bf_autobuf struct bf_buf json = BF_BUF_INIT(4096);
    struct bf_feed_state state;
    struct bf_problem problem;
    struct bf_json_out out;
    bool accepts = bf_api_shards(api, &problem) > 0, tells;

    (void)path;
    bf_exchange_state(api->conf.exchange, &state);
    tells = state.caught_up || state.viewless;
    bf_json_start(&out, &json, NULL);
    bf_json_open(&out, NULL, '{');
    bf_json_bool(&out, "ready", accepts && tells);
    bf_json_open(&out, "reasons", '[');
    if (!accepts)
        bf_json_str(&out, NULL, problem.detail);
    if (!tells)
        bf_json_str(&out, NULL, state.view_why);
    bf_json_close(&out, ']');
    bf_json_close(&out, '}');
    answer_json(req, accepts && tells ? 200 : 503, bf_json_done(&out), &json);
}

void bf_about_metrics(struct bf_api *api, struct bf_request *req,
                      const struct bf_path *path)
{
    struct bf_answer answer = {
        .status = 200,
        .content_type = "text/plain; version=0.0.4; charset=utf-8",
        .body = BF_BUF_INIT(4U << 20),
    };
    struct bf_problem problem;

    (void)path;
    if (bf_metrics_text(api, &answer.body, NULL) == 0) {
        bf_request_answer(req, &answer);
        return;
    }
    bf_buf_release(&answer.body);
    bf_problem_set(&problem, BF_PROBLEM_INTERNAL, NULL, "out of memory");
    bf_request_refuse(req, &problem);
}

void bf_about_openapi(struct bf_api *api, struct bf_request *req,
                      const struct bf_path *path)
{
    struct bf_slice text = bf_openapi();
    struct bf_answer answer = {
        .status = 200,
        .content_type = "application/yaml",
        .body = BF_BUF_INIT(text.len),
    };
    struct bf_problem problem;

    (void)api;
    (void)path;
    if (bf_buf_add(&answer.body, text.ptr, text.len, NULL) == 0) {
        bf_request_answer(req, &answer);
        return;
    }
    bf_problem_set(&problem, BF_PROBLEM_INTERNAL, NULL, "out of memory");
    bf_request_refuse(req, &problem);
}
