/*
 * Modal's messages against Google's protobuf with Modal's own schema: what we
 * send is to the byte what its clients send, and what its server may answer is
 * read or refused.
 */

#include "tests/unit/golden.h"

#include "worker/wire/modal_api.h"

static struct bf_modal_name name_of(const json_t *in)
{
    return (struct bf_modal_name){
        .app = golden_str(in, "app"),
        .cls = golden_str(in, "cls"),
        .method = golden_str(in, "method"),
        .environment = golden_str(in, "environment"),
    };
}

static json_t *out_bytes(int rc, const struct bf_buf *buf)
{
    return rc ? NULL
              : json_pack("{s:o}", "bytes_hex",
                          golden_to_hex(buf->data, buf->len));
}

/* ---- what we send ---- */

static json_t *op_function_get(const json_t *in, struct bf_record *arena,
                               struct bf_err *err)
{
    bf_autobuf struct bf_buf buf = BF_BUF_INIT(4096);
    struct bf_modal_name name = name_of(in);

    (void)arena;
    return out_bytes(bf_modal_put_function_get(&buf, &name, err), &buf);
}

static json_t *op_bind(const json_t *in, struct bf_record *arena,
                       struct bf_err *err)
{
    bf_autobuf struct bf_buf buf = BF_BUF_INIT(4096);
    struct bf_modal_name name = name_of(in);

    (void)arena;
    return out_bytes(bf_modal_put_bind(&buf, &name,
                                       golden_text(in, "function_id"),
                                       golden_text(in, "workspace"), err),
                     &buf);
}

static json_t *op_map(const json_t *in, struct bf_record *arena,
                      struct bf_err *err)
{
    bf_autobuf struct bf_buf buf = BF_BUF_INIT(4096);
    bf_autobuf struct bf_buf args = BF_BUF_INIT(4096);
    struct bf_modal_call call = {
        .function_id = golden_text(in, "function_id"),
        .method = golden_str(in, "method"),
        .async = golden_bool(in, "async"),
        .blob = golden_text(in, "blob"),
    };

    if (bf_modal_put_args(&args, golden_hex(in, "head_hex", arena),
                          golden_hex(in, "inputs_hex", arena), err))
        return NULL;
    call.args = bf_buf_slice(&args);
    return out_bytes(bf_modal_put_map(&buf, &call, err), &buf);
}

static json_t *op_get_outputs(const json_t *in, struct bf_record *arena,
                              struct bf_err *err)
{
    bf_autobuf struct bf_buf buf = BF_BUF_INIT(4096);

    (void)arena;
    return out_bytes(bf_modal_put_outputs(&buf, golden_text(in, "call_id"),
                                          (float)golden_int(in, "wait_s"),
                                          golden_int(in, "now_ms"), err),
                     &buf);
}

static json_t *op_cancel(const json_t *in, struct bf_record *arena,
                         struct bf_err *err)
{
    bf_autobuf struct bf_buf buf = BF_BUF_INIT(4096);

    (void)arena;
    return out_bytes(bf_modal_put_cancel(&buf, golden_text(in, "call_id"), err),
                     &buf);
}

static json_t *op_blob_create(const json_t *in, struct bf_record *arena,
                              struct bf_err *err)
{
    bf_autobuf struct bf_buf buf = BF_BUF_INIT(4096);
    struct bf_slice bytes = golden_hex(in, "bytes_hex", arena);
    struct bf_modal_digests digests;

    if (bf_modal_digest(bytes, &digests, err))
        return NULL;
    return out_bytes(bf_modal_put_blob_create(&buf, bytes.len, &digests, err),
                     &buf);
}

static json_t *op_blob_get(const json_t *in, struct bf_record *arena,
                           struct bf_err *err)
{
    bf_autobuf struct bf_buf buf = BF_BUF_INIT(4096);

    (void)arena;
    return out_bytes(bf_modal_put_blob_get(&buf, golden_text(in, "blob"), err),
                     &buf);
}

/* ---- what we read ---- */

static json_t *out_function(const struct bf_modal_function *function)
{
    return json_pack(
        "{s:o,s:I,s:I,s:i,s:i}", "id", golden_from_text(function->id), "inline",
        (json_int_t)function->max_inline_bytes, "async_inline",
        (json_int_t)function->max_async_inline_bytes, "milli_cpu",
        (int)function->milli_cpu, "memory_mb", (int)function->memory_mb);
}

static json_t *op_function(const json_t *in, struct bf_record *arena,
                           struct bf_err *err)
{
    struct bf_modal_name name = name_of(in);
    struct bf_modal_function function;

    return bf_modal_read_function(golden_hex(in, "reply_hex", arena), &name,
                                  &function, err)
               ? NULL
               : out_function(&function);
}

static json_t *op_bound(const json_t *in, struct bf_record *arena,
                        struct bf_err *err)
{
    struct bf_modal_name name = name_of(in);
    struct bf_modal_function function = {.milli_cpu = 7, .memory_mb = 8};

    return bf_modal_read_bound(golden_hex(in, "reply_hex", arena), &name,
                               &function, err)
               ? NULL
               : out_function(&function);
}

static json_t *op_mapped(const json_t *in, struct bf_record *arena,
                         struct bf_err *err)
{
    struct bf_modal_mapped mapped;

    if (bf_modal_read_mapped(golden_hex(in, "reply_hex", arena), &mapped, err))
        return NULL;
    return json_pack("{s:o,s:o}", "call", golden_from_text(mapped.call_id),
                     "input", golden_from_text(mapped.input_id));
}

static void set_text(json_t *out, const char *name, struct bf_slice text)
{
    if (text.len > 0)
        json_object_set_new(out, name, golden_from_text(text));
}

static json_t *out_output(const struct bf_modal_outputs *found,
                          const struct bf_modal_value *value)
{
    static const char *const names[] = {
        "unknown",          "success",      "failure",
        "terminated",       "timeout",      "init_failure",
        "internal_failure", "idle_timeout", "out_of_memory",
    };
    json_t *out = json_pack("{s:s,s:I,s:I}", "status", names[found->status],
                            "started_us", (json_int_t)found->started_us,
                            "ended_us", (json_int_t)found->ended_us);

    set_text(out, "exception", found->exception);
    set_text(out, "head", value->head);
    set_text(out, "result", value->result);
    set_text(out, "blob", found->blob);
    set_text(out, "task", found->task_id);
    set_text(out, "input", found->input_id);
    return out;
}

static json_t *op_outputs(const json_t *in, struct bf_record *arena,
                          struct bf_err *err)
{
    struct bf_modal_value value = {NONE, NONE};
    struct bf_modal_outputs found;

    if (bf_modal_read_outputs(golden_hex(in, "reply_hex", arena), &found, err))
        return NULL;
    if (!found.ended)
        return json_pack("{s:b}", "pending", found.pending);
    if (found.data.len > 0 && bf_modal_read_value(found.data, &value, err))
        return NULL;
    return out_output(&found, &value);
}

static json_t *op_upload(const json_t *in, struct bf_record *arena,
                         struct bf_err *err)
{
    struct bf_modal_upload upload;

    if (bf_modal_read_upload(golden_hex(in, "reply_hex", arena), &upload, err))
        return NULL;
    return json_pack("{s:o,s:o}", "blob", golden_from_text(upload.blob_id),
                     "url", golden_from_text(upload.url));
}

static json_t *op_download(const json_t *in, struct bf_record *arena,
                           struct bf_err *err)
{
    struct bf_slice url;

    if (bf_modal_read_download(golden_hex(in, "reply_hex", arena), &url, err))
        return NULL;
    return json_pack("{s:o}", "url", golden_from_text(url));
}

static json_t *op_token(const json_t *in, struct bf_record *arena,
                        struct bf_err *err)
{
    struct bf_slice token;

    if (bf_modal_read_token(golden_hex(in, "reply_hex", arena), &token, err))
        return NULL;
    return json_pack("{s:o,s:I}", "token", golden_from_text(token), "ends_ms",
                     (json_int_t)bf_modal_token_ends_ms(token));
}

static const struct golden_op ops[] = {
    {"FunctionGet", op_function_get},
    {"FunctionBindParams", op_bind},
    {"FunctionMap", op_map},
    {"FunctionGetOutputs", op_get_outputs},
    {"FunctionCallCancel", op_cancel},
    {"BlobCreate", op_blob_create},
    {"BlobGet", op_blob_get},
    {"function", op_function},
    {"bound", op_bound},
    {"mapped", op_mapped},
    {"outputs", op_outputs},
    {"upload", op_upload},
    {"download", op_download},
    {"token", op_token},
    {NULL, NULL},
};

static void test_golden(void **state)
{
    (void)state;
    assert_true(golden_vendor("modal", ops) > 50);
}

/* Every reply cut anywhere is read or refused; ASan looks on. */
static void test_cut_replies(void **state)
{
    static const char reply[] = "\x0a\x04"
                                "fc-1\x12\x06\x12\x04in-1\x1a\x00";
    struct bf_modal_mapped mapped;
    struct bf_err err = {0};

    (void)state;
    for (size_t len = 0; len < sizeof(reply); len++) {
        bf_autofree char *copy = malloc(len + 1);

        assert_non_null(copy);
        memcpy(copy, reply, len);
        if (bf_modal_read_mapped((struct bf_slice){copy, len}, &mapped, &err))
            assert_int_equal(err.kind, BF_ERR_REJECT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_cut_replies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
