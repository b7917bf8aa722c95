/*
 * The gRPC transport of the modal backend as a table of replies: what fails at
 * which call, and what follows for the job.
 */

#include "tests/unit/support.h"

#include <stdio.h>

#include "schemas/json.h"
#include "worker/backend/modal_grpc_private.h"
#include "worker/wire/cbor.h"
#include "worker/wire/modal_fields.h"
#include "worker/wire/pb.h"

#define RUN_ID "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
#define TOKEN "h.eyJleHAiOjE3OTUyNjYwMDB9.s" /* exp 1795266000 */
#define NOW_MS (1795266000000LL - 1200000)

static const char block_text[] =
    "{\"run_function_code\":\"def run(self):\\n    return 1\\n\"}";

struct world {
    struct bf_job job;
    struct bf_block *block;
    struct bf_run_input input;
    struct bf_modal_grpc *modal;
    struct bf_backend_config config;
    int64_t ms; /* since the start; both clocks */
    struct bf_buf body, headers;
    size_t sent[BF_STAGES]; /* calls, with all attempts */
    size_t puts, gets;
    int store;             /* what the store of blobs answers; 0: 200 */
    bool result_is_a_blob; /* whatever its size */
    struct bf_buf value;   /* the store's */
    char key[128];         /* idempotency key of the run's FunctionMaps */
};

static void set_up_at(struct world *w, const char *url)
{
    struct bf_modal_grpc_config config = {
        .url = url,
        .name = {"blockfleet", "Executor", "call", ""},
        .startup_ms = 1000,
    };
    struct bf_err err = {0};

    *w = (struct world){.job = {.workspace = LIT("acme"),
                                .id = LIT("job-1"),
                                .execution = BF_AT_LEAST_ONCE,
                                .timeout_ms = 1500,
                                .max_attempts = 2,
                                .block = LIT(block_text),
                                .inputs = LIT("{\"a\": 1}")},
                        .body = {.max = 1 << 20},
                        .headers = {.max = 4096},
                        .value = {.max = 4096}};
    w->block = bf_block_parse(w->job.block, &err);
    assert_non_null(w->block);
    w->input = (struct bf_run_input){
        .job = &w->job, .block = w->block, .run_id = RUN_ID, .attempt = 1};
    w->modal = bf_modal_grpc_new(&config, bf_secret_new(S("ak-1"), url, &err),
                                 bf_secret_new(S("as-1"), url, &err), &err);
    assert_non_null(w->modal);
    w->config.modal_grpc = w->modal;
}

static void set_up(struct world *w)
{
    set_up_at(w, "https://api.modal.com");
}

static void tear_down(struct world *w)
{
    bf_modal_grpc_free(w->modal);
    bf_block_free(w->block);
    bf_buf_release(&w->body);
    bf_buf_release(&w->headers);
    bf_buf_release(&w->value);
}

static struct bf_run *begin(struct world *w)
{
    struct bf_err err = {0};
    struct bf_run *run =
        bf_backend_modal_grpc.begin(&w->config, &w->input, &err);

    assert_non_null(run);
    w->key[0] = '\0';
    return run;
}

/* ---- a server whose answers are right ---- */

static void put_method(struct bf_pb_out *out)
{
    size_t pair =
        bf_pb_open(out, FunctionHandleMetadata_method_handle_metadata);
    size_t method;

    bf_pb_bytes(out, 1, S("call"));
    method = bf_pb_open(out, 2);
    bf_pb_bytes(out, FunctionHandleMetadata_supported_input_formats, S("\4"));
    bf_pb_bytes(out, FunctionHandleMetadata_supported_output_formats, S("\4"));
    bf_pb_close(out, method);
    bf_pb_close(out, pair);
}

static void put_class(struct bf_pb_out *out)
{
    size_t handle, info, schema, function, ranked, inner, resources;

    bf_pb_bytes(out, FunctionGetResponse_function_id, S("fu-1"));
    handle = bf_pb_open(out, FunctionGetResponse_handle_metadata);
    info = bf_pb_open(out, FunctionHandleMetadata_class_parameter_info);
    bf_pb_u64(out, ClassParameterInfo_format, 2);
    schema = bf_pb_open(out, ClassParameterInfo_schema);
    bf_pb_bytes(out, ClassParameterSpec_name, S("workspace_id"));
    bf_pb_u64(out, ClassParameterSpec_type, 1);
    bf_pb_close(out, schema);
    bf_pb_close(out, info);
    put_method(out);
    bf_pb_close(out, handle);
    function = bf_pb_open(out, FunctionGetResponse_function);
    ranked = bf_pb_open(out, FunctionData_ranked_functions);
    inner = bf_pb_open(out, FunctionData_RankedFunction_function);
    resources = bf_pb_open(out, Function_resources);
    bf_pb_u64(out, Resources_milli_cpu, 500);
    bf_pb_u64(out, Resources_memory_mb, 2048);
    bf_pb_close(out, resources);
    bf_pb_close(out, inner);
    bf_pb_close(out, ranked);
    bf_pb_close(out, function);
}

static void put_bound(struct bf_pb_out *out)
{
    size_t handle;

    bf_pb_bytes(out, FunctionBindParamsResponse_bound_function_id, S("fu-2"));
    handle = bf_pb_open(out, FunctionBindParamsResponse_handle_metadata);
    put_method(out);
    bf_pb_close(out, handle);
}

static void put_value(struct bf_buf *buf, struct bf_slice head)
{
    struct bf_cbor_out out;

    bf_cbor_start(&out, buf, NULL);
    bf_cbor_array(&out, 2);
    bf_cbor_bytes(&out, head);
    bf_cbor_bytes(&out, S("{\"r\": 1}"));
    assert_int_equal(bf_cbor_done(&out), 0);
}

static void put_outputs(struct bf_pb_out *out, uint64_t status,
                        struct bf_slice head, struct bf_slice blob)
{
    bf_autobuf struct bf_buf value = BF_BUF_INIT(4096);
    size_t item = bf_pb_open(out, FunctionGetOutputsResponse_outputs);
    size_t result = bf_pb_open(out, FunctionGetOutputsItem_result);

    put_value(&value, head);
    bf_pb_u64(out, GenericResult_status, status);
    bf_pb_bytes(out, GenericResult_exception, S("Why()"));
    if (blob.ptr)
        bf_pb_bytes(out, GenericResult_data_blob_id, blob);
    else
        bf_pb_bytes(out, GenericResult_data, bf_buf_slice(&value));
    bf_pb_close(out, result);
    bf_pb_u64(out, FunctionGetOutputsItem_data_format, 4);
    bf_pb_bytes(out, FunctionGetOutputsItem_task_id, S("ta-1"));
    bf_pb_double(out, FunctionGetOutputsItem_input_started_at, 1795266000.25);
    bf_pb_double(out, FunctionGetOutputsItem_output_created_at, 1795266001.5);
    bf_pb_close(out, item);
}

static void put_mapped(struct bf_pb_out *out)
{
    size_t input;

    bf_pb_bytes(out, FunctionMapResponse_function_call_id, S("fc-1"));
    input = bf_pb_open(out, FunctionMapResponse_pipelined_inputs);
    bf_pb_bytes(out, FunctionPutInputsResponseItem_input_id, S("in-1"));
    bf_pb_close(out, input);
}

#define HEAD "{\"success\": true, \"stdout\": \"\", \"stderr\": \"\"}"

/* What is said at one call instead, so many times. */
struct row {
    const char *name;
    enum bf_modal_stage at;
    int times;
    enum bf_reply_kind kind;
    int http;
    const char *grpc;     /* grpc-status; NULL: none */
    const char *more;     /* another header line, or NULL */
    uint64_t result;      /* OUTPUTS: status of the result; 0: success */
    struct bf_slice body; /* instead of any other */
    struct bf_slice head; /* OUTPUTS: of the app's answer */
    /* what follows */
    enum bf_outcome outcome;
    enum bf_reason reason;
    enum bf_delivery delivery;
    bool again, more_tries;
    const char *cause;
    size_t maps;    /* FunctionMaps that were sent */
    size_t cancels; /* that are left to a chore */
};

static void put_message(const struct world *w, struct bf_pb_out *out,
                        enum bf_modal_stage stage, const struct row *row)
{
    size_t urls;

    switch (stage) {
    case BF_STAGE_AUTH:
        bf_pb_bytes(out, AuthTokenGetResponse_token, S(TOKEN));
        break;
    case BF_STAGE_CLASS:
        put_class(out);
        break;
    case BF_STAGE_BIND:
        put_bound(out);
        break;
    case BF_STAGE_UPLOAD:
        bf_pb_bytes(out, BlobCreateResponse_blob_ids, S("bl-1"));
        urls = bf_pb_open(out, BlobCreateResponse_upload_urls);
        bf_pb_bytes(out, UploadUrlList_items, S("https://s3.test/1?a=b"));
        bf_pb_close(out, urls);
        break;
    case BF_STAGE_MAP:
        put_mapped(out);
        break;
    case BF_STAGE_OUTPUTS:
        put_outputs(out, row && row->result ? row->result : 1,
                    row && row->head.ptr ? row->head : S(HEAD),
                    w->result_is_a_blob ? S("bl-2") : NONE);
        break;
    case BF_STAGE_DOWNLOAD:
        bf_pb_bytes(out, BlobGetResponse_download_url, S("https://s3.test/2"));
        break;
    case BF_STAGE_CANCEL:
    case BF_STAGES:
        break;
    }
}

static enum bf_modal_stage stage_of(const struct bf_request *request)
{
    static const char *const names[] = {
        "AuthTokenGet", "FunctionGet",        "FunctionBindParams",
        "BlobCreate",   "FunctionMap",        "FunctionGetOutputs",
        "BlobGet",      "FunctionCallCancel",
    };
    const char *rpc = strrchr(request->url, '/') + 1;
    int stage = 0;

    while (strcmp(names[stage], rpc) != 0) {
        stage++;
        assert_true(stage < BF_STAGES);
    }
    return (enum bf_modal_stage)stage;
}

/* The answer to it: the row's, or the right one. */
static struct bf_reply answer(struct world *w, enum bf_modal_stage stage,
                              const struct row *row)
{
    bf_autobuf struct bf_buf message = BF_BUF_INIT(1 << 16);
    struct bf_reply reply = {.kind = BF_REPLY_OK, .status = 200};
    const char *grpc = "0";
    unsigned char prefix[BF_GRPC_PREFIX];
    struct bf_pb_out out;

    bf_pb_start(&out, &message, NULL);
    put_message(w, &out, stage, row);
    assert_int_equal(bf_pb_done(&out), 0);
    bf_buf_clear(&w->body);
    bf_buf_clear(&w->headers);
    bf_grpc_prefix(message.len, prefix);
    bf_buf_add(&w->body, prefix, sizeof(prefix), NULL);
    bf_buf_add(&w->body, message.data, message.len, NULL);
    if (row) {
        reply.kind = row->kind;
        reply.status = row->http;
        grpc = row->grpc;
    }
    if (grpc)
        bf_buf_addf(&w->headers, NULL, "grpc-status: %s\r\n", grpc);
    if (row && row->more)
        bf_buf_addf(&w->headers, NULL, "%s\r\n", row->more);
    reply.body = row && row->body.ptr ? row->body : bf_buf_slice(&w->body);
    reply.headers = bf_buf_slice(&w->headers);
    return reply;
}

static bool has_line(const struct bf_request *request, const char *line)
{
    for (size_t i = 0; i < request->nheaders; i++) {
        if (strcmp(request->headers[i], line) == 0)
            return true;
    }
    return false;
}

static const char *line_of(const struct bf_request *request, const char *name)
{
    for (size_t i = 0; i < request->nheaders; i++) {
        if (strncmp(request->headers[i], name, strlen(name)) == 0)
            return request->headers[i] + strlen(name);
    }
    return NULL;
}

static void check_request(struct world *w, const struct bf_request *request,
                          enum bf_modal_stage stage)
{
    const char *key = line_of(request, "x-idempotency-key: ");

    assert_int_equal(request->method, BF_POST);
    assert_int_equal(request->version, BF_HTTP_2);
    assert_true(has_line(request, "content-type: application/grpc"));
    assert_true(has_line(request, "te: trailers"));
    assert_true(has_line(request, "x-modal-host: api.modal.com"));
    assert_int_equal(request->nsecrets, stage == BF_STAGE_AUTH ? 2 : 3);
    assert_int_equal(request->runs, stage == BF_STAGE_MAP);
    assert_int_equal(request->idempotent, stage != BF_STAGE_MAP);
    assert_false(request->sign);
    assert_non_null(key);
    assert_int_equal(strlen(key), 36);
    if (stage == BF_STAGE_MAP) {
        if (w->key[0])
            assert_string_equal(key, w->key);
        snprintf(w->key, sizeof(w->key), "%s", key);
    }
}

static struct bf_reply serve(struct world *w, const struct bf_request *request,
                             const struct row *row, int *hits)
{
    enum bf_modal_stage stage;

    if (request->by == BF_BY_TIMER) {
        w->ms += request->delay_ms;
        return (struct bf_reply){.kind = BF_REPLY_OK};
    }
    if (!strstr(request->url, BF_MODAL_SERVICE)) {
        w->puts += request->method == BF_PUT;
        w->gets += request->method == BF_GET;
        w->ms += 5;
        return (struct bf_reply){.kind = BF_REPLY_OK,
                                 .status = w->store ? w->store : 200,
                                 .body = bf_buf_slice(&w->value)};
    }
    stage = stage_of(request);
    w->sent[stage]++;
    check_request(w, request, stage);
    w->ms += 5;
    if (row && row->at == stage && *hits < row->times) {
        (*hits)++;
        return answer(w, stage, row);
    }
    return answer(w, stage, NULL);
}

/* One run from its begin to its end; *ret_end is the run's until it is freed.
 */
static struct bf_run *drive(struct world *w, const struct row *row,
                            struct bf_run_end *ret_end)
{
    struct bf_run *run = begin(w);
    struct bf_reply reply = {.kind = BF_REPLY_NONE};
    struct bf_request request = {.by = BF_BY_TIMER};
    struct bf_err err = {0};
    int hits = 0;

    for (int i = 0; i < 200; i++) {
        int step;

        if (i > 0)
            reply = serve(w, &request, row, &hits);
        reply.now_ms = NOW_MS + w->ms;
        reply.mono_ms = 1000 + w->ms;
        step = bf_backend_modal_grpc.step(run, &reply, &request, ret_end, &err);
        if (step == BF_STEP_DONE)
            return run;
        assert_int_equal(step, BF_STEP_SEND);
    }
    fail_msg("%s: it never ends", row ? row->name : "nothing");
    return run;
}

/* ---- what goes well ---- */

static void test_a_run(void **state)
{
    struct bf_run_end end;
    struct bf_run *run;
    struct world w;

    (void)state;
    set_up(&w);
    run = drive(&w, NULL, &end);
    assert_int_equal(end.outcome, BF_OUTCOME_SUCCEEDED);
    assert_slice(end.result, "{\"r\": 1}");
    assert_string_equal(end.isolation, "container");
    assert_int_equal(end.duration_us, 1250000);
    assert_int_equal(end.vcpu_us, 1250000);           /* 0.5 cores: 1 vCPU */
    assert_int_equal(end.memory_gib_us, 2 * 1250000); /* 2 GiB */
    assert_slice(
        bf_json_slice(json_object_get(end.provider, "function_call_id")),
        "fc-1");
    assert_slice(bf_json_slice(json_object_get(end.provider, "task_id")),
                 "ta-1");
    assert_null(end.alarm);
    bf_backend_modal_grpc.free(run);
    assert_int_equal(w.modal->ncancels, 0);
    /* What is known is not asked for again. */
    bf_backend_modal_grpc.free(drive(&w, NULL, &end));
    assert_int_equal(w.sent[BF_STAGE_AUTH], 1);
    assert_int_equal(w.sent[BF_STAGE_CLASS], 1);
    assert_int_equal(w.sent[BF_STAGE_BIND], 1);
    assert_int_equal(w.sent[BF_STAGE_MAP], 2);
    /* But for ever it is not believed. */
    w.ms += BF_MODAL_KNOWN_MS;
    bf_backend_modal_grpc.free(drive(&w, NULL, &end));
    assert_int_equal(w.sent[BF_STAGE_CLASS], 2);
    assert_int_equal(w.sent[BF_STAGE_BIND], 2);
    tear_down(&w);
}

static void test_large_arguments(void **state)
{
    static char inputs[3 << 20];
    struct bf_run_end end;
    struct world w;

    (void)state;
    set_up(&w);
    memset(inputs, 'x', sizeof(inputs));
    inputs[0] = inputs[sizeof(inputs) - 1] = '"';
    w.job.inputs = (struct bf_slice){inputs, sizeof(inputs)};
    bf_backend_modal_grpc.free(drive(&w, NULL, &end));
    assert_int_equal(end.outcome, BF_OUTCOME_SUCCEEDED);
    assert_int_equal(w.sent[BF_STAGE_UPLOAD], 1);
    assert_int_equal(w.puts, 1);
    tear_down(&w);
}

static void test_large_result(void **state)
{
    struct bf_run_end end;
    struct bf_run *run;
    struct world w;

    (void)state;
    set_up(&w);
    w.result_is_a_blob = true;
    put_value(&w.value, S(HEAD));
    run = drive(&w, NULL, &end);
    assert_int_equal(end.outcome, BF_OUTCOME_SUCCEEDED);
    assert_slice(end.result, "{\"r\": 1}");
    assert_int_equal(w.sent[BF_STAGE_DOWNLOAD], 1);
    assert_int_equal(w.gets, 1);
    bf_backend_modal_grpc.free(run);
    tear_down(&w);
}

/* Before the call nothing ran; after it the result is lost. */
static void test_store_fails(void **state)
{
    static char inputs[3 << 20];
    struct bf_run_end end;
    struct world w;

    (void)state;
    set_up(&w);
    w.store = 503;
    w.job.inputs = (struct bf_slice){inputs, sizeof(inputs)};
    memset(inputs, '1', sizeof(inputs));
    bf_backend_modal_grpc.free(drive(&w, NULL, &end));
    assert_int_equal(w.puts, 3);
    assert_int_equal(w.sent[BF_STAGE_MAP], 0);
    assert_string_equal(end.cause, "unavailable");
    assert_true(end.again);
    tear_down(&w);
    set_up(&w);
    w.store = 404;
    w.result_is_a_blob = true;
    bf_backend_modal_grpc.free(drive(&w, NULL, &end));
    assert_int_equal(w.gets, 5);
    assert_string_equal(end.cause, "result_lost");
    assert_int_equal(end.delivery, BF_DELIVERY_UNKNOWN);
    assert_int_equal(w.modal->ncancels, 0);
    tear_down(&w);
}

/* ---- what goes wrong ---- */

#define OK(code) .kind = BF_REPLY_OK, .http = 200, .grpc = (code)
#define SUCCEEDED                                                              \
    .outcome = BF_OUTCOME_SUCCEEDED, .delivery = BF_DELIVERY_RAN,              \
    .cause = "answered"
#define AGAIN(why)                                                             \
    .outcome = BF_OUTCOME_EXPIRED, .delivery = BF_DELIVERY_DID_NOT_RUN,        \
    .again = true, .cause = (why)
#define UNKNOWN(why)                                                           \
    .outcome = BF_OUTCOME_DEAD, .reason = BF_REASON_ATTEMPTS,                  \
    .delivery = BF_DELIVERY_UNKNOWN, .more_tries = true, .cause = (why)
#define REFUSED                                                                \
    .outcome = BF_OUTCOME_DEAD, .reason = BF_REASON_BACKEND_REFUSED,           \
    .delivery = BF_DELIVERY_DID_NOT_RUN, .cause = "refused"
#define ENDED(what, why, because)                                              \
    .outcome = BF_OUTCOME_##what, .reason = BF_REASON_##why,                   \
    .delivery = BF_DELIVERY_RAN, .cause = (because)

static const struct row rows[] = {
    /* the token */
    {"auth 16", BF_STAGE_AUTH, 9, OK("16"), AGAIN("bad_credentials")},
    {"auth 7", BF_STAGE_AUTH, 9, OK("7"), AGAIN("forbidden")},
    {"auth 9", BF_STAGE_AUTH, 9, OK("9"), AGAIN("client_refused")},
    {"auth 12", BF_STAGE_AUTH, 9, OK("12"), AGAIN("client_refused")},
    {"auth 14 once", BF_STAGE_AUTH, 1, OK("14"), SUCCEEDED, .maps = 1},
    {"auth 14", BF_STAGE_AUTH, 99, OK("14"), AGAIN("unavailable")},
    {"auth 3", BF_STAGE_AUTH, 9, OK("3"), AGAIN("refused")},
    {"auth 401", BF_STAGE_AUTH, 9, .kind = BF_REPLY_OK, .http = 401,
     AGAIN("bad_credentials")},
    {"auth unsent", BF_STAGE_AUTH, 99, .kind = BF_REPLY_UNSENT,
     AGAIN("unavailable")},
    {"auth nothing", BF_STAGE_AUTH, 9, OK("0"), .body = LIT("\0\0\0\0\0"),
     AGAIN("no_sense")},
    {"auth garbage", BF_STAGE_AUTH, 9, OK("0"), .body = LIT("\0\0\0\0\1\x0a"),
     AGAIN("no_sense")},
    /* the class */
    {"class 5", BF_STAGE_CLASS, 9, OK("5"), AGAIN("no_app")},
    {"class 3", BF_STAGE_CLASS, 9, OK("3"), AGAIN("refused")},
    {"class 14", BF_STAGE_CLASS, 99, OK("14"), AGAIN("unavailable")},
    {"class late", BF_STAGE_CLASS, 1, .kind = BF_REPLY_LATE, SUCCEEDED,
     .maps = 1},
    {"class of nothing", BF_STAGE_CLASS, 9, OK("0"), .body = LIT("\0\0\0\0\0"),
     AGAIN("unfit_app")},
    {"class too large", BF_STAGE_CLASS, 99, .kind = BF_REPLY_TOO_LARGE,
     .http = 200, AGAIN("unavailable")},
    /* the workspace */
    {"bind 5 once", BF_STAGE_BIND, 1, OK("5"), SUCCEEDED, .maps = 1},
    {"bind 5", BF_STAGE_BIND, 9, OK("5"), AGAIN("id_gone")},
    {"bind 8", BF_STAGE_BIND, 9, OK("8"), AGAIN("busy")},
    {"bind 16 once", BF_STAGE_BIND, 1, OK("16"), SUCCEEDED, .maps = 1},
    {"bind 16", BF_STAGE_BIND, 9, OK("16"), AGAIN("bad_credentials")},
    {"bind lost", BF_STAGE_BIND, 1, .kind = BF_REPLY_LOST, SUCCEEDED,
     .maps = 1},
    {"bind 3", BF_STAGE_BIND, 9, OK("3"), REFUSED},
    /* the call */
    {"map 8", BF_STAGE_MAP, 9, OK("8"), AGAIN("busy"), .maps = 1},
    {"map 3", BF_STAGE_MAP, 9, OK("3"), REFUSED, .maps = 1},
    {"map 14 once", BF_STAGE_MAP, 1, OK("14"), SUCCEEDED, .maps = 2},
    {"map 14", BF_STAGE_MAP, 99, OK("14"), UNKNOWN("call_unsure"), .maps = 4},
    {"map lost", BF_STAGE_MAP, 99, .kind = BF_REPLY_LOST,
     UNKNOWN("call_unsure"), .maps = 4},
    {"map unsent", BF_STAGE_MAP, 99, .kind = BF_REPLY_UNSENT,
     AGAIN("unavailable"), .maps = 4},
    {"map 503", BF_STAGE_MAP, 99, .kind = BF_REPLY_OK, .http = 503,
     UNKNOWN("call_unsure"), .maps = 4},
    {"map without trailers", BF_STAGE_MAP, 1, .kind = BF_REPLY_OK, .http = 200,
     SUCCEEDED, .maps = 2},
    {"map half", BF_STAGE_MAP, 1, OK("0"), .body = LIT("\0\0\0\0\7x"),
     SUCCEEDED, .maps = 2},
    {"map compressed", BF_STAGE_MAP, 99, OK("0"), .body = LIT("\1\0\0\0\0"),
     UNKNOWN("call_unsure"), .maps = 4},
    {"map of nothing", BF_STAGE_MAP, 9, OK("0"), .body = LIT("\0\0\0\0\0"),
     UNKNOWN("no_sense"), .maps = 1},
    {"map asks to wait", BF_STAGE_MAP, 9, OK("8"),
     /* RPCStatus{8, [Any{type.modal.com/modal.client.RPCRetryPolicy, 5 s}]} */
     .more = "grpc-status-details-bin: CAgaMwoqdHlwZS5tb2RhbC5jb20vbW9kYWwuY2x"
             "pZW50LlJQQ1JldHJ5UG9saWN5EgUNAACgQA",
     AGAIN("busy"), .maps = 1},
    /* its outputs */
    {"outputs 14", BF_STAGE_OUTPUTS, 30, OK("14"), SUCCEEDED, .maps = 1},
    {"outputs lost", BF_STAGE_OUTPUTS, 9, .kind = BF_REPLY_LOST, SUCCEEDED,
     .maps = 1},
    {"outputs late", BF_STAGE_OUTPUTS, 9, .kind = BF_REPLY_LATE, SUCCEEDED,
     .maps = 1},
    {"outputs 8", BF_STAGE_OUTPUTS, 2, OK("8"), SUCCEEDED, .maps = 1},
    {"outputs 5", BF_STAGE_OUTPUTS, 9, OK("5"), UNKNOWN("call_gone"), .maps = 1,
     .cancels = 1},
    {"outputs 16", BF_STAGE_OUTPUTS, 9, OK("16"), UNKNOWN("result_refused"),
     .maps = 1, .cancels = 1},
    {"outputs gone", BF_STAGE_OUTPUTS, 9, OK("0"), .body = LIT("\0\0\0\0\0"),
     UNKNOWN("call_gone"), .maps = 1},
    {"not yet", BF_STAGE_OUTPUTS, 9, OK("0"), .body = LIT("\0\0\0\0\2\x30\1"),
     SUCCEEDED, .maps = 1},
    {"outputs garbage", BF_STAGE_OUTPUTS, 9, OK("0"),
     .body = LIT("\0\0\0\0\1\x22"), UNKNOWN("no_sense"), .maps = 1,
     .cancels = 1},
    /* how it ended */
    {"failure", BF_STAGE_OUTPUTS, 1, OK("0"), .result = 2,
     UNKNOWN("container_failure"), .maps = 1},
    {"terminated", BF_STAGE_OUTPUTS, 1, OK("0"), .result = 3,
     UNKNOWN("terminated"), .maps = 1},
    {"timeout", BF_STAGE_OUTPUTS, 1, OK("0"), .result = 4,
     ENDED(TIMED_OUT, DEADLINE, "timed_out"), .maps = 1},
    {"init failure", BF_STAGE_OUTPUTS, 1, OK("0"), .result = 5,
     AGAIN("init_failure"), .maps = 1},
    {"internal failure", BF_STAGE_OUTPUTS, 1, OK("0"), .result = 6,
     UNKNOWN("internal_failure"), .maps = 1},
    {"idle timeout", BF_STAGE_OUTPUTS, 1, OK("0"), .result = 7,
     UNKNOWN("idle_timeout"), .maps = 1},
    {"eviction", BF_STAGE_OUTPUTS, 1, OK("0"), .result = 8,
     ENDED(FAILED, OOM, "out_of_memory"), .maps = 1},
    {"thrashing", BF_STAGE_OUTPUTS, 1, OK("0"), .result = 9,
     ENDED(FAILED, OOM, "out_of_memory"), .maps = 1},
    {"oom kill", BF_STAGE_OUTPUTS, 1, OK("0"), .result = 10,
     ENDED(FAILED, OOM, "out_of_memory"), .maps = 1},
    {"of tomorrow", BF_STAGE_OUTPUTS, 1, OK("0"), .result = 77,
     UNKNOWN("unknown_status"), .maps = 1},
    /* what the app said */
    {"raised", BF_STAGE_OUTPUTS, 1, OK("0"),
     .head = LIT("{\"success\":false,\"error\":\"x\"}"),
     ENDED(FAILED, USER_ERROR, "answered"), .maps = 1},
    {"its deadline", BF_STAGE_OUTPUTS, 1, OK("0"),
     .head = LIT("{\"success\":false,\"error\":\"x\",\"reason\":\"deadline\"}"),
     ENDED(TIMED_OUT, DEADLINE, "answered"), .maps = 1},
    {"busy there", BF_STAGE_OUTPUTS, 1, OK("0"),
     .head = LIT("{\"error\":\"busy\",\"delivery\":\"did_not_run\"}"),
     AGAIN("answered"), .maps = 1},
    {"killed there", BF_STAGE_OUTPUTS, 1, OK("0"),
     .head = LIT("{\"error\":\"killed\",\"delivery\":\"unknown\"}"),
     UNKNOWN("answered"), .maps = 1},
    {"no answer", BF_STAGE_OUTPUTS, 1, OK("0"), .head = LIT("[]"),
     UNKNOWN("answered"), .maps = 1},
};

static void check_row(const struct row *row)
{
    struct bf_run_end end;
    struct bf_run *run;
    struct world w;

    set_up(&w);
    run = drive(&w, row, &end);
    if (end.outcome != row->outcome || end.reason != row->reason ||
        end.delivery != row->delivery || end.again != row->again ||
        end.more != row->more_tries || strcmp(end.cause, row->cause) != 0 ||
        w.sent[BF_STAGE_MAP] != row->maps)
        fail_msg("%s: %d %d %d again %d more %d %s, %zu FunctionMap", row->name,
                 (int)end.outcome, (int)end.reason, (int)end.delivery,
                 end.again, end.more, end.cause, w.sent[BF_STAGE_MAP]);
    assert_true(end.outcome == BF_OUTCOME_SUCCEEDED ||
                end.report.message.len > 0 || end.report.error.len > 0);
    bf_backend_modal_grpc.free(run);
    if (w.modal->ncancels != row->cancels)
        fail_msg("%s: %zu cancels", row->name, w.modal->ncancels);
    assert_null(w.modal->auth_owner);
    assert_null(w.modal->class_owner);
    tear_down(&w);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++)
        check_row(&rows[i]);
}

static const struct row *row_of(const char *name)
{
    size_t i = 0;

    while (strcmp(rows[i].name, name) != 0) {
        i++;
        assert_true(i < bf_countof(rows));
    }
    return &rows[i];
}

/* Of a run that did not run: by its old key it would get its old end. */
static void test_another_try_has_another_key(void **state)
{
    static const char *const names[] = {"init failure", "busy there", "map 8",
                                        "map unsent"};

    (void)state;
    for (size_t i = 0; i < bf_countof(names); i++) {
        struct bf_run_end end;
        char first[128];
        struct world w;

        set_up(&w);
        bf_backend_modal_grpc.free(drive(&w, row_of(names[i]), &end));
        assert_true(end.again);
        memcpy(first, w.key, sizeof(first));
        w.ms += 60000;
        bf_backend_modal_grpc.free(drive(&w, NULL, &end));
        assert_int_equal(end.outcome, BF_OUTCOME_SUCCEEDED);
        assert_string_not_equal(w.key, first);
        tear_down(&w);
    }
}

/* Up to the request of that call, which is under way. */
static struct bf_run *drive_to(struct world *w, enum bf_modal_stage stage)
{
    struct bf_run *run = begin(w);
    struct bf_reply reply = {.kind = BF_REPLY_NONE};
    struct bf_request request = {.by = BF_BY_TIMER};
    struct bf_run_end end;
    struct bf_err err = {0};

    for (;;) {
        reply.now_ms = NOW_MS + w->ms;
        reply.mono_ms = 1000 + w->ms;
        assert_int_equal(
            bf_backend_modal_grpc.step(run, &reply, &request, &end, &err),
            BF_STEP_SEND);
        if (request.by == BF_BY_HTTP && stage_of(&request) == stage)
            return run;
        reply = serve(w, &request, NULL, NULL);
    }
}

static struct bf_run_end step_to_end(struct world *w, struct bf_run *run,
                                     struct bf_reply reply)
{
    struct bf_request request;
    struct bf_run_end end = {0};
    struct bf_err err = {0};

    reply.now_ms = NOW_MS + w->ms;
    reply.mono_ms = 1000 + w->ms;
    assert_int_equal(
        bf_backend_modal_grpc.step(run, &reply, &request, &end, &err),
        BF_STEP_DONE);
    return end;
}

static void test_deadlines(void **state)
{
    static const struct {
        enum bf_modal_stage at;
        bool unsent;
        enum bf_delivery delivery;
        size_t cancels;
    } cases[] = {
        {BF_STAGE_MAP, true, BF_DELIVERY_DID_NOT_RUN, 0},
        {BF_STAGE_MAP, false, BF_DELIVERY_RAN, 0},
        {BF_STAGE_OUTPUTS, true, BF_DELIVERY_RAN, 1},
        {BF_STAGE_OUTPUTS, false, BF_DELIVERY_RAN, 1},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(cases); i++) {
        struct bf_run_end end;
        struct bf_run *run;
        struct world w;

        set_up(&w);
        run = drive_to(&w, cases[i].at);
        end = step_to_end(&w, run,
                          (struct bf_reply){.kind = BF_REPLY_DEADLINE,
                                            .unsent = cases[i].unsent});
        assert_int_equal(end.outcome, BF_OUTCOME_TIMED_OUT);
        assert_int_equal(end.delivery, cases[i].delivery);
        bf_backend_modal_grpc.free(run);
        assert_int_equal(w.modal->ncancels, cases[i].cancels);
        tear_down(&w);
    }
}

/* A step with that answer; of a pause after it, the step after that, too. */
static int step_with(struct world *w, struct bf_run *run, struct bf_reply reply,
                     struct bf_request *ret, struct bf_run_end *ret_end)
{
    struct bf_err err = {0};
    int step;

    reply.now_ms = NOW_MS + w->ms;
    reply.mono_ms = 1000 + w->ms;
    step = bf_backend_modal_grpc.step(run, &reply, ret, ret_end, &err);
    if (step != BF_STEP_SEND || ret->by != BF_BY_TIMER)
        return step;
    w->ms += ret->delay_ms;
    return step_with(w, run, (struct bf_reply){.kind = BF_REPLY_OK}, ret,
                     ret_end);
}

static const struct row refuses = {"16", 0, 0, OK("16")};
static const struct row is_gone = {"5", 0, 0, OK("5")};

/* The call was made: no trouble with tokens makes it one that was not. */
static void test_no_token_while_it_runs(void **state)
{
    struct bf_run_end end = {0};
    struct bf_request request;
    struct bf_run *run;
    struct world w;

    (void)state;
    set_up(&w);
    run = drive_to(&w, BF_STAGE_OUTPUTS);
    assert_int_equal(step_with(&w, run, answer(&w, BF_STAGE_OUTPUTS, &refuses),
                               &request, &end),
                     BF_STEP_SEND);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(stage_of(&request), BF_STAGE_AUTH);
        assert_int_equal(step_with(&w, run,
                                   (struct bf_reply){.kind = BF_REPLY_UNSENT},
                                   &request, &end),
                         BF_STEP_SEND);
    }
    assert_int_equal(
        step_with(&w, run, answer(&w, BF_STAGE_AUTH, NULL), &request, &end),
        BF_STEP_SEND);
    assert_int_equal(stage_of(&request), BF_STAGE_OUTPUTS);
    assert_int_equal(
        step_with(&w, run, answer(&w, BF_STAGE_OUTPUTS, NULL), &request, &end),
        BF_STEP_DONE);
    assert_int_equal(end.outcome, BF_OUTCOME_SUCCEEDED);
    bf_backend_modal_grpc.free(run);
    assert_null(w.modal->auth_owner);
    tear_down(&w);
}

static void test_refused_while_it_runs(void **state)
{
    struct bf_run_end end = {0};
    struct bf_request request;
    struct bf_run *run;
    struct world w;

    (void)state;
    set_up(&w);
    run = drive_to(&w, BF_STAGE_OUTPUTS);
    assert_int_equal(step_with(&w, run, answer(&w, BF_STAGE_OUTPUTS, &refuses),
                               &request, &end),
                     BF_STEP_SEND);
    assert_int_equal(
        step_with(&w, run, answer(&w, BF_STAGE_AUTH, &refuses), &request, &end),
        BF_STEP_DONE);
    assert_int_equal(end.delivery, BF_DELIVERY_UNKNOWN);
    assert_false(end.again);
    bf_backend_modal_grpc.free(run);
    tear_down(&w);
}

/* Its first attempt may have come through: no second one by another name. */
static void test_lost_and_then_gone(void **state)
{
    struct bf_run_end end = {0};
    struct bf_request request;
    struct bf_run *run;
    struct world w;

    (void)state;
    set_up(&w);
    run = drive_to(&w, BF_STAGE_MAP);
    assert_int_equal(step_with(&w, run,
                               (struct bf_reply){.kind = BF_REPLY_LOST},
                               &request, &end),
                     BF_STEP_SEND);
    assert_int_equal(stage_of(&request), BF_STAGE_MAP);
    assert_int_equal(
        step_with(&w, run, answer(&w, BF_STAGE_MAP, &is_gone), &request, &end),
        BF_STEP_DONE);
    assert_int_equal(end.delivery, BF_DELIVERY_UNKNOWN);
    assert_false(end.again);
    bf_backend_modal_grpc.free(run);
    tear_down(&w);
}

/* The same try, with a token of another day: the same call. */
static void test_lost_and_then_refused(void **state)
{
    struct bf_run_end end = {0};
    struct bf_request request;
    struct bf_run *run;
    struct world w;
    char key[128];

    (void)state;
    set_up(&w);
    run = drive_to(&w, BF_STAGE_MAP);
    assert_int_equal(step_with(&w, run,
                               (struct bf_reply){.kind = BF_REPLY_LOST},
                               &request, &end),
                     BF_STEP_SEND);
    snprintf(key, sizeof(key), "%s", line_of(&request, "x-idempotency-key: "));
    assert_int_equal(
        step_with(&w, run, answer(&w, BF_STAGE_MAP, &refuses), &request, &end),
        BF_STEP_SEND);
    assert_int_equal(stage_of(&request), BF_STAGE_AUTH);
    assert_int_equal(
        step_with(&w, run, answer(&w, BF_STAGE_AUTH, NULL), &request, &end),
        BF_STEP_SEND);
    assert_int_equal(stage_of(&request), BF_STAGE_MAP);
    assert_string_equal(line_of(&request, "x-idempotency-key: "), key);
    bf_backend_modal_grpc.free(run);
    tear_down(&w);
}

/* Of many whose token was refused the first one gets a new one for all. */
static void test_stale_token_goes_once(void **state)
{
    struct bf_run_end end = {0};
    struct bf_request request;
    struct bf_run *runs[3];
    struct world w;

    (void)state;
    set_up(&w);
    for (size_t i = 0; i < bf_countof(runs); i++)
        runs[i] = drive_to(&w, BF_STAGE_OUTPUTS);
    for (size_t i = 0; i < bf_countof(runs); i++) {
        assert_int_equal(step_with(&w, runs[i],
                                   answer(&w, BF_STAGE_OUTPUTS, &refuses),
                                   &request, &end),
                         BF_STEP_SEND);
        if (i == 0) {
            assert_int_equal(stage_of(&request), BF_STAGE_AUTH);
            assert_int_equal(step_with(&w, runs[i],
                                       answer(&w, BF_STAGE_AUTH, NULL),
                                       &request, &end),
                             BF_STEP_SEND);
        }
        assert_int_equal(stage_of(&request), BF_STAGE_OUTPUTS);
        assert_int_equal(request.nsecrets, 3);
    }
    for (size_t i = 0; i < bf_countof(runs); i++)
        bf_backend_modal_grpc.free(runs[i]);
    tear_down(&w);
}

/* Of those who need the same one asks for it; whoever is let go leaves it. */
static void test_one_asks_for_all(void **state)
{
    struct bf_reply none = {
        .kind = BF_REPLY_NONE, .now_ms = NOW_MS, .mono_ms = 1000};
    struct bf_request request;
    struct bf_run_end end;
    struct bf_err err = {0};
    struct bf_run *first, *second;
    struct world w;

    (void)state;
    set_up(&w);
    first = drive_to(&w, BF_STAGE_AUTH);
    second = begin(&w);
    assert_int_equal(
        bf_backend_modal_grpc.step(second, &none, &request, &end, &err),
        BF_STEP_SEND);
    assert_int_equal(request.by, BF_BY_TIMER);
    bf_backend_modal_grpc.free(first);
    none.kind = BF_REPLY_OK;
    assert_int_equal(
        bf_backend_modal_grpc.step(second, &none, &request, &end, &err),
        BF_STEP_SEND);
    assert_int_equal(stage_of(&request), BF_STAGE_AUTH);
    bf_backend_modal_grpc.free(second);
    tear_down(&w);
}

/* A store of blobs on this machine is not for a server elsewhere to name. */
static void test_blob_urls(void **state)
{
    static const char *const urls[] = {
        "https://127.0.0.1:9/x", "http://s3.test/x",   "https://localhost/x",
        "file:///etc/passwd",    "gopher://s3.test/x",
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(urls); i++) {
        bf_autobuf struct bf_buf message = BF_BUF_INIT(4096);
        bf_autobuf struct bf_buf body = BF_BUF_INIT(4096);
        unsigned char prefix[BF_GRPC_PREFIX];
        struct bf_pb_out out;
        struct bf_run_end end;
        struct bf_run *run;
        struct world w;
        static char inputs[3 << 20];

        set_up(&w);
        memset(inputs, '1', sizeof(inputs));
        w.job.inputs = (struct bf_slice){inputs, sizeof(inputs)};
        run = drive_to(&w, BF_STAGE_UPLOAD);
        bf_pb_start(&out, &message, NULL);
        bf_pb_bytes(&out, BlobCreateResponse_blob_id, S("bl-1"));
        bf_pb_bytes(&out, BlobCreateResponse_upload_url, bf_slice_str(urls[i]));
        bf_grpc_prefix(message.len, prefix);
        bf_buf_add(&body, prefix, sizeof(prefix), NULL);
        bf_buf_add(&body, message.data, message.len, NULL);
        end = step_to_end(&w, run,
                          (struct bf_reply){.kind = BF_REPLY_OK,
                                            .status = 200,
                                            .headers = S("grpc-status: 0\r\n"),
                                            .body = bf_buf_slice(&body)});
        assert_int_equal(end.delivery, BF_DELIVERY_DID_NOT_RUN);
        assert_string_equal(end.cause, "no_sense");
        bf_backend_modal_grpc.free(run);
        tear_down(&w);
    }
}

/* ---- chores ---- */

static void test_cancel(void **state)
{
    struct bf_reply reply = {
        .kind = BF_REPLY_NONE, .now_ms = NOW_MS, .mono_ms = 1000};
    struct bf_request request;
    struct bf_run_end end;
    struct bf_err err = {0};
    struct bf_run *chore;
    int64_t next = 0;
    struct world w;

    (void)state;
    set_up(&w);
    bf_backend_modal_grpc.free(drive_to(&w, BF_STAGE_OUTPUTS));
    assert_int_equal(w.modal->ncancels, 1);
    chore = bf_backend_modal_grpc.chore(&w.config, NOW_MS, 1000, &next);
    assert_non_null(chore);
    assert_int_equal(
        bf_backend_modal_grpc.step(chore, &reply, &request, &end, &err),
        BF_STEP_SEND);
    assert_int_equal(stage_of(&request), BF_STAGE_CANCEL);
    assert_memory_equal(request.body[0].ptr, "\0\0\0\0\6\x0a\4fc-1", 11);
    reply = answer(&w, BF_STAGE_CANCEL, NULL);
    assert_int_equal(
        bf_backend_modal_grpc.step(chore, &reply, &request, &end, &err),
        BF_STEP_DONE);
    bf_backend_modal_grpc.free(chore);
    assert_int_equal(w.modal->ncancels, 0);
    assert_null(bf_backend_modal_grpc.chore(&w.config, NOW_MS, 1000, &next));
    tear_down(&w);
}

static void test_refresh(void **state)
{
    struct bf_reply reply = {.kind = BF_REPLY_NONE, .mono_ms = 1000};
    int64_t due, next = 0;
    struct bf_request request;
    struct bf_run_end end;
    struct bf_err err = {0};
    struct bf_run *chore;
    struct world w;

    (void)state;
    set_up(&w);
    assert_null(bf_backend_modal_grpc.chore(&w.config, NOW_MS, 1000, &next));
    bf_backend_modal_grpc.free(drive(&w, NULL, &end));
    due = w.modal->jwt_refresh_ms;
    assert_in_range(due, NOW_MS + 600000, NOW_MS + 600000 + 125000);
    assert_null(bf_backend_modal_grpc.chore(&w.config, due - 7, 1000, &next));
    assert_int_equal(next, 1007);
    chore = bf_backend_modal_grpc.chore(&w.config, due, 1000, &next);
    assert_non_null(chore);
    assert_null(bf_backend_modal_grpc.chore(&w.config, due, 1000, &next));
    reply.now_ms = due;
    assert_int_equal(
        bf_backend_modal_grpc.step(chore, &reply, &request, &end, &err),
        BF_STEP_SEND);
    assert_int_equal(stage_of(&request), BF_STAGE_AUTH);
    reply = answer(&w, BF_STAGE_AUTH, NULL);
    reply.now_ms = due;
    assert_int_equal(
        bf_backend_modal_grpc.step(chore, &reply, &request, &end, &err),
        BF_STEP_DONE);
    bf_backend_modal_grpc.free(chore);
    assert_true(w.modal->jwt_refresh_ms > due);
    assert_null(w.modal->auth_owner);
    tear_down(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_run),
        cmocka_unit_test(test_large_arguments),
        cmocka_unit_test(test_large_result),
        cmocka_unit_test(test_store_fails),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_another_try_has_another_key),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_no_token_while_it_runs),
        cmocka_unit_test(test_refused_while_it_runs),
        cmocka_unit_test(test_lost_and_then_gone),
        cmocka_unit_test(test_lost_and_then_refused),
        cmocka_unit_test(test_stale_token_goes_once),
        cmocka_unit_test(test_one_asks_for_all),
        cmocka_unit_test(test_blob_urls),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_refresh),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
