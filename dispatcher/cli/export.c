#include "dispatcher/cli/export.h"

#include <jansson.h>

#include "schemas/err.h"
#include "schemas/json.h"
#include "schemas/utf8.h"

static json_t *text_or_null(struct bf_slice text)
{
    return text.ptr ? json_stringn(text.ptr, text.len) : json_null();
}

static int not_text(const struct bf_record *rec, struct bf_err *err)
{
    return bf_err_set(err, BF_ERR_REJECT, "bad_record",
                      "%s/%d/%lld holds bytes that are not UTF-8", rec->topic,
                      (int)rec->partition, (long long)rec->offset);
}

int bf_export_line(const struct bf_record *rec, struct bf_buf *out,
                   struct bf_err *err)
{
    bf_autojson json_t *headers = json_array(), *line = NULL;
    bf_autofree char *text = NULL;

    for (size_t i = 0; i < rec->nheaders; i++) {
        json_t *pair = json_pack("[o, o]", text_or_null(rec->headers[i].name),
                                 text_or_null(rec->headers[i].value));

        if (!pair || json_array_append_new(headers, pair))
            return not_text(rec, err);
    }
    line = json_pack(
        "{s:s, s:i, s:I, s:I, s:o, s:O, s:o}", "topic", rec->topic, "partition",
        (int)rec->partition, "offset", (json_int_t)rec->offset, "timestamp_ms",
        (json_int_t)rec->timestamp_ms, "key", text_or_null(rec->key), "headers",
        headers, "value", text_or_null(rec->value));
    if (!line)
        return not_text(rec, err);
    text = json_dumps(line, JSON_COMPACT);
    if (!text)
        return bf_err_oom(err);
    return bf_buf_adds(out, text, err) || bf_buf_adds(out, "\n", err) ? -1 : 0;
}

static int bad_line(struct bf_err *err, const char *what)
{
    return bf_err_set(err, BF_ERR_REJECT, "bad_line",
                      "not a line of 'usage export': %s", what);
}

/* A string's bytes as the record's own; null: absent. */
static int own(const json_t *value, struct bf_record *rec, struct bf_slice *ret,
               struct bf_err *err)
{
    if (json_is_null(value)) {
        *ret = (struct bf_slice){NULL, 0};
        return 0;
    }
    if (!json_is_string(value))
        return bad_line(err, "key, value and headers are strings or null");
    return bf_record_own(rec, bf_json_slice(value), ret, err);
}

static int own_header(const json_t *pair, struct bf_record *rec,
                      struct bf_err *err)
{
    struct bf_slice name = {NULL, 0}, value = {NULL, 0};

    if (json_array_size(pair) != 2 || !json_is_string(json_array_get(pair, 0)))
        return bad_line(err, "a header is a name and a value");
    if (own(json_array_get(pair, 0), rec, &name, err) ||
        own(json_array_get(pair, 1), rec, &value, err))
        return -1;
    return bf_record_ref(rec, name, value, err);
}

int bf_export_parse(struct bf_slice line, char topic[static BF_EXPORT_TOPIC],
                    struct bf_record *ret, struct bf_err *err)
{
    bf_autojson json_t *doc = json_loadb(
        line.ptr, line.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    const json_t *headers = json_object_get(doc, "headers");
    const char *name = json_string_value(json_object_get(doc, "topic"));
    json_int_t partition =
        json_integer_value(json_object_get(doc, "partition"));

    if (!name || strlen(name) >= BF_EXPORT_TOPIC || !json_is_array(headers) ||
        partition < 0 || partition > INT32_MAX)
        return bad_line(err, "topic, partition or headers");
    snprintf(topic, BF_EXPORT_TOPIC, "%s", name);
    bf_record_init(ret, topic, (int32_t)partition);
    ret->offset = json_integer_value(json_object_get(doc, "offset"));
    ret->timestamp_ms =
        json_integer_value(json_object_get(doc, "timestamp_ms"));
    if (own(json_object_get(doc, "key"), ret, &ret->key, err) ||
        own(json_object_get(doc, "value"), ret, &ret->value, err))
        return -1;
    for (size_t i = 0; i < json_array_size(headers); i++) {
        if (own_header(json_array_get(headers, i), ret, err))
            return -1;
    }
    return 0;
}
