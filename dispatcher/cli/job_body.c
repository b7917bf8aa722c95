#include "dispatcher/cli/job_body.h"

#include <sodium.h>

#include "dispatcher/cli/splice.h"
#include "schemas/err.h"
#include "schemas/limits.h"

/* Options that become a string member of the job as they are. */
static const struct {
    const char *flag, *member;
} strings[] = {
    {"id", "id"},
    {"execution", "execution"},
    {"order-key", "order_key"},
    {"backend", "backend"},
    {"lane", "lane"},
    {"batch", "batch"},
    {"callback-url", "callback_url"},
    {"not-before", "not_before"},
    {"expires-at", "expires_at"},
    {"correlation-id", "correlation_id"},
};

static int set_text(json_t *object, const char *name, struct bf_slice text,
                    const char *what, struct bf_err *err)
{
    json_t *value = json_stringn(text.ptr, text.len);

    if (!value)
        return bf_err_set(err, BF_ERR_REJECT, "usage", "%s is not valid UTF-8",
                          what);
    return json_object_set_new(object, name, value) ? bf_err_oom(err) : 0;
}

static int set_file(struct bf_cli *cli, json_t *block, const char *flag,
                    const char *member, struct bf_buf *text, struct bf_err *err)
{
    const char *path = bf_args_get(&cli->args, flag);

    if (!path)
        return 0;
    if (bf_cli_read(cli, path, text, err))
        return -1;
    return set_text(block, member, bf_buf_slice(text), path, err);
}

static int set_flag(struct bf_cli *cli, json_t *object, const char *flag,
                    const char *member, struct bf_err *err)
{
    const char *value = bf_args_get(&cli->args, flag);

    return value ? set_text(object, member, bf_slice_str(value), flag, err) : 0;
}

static int set_imports(struct bf_cli *cli, json_t *block, struct bf_err *err)
{
    json_t *imports = json_array();
    const char *line;

    if (json_object_set_new(block, "imports", imports))
        return bf_err_oom(err);
    for (size_t i = 0; (line = bf_args_nth(&cli->args, "import", i)); i++) {
        json_t *text = json_string(line);

        if (!text)
            return bf_err_set(err, BF_ERR_REJECT, "usage",
                              "--import is not valid UTF-8");
        if (json_array_append_new(imports, text))
            return bf_err_oom(err);
    }
    return 0;
}

json_t *bf_job_body_block(struct bf_cli *cli, struct bf_buf *code,
                          struct bf_err *err)
{
    bf_autobuf struct bf_buf init = BF_BUF_INIT(BF_MAX_BLOCK);
    json_auto_t *block = json_object();

    if (!block) {
        bf_err_oom(err);
        return NULL;
    }
    if (!bf_args_get(&cli->args, "code")) {
        bf_err_set(err, BF_ERR_REJECT, "usage",
                   "what is to be run? --code FILE is missing");
        return NULL;
    }
    if (set_file(cli, block, "code", "run_function_code", code, err) ||
        set_file(cli, block, "init", "init_function_code", &init, err) ||
        set_flag(cli, block, "function", "run_function_name", err) ||
        set_flag(cli, block, "init-function", "init_function_name", err) ||
        set_flag(cli, block, "block-type", "block_type", err) ||
        set_imports(cli, block, err))
        return NULL;
    return bf_take(block);
}

static int set_number(struct bf_cli *cli, json_t *job, const char *flag,
                      const char *member, uint64_t max, struct bf_err *err)
{
    uint64_t number;

    if (!bf_args_get(&cli->args, flag))
        return 0;
    if (bf_cli_number(cli, flag, max, 0, &number, err))
        return -1;
    return json_object_set_new(job, member, json_integer((json_int_t)number))
               ? bf_err_oom(err)
               : 0;
}

static int set_labels(struct bf_cli *cli, json_t *job, struct bf_err *err)
{
    json_auto_t *labels = json_object();
    const char *pair;

    for (size_t i = 0; (pair = bf_args_nth(&cli->args, "label", i)); i++) {
        const char *equals = strchr(pair, '=');
        char name[256];

        if (!equals || equals == pair ||
            (size_t)(equals - pair) >= sizeof(name))
            return bf_err_set(err, BF_ERR_REJECT, "usage",
                              "--label '%.80s' is not NAME=VALUE", pair);
        memcpy(name, pair, (size_t)(equals - pair));
        name[equals - pair] = '\0';
        if (set_text(labels, name, bf_slice_str(equals + 1), "--label", err))
            return -1;
    }
    if (json_object_size(labels) == 0)
        return 0;
    return json_object_set(job, "labels", labels) ? bf_err_oom(err) : 0;
}

json_t *bf_job_body_options(struct bf_cli *cli, struct bf_err *err)
{
    const char *workspace = bf_cli_workspace(cli, err);
    json_auto_t *job = workspace ? json_object() : NULL;

    if (!workspace)
        return NULL;
    if (!job || set_text(job, "workspace", bf_slice_str(workspace), "", err)) {
        bf_err_oom(err);
        return NULL;
    }
    for (size_t i = 0; i < bf_countof(strings); i++) {
        if (set_flag(cli, job, strings[i].flag, strings[i].member, err))
            return NULL;
    }
    if (set_number(cli, job, "timeout-ms", "timeout_ms", BF_MAX_TIMEOUT_MS,
                   err) ||
        set_number(cli, job, "max-attempts", "max_attempts", BF_MAX_ATTEMPTS,
                   err) ||
        set_number(cli, job, "batch-index", "batch_index", UINT32_MAX, err) ||
        set_labels(cli, job, err))
        return NULL;
    return bf_take(job);
}

json_t *bf_job_body_members(struct bf_cli *cli, struct bf_buf *code,
                            struct bf_err *err)
{
    json_auto_t *job = bf_job_body_options(cli, err);
    json_t *block = job ? bf_job_body_block(cli, code, err) : NULL;

    if (!block)
        return NULL;
    if (json_object_set_new(job, "block", block)) {
        bf_err_oom(err);
        return NULL;
    }
    return bf_take(job);
}

int bf_job_body_inputs(struct bf_cli *cli, struct bf_buf *out,
                       struct bf_err *err)
{
    const char *path = bf_args_get(&cli->args, "inputs");
    const char *pair = bf_args_nth(&cli->args, "set", 0);

    if (path && pair)
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "inputs come from --inputs or from --set, not both");
    if (path)
        return bf_cli_read(cli, path, out, err);
    if (bf_buf_adds(out, "{", err))
        return -1;
    for (size_t i = 0; (pair = bf_args_nth(&cli->args, "set", i)); i++) {
        if (bf_splice_pair(pair, out, err))
            return -1;
    }
    return bf_buf_adds(out, "}", err);
}

/* ---- piece by piece ------------------------------------------------------ */

int bf_job_body_begin(struct bf_slice given, struct bf_buf *out,
                      struct bf_err *err)
{
    bf_assert(given.len >= 2 && given.ptr[0] == '{');
    if (bf_buf_add(out, given.ptr, given.len - 1, err))
        return -1;
    return given.len > 2 ? bf_buf_adds(out, ",", err) : 0;
}

static int add_base64(struct bf_slice bytes, struct bf_buf *out,
                      struct bf_err *err)
{
    size_t size =
        sodium_base64_ENCODED_LEN(bytes.len, sodium_base64_VARIANT_ORIGINAL);

    if (bf_buf_reserve(out, size, err))
        return -1;
    sodium_bin2base64(out->data + out->len, size,
                      (const unsigned char *)bytes.ptr, bytes.len,
                      sodium_base64_VARIANT_ORIGINAL);
    out->len += size - 1;
    return 0;
}

int bf_job_body_image(struct bf_slice image, struct bf_buf *out,
                      struct bf_err *err)
{
    if (bf_buf_adds(out,
                    "{\"_type\":\"workflow_image\",\"type\":\"base64\","
                    "\"value\":\"",
                    err) ||
        add_base64(image, out, err))
        return -1;
    return bf_buf_adds(out, "\"", err);
}

int bf_job_body_bytes(struct bf_slice bytes, struct bf_buf *out,
                      struct bf_err *err)
{
    if (bf_buf_adds(out, "{\"_type\":\"bytes\",\"value\":\"", err) ||
        add_base64(bytes, out, err))
        return -1;
    return bf_buf_adds(out, "\"}", err);
}
