#include "worker/wire/execute.h"

#include "schemas/err.h"
#include "schemas/json.h"
#include "schemas/utf8.h"

void bf_execute_release(struct bf_execute *execute)
{
    bf_buf_release(&execute->out);
    bf_buf_release(&execute->err);
}

static void keep(struct bf_slice text, char *out, size_t size)
{
    struct bf_slice cut = bf_utf8_cut(text, size - 1);

    memcpy(out, cut.ptr ? cut.ptr : "", cut.len);
    out[cut.len] = '\0';
}

static int take_text(const json_t *doc, struct bf_buf *buf, bool *cut,
                     struct bf_err *err)
{
    struct bf_slice text = bf_json_slice(json_object_get(doc, "text"));

    if (text.len == 0 || *cut)
        return 0;
    if (text.len > buf->max - buf->len) {
        *cut = true;
        return 0;
    }
    return bf_buf_add(buf, text.ptr, text.len, err);
}

/* The first one: what comes of it is of less use. */
static void take_error(const json_t *doc, struct bf_execute *execute)
{
    if (execute->failed)
        return;
    execute->failed = true;
    keep(bf_json_slice(json_object_get(doc, "name")), execute->error_name,
         sizeof(execute->error_name));
    keep(bf_json_slice(json_object_get(doc, "value")), execute->error_value,
         sizeof(execute->error_value));
}

static int take_event(const json_t *doc, struct bf_execute *execute,
                      struct bf_err *err)
{
    struct bf_slice type = bf_json_slice(json_object_get(doc, "type"));

    if (!type.ptr)
        execute->broken = true;
    else if (bf_slice_is(type, "number_of_executions"))
        execute->started = true;
    else if (bf_slice_is(type, "stdout"))
        return take_text(doc, &execute->out, &execute->out_cut, err);
    else if (bf_slice_is(type, "stderr"))
        return take_text(doc, &execute->err, &execute->err_cut, err);
    else if (bf_slice_is(type, "error"))
        take_error(doc, execute);
    else if (bf_slice_is(type, "end_of_execution"))
        execute->whole = true;
    return 0;
}

/*
 * A line that begins as an object and cannot be read may be the value of a
 * cell, nested deeper than we go: it is no news.
 */
static int take_line(struct bf_slice line, struct bf_execute *execute,
                     struct bf_err *err)
{
    bf_autojson json_t *doc = NULL;
    struct bf_err why = {0};

    if (line.len == 0)
        return 0;
    if (line.ptr[0] != '{') {
        execute->broken = true;
        return 0;
    }
    doc = bf_json_parse_nul(line, line.len, &why);
    if (doc)
        return take_event(doc, execute, err);
    return why.kind == BF_ERR_RETRY ? bf_err_oom(err) : 0;
}

int bf_execute_read(struct bf_slice body, struct bf_execute *execute,
                    struct bf_err *err)
{
    while (body.len > 0 && !execute->whole && !execute->broken) {
        const char *end = memchr(body.ptr, '\n', body.len);
        struct bf_slice line = {body.ptr, 0};

        if (!end)
            return 0;
        line.len = (size_t)(end - body.ptr);
        if (take_line(line, execute, err))
            return -1;
        body.ptr += line.len + 1;
        body.len -= line.len + 1;
    }
    return 0;
}
