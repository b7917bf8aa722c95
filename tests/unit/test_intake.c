#include "support.h"

#include "config/clock.h"
#include "dispatcher/intake.h"

#define NOW 1763730000000LL
#define DAY 86400000LL

/* Everyone may send jobs of every workspace but one. */
static int check(void *arg, struct bf_slice workspace,
                 struct bf_problem *problem)
{
    (void)arg;
    if (!bf_slice_is(workspace, "theirs"))
        return 0;
    return bf_problem_set(problem, BF_PROBLEM_FORBIDDEN, "workspace", "no");
}

static const struct bf_intake_ctx plain = {.now_ms = NOW,
                                           .default_timeout_ms = 20000,
                                           .spread = 4,
                                           .max_inputs_bytes = BF_MAX_INPUTS,
                                           .max_block_bytes = BF_MAX_BLOCK,
                                           .line = -1,
                                           .check = check};

static int take(const char *body, const struct bf_intake_ctx *ctx,
                struct bf_intake *in, struct bf_problem *problem)
{
    return bf_intake_read(bf_slice_str(body), ctx, in, problem);
}

#define BLOCK "\"block\":{\"run_function_code\":\"def run(): pass\"}"
#define JOB "\"workspace\":\"w\"," BLOCK ",\"inputs\":{\"a\":NaN}"

static void defaults_are_those_of_the_contract(void **unused)
{
    struct bf_intake in;
    struct bf_problem why;

    (void)unused;
    assert_int_equal(take("{" JOB "}", &plain, &in, &why), 0);
    assert_slice(in.job.workspace, "w");
    assert_slice(in.job.kind, "block");
    assert_slice(in.job.inputs, "{\"a\":NaN}");
    assert_slice(in.job.block, "{\"run_function_code\":\"def run(): pass\"}");
    assert_int_equal(in.job.execution, BF_AT_LEAST_ONCE);
    assert_int_equal(in.job.max_attempts, 1);
    assert_int_equal(in.job.timeout_ms, 20000);
    assert_int_equal(in.job.accepted_at_ms, NOW);
    assert_int_equal(in.job.expires_at_ms, NOW + DAY);
    assert_int_equal(in.job.not_before_ms, 0);
    assert_int_equal(in.job.id_origin, BF_ID_SERVER);
    assert_int_equal(in.job.id.len, 36);
    assert_int_equal(in.lane, BF_LANE_JOBS);
    assert_null(in.job.batch.ptr);
    assert_null(in.job.labels.ptr);
    bf_intake_release(&in);
}

static void every_member_arrives(void **unused)
{
    static const char body[] =
        "{\"workspace\":\"W-1_x\",\"id\":\"j.1\",\"kind\":\"block\",\"block\":"
        "{\"block_type\":\"t\",\"imports\":[\"import os\"],"
        "\"init_function_code\":null,\"run_function_name\":\"go\","
        "\"run_function_code\":\"x = '\\u00e4/'\"},"
        "\"execution\":\"at_most_once\",\"timeout_ms\":1,\"max_attempts\":100,"
        "\"not_before\":\"2025-11-21T13:00:01Z\","
        "\"expires_at_ms\":1763730002000,\"order_key\":\"o k\","
        "\"backend\":\"local\",\"lane\":\"batch\",\"batch\":\"b\","
        "\"batch_index\":4294967295,\"callback_url\":\"https://x/y?z\","
        "\"labels\":{\"z\":\"1\",\"a\":\"2\"},"
        "\"context\":{\"block_type\":\"t\",\"step_name\":null},"
        "\"correlation_id\":\"c\",\"inputs\":{}}";
    struct bf_intake in;
    struct bf_problem why;

    (void)unused;
    assert_int_equal(take(body, &plain, &in, &why), 0);
    assert_slice(in.job.id, "j.1");
    assert_int_equal(in.job.id_origin, BF_ID_CLIENT);
    assert_slice(in.job.block,
                 "{\"run_function_code\":\"x = '\xc3\xa4/'\","
                 "\"run_function_name\":\"go\",\"imports\":[\"import os\"],"
                 "\"init_function_code\":null,\"block_type\":\"t\"}");
    assert_int_equal(in.job.execution, BF_AT_MOST_ONCE);
    assert_int_equal(in.job.timeout_ms, 1);
    assert_int_equal(in.job.max_attempts, 100);
    assert_int_equal(in.job.not_before_ms, NOW + 1000);
    assert_int_equal(in.job.expires_at_ms, NOW + 2000);
    assert_slice(in.job.order_key, "o k");
    assert_slice(in.job.backend, "local");
    assert_int_equal(in.lane, BF_LANE_BATCH);
    assert_slice(in.job.batch, "b");
    assert_slice(in.job.batch_index, "4294967295");
    assert_slice(in.job.callback_url, "https://x/y?z");
    assert_slice(in.job.labels, "{\"z\":\"1\",\"a\":\"2\"}");
    assert_slice(in.job.context, "{\"step_name\":null,\"block_type\":\"t\"}");
    assert_slice(in.job.correlation_id, "c");
    bf_intake_release(&in);
}

/* Members besides JOB's, and the field that is to blame; NULL: accepted. */
static const struct {
    const char *members;
    const char *field;
} rules[] = {
    {"\"id\":null", NULL},
    {"\"id\":\"\"", "id"},
    {"\"id\":\"a/b\"", "id"},
    {"\"id\":7", "id"},
    {"\"surprise\":1", "surprise"},
    {"\"surprise\":null", "surprise"},
    {"\"kind\":\"sandbox\"", "kind"},
    {"\"execution\":\"exactly_once\"", "execution"},
    {"\"timeout_ms\":0", "timeout_ms"},
    {"\"timeout_ms\":86400000", NULL},
    {"\"timeout_ms\":86400001", "timeout_ms"},
    {"\"timeout_ms\":1.5", "timeout_ms"},
    {"\"max_attempts\":0", "max_attempts"},
    {"\"max_attempts\":101", "max_attempts"},
    {"\"lane\":\"control\"", "lane"},
    {"\"batch\":\"b\"", "batch_index"},
    {"\"batch_index\":1", "batch"},
    {"\"batch\":\"b\",\"batch_index\":4294967296", "batch_index"},
    {"\"batch\":\"b\",\"batch_index\":-1", "batch_index"},
    {"\"backend\":\"\"", "backend"},
    {"\"backend\":\"Local\"", "backend"},
    {"\"backend\":\"a-very-long-name-of-a-backend-012\"", "backend"},
    {"\"callback_url\":\"ftp://x\"", "callback_url"},
    {"\"callback_url\":\"http://\"", "callback_url"},
    {"\"callback_url\":\"http://a b\"", "callback_url"},
    {"\"labels\":[]", "labels"},
    {"\"labels\":{\"a\":1}", "labels"},
    {"\"context\":{\"other\":\"x\"}", "context"},
    {"\"context\":{\"step_name\":1}", "context"},
    {"\"order_key\":\"\"", "order_key"},
    {"\"order_key\":\"\\n\"", "order_key"},
    {"\"correlation_id\":\"\"", "correlation_id"},
    {"\"not_before_ms\":1763730000000", NULL},
    {"\"not_before\":\"yesterday\"", "not_before"},
    {"\"not_before\":\"2025-11-21T13:00:00Z\",\"not_before_ms\":5",
     "not_before_ms"},
    {"\"not_before_ms\":1764421200000", "not_before"},
    {"\"expires_at_ms\":1763730000000", "expires_at"},
    {"\"expires_at_ms\":0", "expires_at"},
    {"\"expires_at\":\"0001-01-01T00:00:00Z\"", "expires_at"},
    {"\"expires_at_ms\":1764421200000", NULL},
    {"\"expires_at_ms\":1764421200001", "expires_at"},
    {"\"expires_at_ms\":1763730001000,\"not_before_ms\":1763730001000",
     "expires_at"},
};

static void each_rule_names_its_field(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < bf_countof(rules); i++) {
        bf_autobuf struct bf_buf body = BF_BUF_INIT(4096);
        struct bf_problem why = {.field = ""};
        struct bf_intake in;
        int rc;

        bf_buf_addf(&body, NULL, "{" JOB ",%s}", rules[i].members);
        rc = bf_intake_read(bf_buf_slice(&body), &plain, &in, &why);
        assert_string_equal(why.field, rules[i].field ? rules[i].field : "");
        assert_int_equal(rc, rules[i].field ? -1 : 0);
        if (rules[i].field)
            assert_non_null(strstr(why.detail, rules[i].field));
        else
            bf_intake_release(&in);
    }
}

static const struct {
    const char *block;
    const char *field;
} blocks[] = {
    {"[]", "block"},
    {"null", "block"},
    {"{}", "block.run_function_code"},
    {"{\"run_function_code\":null}", "block.run_function_code"},
    {"{\"run_function_code\":\"\",\"code\":\"\"}", "block.code"},
    {"{\"run_function_code\":\"\",\"imports\":[1]}", "block.imports"},
    {"{\"run_function_code\":\"\",\"imports\":\"os\"}", "block.imports"},
    {"{\"run_function_code\":\"\",\"init_function_code\":1}",
     "block.init_function_code"},
    {"{\"run_function_code\":\"\",\"run_function_name\":\"\"}",
     "block.run_function_name"},
    {"{\"run_function_code\":\"\",\"block_type\":null}", "block.block_type"},
};

static void a_block_has_its_own_rules(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < bf_countof(blocks); i++) {
        bf_autobuf struct bf_buf body = BF_BUF_INIT(4096);
        struct bf_problem why;
        struct bf_intake in;

        bf_buf_addf(&body, NULL,
                    "{\"workspace\":\"w\",\"inputs\":{},\"block\":%s}",
                    blocks[i].block);
        assert_int_equal(bf_intake_read(bf_buf_slice(&body), &plain, &in, &why),
                         -1);
        assert_string_equal(why.field, blocks[i].field);
        assert_int_equal(why.code, BF_PROBLEM_BAD_FIELD);
    }
}

static const struct {
    const char *body;
    enum bf_problem_code code;
    const char *field;
} broken[] = {
    {"", BF_PROBLEM_BAD_JSON, ""},
    {"{" JOB ",\"id\":\"a\",\"id\":\"b\"}", BF_PROBLEM_BAD_JSON, ""},
    {"{" JOB ",\"labels\":{\"a\":NaN}}", BF_PROBLEM_BAD_JSON, ""},
    {"{" JOB ",\"id\":\"\\u0000\"}", BF_PROBLEM_BAD_JSON, ""},
    {"{\"workspace\":\"w\"," BLOCK "}", BF_PROBLEM_BAD_FIELD, "inputs"},
    {"{" BLOCK ",\"inputs\":{}}", BF_PROBLEM_BAD_FIELD, "workspace"},
    {"{\"workspace\":\"w\",\"inputs\":{}}", BF_PROBLEM_BAD_FIELD, "block"},
    {"{\"workspace\":\"w w\"," BLOCK ",\"inputs\":{}}", BF_PROBLEM_BAD_FIELD,
     "workspace"},
};

static void what_is_not_a_job_is_refused(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < bf_countof(broken); i++) {
        struct bf_problem why;
        struct bf_intake in;

        assert_int_equal(take(broken[i].body, &plain, &in, &why), -1);
        assert_int_equal(why.code, broken[i].code);
        assert_string_equal(why.field, broken[i].field);
    }
}

static void a_job_is_of_a_workspace_that_is_the_senders(void **unused)
{
#define REST BLOCK ",\"inputs\":{}}"
    struct bf_intake_ctx ctx = plain;
    struct bf_problem why;
    struct bf_intake in;

    (void)unused;
    assert_int_equal(take("{" REST, &ctx, &in, &why), -1);
    assert_string_equal(why.field, "workspace");
    assert_int_equal(why.code, BF_PROBLEM_BAD_FIELD);
    ctx.usual_workspace = S("mine");
    assert_int_equal(take("{" REST, &ctx, &in, &why), 0);
    assert_slice(in.job.workspace, "mine");
    bf_intake_release(&in);
    assert_int_equal(take("{\"workspace\":\"w\"," REST, &ctx, &in, &why), 0);
    assert_slice(in.job.workspace, "w");
    bf_intake_release(&in);
    assert_int_equal(take("{\"workspace\":\"theirs\"," REST, &ctx, &in, &why),
                     -1);
    assert_int_equal(why.code, BF_PROBLEM_FORBIDDEN);
    ctx.usual_workspace = S("theirs");
    assert_int_equal(take("{" REST, &ctx, &in, &why), -1);
    assert_int_equal(why.code, BF_PROBLEM_FORBIDDEN);
}

static void a_key_gives_the_same_ids_for_ever(void **unused)
{
    struct bf_intake_ctx ctx = plain;
    char want[BF_HEX128_SIZE];
    struct bf_intake in;

    (void)unused;
    assert_int_equal(bf_intake_key("\"k1\"", &ctx.idempotency_key, NULL), 0);
    assert_int_equal(take("{" JOB "}", &ctx, &in, NULL), 0);
    bf_job_id_derive(S("w"), S("k1"), -1, want);
    assert_slice(in.job.id, want);
    assert_int_equal(in.job.id_origin, BF_ID_KEY);
    bf_intake_release(&in);
    ctx.line = 3;
    assert_int_equal(take("{" JOB "}", &ctx, &in, NULL), 0);
    bf_job_id_derive(S("w"), S("k1"), 3, want);
    assert_slice(in.job.id, want);
    bf_intake_release(&in);
    assert_int_equal(take("{" JOB ",\"id\":\"mine\"}", &ctx, &in, NULL), 0);
    assert_slice(in.job.id, "mine");
    assert_int_equal(in.job.id_origin, BF_ID_CLIENT);
    bf_intake_release(&in);
}

static void keys_and_traces_are_read_from_headers(void **unused)
{
    const char *trace =
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    struct bf_slice key = {0};
    struct bf_problem why;

    (void)unused;
    assert_int_equal(bf_intake_key("bare-key", &key, &why), 0);
    assert_slice(key, "bare-key");
    assert_int_equal(bf_intake_key("\"\"", &key, &why), -1);
    assert_int_equal(bf_intake_key("", &key, &why), -1);
    assert_int_equal(bf_intake_key("a b", &key, &why), -1);
    assert_string_equal(why.field, "Idempotency-Key");
    assert_slice(bf_intake_traceparent(trace), trace);
    assert_null(bf_intake_traceparent(NULL).ptr);
    assert_null(bf_intake_traceparent("01").ptr);
    assert_null(bf_intake_traceparent(
                    "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01")
                    .ptr);
}

static void a_late_start_moves_the_default_expiry(void **unused)
{
    struct bf_intake in;

    (void)unused;
    assert_int_equal(
        take("{" JOB ",\"not_before_ms\":1763902800000}", &plain, &in, NULL),
        0);
    assert_int_equal(in.job.expires_at_ms, NOW + 3 * DAY);
    bf_intake_release(&in);
    /* 7.5 days ahead: a day later would be over the eight */
    assert_int_equal(
        take("{" JOB ",\"not_before_ms\":1764378000000}", &plain, &in, NULL),
        0);
    assert_int_equal(in.job.expires_at_ms, NOW + 8 * DAY);
    bf_intake_release(&in);
}

static void problems_are_rfc_9457(void **unused)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(4096);
    struct bf_problem why;

    (void)unused;
    bf_problem_set(&why, BF_PROBLEM_BAD_FIELD, "id", "id: \"%s\"", "\x01");
    assert_int_equal(bf_problem_json(&why, "/v1/jobs", &out, NULL), 0);
    assert_string_equal(out.data,
                        "{\"type\":\"urn:blockfleet:problem:bad_field\","
                        "\"title\":\"A field breaks a rule\",\"status\":422,"
                        "\"detail\":\"id: \\\"\\u0001\\\"\","
                        "\"instance\":\"/v1/jobs\",\"field\":\"id\"}");
    bf_buf_clear(&out);
    bf_problem_set(&why, BF_PROBLEM_BUSY, NULL, "\xc3");
    assert_int_equal(bf_problem_json(&why, NULL, &out, NULL), 0);
    assert_non_null(
        strstr(out.data, "\"status\":429,\"detail\":\"\xef\xbf\xbd\"}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_contract),
        cmocka_unit_test(every_member_arrives),
        cmocka_unit_test(each_rule_names_its_field),
        cmocka_unit_test(a_block_has_its_own_rules),
        cmocka_unit_test(what_is_not_a_job_is_refused),
        cmocka_unit_test(a_job_is_of_a_workspace_that_is_the_senders),
        cmocka_unit_test(a_key_gives_the_same_ids_for_ever),
        cmocka_unit_test(keys_and_traces_are_read_from_headers),
        cmocka_unit_test(a_late_start_moves_the_default_expiry),
        cmocka_unit_test(problems_are_rfc_9457),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
