/* The modal backend, reply by reply. What an edge says: test_modal_web.c. */

#include "tests/unit/support.h"

#include <stdio.h>
#include <zlib.h>

#include "config/secret.h"
#include "schemas/json.h"
#include "worker/backend/modal.h"

#define RUN_ID "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
#define URL "https://acme--web.modal.run/x"
#define LOCATION "Location: ?__modal_function_call_id=fc-1\r\n"
#define ANSWER "{\"success\":true,\"result\":\"{}\"}"
#define NO_CODE                                                                \
    "{\"success\":false,\"error_type\":\"UnknownCodeHash\","                   \
    "\"server_error\":true}"

static const char block_text[] = "{\"run_function_code\":\"def run(self): 1\","
                                 "\"init_function_code\":\"def init(): 1\"}";
static const char plain_text[] = "{\"run_function_code\":\"def run(self): 1\","
                                 "\"imports\":[\"import re\"]}";

static struct fixture {
    struct bf_modal_config options;
    struct bf_backend_config config;
    struct bf_job job;
    struct bf_block *block;
    struct bf_run_input input;
    struct bf_run *run;
    struct bf_request request;
    struct bf_run_end end;
    int64_t now_ms;
} f;

static void set_block(const char *text)
{
    struct bf_err err = {0};

    bf_block_free(f.block);
    f.job.block = bf_slice_str(text);
    f.block = bf_block_parse(f.job.block, &err);
    assert_non_null(f.block);
    f.input = (struct bf_run_input){
        .job = &f.job, .block = f.block, .run_id = RUN_ID, .attempt = 1};
}

static void make(void)
{
    struct bf_err err = {0};
    struct bf_secret *id =
        bf_secret_new(S("wk-1"), "https://acme--web.modal.run", &err);
    struct bf_secret *secret =
        bf_secret_new(S("ws-1"), "https://acme--web.modal.run", &err);

    f.config.modal = bf_modal_new(&f.options, id, secret, &err);
    assert_non_null(f.config.modal);
}

static int set_up(void **state)
{
    (void)state;
    memset(&f, 0, sizeof(f));
    f.now_ms = 5000000;
    f.options = (struct bf_modal_config){.url = URL, .startup_ms = 60000};
    f.job = (struct bf_job){.workspace = LIT("ac/me"),
                            .id = LIT("job-1"),
                            .execution = BF_AT_LEAST_ONCE,
                            .timeout_ms = 1500,
                            .max_attempts = 2,
                            .inputs = LIT("{\"a\":1}")};
    set_block(block_text);
    make();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bf_backend_modal.free(f.run);
    bf_modal_free(f.config.modal);
    bf_block_free(f.block);
    return 0;
}

static int step(struct bf_reply reply)
{
    struct bf_err err = {0};
    int what;

    reply.now_ms = f.now_ms;
    reply.mono_ms = f.now_ms;
    what = bf_backend_modal.step(f.run, &reply, &f.request, &f.end, &err);
    if (what < 0)
        fail_msg("%s", err.msg);
    return what;
}

static void begin(void)
{
    struct bf_err err = {0};

    bf_backend_modal.free(f.run);
    f.run = bf_backend_modal.begin(&f.config, &f.input, &err);
    if (!f.run)
        fail_msg("%s", err.msg);
}

static struct bf_reply answered(int status, const char *headers,
                                const char *body)
{
    return (struct bf_reply){.kind = BF_REPLY_OK,
                             .status = status,
                             .headers = bf_slice_str(headers),
                             .body = bf_slice_str(body)};
}

static void expect_post(void)
{
    assert_int_equal(f.request.by, BF_BY_HTTP);
    assert_int_equal(f.request.method, BF_POST);
    assert_true(f.request.runs);
    assert_false(f.request.idempotent);
    assert_string_equal(f.request.url, URL "?workspace_id=ac%2Fme");
    assert_int_equal(f.request.nsecrets, 2);
    assert_string_equal(f.request.secrets[0].name, "Modal-Key");
    assert_string_equal(f.request.secrets[1].name, "Modal-Secret");
}

static void expect_get(void)
{
    assert_int_equal(f.request.by, BF_BY_HTTP);
    assert_int_equal(f.request.method, BF_GET);
    assert_false(f.request.runs);
    assert_false(f.request.sign);
    assert_true(f.request.idempotent);
    assert_int_equal(f.request.nbody, 0);
    assert_string_equal(f.request.url, URL "?__modal_function_call_id=fc-1");
    assert_int_equal(f.request.nsecrets, 2);
}

/* Begin a run whose POST is out. */
static void call(void)
{
    begin();
    assert_int_equal(step((struct bf_reply){.kind = BF_REPLY_NONE}),
                     BF_STEP_SEND);
    expect_post();
}

/* And answered with a 303. */
static void call_long(void)
{
    call();
    assert_int_equal(step(answered(303, LOCATION, "")), BF_STEP_SEND);
    expect_get();
}

static void expect_end(enum bf_outcome outcome, enum bf_delivery delivery,
                       const char *cause)
{
    assert_string_equal(f.end.cause, cause);
    assert_int_equal(f.end.outcome, outcome);
    assert_int_equal(f.end.delivery, delivery);
    assert_string_equal(f.end.isolation, "container");
}

static void succeed(void)
{
    call();
    assert_int_equal(step(answered(200, "", ANSWER)), BF_STEP_DONE);
    expect_end(BF_OUTCOME_SUCCEEDED, BF_DELIVERY_RAN, "answered");
}

/* ---- requests ---- */

static void test_our_dialect(void **state)
{
    (void)state;
    call();
    assert_true(f.request.sign);
    assert_int_equal(f.request.nheaders, 0);
    assert_int_equal(f.request.grace_ms, 60000);
    assert_slice(f.request.body[0],
                 "{\"code_hash\":\"29a2a6c579843dca2df742adf35022d6\","
                 "\"run_function_name\":\"run\",\"inputs_json\":\"{\\\"a\\\":1}"
                 "\",\"workflow_context\":{},\"code_str\":\"def run(self): 1\","
                 "\"imports\":[],\"init_function_code\":\"def init(): 1\","
                 "\"init_function_name\":\"init\",\"timeout_seconds\":\"1."
                 "500000\",\"workspace_id\":\"ac/me\",\"run_id\":\"" RUN_ID
                 "\"}");
}

static void remake(void)
{
    bf_modal_free(f.config.modal);
    make();
}

/* Roboflow's vector: schemas' own tests have the hash. Nothing but theirs. */
static void test_webexec_dialect(void **state)
{
    (void)state;
    f.options.wire = BF_WIRE_WEBEXEC;
    remake();
    set_block(plain_text);
    f.job.inputs = NONE;
    call();
    assert_false(f.request.sign);
    assert_int_equal(f.request.nheaders, 1);
    assert_string_equal(f.request.headers[0], "content-type: application/json");
    assert_slice(f.request.body[0],
                 "{\"code_hash\":\"08e98594c6db4a16f8cef4699e7c33c9\","
                 "\"run_function_name\":\"run\",\"inputs_json\":\"{}\","
                 "\"workflow_context\":{},\"code_str\":\"def run(self): 1\","
                 "\"imports\":[\"import re\"]}");
}

static void test_webexec_has_no_init_code(void **state)
{
    struct bf_err err = {0};

    (void)state;
    f.options.wire = BF_WIRE_WEBEXEC;
    remake();
    assert_null(bf_backend_modal.begin(&f.config, &f.input, &err));
    assert_int_equal(err.kind, BF_ERR_REJECT);
    assert_string_equal(err.code, "bad_block");
    assert_non_null(strstr(err.msg, "init_function_code"));
}

static void test_no_modal(void **state)
{
    struct bf_backend_config none = {0};
    struct bf_err err = {0};

    (void)state;
    assert_null(bf_backend_modal.begin(&none, &f.input, &err));
    assert_string_equal(err.code, "no_backend");
}

static void test_gzip(void **state)
{
    char out[65536];
    uLongf len = sizeof(out);
    z_stream z = {0};

    (void)state;
    f.options.gzip = BF_GZIP_ON;
    f.options.wire = BF_WIRE_WEBEXEC;
    remake();
    set_block(plain_text);
    call();
    assert_int_equal(f.request.nheaders, 2);
    assert_string_equal(f.request.headers[0], "content-encoding: gzip");
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)f.request.body[0].ptr;
    z.avail_in = (uInt)f.request.body[0].len;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)len;
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_memory_equal(out, "{\"code_hash\":", 13);
    inflateEnd(&z);
}

/* ---- code by its name ---- */

static bool has_code(void)
{
    struct bf_slice body = f.request.body[0];

    return memmem(body.ptr, body.len, "\"code_str\"", 10);
}

static void test_code_is_sent_once(void **state)
{
    (void)state;
    call();
    assert_true(has_code());
    assert_int_equal(step(answered(200, "", ANSWER)), BF_STEP_DONE);
    call();
    assert_false(has_code());
    assert_non_null(memmem(f.request.body[0].ptr, f.request.body[0].len,
                           "\"init_hash\"", 11));
    /* another workspace has containers of its own */
    f.job.workspace = S("other");
    begin();
    step((struct bf_reply){.kind = BF_REPLY_NONE});
    assert_true(has_code());
}

static void test_code_is_asked_for(void **state)
{
    (void)state;
    succeed();
    call();
    assert_false(has_code());
    assert_int_equal(step(answered(200, "", NO_CODE)), BF_STEP_SEND);
    expect_post();
    assert_true(has_code());
    assert_int_equal(step(answered(200, "", ANSWER)), BF_STEP_DONE);
    expect_end(BF_OUTCOME_SUCCEEDED, BF_DELIVERY_RAN, "answered");
}

/* Asked for again, though it was sent: that did not run, and is no loop. */
static void test_code_is_sent_once_more_at_most(void **state)
{
    (void)state;
    call();
    assert_int_equal(step(answered(200, "", NO_CODE)), BF_STEP_DONE);
    expect_end(BF_OUTCOME_EXPIRED, BF_DELIVERY_DID_NOT_RUN, "answered");
    assert_true(f.end.again);
}

/* User code can raise an error of that name. */
static void test_a_name_alone_is_no_reason(void **state)
{
    (void)state;
    succeed();
    call();
    assert_int_equal(step(answered(200, "",
                                   "{\"success\":false,\"error\":\"x\","
                                   "\"error_type\":\"UnknownCodeHash\"}")),
                     BF_STEP_DONE);
    expect_end(BF_OUTCOME_FAILED, BF_DELIVERY_RAN, "answered");
}

/* ---- long calls ---- */

static const char *provider(const char *name)
{
    return json_string_value(json_object_get(f.end.provider, name));
}

static void test_303_is_followed(void **state)
{
    (void)state;
    call_long();
    f.now_ms += 150000;
    assert_int_equal(step(answered(303, LOCATION, "")), BF_STEP_SEND);
    expect_get();
    f.now_ms += 5000;
    assert_int_equal(step(answered(200, "", ANSWER)), BF_STEP_DONE);
    expect_end(BF_OUTCOME_SUCCEEDED, BF_DELIVERY_RAN, "answered");
    assert_string_equal(provider("function_call_id"), "fc-1");
}

static void test_quick_303s_are_slowed_down(void **state)
{
    int64_t waited = 0;

    (void)state;
    call_long();
    for (int i = 0; i < 20; i++) {
        assert_int_equal(step(answered(303, LOCATION, "")), BF_STEP_SEND);
        assert_int_equal(f.request.by, BF_BY_TIMER);
        assert_false(f.request.runs);
        waited += f.request.delay_ms;
        f.now_ms += f.request.delay_ms;
        step((struct bf_reply){.kind = BF_REPLY_OK});
        expect_get();
    }
    assert_true(waited > 60000);
}

static const char *const bad_locations[] = {
    "",
    "Location: https://evil.example/?__modal_function_call_id=fc-1\r\n",
    "Location: /x\r\n",
    LOCATION "Location: http://acme--web.modal.run/?__modal_function_call_id="
             "fc-1\r\n",
};

static void test_303_to_elsewhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(bad_locations); i++) {
        call();
        assert_int_equal(step(answered(303, bad_locations[i], "")),
                         BF_STEP_DONE);
        expect_end(BF_OUTCOME_DEAD, BF_DELIVERY_UNKNOWN, "bad_location");
        assert_true(f.end.more);
    }
    call_long(); /* and to another call */
    assert_int_equal(
        step(answered(303, "Location: ?__modal_function_call_id=fc-2\r\n", "")),
        BF_STEP_DONE);
    expect_end(BF_OUTCOME_DEAD, BF_DELIVERY_UNKNOWN, "bad_location");
}

/* Whatever becomes of a GET: it is asked again. */
static void test_results_are_asked_for_again(void **state)
{
    const struct bf_reply replies[] = {
        {.kind = BF_REPLY_UNSENT, .error = "refused"},
        {.kind = BF_REPLY_LOST, .error = "reset"},
        {.kind = BF_REPLY_LOST, .status = 200, .error = "cut"},
        {.kind = BF_REPLY_LATE},
        {.kind = BF_REPLY_OK, .status = 408},
        {.kind = BF_REPLY_OK, .status = 429, .retry_after_ms = 9000},
        {.kind = BF_REPLY_OK, .status = 503},
    };

    (void)state;
    call_long();
    for (size_t i = 0; i < bf_countof(replies); i++) {
        assert_int_equal(step(replies[i]), BF_STEP_SEND);
        assert_int_equal(f.request.by, BF_BY_TIMER);
        assert_in_range(f.request.delay_ms, 250, 9000);
        assert_true(f.request.delay_ms >= replies[i].retry_after_ms);
        step((struct bf_reply){.kind = BF_REPLY_OK});
        expect_get();
    }
    assert_int_equal(step(answered(200, "", ANSWER)), BF_STEP_DONE);
    expect_end(BF_OUTCOME_SUCCEEDED, BF_DELIVERY_RAN, "answered");
}

#define GONE "modal-http: invalid function call"

/* A 404 that is over in a moment costs no result, and asks for no more. */
static void ask_while_gone(int times)
{
    for (int i = 0; i < times; i++) {
        assert_int_equal(step(answered(404, "", GONE)), BF_STEP_SEND);
        assert_int_equal(f.request.by, BF_BY_TIMER);
        assert_in_range(f.request.delay_ms, 1000, 5000);
        f.now_ms += f.request.delay_ms;
        assert_int_equal(step((struct bf_reply){.kind = BF_REPLY_OK}),
                         BF_STEP_SEND);
        expect_get();
    }
}

static void test_gone_for_a_moment(void **state)
{
    (void)state;
    call_long();
    ask_while_gone(3);
    assert_int_equal(step(answered(200, "", ANSWER)), BF_STEP_DONE);
    expect_end(BF_OUTCOME_SUCCEEDED, BF_DELIVERY_RAN, "answered");
    /* A 303 between: that is another moment. */
    call_long();
    ask_while_gone(3);
    f.now_ms += 150000;
    assert_int_equal(step(answered(303, LOCATION, "")), BF_STEP_SEND);
    expect_get();
    ask_while_gone(3);
}

static void test_gone_for_good(void **state)
{
    (void)state;
    call_long();
    ask_while_gone(3);
    assert_int_equal(step(answered(404, "", GONE)), BF_STEP_DONE);
    expect_end(BF_OUTCOME_DEAD, BF_DELIVERY_UNKNOWN, "result_gone");
    assert_true(f.end.more);
    assert_false(f.end.again);
    /* What is not for a moment is not asked after. */
    call_long();
    assert_int_equal(
        step(answered(404, "", "app for invoked web endpoint is stopped")),
        BF_STEP_DONE);
    expect_end(BF_OUTCOME_DEAD, BF_DELIVERY_UNKNOWN, "result_gone");
}

static void test_long_call_without_code(void **state)
{
    (void)state;
    succeed();
    call_long();
    assert_int_equal(step(answered(200, "", NO_CODE)), BF_STEP_SEND);
    expect_post();
    assert_true(has_code());
    /* whose call is another one */
    assert_int_equal(
        step(answered(303, "Location: ?__modal_function_call_id=fc-9\r\n", "")),
        BF_STEP_SEND);
    assert_string_equal(f.request.url, URL "?__modal_function_call_id=fc-9");
}

/* ---- ends ---- */

struct ending {
    struct bf_reply reply;
    const char *cause;
    enum bf_outcome outcome;
    enum bf_delivery delivery;
    bool again, more;
};

static const struct ending of_call[] = {
    {{.kind = BF_REPLY_UNSENT, .error = "refused"},
     "unreachable",
     BF_OUTCOME_EXPIRED,
     BF_DELIVERY_DID_NOT_RUN,
     true,
     false},
    {{.kind = BF_REPLY_LOST, .error = "reset"},
     "answer_lost",
     BF_OUTCOME_DEAD,
     BF_DELIVERY_UNKNOWN,
     false,
     true},
    {{.kind = BF_REPLY_LOST, .status = 200},
     "answer_lost",
     BF_OUTCOME_DEAD,
     BF_DELIVERY_UNKNOWN,
     false,
     true},
    {{.kind = BF_REPLY_LOST, .status = 401},
     "bad_credentials",
     BF_OUTCOME_EXPIRED,
     BF_DELIVERY_DID_NOT_RUN,
     true,
     false},
    {{.kind = BF_REPLY_TOO_LARGE, .status = 200},
     "too_large",
     BF_OUTCOME_FAILED,
     BF_DELIVERY_RAN,
     false,
     false},
    {{.kind = BF_REPLY_TOO_LARGE, .status = 500},
     "server_error",
     BF_OUTCOME_DEAD,
     BF_DELIVERY_UNKNOWN,
     false,
     true},
    {{.kind = BF_REPLY_DEADLINE},
     "deadline",
     BF_OUTCOME_TIMED_OUT,
     BF_DELIVERY_RAN,
     false,
     false},
    {{.kind = BF_REPLY_DEADLINE, .unsent = true},
     "never_left",
     BF_OUTCOME_TIMED_OUT,
     BF_DELIVERY_DID_NOT_RUN,
     false,
     false},
    {{.kind = BF_REPLY_OK, .status = 429, .retry_after_ms = 7000},
     "rate_limited",
     BF_OUTCOME_EXPIRED,
     BF_DELIVERY_DID_NOT_RUN,
     true,
     false},
    {{.kind = BF_REPLY_OK, .status = 200, .body = LIT("<html>")},
     "answered",
     BF_OUTCOME_DEAD,
     BF_DELIVERY_UNKNOWN,
     false,
     true},
    {{.kind = BF_REPLY_OK,
      .status = 200,
      .body =
          LIT("{\"success\":false,\"error\":\"x\",\"reason\":\"deadline\"}")},
     "answered",
     BF_OUTCOME_TIMED_OUT,
     BF_DELIVERY_RAN,
     false,
     false},
};

static void expect_ending(const struct ending *row)
{
    assert_int_equal(step(row->reply), BF_STEP_DONE);
    expect_end(row->outcome, row->delivery, row->cause);
    assert_int_equal(f.end.again, row->again);
    assert_int_equal(f.end.more, row->more);
    if (row->again)
        assert_int_equal(f.end.again_after_ms, row->reply.retry_after_ms);
    if (row->reply.status != 200)
        assert_true(f.end.report.message.len > 0);
}

static void test_ends_of_a_call(void **state)
{
    for (size_t i = 0; i < bf_countof(of_call); i++) {
        tear_down(state);
        set_up(state);
        call();
        expect_ending(&of_call[i]);
    }
}

/* Once there was a 303 it may have run, whatever is said then. */
static const struct ending of_result[] = {
    {{.kind = BF_REPLY_OK, .status = 404},
     "result_gone",
     BF_OUTCOME_DEAD,
     BF_DELIVERY_UNKNOWN,
     false,
     true},
    {{.kind = BF_REPLY_OK, .status = 401},
     "result_refused",
     BF_OUTCOME_DEAD,
     BF_DELIVERY_UNKNOWN,
     false,
     true},
    {{.kind = BF_REPLY_DEADLINE, .unsent = true},
     "deadline",
     BF_OUTCOME_TIMED_OUT,
     BF_DELIVERY_RAN,
     false,
     false},
    {{.kind = BF_REPLY_TOO_LARGE, .status = 200},
     "too_large",
     BF_OUTCOME_FAILED,
     BF_DELIVERY_RAN,
     false,
     false},
};

static void test_ends_of_a_result(void **state)
{
    for (size_t i = 0; i < bf_countof(of_result); i++) {
        tear_down(state);
        set_up(state);
        call_long();
        expect_ending(&of_result[i]);
        assert_string_equal(provider("function_call_id"), "fc-1");
    }
}

static void test_ids(void **state)
{
    (void)state;
    call();
    step(answered(200, "modal-function-call-id: fc-77\r\n",
                  "{\"success\":true,\"result\":\"{}\",\"duration_us\":123,"
                  "\"container_id\":\"ta-1\"}"));
    assert_string_equal(provider("function_call_id"), "fc-77");
    assert_string_equal(provider("container_id"), "ta-1");
    assert_int_equal(f.end.duration_us, 123);
    call();
    step(answered(200, "modal-function-call-id: <script>\r\n", ANSWER));
    assert_null(f.end.provider);
    assert_int_equal(f.end.duration_us, -1);
}

/* ---- what all of them share ---- */

/* Begin a run that is not let through; how long it is to wait. */
static int64_t refused(const char *cause)
{
    begin();
    assert_int_equal(step((struct bf_reply){.kind = BF_REPLY_NONE}),
                     BF_STEP_DONE);
    expect_end(BF_OUTCOME_EXPIRED, BF_DELIVERY_DID_NOT_RUN, cause);
    assert_true(f.end.again);
    return f.end.again_after_ms;
}

static void test_credential_stops_all(void **state)
{
    (void)state;
    call();
    step(answered(401, "", "modal-http: missing credentials"));
    expect_end(BF_OUTCOME_EXPIRED, BF_DELIVERY_DID_NOT_RUN, "bad_credentials");
    assert_true(f.end.again);
    assert_non_null(strstr(f.end.alarm, "MODAL_TOKEN_ID"));
    assert_false(f.end.relief);
    assert_int_equal(refused("breaker_open"), 60000);
    assert_null(f.end.alarm); /* once is enough */
    f.now_ms += 60000;
    succeed();
    assert_true(f.end.relief);
    succeed();
    assert_null(f.end.alarm);
}

static void test_faults_open_it(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        assert_null(f.end.alarm);
        call();
        assert_int_equal(step((struct bf_reply){.kind = BF_REPLY_UNSENT}),
                         BF_STEP_DONE);
    }
    assert_non_null(f.end.alarm);
    assert_int_equal(refused("breaker_open"), 1000);
}

/* A probe that nobody waits for any more does not keep the door shut. */
static void test_freed_probe(void **state)
{
    (void)state;
    test_faults_open_it(state);
    f.now_ms += 1000;
    for (int i = 0; i < 5; i++)
        call();
    succeed();
}

static void test_rate(void **state)
{
    (void)state;
    f.options.calls_per_s = 10;
    f.options.calls_burst = 2;
    remake();
    call();
    call();
    begin();
    assert_int_equal(step((struct bf_reply){.kind = BF_REPLY_NONE}),
                     BF_STEP_SEND);
    assert_int_equal(f.request.by, BF_BY_TIMER);
    assert_int_equal(f.request.delay_ms, 100);
    assert_false(f.request.runs);
    assert_int_equal(step((struct bf_reply){.kind = BF_REPLY_OK}),
                     BF_STEP_SEND);
    expect_post();
    /* and one that expires meanwhile */
    begin();
    step((struct bf_reply){.kind = BF_REPLY_NONE});
    assert_int_equal(step((struct bf_reply){.kind = BF_REPLY_LATE}),
                     BF_STEP_DONE);
    expect_end(BF_OUTCOME_EXPIRED, BF_DELIVERY_DID_NOT_RUN, "no_turn");
}

static int64_t turn_of(const char *workspace)
{
    f.job.workspace = bf_slice_str(workspace);
    begin();
    assert_int_equal(step((struct bf_reply){.kind = BF_REPLY_NONE}),
                     BF_STEP_SEND);
    return f.request.by == BF_BY_TIMER ? f.request.delay_ms : 0;
}

static void test_new_workspaces(void **state)
{
    (void)state;
    f.options.workspaces_per_s = 1;
    f.options.workspaces_burst = 2;
    remake();
    assert_int_equal(turn_of("a"), 0);
    assert_int_equal(turn_of("b"), 0);
    assert_int_equal(turn_of("c"), 1000);
    assert_int_equal(turn_of("d"), 2000);
    assert_int_equal(turn_of("a"), 0);
    f.now_ms += 400;
    assert_int_equal(turn_of("c"), 600); /* no sooner than the first of them */
    f.now_ms += 600;
    assert_int_equal(turn_of("c"), 0);
}

/* "Too many": nobody calls for a moment, or as long as it says. */
static void test_429_holds_all(void **state)
{
    (void)state;
    call();
    step(answered(429, "", "modal-http: rate limit"));
    assert_int_equal(turn_of("ac/me"), 1000);
    f.now_ms += 1000;
    call();
    step((struct bf_reply){
        .kind = BF_REPLY_OK, .status = 429, .retry_after_ms = 30000});
    assert_int_equal(turn_of("ac/me"), 30000);
}

#define T(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_our_dialect),
        T(test_webexec_dialect),
        T(test_webexec_has_no_init_code),
        T(test_no_modal),
        T(test_gzip),
        T(test_code_is_sent_once),
        T(test_code_is_asked_for),
        T(test_code_is_sent_once_more_at_most),
        T(test_a_name_alone_is_no_reason),
        T(test_303_is_followed),
        T(test_quick_303s_are_slowed_down),
        T(test_303_to_elsewhere),
        T(test_results_are_asked_for_again),
        T(test_gone_for_a_moment),
        T(test_gone_for_good),
        T(test_long_call_without_code),
        T(test_ends_of_a_call),
        T(test_ends_of_a_result),
        T(test_ids),
        T(test_credential_stops_all),
        T(test_faults_open_it),
        T(test_freed_probe),
        T(test_rate),
        T(test_new_workspaces),
        T(test_429_holds_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
