#include "dispatcher/cli/splice.h"

#include "dispatcher/scan.h"
#include "schemas/err.h"

static struct bf_slice trim(struct bf_slice text)
{
    static const char blanks[] = " \t\r\n";

    while (text.len > 0 && strchr(blanks, text.ptr[0]) && text.ptr[0]) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && strchr(blanks, text.ptr[text.len - 1]) &&
           text.ptr[text.len - 1])
        text.len--;
    return text;
}

/* Are the inputs that the scanner finds in job exactly these bytes? */
static int check(struct bf_slice job, struct bf_slice inputs,
                 struct bf_err *err)
{
    bf_autobuf struct bf_buf rest = BF_BUF_INIT(BF_SCAN_REST);
    struct bf_slice found;

    if (bf_scan(job, &found, &rest, err))
        return -1;
    if (found.ptr != inputs.ptr || found.len != inputs.len)
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "the inputs must be one JSON object");
    return 0;
}

int bf_splice_job(const json_t *members, struct bf_slice inputs,
                  struct bf_buf *out, struct bf_err *err)
{
    bf_autofree char *dump = json_dumps(members, JSON_COMPACT);
    size_t start = out->len, at, len;

    if (!dump)
        return bf_err_oom(err);
    inputs = trim(inputs);
    if (inputs.len == 0 || inputs.ptr[0] != '{')
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "the inputs must be one JSON object");
    len = strlen(dump);
    bf_assert(len >= 2 && dump[len - 1] == '}');
    if (bf_buf_add(out, dump, len - 1, err) ||
        bf_buf_adds(out, len > 2 ? ",\"inputs\":" : "\"inputs\":", err))
        return -1;
    at = out->len;
    if (bf_buf_add(out, inputs.ptr, inputs.len, err) ||
        bf_buf_adds(out, "}", err))
        return -1;
    if (check((struct bf_slice){out->data + start, out->len - start},
              (struct bf_slice){out->data + at, inputs.len}, err)) {
        if (err)
            err->code = "usage";
        return bf_err_prefix(err, "inputs");
    }
    return 0;
}

/* Where the value that begins text ends, by quotes and brackets alone. */
static size_t value_end(struct bf_slice text)
{
    size_t depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth == 0)
                return i;
            depth--;
        } else if (c == ',' && depth == 0) {
            return i;
        }
    }
    return quoted || depth > 0 ? 0 : text.len;
}

bool bf_splice_is_json(struct bf_slice text)
{
    bf_autobuf struct bf_buf job = BF_BUF_INIT(BF_SPLICE_MAX);
    struct bf_err err;
    struct bf_slice inputs;

    text = trim(text);
    if (text.len == 0 || value_end(text) != text.len)
        return false;
    if (bf_buf_adds(&job, "{\"inputs\":{\"v\":", &err) ||
        bf_buf_add(&job, text.ptr, text.len, &err) ||
        bf_buf_adds(&job, "}}", &err))
        return false;
    inputs = (struct bf_slice){job.data + 10, job.len - 11};
    return check(bf_buf_slice(&job), inputs, &err) == 0;
}

static int add_string(struct bf_slice text, struct bf_buf *out,
                      struct bf_err *err)
{
    json_auto_t *string = json_stringn(text.ptr, text.len);
    bf_autofree char *dump = NULL;

    if (!string)
        return bf_err_set(err, BF_ERR_REJECT, "usage", "'%.*s' is not UTF-8",
                          text.len > 60 ? 60 : (int)text.len, text.ptr);
    dump = json_dumps(string, JSON_ENCODE_ANY);
    return dump ? bf_buf_adds(out, dump, err) : bf_err_oom(err);
}

int bf_splice_pair(const char *pair, struct bf_buf *out, struct bf_err *err)
{
    const char *equals = strchr(pair, '=');
    struct bf_slice name, value;

    if (!equals || equals == pair)
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "'%.80s' is not NAME=VALUE", pair);
    name = (struct bf_slice){pair, (size_t)(equals - pair)};
    value = bf_slice_str(equals + 1);
    if ((out->len > 1 && bf_buf_adds(out, ",", err)) ||
        add_string(name, out, err) || bf_buf_adds(out, ":", err))
        return -1;
    if (bf_splice_is_json(value))
        return bf_buf_add(out, value.ptr, value.len, err);
    return add_string(value, out, err);
}
