#include "worker/wire/connect.h"

#include "schemas/base64.h"
#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/json.h"
#include "schemas/utf8.h"

/* Of an error's JSON, in bytes; a longer one is not looked at. */
#define MAX_ERROR (64U << 10)

/* ---- codes ---- */

static const struct {
    const char *name;
    int status;
} codes[] = {
#define X(id, name, status) [BF_CONNECT_##id] = {name, status},
    BF_CONNECT_TABLE(X)
#undef X
};
_Static_assert(bf_countof(codes) == BF_CONNECT_CODES, "a row each");

const char *bf_connect_code_name(enum bf_connect_code code)
{
    return codes[code].name;
}

enum bf_connect_code bf_connect_code_parse(struct bf_slice name)
{
    /* "ok" is no error, whoever says it in one. */
    for (int code = BF_CONNECT_CANCELED; code < BF_CONNECT_CODES; code++) {
        if (bf_slice_is(name, codes[code].name))
            return (enum bf_connect_code)code;
    }
    return BF_CONNECT_UNKNOWN;
}

enum bf_connect_code bf_connect_code_of_status(int status)
{
    if (status == 413)
        return BF_CONNECT_RESOURCE_EXHAUSTED;
    if (status == 502)
        return BF_CONNECT_UNAVAILABLE;
    for (int code = 0; status != 0 && code < BF_CONNECT_CODES; code++) {
        if (codes[code].status == status)
            return (enum bf_connect_code)code;
    }
    return BF_CONNECT_UNKNOWN;
}

static void keep_message(struct bf_slice text, char out[BF_CONNECT_MESSAGE])
{
    struct bf_slice cut = bf_utf8_cut(text, BF_CONNECT_MESSAGE - 1);

    memcpy(out, cut.ptr ? cut.ptr : "", cut.len);
    out[cut.len] = '\0';
}

/* Of an object with a code, or none. */
static void read_error(const json_t *doc, struct bf_connect_error *ret)
{
    struct bf_slice name = bf_json_slice(json_object_get(doc, "code"));

    if (name.ptr)
        ret->code = bf_connect_code_parse(name);
    keep_message(bf_json_slice(json_object_get(doc, "message")), ret->message);
}

void bf_connect_error_read(int status, struct bf_slice body,
                           struct bf_connect_error *ret)
{
    bf_autojson json_t *doc = NULL;

    *ret = (struct bf_connect_error){
        .code = bf_connect_code_of_status(status),
    };
    doc = bf_json_parse(body, MAX_ERROR, NULL);
    if (doc)
        read_error(doc, ret);
}

/* ---- frames ---- */

void bf_connect_prefix(size_t len, unsigned char out[BF_CONNECT_PREFIX])
{
    bf_assert(len <= UINT32_MAX);
    out[0] = 0;
    bf_put_u32be(out + 1, (uint32_t)len);
}

int bf_connect_next(struct bf_slice *body, struct bf_connect_frame *ret,
                    struct bf_err *err)
{
    const unsigned char *head = (const unsigned char *)body->ptr;
    uint32_t len;

    if (body->len < BF_CONNECT_PREFIX)
        return 0;
    if (head[0] != 0 && head[0] != BF_CONNECT_END)
        return bf_err_set(err, BF_ERR_REJECT, "frame",
                          "a Connect frame has the flags 0x%02x", head[0]);
    len = bf_get_u32be(head + 1);
    if (len > BF_CONNECT_MAX_FRAME)
        return bf_err_set(err, BF_ERR_REJECT, "frame",
                          "a Connect frame of %u bytes is over its ceiling",
                          len);
    if (len > body->len - BF_CONNECT_PREFIX)
        return 0;
    *ret = (struct bf_connect_frame){
        .flags = head[0],
        .data = {body->ptr + BF_CONNECT_PREFIX, len},
    };
    body->ptr += BF_CONNECT_PREFIX + len;
    body->len -= BF_CONNECT_PREFIX + len;
    return 1;
}

/* ---- process.Process/Start ---- */

void bf_process_release(struct bf_process *process)
{
    bf_buf_release(&process->out);
    bf_buf_release(&process->err);
}

/* A whole piece or nothing: what follows a hole is not of use to anybody. */
static int take_piece(const json_t *value, struct bf_buf *buf, bool *cut,
                      struct bf_err *err)
{
    struct bf_slice text = bf_json_slice(value);
    size_t most = text.len / 4 * 3;
    size_t len = 0;

    if (text.len == 0 || *cut)
        return 0;
    if (most > buf->max - buf->len) {
        *cut = true;
        return 0;
    }
    if (bf_buf_reserve(buf, most, err))
        return -1;
    if (bf_base64_decode(BF_BASE64, text, (unsigned char *)buf->data + buf->len,
                         most, &len)) {
        *cut = true;
        return 0;
    }
    buf->len += len;
    buf->data[buf->len] = '\0';
    return 0;
}

static int take_data(const json_t *data, struct bf_process *process,
                     struct bf_err *err)
{
    return take_piece(json_object_get(data, "stdout"), &process->out,
                      &process->out_cut, err) ||
                   take_piece(json_object_get(data, "stderr"), &process->err,
                              &process->err_cut, err)
               ? -1
               : 0;
}

static void take_start(const json_t *start, struct bf_process *process)
{
    json_int_t pid = json_integer_value(json_object_get(start, "pid"));

    process->started = true;
    process->pid = pid > 0 && pid <= UINT32_MAX ? (uint32_t)pid : 0;
}

/* Zero values are omitted: no exitCode is 0, no exited is false. */
static void take_end(const json_t *end, struct bf_process *process)
{
    json_int_t code = json_integer_value(json_object_get(end, "exitCode"));

    process->ended = true;
    process->exited = json_is_true(json_object_get(end, "exited"));
    process->exit_code =
        process->exited && code >= 0 && code <= 255 ? (int)code : -1;
}

static int take_event(struct bf_slice text, struct bf_process *process,
                      struct bf_err *err)
{
    bf_autojson json_t *doc = NULL;
    const json_t *event;
    struct bf_err why = {0};

    doc = bf_json_parse(text, BF_CONNECT_MAX_FRAME, &why);
    if (!doc && why.kind == BF_ERR_RETRY)
        return bf_err_oom(err);
    event = json_object_get(doc, "event");
    process->broken = !json_is_object(event);
    if (json_object_get(event, "start"))
        take_start(json_object_get(event, "start"), process);
    if (json_object_get(event, "end"))
        take_end(json_object_get(event, "end"), process);
    return take_data(json_object_get(event, "data"), process, err);
}

static void take_verdict(struct bf_slice text, struct bf_process *process)
{
    bf_autojson json_t *doc = bf_json_parse(text, MAX_ERROR, NULL);
    const json_t *error = json_object_get(doc, "error");

    process->whole = doc != NULL;
    process->broken = !doc;
    if (!error)
        return;
    process->error.code = BF_CONNECT_UNKNOWN;
    read_error(error, &process->error);
}

int bf_process_read(struct bf_slice body, struct bf_process *process,
                    struct bf_err *err)
{
    struct bf_connect_frame frame = {0};
    int more;

    while (!process->broken && !process->whole) {
        more = bf_connect_next(&body, &frame, NULL);
        if (more == 0)
            return 0;
        if (more < 0)
            process->broken = true;
        else if (frame.flags & BF_CONNECT_END)
            take_verdict(frame.data, process);
        else if (take_event(frame.data, process, err))
            return -1;
    }
    /* Whatever follows the last frame is none of this stream. */
    process->broken = process->broken || body.len > 0;
    return 0;
}
