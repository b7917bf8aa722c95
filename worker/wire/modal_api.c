#include "worker/wire/modal_api.h"

#include <openssl/evp.h>

#include "schemas/base64.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/json.h"
#include "schemas/utf8.h"
#include "worker/wire/cbor.h"
#include "worker/wire/modal_fields.h"
#include "worker/wire/pb.h"

/* ---- reading by table ---------------------------------------------------- */

enum slot_kind {
    SLOT_TEXT,  /* struct bf_slice, UTF-8 */
    SLOT_BYTES, /* struct bf_slice: bytes, a message */
    SLOT_U64,   /* uint64_t: varint, or the bits of a double */
    SLOT_ENDS,
};

/* A field that is wanted, and where it goes. */
struct slot {
    uint32_t number;
    enum slot_kind kind;
    size_t offset;
    bool first; /* of a repeated one; else the last one that came */
};

#define TEXT(message, name, type, member)                                      \
    {                                                                          \
        message##_##name, SLOT_TEXT, offsetof(type, member), false             \
    }
#define BYTES(message, name, type, member)                                     \
    {                                                                          \
        message##_##name, SLOT_BYTES, offsetof(type, member), false            \
    }
#define U64(message, name, type, member)                                       \
    {                                                                          \
        message##_##name, SLOT_U64, offsetof(type, member), false              \
    }
#define FIRST(message, name, type, member)                                     \
    {                                                                          \
        message##_##name, SLOT_BYTES, offsetof(type, member), true             \
    }
#define ENDS                                                                   \
    {                                                                          \
        0, SLOT_ENDS, 0, false                                                 \
    }

static int bad(struct bf_err *err, const char *what)
{
    return bf_err_set(err, BF_ERR_REJECT, "modal_api", "%s", what);
}

static int fill(const struct slot *slot, const struct bf_pb_field *field,
                void *ret, struct bf_err *err)
{
    struct bf_slice *bytes = (void *)((char *)ret + slot->offset);
    uint64_t *number = (void *)((char *)ret + slot->offset);

    /* As Google has it: a field of another wire type is an unknown one. */
    if (slot->kind == SLOT_U64) {
        if (field->wire == BF_PB_VARINT || field->wire == BF_PB_FIXED64)
            *number = field->value;
        return 0;
    }
    if (field->wire != BF_PB_BYTES || (slot->first && bytes->ptr))
        return 0;
    if (slot->kind == SLOT_TEXT && !bf_utf8_ok(field->bytes))
        return bad(err, "a text is not UTF-8");
    *bytes = field->bytes;
    return 0;
}

/* All of the message is looked at, so that a broken one never passes. */
static int read_slots(struct bf_slice message, const struct slot *slots,
                      void *ret, struct bf_err *err)
{
    struct bf_pb_field field;
    int got = bf_pb_next(&message, &field, err);

    for (; got > 0; got = bf_pb_next(&message, &field, err)) {
        const struct slot *slot = slots;

        while (slot->kind != SLOT_ENDS && slot->number != field.number)
            slot++;
        if (slot->kind != SLOT_ENDS && fill(slot, &field, ret, err))
            return -1;
    }
    return got;
}

static bool id_ok(struct bf_slice id)
{
    return id.len > 0 && id.len <= BF_MODAL_ID_MAX && bf_graphic_ok(id);
}

/* What goes into a request line or a header as it is. */
static bool url_ok(struct bf_slice url)
{
    return url.len > 8 && url.len <= 8192 && bf_graphic_ok(url);
}

/* ---- tokens -------------------------------------------------------------- */

struct token {
    struct bf_slice token;
};

int bf_modal_read_token(struct bf_slice reply, struct bf_slice *ret,
                        struct bf_err *err)
{
    static const struct slot slots[] = {
        TEXT(AuthTokenGetResponse, token, struct token, token),
        ENDS,
    };
    struct token found = {{NULL, 0}};

    if (read_slots(reply, slots, &found, err))
        return -1;
    if (found.token.len == 0 || found.token.len > 8192 ||
        !bf_graphic_ok(found.token))
        return bad(err, "there is no token");
    *ret = found.token;
    return 0;
}

int64_t bf_modal_token_ends_ms(struct bf_slice token)
{
    struct bf_slice parts[3];
    unsigned char payload[4096];
    bf_autojson json_t *claims = NULL;
    const json_t *ends;
    size_t len;

    if (bf_slice_split(token, '.', parts, 3) != 3 ||
        bf_base64_decode(BF_BASE64_URL, parts[1], payload, sizeof(payload),
                         &len))
        return 0;
    claims = bf_json_parse((struct bf_slice){(const char *)payload, len},
                           sizeof(payload), NULL);
    ends = json_object_get(claims, "exp");
    if (!json_is_integer(ends) || json_integer_value(ends) <= 0 ||
        json_integer_value(ends) > INT32_MAX * 8LL)
        return 0;
    return json_integer_value(ends) * 1000;
}

/* ---- functions ----------------------------------------------------------- */

static void put_text(struct bf_pb_out *out, uint32_t field, const char *text)
{
    if (text[0])
        bf_pb_bytes(out, field, bf_slice_str(text));
}

int bf_modal_put_function_get(struct bf_buf *buf,
                              const struct bf_modal_name *name,
                              struct bf_err *err)
{
    char tag[256];
    struct bf_pb_out out;

    snprintf(tag, sizeof(tag), "%s.*", name->cls);
    bf_pb_start(&out, buf, err);
    put_text(&out, FunctionGetRequest_app_name, name->app);
    put_text(&out, FunctionGetRequest_object_tag, tag);
    put_text(&out, FunctionGetRequest_environment_name, name->environment);
    return bf_pb_done(&out);
}

struct handle {
    struct bf_slice parameters;
    struct bf_slice input_plane;
    uint64_t max_inline, max_async_inline;
};

static const struct slot handle_slots[] = {
    BYTES(FunctionHandleMetadata, class_parameter_info, struct handle,
          parameters),
    TEXT(FunctionHandleMetadata, input_plane_url, struct handle, input_plane),
    U64(FunctionHandleMetadata, max_object_size_bytes, struct handle,
        max_inline),
    U64(FunctionHandleMetadata, max_async_object_size_bytes, struct handle,
        max_async_inline),
    ENDS,
};

/* What the clients take when the server does not say. */
static const struct handle unsaid = {
    .max_inline = 2 << 20,
    .max_async_inline = 8 << 10,
};

struct pair {
    struct bf_slice key, value;
};

/* In a map of messages by name; ptr NULL: it is not there. */
static int find_pair(struct bf_slice message, uint32_t number, const char *name,
                     struct bf_slice *ret, struct bf_err *err)
{
    static const struct slot slots[] = {
        {1, SLOT_TEXT, offsetof(struct pair, key), false},
        {2, SLOT_BYTES, offsetof(struct pair, value), false},
        ENDS,
    };
    struct bf_pb_field field;
    int got = bf_pb_next(&message, &field, err);

    *ret = (struct bf_slice){NULL, 0};
    for (; got > 0; got = bf_pb_next(&message, &field, err)) {
        struct pair pair = {{NULL, 0}, {"", 0}};

        if (field.number != number || field.wire != BF_PB_BYTES)
            continue;
        if (read_slots(field.bytes, slots, &pair, err))
            return -1;
        if (bf_slice_is(pair.key, name))
            *ret = pair.value;
    }
    return got;
}

/* Is CBOR among the formats? Packed, or one by one. */
static int has_cbor(struct bf_slice message, uint32_t number, bool *ret,
                    struct bf_err *err)
{
    struct bf_pb_field field;
    int got = bf_pb_next(&message, &field, err);

    *ret = false;
    for (; got > 0; got = bf_pb_next(&message, &field, err)) {
        uint64_t value = 0;

        if (field.number != number)
            continue;
        if (field.wire == BF_PB_VARINT && field.value == DATA_FORMAT_CBOR)
            *ret = true;
        if (field.wire != BF_PB_BYTES)
            continue;
        while (bf_pb_packed(&field.bytes, &value, err) > 0)
            *ret = *ret || value == DATA_FORMAT_CBOR;
        if (field.bytes.len > 0)
            return -1;
    }
    return got;
}

struct spec {
    struct bf_slice name;
    uint64_t type, has_default;
};

/* A parameter without which nobody can bind, or the workspace itself? */
static int check_spec(struct bf_slice message, bool *has_workspace,
                      struct bf_err *err)
{
    static const struct slot slots[] = {
        TEXT(ClassParameterSpec, name, struct spec, name),
        U64(ClassParameterSpec, type, struct spec, type),
        U64(ClassParameterSpec, has_default, struct spec, has_default),
        ENDS,
    };
    struct spec spec = {{NULL, 0}, 0, 0};

    if (read_slots(message, slots, &spec, err))
        return -1;
    if (bf_slice_is(spec.name, "workspace_id") &&
        spec.type == PARAM_TYPE_STRING)
        *has_workspace = true;
    else if (!spec.has_default)
        return bad(err, "the class has a parameter that we do not know");
    return 0;
}

static int check_parameters(struct bf_slice message, struct bf_err *err)
{
    struct bf_pb_field field;
    bool has_workspace = false;
    uint64_t format = 0;
    int got = bf_pb_next(&message, &field, err);

    for (; got > 0; got = bf_pb_next(&message, &field, err)) {
        if (field.number == ClassParameterInfo_format &&
            field.wire == BF_PB_VARINT)
            format = field.value;
        if (field.number == ClassParameterInfo_schema &&
            field.wire == BF_PB_BYTES &&
            check_spec(field.bytes, &has_workspace, err))
            return -1;
    }
    if (got < 0)
        return -1;
    if (format != PARAM_SERIALIZATION_FORMAT_PROTO || !has_workspace)
        return bad(err, "the class is not parametrized by workspace_id");
    return 0;
}

/* Can the method be called as we do, and what is said of it? */
static int read_method(struct bf_slice handle, const char *name,
                       struct bf_modal_function *function, struct bf_err *err)
{
    struct handle said = unsaid;
    struct bf_slice method;
    bool in, out;

    if (find_pair(handle, FunctionHandleMetadata_method_handle_metadata, name,
                  &method, err))
        return -1;
    if (!method.ptr)
        return bad(err, "the class has no such method");
    if (read_slots(method, handle_slots, &said, err) ||
        has_cbor(method, FunctionHandleMetadata_supported_input_formats, &in,
                 err) ||
        has_cbor(method, FunctionHandleMetadata_supported_output_formats, &out,
                 err))
        return -1;
    if (said.input_plane.len > 0)
        return bad(err, "the method is behind an input plane");
    if (!in || !out)
        return bad(err, "the method does not take and give CBOR");
    function->max_inline_bytes = said.max_inline;
    function->max_async_inline_bytes = said.max_async_inline;
    return 0;
}

struct found {
    struct bf_slice id, handle, function;
    struct bf_slice ranked, inner, resources;
    uint64_t milli_cpu, memory_mb;
};

/* What it is given to run with: of the first copy, they all have the same. */
static int read_resources(struct found *found, struct bf_err *err)
{
    static const struct slot data[] = {
        FIRST(FunctionData, ranked_functions, struct found, ranked), ENDS};
    static const struct slot ranked[] = {
        BYTES(FunctionData_RankedFunction, function, struct found, inner),
        ENDS};
    static const struct slot inner[] = {
        BYTES(Function, resources, struct found, resources), ENDS};
    static const struct slot resources[] = {
        U64(Resources, memory_mb, struct found, memory_mb),
        U64(Resources, milli_cpu, struct found, milli_cpu),
        ENDS,
    };

    return read_slots(found->function, data, found, err) ||
                   read_slots(found->ranked, ranked, found, err) ||
                   read_slots(found->inner, inner, found, err) ||
                   read_slots(found->resources, resources, found, err)
               ? -1
               : 0;
}

int bf_modal_read_function(struct bf_slice reply,
                           const struct bf_modal_name *name,
                           struct bf_modal_function *ret, struct bf_err *err)
{
    static const struct slot slots[] = {
        TEXT(FunctionGetResponse, function_id, struct found, id),
        BYTES(FunctionGetResponse, handle_metadata, struct found, handle),
        BYTES(FunctionGetResponse, function, struct found, function),
        ENDS,
    };
    struct found found = {0};
    struct handle handle = unsaid;
    struct bf_modal_function function = {0};

    if (read_slots(reply, slots, &found, err) ||
        read_slots(found.handle, handle_slots, &handle, err) ||
        read_resources(&found, err))
        return -1;
    if (!id_ok(found.id))
        return bad(err, "there is no id of a function");
    if (check_parameters(handle.parameters, err) ||
        read_method(found.handle, name->method, &function, err))
        return -1;
    function.id = found.id;
    if (found.milli_cpu <= 1000000 && found.memory_mb <= 10000000) {
        function.milli_cpu = (uint32_t)found.milli_cpu;
        function.memory_mb = (uint32_t)found.memory_mb;
    }
    *ret = function;
    return 0;
}

int bf_modal_put_bind(struct bf_buf *buf, const struct bf_modal_name *name,
                      struct bf_slice function_id, struct bf_slice workspace,
                      struct bf_err *err)
{
    struct bf_pb_out out;
    size_t set, one;

    bf_pb_start(&out, buf, err);
    bf_pb_bytes(&out, FunctionBindParamsRequest_function_id, function_id);
    set = bf_pb_open(&out, FunctionBindParamsRequest_serialized_params);
    one = bf_pb_open(&out, ClassParameterSet_parameters);
    bf_pb_bytes(&out, ClassParameterValue_name, BF_SLICE_LIT("workspace_id"));
    bf_pb_u64(&out, ClassParameterValue_type, PARAM_TYPE_STRING);
    bf_pb_bytes(&out, ClassParameterValue_string_value, workspace);
    bf_pb_close(&out, one);
    bf_pb_close(&out, set);
    /* None of them, as Modal's Python client says it. */
    bf_pb_bytes(&out, FunctionBindParamsRequest_function_options,
                BF_SLICE_LIT(""));
    put_text(&out, FunctionBindParamsRequest_environment_name,
             name->environment);
    return bf_pb_done(&out);
}

int bf_modal_read_bound(struct bf_slice reply, const struct bf_modal_name *name,
                        struct bf_modal_function *ret, struct bf_err *err)
{
    static const struct slot slots[] = {
        TEXT(FunctionBindParamsResponse, bound_function_id, struct found, id),
        BYTES(FunctionBindParamsResponse, handle_metadata, struct found,
              handle),
        ENDS,
    };
    struct found found = {0};
    struct bf_modal_function function = *ret;

    if (read_slots(reply, slots, &found, err) ||
        read_method(found.handle, name->method, &function, err))
        return -1;
    if (!id_ok(found.id))
        return bad(err, "there is no id of a bound function");
    function.id = found.id;
    *ret = function;
    return 0;
}

/* ---- calls --------------------------------------------------------------- */

int bf_modal_put_args(struct bf_buf *buf, struct bf_slice head,
                      struct bf_slice inputs, struct bf_err *err)
{
    struct bf_cbor_out out;

    bf_cbor_start(&out, buf, err);
    bf_cbor_array(&out, 2);
    bf_cbor_array(&out, 2);
    bf_cbor_bytes(&out, head);
    bf_cbor_bytes(&out, inputs);
    bf_cbor_map(&out, 0);
    return bf_cbor_done(&out);
}

static bool is_string(const struct bf_cbor_item *item)
{
    return item->kind == BF_CBOR_BYTES || item->kind == BF_CBOR_TEXT;
}

int bf_modal_read_value(struct bf_slice data, struct bf_modal_value *ret,
                        struct bf_err *err)
{
    struct bf_cbor_item list = {0}, head = {0}, result = {0};

    if (bf_cbor_check(data, err))
        return -1;
    if (bf_cbor_next(&data, &list, err) < 1 || list.kind != BF_CBOR_ARRAY ||
        list.count != 2 || bf_cbor_next(&data, &head, err) < 1 ||
        bf_cbor_next(&data, &result, err) < 1 || !is_string(&head) ||
        (!is_string(&result) && result.kind != BF_CBOR_NULL))
        return bad(err, "the method returned something else");
    ret->head = head.bytes;
    ret->result = result.bytes;
    return 0;
}

int bf_modal_put_map(struct bf_buf *buf, const struct bf_modal_call *call,
                     struct bf_err *err)
{
    struct bf_pb_out out;
    size_t item, input;

    bf_pb_start(&out, buf, err);
    bf_pb_bytes(&out, FunctionMapRequest_function_id, call->function_id);
    bf_pb_u64(&out, FunctionMapRequest_function_call_type,
              FUNCTION_CALL_TYPE_UNARY);
    item = bf_pb_open(&out, FunctionMapRequest_pipelined_inputs);
    input = bf_pb_open(&out, FunctionPutInputsItem_input);
    if (call->blob.len > 0)
        bf_pb_bytes(&out, FunctionInput_args_blob_id, call->blob);
    else
        bf_pb_bytes(&out, FunctionInput_args, call->args);
    bf_pb_u64(&out, FunctionInput_data_format, DATA_FORMAT_CBOR);
    bf_pb_bytes(&out, FunctionInput_method_name, bf_slice_str(call->method));
    bf_pb_close(&out, input);
    bf_pb_close(&out, item);
    bf_pb_u64(&out, FunctionMapRequest_function_call_invocation_type,
              call->async ? FUNCTION_CALL_INVOCATION_TYPE_ASYNC
                          : FUNCTION_CALL_INVOCATION_TYPE_SYNC);
    return bf_pb_done(&out);
}

struct mapped {
    struct bf_slice call_id, input, input_id;
};

int bf_modal_read_mapped(struct bf_slice reply, struct bf_modal_mapped *ret,
                         struct bf_err *err)
{
    static const struct slot slots[] = {
        TEXT(FunctionMapResponse, function_call_id, struct mapped, call_id),
        FIRST(FunctionMapResponse, pipelined_inputs, struct mapped, input),
        ENDS,
    };
    static const struct slot input[] = {
        TEXT(FunctionPutInputsResponseItem, input_id, struct mapped, input_id),
        ENDS,
    };
    struct mapped found = {0};

    if (read_slots(reply, slots, &found, err) ||
        read_slots(found.input, input, &found, err))
        return -1;
    if (!id_ok(found.call_id))
        return bad(err, "there is no id of a call");
    /* Else the input would have to be put by a request of its own. */
    if (!id_ok(found.input_id))
        return bad(err, "the call was made without its input");
    *ret = (struct bf_modal_mapped){found.call_id, found.input_id};
    return 0;
}

int bf_modal_put_outputs(struct bf_buf *buf, struct bf_slice call_id,
                         float wait_s, int64_t now_ms, struct bf_err *err)
{
    struct bf_pb_out out;

    bf_pb_start(&out, buf, err);
    bf_pb_bytes(&out, FunctionGetOutputsRequest_function_call_id, call_id);
    if (wait_s > 0)
        bf_pb_float(&out, FunctionGetOutputsRequest_timeout, wait_s);
    bf_pb_bytes(&out, FunctionGetOutputsRequest_last_entry_id,
                BF_SLICE_LIT("0-0"));
    /* Not clear_on_success: a reply that is lost can be asked for again. */
    bf_pb_double(&out, FunctionGetOutputsRequest_requested_at,
                 (double)now_ms / 1000);
    /* Both are optional there, so that their zeros are sent. */
    bf_pb_u64(&out, FunctionGetOutputsRequest_start_idx, 0);
    bf_pb_u64(&out, FunctionGetOutputsRequest_end_idx, 0);
    return bf_pb_done(&out);
}

static enum bf_modal_status status_of(uint64_t status)
{
    static const enum bf_modal_status known[] = {
        [GENERIC_STATUS_UNSPECIFIED] = BF_MODAL_UNKNOWN,
        [GENERIC_STATUS_SUCCESS] = BF_MODAL_SUCCESS,
        [GENERIC_STATUS_FAILURE] = BF_MODAL_FAILURE,
        [GENERIC_STATUS_TERMINATED] = BF_MODAL_TERMINATED,
        [GENERIC_STATUS_TIMEOUT] = BF_MODAL_TIMEOUT,
        [GENERIC_STATUS_INIT_FAILURE] = BF_MODAL_INIT_FAILURE,
        [GENERIC_STATUS_INTERNAL_FAILURE] = BF_MODAL_INTERNAL_FAILURE,
        [GENERIC_STATUS_IDLE_TIMEOUT] = BF_MODAL_IDLE_TIMEOUT,
        [GENERIC_STATUS_MEMORY_MANAGER_EVICTION] = BF_MODAL_OUT_OF_MEMORY,
        [GENERIC_STATUS_MEMORY_THRASHING_EVICTION] = BF_MODAL_OUT_OF_MEMORY,
        [GENERIC_STATUS_KERNEL_OOM_KILL] = BF_MODAL_OUT_OF_MEMORY,
    };

    return status < bf_countof(known) ? known[status] : BF_MODAL_UNKNOWN;
}

struct output {
    struct bf_slice item, result;
    struct bf_slice exception, data, blob, task_id, input_id;
    uint64_t unfinished, status, format, started, ended;
};

/* Seconds as a double, of a time that can be. */
static int64_t micros(uint64_t bits)
{
    double seconds = bf_pb_to_double(bits);

    return seconds > 0 && seconds < 1e11 ? (int64_t)(seconds * 1e6) : 0;
}

static int read_result(struct output *output, struct bf_err *err)
{
    static const struct slot item[] = {
        BYTES(FunctionGetOutputsItem, result, struct output, result),
        TEXT(FunctionGetOutputsItem, input_id, struct output, input_id),
        U64(FunctionGetOutputsItem, data_format, struct output, format),
        TEXT(FunctionGetOutputsItem, task_id, struct output, task_id),
        U64(FunctionGetOutputsItem, input_started_at, struct output, started),
        U64(FunctionGetOutputsItem, output_created_at, struct output, ended),
        ENDS,
    };
    static const struct slot result[] = {
        U64(GenericResult, status, struct output, status),
        TEXT(GenericResult, exception, struct output, exception),
        BYTES(GenericResult, data, struct output, data),
        TEXT(GenericResult, data_blob_id, struct output, blob),
        ENDS,
    };

    if (read_slots(output->item, item, output, err) ||
        read_slots(output->result, result, output, err))
        return -1;
    if (output->status != GENERIC_STATUS_SUCCESS)
        return 0;
    if (output->format != DATA_FORMAT_CBOR)
        return bad(err, "the result is not CBOR");
    if (output->blob.len > 0 ? !id_ok(output->blob) : !output->data.ptr)
        return bad(err, "a success without a result");
    return 0;
}

int bf_modal_read_outputs(struct bf_slice reply, struct bf_modal_outputs *ret,
                          struct bf_err *err)
{
    static const struct slot slots[] = {
        FIRST(FunctionGetOutputsResponse, outputs, struct output, item),
        U64(FunctionGetOutputsResponse, num_unfinished_inputs, struct output,
            unfinished),
        ENDS,
    };
    struct output output = {0};

    if (read_slots(reply, slots, &output, err))
        return -1;
    if (output.item.ptr && read_result(&output, err))
        return -1;
    *ret = (struct bf_modal_outputs){
        .ended = output.item.ptr != NULL,
        .pending = output.unfinished > 0,
        .status = status_of(output.status),
        .exception = output.exception,
        .data = output.data,
        .blob = output.blob,
        .task_id =
            id_ok(output.task_id) ? output.task_id : (struct bf_slice){NULL, 0},
        .input_id = id_ok(output.input_id) ? output.input_id
                                           : (struct bf_slice){NULL, 0},
        .started_us = micros(output.started),
        .ended_us = micros(output.ended),
    };
    return 0;
}

int bf_modal_put_cancel(struct bf_buf *buf, struct bf_slice call_id,
                        struct bf_err *err)
{
    struct bf_pb_out out;

    bf_pb_start(&out, buf, err);
    bf_pb_bytes(&out, FunctionCallCancelRequest_function_call_id, call_id);
    return bf_pb_done(&out);
}

/* ---- blobs --------------------------------------------------------------- */

int bf_modal_digest(struct bf_slice bytes, struct bf_modal_digests *ret,
                    struct bf_err *err)
{
    unsigned char md5[EVP_MAX_MD_SIZE], sha256[EVP_MAX_MD_SIZE];

    if (EVP_Digest(bytes.ptr, bytes.len, md5, NULL, EVP_md5(), NULL) != 1 ||
        EVP_Digest(bytes.ptr, bytes.len, sha256, NULL, EVP_sha256(), NULL) != 1)
        return bf_err_oom(err);
    EVP_EncodeBlock((unsigned char *)ret->md5, md5, 16);
    EVP_EncodeBlock((unsigned char *)ret->sha256, sha256, 32);
    return 0;
}

int bf_modal_put_blob_create(struct bf_buf *buf, size_t len,
                             const struct bf_modal_digests *digests,
                             struct bf_err *err)
{
    struct bf_pb_out out;

    bf_pb_start(&out, buf, err);
    put_text(&out, BlobCreateRequest_content_md5, digests->md5);
    put_text(&out, BlobCreateRequest_content_sha256_base64, digests->sha256);
    if (len > 0)
        bf_pb_u64(&out, BlobCreateRequest_content_length, len);
    return bf_pb_done(&out);
}

struct upload {
    struct bf_slice url, id, ids, urls, urls_url;
};

int bf_modal_read_upload(struct bf_slice reply, struct bf_modal_upload *ret,
                         struct bf_err *err)
{
    static const struct slot slots[] = {
        TEXT(BlobCreateResponse, upload_url, struct upload, url),
        TEXT(BlobCreateResponse, blob_id, struct upload, id),
        FIRST(BlobCreateResponse, blob_ids, struct upload, ids),
        BYTES(BlobCreateResponse, upload_urls, struct upload, urls),
        ENDS,
    };
    static const struct slot urls[] = {
        FIRST(UploadUrlList, items, struct upload, urls_url),
        ENDS,
    };
    struct bf_modal_upload upload;
    struct upload found = {0};
    bool several;

    if (read_slots(reply, slots, &found, err) ||
        read_slots(found.urls, urls, &found, err))
        return -1;
    /* Of several stores the first, as the newer clients do. */
    several = found.urls_url.len > 0 && found.ids.len > 0;
    upload.url = several ? found.urls_url : found.url;
    upload.blob_id = several ? found.ids : found.id;
    if (!id_ok(upload.blob_id) || !url_ok(upload.url))
        return bad(err, "there is no place for a blob");
    *ret = upload;
    return 0;
}

int bf_modal_put_blob_get(struct bf_buf *buf, struct bf_slice blob_id,
                          struct bf_err *err)
{
    struct bf_pb_out out;

    bf_pb_start(&out, buf, err);
    bf_pb_bytes(&out, BlobGetRequest_blob_id, blob_id);
    return bf_pb_done(&out);
}

int bf_modal_read_download(struct bf_slice reply, struct bf_slice *ret_url,
                           struct bf_err *err)
{
    static const struct slot slots[] = {
        TEXT(BlobGetResponse, download_url, struct upload, url),
        ENDS,
    };
    struct upload found = {0};

    if (read_slots(reply, slots, &found, err))
        return -1;
    if (!url_ok(found.url))
        return bad(err, "a blob is nowhere");
    *ret_url = found.url;
    return 0;
}
