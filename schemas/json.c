#include "schemas/json.h"

#include <sodium.h>

#include "schemas/err.h"
#include "schemas/limits.h"
#include "schemas/time.h"
#include "schemas/utf8.h"

#define STAGE_BYTES 1024

/* What jansson will have to hold, by the bytes outside of strings. */
struct json_shape {
    size_t deepest;
    size_t containers;
    size_t commas;
};

static struct json_shape json_shape(struct bf_slice text)
{
    struct json_shape shape = {0};
    size_t depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == ',') {
            shape.commas++;
        } else if (c == '{' || c == '[') {
            shape.containers++;
            depth++;
            shape.deepest = depth > shape.deepest ? depth : shape.deepest;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return shape;
}

static int json_fits(struct bf_slice text, size_t max, struct bf_err *err)
{
    struct json_shape shape;

    if (text.len > max)
        return bf_err_set(err, BF_ERR_REJECT, "too_large",
                          "JSON of more than %zu bytes", max);
    shape = json_shape(text);
    if (shape.deepest > BF_MAX_DEPTH)
        return bf_err_set(err, BF_ERR_REJECT, "bad_json",
                          "JSON nested deeper than %u", BF_MAX_DEPTH);
    if (shape.containers > BF_MAX_CONTAINERS)
        return bf_err_set(err, BF_ERR_REJECT, "bad_json",
                          "JSON of more than %u objects and arrays",
                          BF_MAX_CONTAINERS);
    if (shape.commas > BF_MAX_COMMAS)
        return bf_err_set(err, BF_ERR_REJECT, "bad_json",
                          "JSON of more than %u commas", BF_MAX_COMMAS);
    return 0;
}

static json_t *json_load(struct bf_slice text, size_t max, size_t flags,
                         struct bf_err *err)
{
    bf_autojson json_t *doc = NULL;
    json_error_t why;

    if (json_fits(text, max, err))
        return NULL;
    doc = json_loadb(text.ptr ? text.ptr : "", text.len,
                     flags | JSON_REJECT_DUPLICATES, &why);
    if (!doc && json_error_code(&why) == json_error_out_of_memory)
        bf_err_oom(err);
    else if (!doc)
        bf_err_set(err, BF_ERR_REJECT, "bad_json", "JSON at byte %d: %s",
                   why.position, why.text);
    else if (!json_is_object(doc))
        bf_err_set(err, BF_ERR_REJECT, "bad_json", "JSON is not an object");
    return json_is_object(doc) ? bf_take(doc) : NULL;
}

json_t *bf_json_parse(struct bf_slice text, size_t max, struct bf_err *err)
{
    return json_load(text, max, 0, err);
}

json_t *bf_json_parse_nul(struct bf_slice text, size_t max, struct bf_err *err)
{
    return json_load(text, max, JSON_ALLOW_NUL, err);
}

struct bf_slice bf_json_slice(const json_t *string)
{
    if (!json_is_string(string))
        return (struct bf_slice){NULL, 0};
    return (struct bf_slice){json_string_value(string),
                             json_string_length(string)};
}

/* jansson's iterators want a mutable object and do not change it. */
static json_t *json_mutable(const json_t *object)
{
    union {
        const json_t *in;
        json_t *out;
    } cast = {.in = object};

    return cast.out;
}

bool bf_json_is_strings(const json_t *object)
{
    const char *name;
    json_t *value;

    if (!json_is_object(object))
        return false;
    json_object_foreach(json_mutable(object), name, value)
    {
        if (!json_is_string(value))
            return false;
    }
    return true;
}

void bf_json_begin(struct bf_json_in *in, const json_t *object,
                   const char *code, struct bf_err *err)
{
    *in = (struct bf_json_in){.object = object, .code = code, .err = err};
}

void bf_json_get_fail(struct bf_json_in *in, const char *name, const char *rule)
{
    if (!in->failed)
        bf_err_set(in->err, BF_ERR_REJECT, in->code, "%s %s", name, rule);
    in->failed = true;
}

/* A member that is there; NULL after having said that it is not. */
static const json_t *json_get(struct bf_json_in *in, const char *name)
{
    const json_t *value = json_object_get(in->object, name);

    if (value)
        in->nread++;
    else
        bf_json_get_fail(in, name, "is missing");
    return value;
}

int64_t bf_json_get_int(struct bf_json_in *in, const char *name, int64_t min,
                        int64_t max)
{
    const json_t *value = json_get(in, name);
    json_int_t number = json_integer_value(value);

    if (json_is_integer(value) && number >= min && number <= max)
        return number;
    if (value)
        bf_json_get_fail(in, name, "is not a number, or out of range");
    return 0;
}

struct bf_slice bf_json_get_text(struct bf_json_in *in, const char *name)
{
    const json_t *value = json_get(in, name);

    if (value && !json_is_string(value))
        bf_json_get_fail(in, name, "is not a string");
    return bf_json_slice(value);
}

struct bf_slice bf_json_get_maybe(struct bf_json_in *in, const char *name)
{
    if (!json_is_null(json_object_get(in->object, name)))
        return bf_json_get_text(in, name);
    in->nread++;
    return (struct bf_slice){NULL, 0};
}

struct bf_slice bf_json_get_word(struct bf_json_in *in, const char *name,
                                 bool (*ok)(struct bf_slice))
{
    struct bf_slice text = bf_json_get_text(in, name);

    if (text.ptr && !ok(text))
        bf_json_get_fail(in, name, "is ill-formed");
    return text;
}

int64_t bf_json_get_time(struct bf_json_in *in, const char *name)
{
    struct bf_slice text = bf_json_get_text(in, name);
    int64_t unix_ms = 0;

    if (text.ptr && bf_time_parse(text, &unix_ms))
        bf_json_get_fail(in, name, "is not YYYY-MM-DDTHH:MM:SS.mmmZ");
    return unix_ms;
}

const json_t *bf_json_get_object(struct bf_json_in *in, const char *name,
                                 bool maybe)
{
    const json_t *value = json_get(in, name);

    if (json_is_object(value))
        return value;
    if (value && !(maybe && json_is_null(value)))
        bf_json_get_fail(in, name, "is not an object");
    return NULL;
}

int bf_json_end(struct bf_json_in *in)
{
    if (in->nread != json_object_size(in->object))
        bf_json_get_fail(in, "a member", "has an unknown name");
    return in->failed ? -1 : 0;
}

/* The escape of a byte that needs one; in scratch, or a literal. */
static const char *json_escape_of(unsigned char c, char scratch[8])
{
    static const char hex[] = "0123456789ABCDEF";

    switch (c) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\b':
        return "\\b";
    case '\f':
        return "\\f";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    default:
        /* by hand: 15 MiB may be all of these */
        memcpy(scratch, "\\u00", 4);
        scratch[4] = hex[c >> 4];
        scratch[5] = hex[c & 0xf];
        scratch[6] = '\0';
        return scratch;
    }
}

/*
 * The character at the head of text, at most 6 bytes of it as it is written;
 * how many bytes it has there.
 */
static size_t json_piece(struct bf_slice text, char out[8], size_t *ret_len)
{
    const char *bytes;
    size_t len = 1;
    bool ok;

    if ((unsigned char)text.ptr[0] >= 0x80) {
        len = bf_utf8_next(text, &ok);
        bytes = ok ? text.ptr : "\xef\xbf\xbd";
        *ret_len = ok ? len : 3;
    } else {
        bytes = json_escape_of((unsigned char)text.ptr[0], out);
        *ret_len = strlen(bytes);
    }
    if (bytes != out)
        memcpy(out, bytes, *ret_len);
    return len;
}

#define JSON_EACH(byte) ((byte)*UINT64_C(0x0101010101010101))

/* A top bit of its own for each byte of x that is below least, if not more. */
static uint64_t json_below(uint64_t x, uint64_t least)
{
    return (x - JSON_EACH(least)) & ~x & JSON_EACH(0x80);
}

/* Eight bytes that stand for themselves: ASCII from 0x20 on, no " and no \. */
static bool json_plain_word(const char *from)
{
    uint64_t x;

    memcpy(&x, from, sizeof(x));
    return ((x & JSON_EACH(0x80)) | json_below(x, 0x20) |
            json_below(x ^ JSON_EACH('"'), 1) |
            json_below(x ^ JSON_EACH('\\'), 1)) == 0;
}

/* How much stands as it is from the head on, at most max bytes. */
static size_t json_plain_len(const char *from, size_t max)
{
    size_t n = 0;

    while (max - n >= sizeof(uint64_t) && json_plain_word(from + n))
        n += sizeof(uint64_t);
    /* The rest of what is longer than a word, with bytes seen before. */
    if (n > 0 && max - n < sizeof(uint64_t) &&
        json_plain_word(from + max - sizeof(uint64_t)))
        return max;
    while (n < max && (unsigned char)from[n] >= 0x20 &&
           (unsigned char)from[n] < 0x80 && from[n] != '"' && from[n] != '\\')
        n++;
    return n;
}

/* The same, copied. */
static size_t json_copy_plain(char *to, const char *from, size_t max)
{
    size_t n = json_plain_len(from, max);

    memcpy(to, from, n);
    return n;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

int bf_json_escape(struct bf_buf *out, struct bf_slice text, size_t max,
                   bool *ret_cut, struct bf_err *err)
{
    char stage[STAGE_BYTES]; /* many small appends are slow: 15 MiB of inputs */
    size_t staged = 0, used = 0, i = 0;

    while (i < text.len) {
        struct bf_slice rest = {text.ptr + i, text.len - i};
        size_t room = min_size(max - used, STAGE_BYTES - staged);
        size_t n =
            json_copy_plain(stage + staged, rest.ptr, min_size(rest.len, room));
        size_t put = n;

        if (n == 0) {
            char piece[8];

            n = json_piece(rest, piece, &put);
            if (put > max - used)
                break;
            if (put <= room)
                memcpy(stage + staged, piece, put);
            else
                n = put = 0; /* the stage is full */
        }
        i += n;
        used += put;
        staged += put;
        if (put > 0)
            continue;
        if (bf_buf_add(out, stage, staged, err))
            return -1;
        staged = 0;
    }
    if (ret_cut)
        *ret_cut = i < text.len;
    return staged > 0 ? bf_buf_add(out, stage, staged, err) : 0;
}

/* Most strings of ours: nothing to escape, and room is reserved. */
static void json_put_quoted(struct bf_buf *out, struct bf_slice text)
{
    char *to = out->data + out->len;

    to[0] = '"';
    memcpy(to + 1, text.ptr, text.len);
    to[text.len + 1] = '"';
    to[text.len + 2] = '\0';
    out->len += text.len + 2;
}

int bf_json_quote(struct bf_buf *out, struct bf_slice text, struct bf_err *err)
{
    if (text.len > 0 && json_plain_len(text.ptr, text.len) == text.len) {
        if (bf_buf_reserve(out, text.len + 2, err))
            return -1;
        json_put_quoted(out, text);
        return 0;
    }
    if (bf_buf_reserve(out, text.len + 2, err) ||
        bf_buf_add(out, "\"", 1, err) ||
        bf_json_escape(out, text, SIZE_MAX, NULL, err))
        return -1;
    return bf_buf_add(out, "\"", 1, err);
}

void bf_json_start(struct bf_json_out *out, struct bf_buf *buf,
                   struct bf_err *err)
{
    *out = (struct bf_json_out){.buf = buf, .err = err};
}

int bf_json_done(const struct bf_json_out *out)
{
    return out->failed ? -1 : 0;
}

static void json_raw(struct bf_json_out *out, const char *bytes, size_t len)
{
    if (!out->failed && bf_buf_add(out->buf, bytes, len, out->err))
        out->failed = true;
}

/* Nearly all of them, at once: step by step, names took 5 % of a job's time. */
static bool json_name_plain(struct bf_json_out *out, const char *name)
{
    size_t len = name ? strlen(name) : 0;

    if (len == 0 || out->failed || json_plain_len(name, len) < len ||
        bf_buf_reserve(out->buf, len + 4, NULL))
        return false;
    if (out->comma)
        out->buf->data[out->buf->len++] = ',';
    out->comma = true;
    json_put_quoted(out->buf, (struct bf_slice){name, len});
    out->buf->data[out->buf->len++] = ':';
    out->buf->data[out->buf->len] = '\0';
    return true;
}

/* The comma and the name before a value. */
static void json_name(struct bf_json_out *out, const char *name)
{
    if (json_name_plain(out, name))
        return;
    if (out->comma)
        json_raw(out, ",", 1);
    out->comma = true;
    if (!name || out->failed)
        return;
    if (bf_json_quote(out->buf, bf_slice_str(name), out->err))
        out->failed = true;
    json_raw(out, ":", 1);
}

static void json_plain(struct bf_json_out *out, const char *name,
                       const char *value)
{
    json_name(out, name);
    json_raw(out, value, strlen(value));
}

void bf_json_open(struct bf_json_out *out, const char *name, char bracket)
{
    json_name(out, name);
    json_raw(out, &bracket, 1);
    out->comma = false;
}

void bf_json_close(struct bf_json_out *out, char bracket)
{
    json_raw(out, &bracket, 1);
    out->comma = true;
}

bool bf_json_text_max(struct bf_json_out *out, const char *name,
                      struct bf_slice text, size_t max)
{
    bool cut = false;

    json_name(out, name);
    json_raw(out, "\"", 1);
    if (!out->failed && bf_json_escape(out->buf, text, max, &cut, out->err))
        out->failed = true;
    json_raw(out, "\"", 1);
    return cut;
}

void bf_json_text(struct bf_json_out *out, const char *name,
                  struct bf_slice text)
{
    if (!text.ptr) {
        bf_json_null(out, name);
        return;
    }
    json_name(out, name);
    if (!out->failed && bf_json_quote(out->buf, text, out->err))
        out->failed = true;
}

void bf_json_str(struct bf_json_out *out, const char *name, const char *str)
{
    bf_json_text(out, name, bf_slice_str(str));
}

void bf_json_raw(struct bf_json_out *out, const char *name,
                 struct bf_slice json)
{
    json_name(out, name);
    json_raw(out, json.ptr, json.len);
}

void bf_json_null(struct bf_json_out *out, const char *name)
{
    json_plain(out, name, "null");
}

void bf_json_bool(struct bf_json_out *out, const char *name, bool value)
{
    json_plain(out, name, value ? "true" : "false");
}

void bf_json_int(struct bf_json_out *out, const char *name, int64_t value)
{
    char digits[BF_U64_SIZE];
    uint64_t size = value < 0 ? -(uint64_t)value : (uint64_t)value;
    struct bf_slice text = bf_u64_text(size, digits);

    json_name(out, name);
    if (value < 0)
        json_raw(out, "-", 1);
    json_raw(out, text.ptr, text.len);
}

void bf_json_count(struct bf_json_out *out, const char *name, uint64_t value)
{
    char digits[BF_U64_SIZE];

    bf_json_text(out, name, bf_u64_text(value, digits));
}

void bf_json_seconds(struct bf_json_out *out, const char *name, int64_t micros)
{
    uint64_t us = micros < 0 ? 0 : (uint64_t)micros;
    char digits[BF_U64_SIZE], text[BF_U64_SIZE + 8];
    struct bf_slice whole = bf_u64_text(us / 1000000, digits);

    memcpy(text, whole.ptr, whole.len);
    text[whole.len] = '.';
    for (size_t i = 6, rest = us % 1000000; i > 0; i--, rest /= 10)
        text[whole.len + i] = (char)('0' + rest % 10);
    bf_json_text(out, name, (struct bf_slice){text, whole.len + 7});
}

void bf_json_time(struct bf_json_out *out, const char *name, int64_t unix_ms)
{
    char text[BF_TIME_SIZE];

    bf_time_format(unix_ms, text);
    bf_json_str(out, name, text);
}

void bf_json_base64(struct bf_json_out *out, const char *name,
                    const unsigned char *bytes, size_t len)
{
    size_t size =
        sodium_base64_encoded_len(len, sodium_base64_VARIANT_ORIGINAL);

    json_name(out, name);
    json_raw(out, "\"", 1);
    if (!out->failed && bf_buf_reserve(out->buf, size, out->err))
        out->failed = true;
    if (!out->failed) {
        sodium_bin2base64(out->buf->data + out->buf->len, size, bytes, len,
                          sodium_base64_VARIANT_ORIGINAL);
        out->buf->len += size - 1;
    }
    json_raw(out, "\"", 1);
}

static void json_members(struct bf_json_out *out, const char *name,
                         const json_t *object)
{
    const char *member;
    json_t *value;

    bf_json_open(out, name, '{');
    json_object_foreach(json_mutable(object), member, value)
        bf_json_value(out, member, value);
    bf_json_close(out, '}');
}

static void json_elements(struct bf_json_out *out, const char *name,
                          const json_t *array)
{
    bf_json_open(out, name, '[');
    for (size_t i = 0; i < json_array_size(array); i++)
        bf_json_value(out, NULL, json_array_get(array, i));
    bf_json_close(out, ']');
}

void bf_json_value(struct bf_json_out *out, const char *name,
                   const json_t *value)
{
    if (json_is_object(value))
        json_members(out, name, value);
    else if (json_is_array(value))
        json_elements(out, name, value);
    else if (json_is_string(value))
        bf_json_text(out, name, bf_json_slice(value));
    else if (json_is_integer(value))
        bf_json_int(out, name, json_integer_value(value));
    else if (json_is_boolean(value))
        bf_json_bool(out, name, json_is_true(value));
    else
        bf_json_null(out, name);
}

void bf_json_strings(struct bf_json_out *out, const char *name,
                     const json_t *object)
{
    const char *member;
    json_t *value;

    if (!object) {
        bf_json_null(out, name);
        return;
    }
    bf_json_open(out, name, '{');
    json_object_foreach(json_mutable(object), member, value)
        bf_json_text(out, member, bf_json_slice(value));
    bf_json_close(out, '}');
}
