/* The e2b backend, runs and chores, as a table of replies. */

#include "tests/unit/support.h"

#include <sodium.h>
#include <stdio.h>

#include "config/secret.h"
#include "schemas/check.h"
#include "schemas/time.h"
#include "worker/backend/e2b.h"

#define API "https://api.e2b.app"
#define KEY "e2b_0123456789abcdef"
#define TOKEN "token-of-the-sandbox"
#define TTL_MS INT64_C(95000)
#define START_WALL_MS INT64_C(1795266000000)

struct world {
    struct bf_job job;
    struct bf_block *block;
    struct bf_run_input input;
    struct bf_e2b *e2b;
    struct bf_backend_config config;
    int64_t mono_ms;
    /* the provider */
    const char *list;
    int delete_status;
    unsigned int deletes;
};

static bool owns(const void *arg, uint32_t shard, uint32_t *ret_epoch,
                 int64_t *ret_since_ms)
{
    (void)arg;
    (void)shard;
    *ret_epoch = 1;
    *ret_since_ms = 1000;
    return true;
}

static void set_up(struct world *w)
{
    static const char text[] = "{\"run_function_code\":\"def run(self): 0\"}";
    static const struct bf_e2b_config config = {
        .api_url = API,
        .sandbox_url = "",
        .domain = "e2b.app",
        .template_id = "base",
        .path = BF_E2B_BY_EXECUTE,
        .ttl_ms = TTL_MS,
        .idle_ms = 60000,
        .max = 2,
        .creates_per_s = 10,
        .fleet = "f",
        .shards = 1,
        .owner = owns,
    };
    struct bf_err err = {0};

    *w = (struct world){.job = {.workspace = LIT("acme"),
                                .id = LIT("job-1"),
                                .execution = BF_AT_LEAST_ONCE,
                                .timeout_ms = 1500,
                                .max_attempts = 2,
                                .block = LIT(text),
                                .inputs = LIT("{}")},
                        .mono_ms = 1000,
                        .list = "[]",
                        .delete_status = 204};
    w->block = bf_block_parse(w->job.block, &err);
    assert_non_null(w->block);
    w->input =
        (struct bf_run_input){.job = &w->job,
                              .block = w->block,
                              .run_id = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
                              .attempt = 1};
    w->e2b = bf_e2b_new(&config, bf_secret_new(S(KEY), API, &err), &err);
    assert_non_null(w->e2b);
    w->config.e2b = w->e2b;
}

static void tear_down(struct world *w)
{
    bf_e2b_free(w->e2b);
    bf_block_free(w->block);
}

static int step(struct world *w, struct bf_run *run, struct bf_reply reply,
                struct bf_request *ret_request, struct bf_run_end *ret_end)
{
    struct bf_err err = {0};

    reply.mono_ms = w->mono_ms;
    reply.now_ms = START_WALL_MS + w->mono_ms;
    return bf_backend_e2b.step(run, &reply, ret_request, ret_end, &err);
}

static struct bf_reply says(int status, const char *body)
{
    return (struct bf_reply){
        .kind = BF_REPLY_OK, .status = status, .body = bf_slice_str(body)};
}

/* ---- what a report says ---- */

/* The run is given these, one after the other; the last one ends it. */
static void check_message(const struct bf_reply *replies, size_t n,
                          const char *want)
{
    struct bf_reply none = {.kind = BF_REPLY_NONE};
    struct bf_request request = {0};
    struct bf_run_end end = {0};
    struct bf_err err = {0};
    struct bf_run *run;
    struct world w;

    set_up(&w);
    run = bf_backend_e2b.begin(&w.config, &w.input, &err);
    assert_non_null(run);
    assert_int_equal(step(&w, run, none, &request, &end), BF_STEP_SEND);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(step(&w, run, replies[i], &request, &end),
                         i + 1 < n ? BF_STEP_SEND : BF_STEP_DONE);
    assert_slice(end.report.message, want);
    bf_backend_e2b.free(run);
    tear_down(&w);
}

static void a_report_has_no_secret_in_it(void **unused)
{
    const struct bf_reply made =
        says(201, "{\"sandboxID\":\"i1\",\"envdAccessToken\":\"" TOKEN "\"}");
    const struct bf_reply plain = says(400, "{\"message\":\"no template\"}");
    const struct bf_reply key =
        says(400, "{\"message\":\"x-api-key \\u0065" /* escaped there */
                  "2b_0123456789abcdef is of no team\"}");
    const struct bf_reply token[] = {
        made, says(413, "{\"message\":\"" TOKEN " is too much\"}")};

    (void)unused;
    check_message(&plain, 1, "E2B: create_refused: no template");
    check_message(&key, 1,
                  "E2B: create_refused: x-api-key ******************** is of "
                  "no team");
    check_message(token, 2,
                  "E2B: request_too_large: ******************** is too much");
}

/* ---- chores ---- */

static struct bf_reply answer(struct world *w, const struct bf_request *request)
{
    if (request->method != BF_DELETE)
        return says(200, w->list);
    w->deletes++;
    return says(w->delete_status, "{}");
}

/* All there is to do until then, each thing done at once. */
static void live_until(struct world *w, int64_t until_ms)
{
    const struct bf_reply none = {.kind = BF_REPLY_NONE};

    for (; w->mono_ms < until_ms; w->mono_ms += 500) {
        struct bf_run *run;
        int64_t next;

        while (
            (run = bf_backend_e2b.chore(&w->config, START_WALL_MS + w->mono_ms,
                                        w->mono_ms, &next))) {
            struct bf_request request = {0};
            struct bf_run_end end = {0};

            assert_int_equal(step(w, run, none, &request, &end), BF_STEP_SEND);
            assert_int_equal(step(w, run, answer(w, &request), &request, &end),
                             BF_STEP_DONE);
            bf_backend_e2b.free(run);
        }
    }
}

static size_t leaving(const struct world *w)
{
    struct bf_e2b_count n;

    bf_e2b_count(w->e2b, &n);
    assert_int_equal(n.starting + n.busy + n.idle + n.ghosts, 0);
    return n.leaving;
}

/* One of an owner before us, which the provider lets live for years. */
#define FAR_OFF                                                                \
    "[{\"sandboxID\":\"i9\",\"state\":\"running\","                            \
    "\"endAt\":\"2036-01-01T00:00:00Z\",\"metadata\":{\"bf.fleet\":\"f\","     \
    "\"bf.shard\":\"0\",\"bf.since\":\"5\",\"bf.nonce\":\"x\","                \
    "\"bf.workspace\":\"acme\"}}]"

static void what_cannot_be_deleted_counts_for_no_longer_than_ours(void **unused)
{
    struct world w;

    (void)unused;
    set_up(&w);
    w.list = FAR_OFF;
    w.delete_status = 500;
    live_until(&w, 20000);
    assert_int_equal(leaving(&w), 1);
    assert_true(w.deletes > 0);
    w.list = "[]";
    live_until(&w, TTL_MS);
    assert_int_equal(leaving(&w), 1);
    live_until(&w, TTL_MS + 25000);
    assert_int_equal(leaving(&w), 0);
    tear_down(&w);
}

static void what_could_not_be_deleted_is_still_to_leave(void **unused)
{
    struct world w;

    (void)unused;
    set_up(&w);
    w.list = FAR_OFF;
    w.delete_status = 500;
    live_until(&w, 20000);
    w.config.stopping = true;
    live_until(&w, 23000);
    assert_int_equal(leaving(&w), 1);
    w.delete_status = 204;
    live_until(&w, 26000);
    assert_int_equal(leaving(&w), 0);
    tear_down(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_report_has_no_secret_in_it),
        cmocka_unit_test(what_cannot_be_deleted_counts_for_no_longer_than_ours),
        cmocka_unit_test(what_could_not_be_deleted_is_still_to_leave),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
