#include "dispatcher/intake.h"

#include <inttypes.h>

#include "config/clock.h"
#include "dispatcher/scan.h"
#include "schemas/utf8.h"

enum text { TEXT_BLOCK, TEXT_LABELS, TEXT_CONTEXT };

/* What the readers of single members fill in before the rules are applied. */
struct reading {
    struct bf_intake *in;
    const struct bf_intake_ctx *ctx;
    bool has_expires;
    struct bf_problem *problem;
};

struct member {
    const char *name;
    int (*read)(struct reading *r, const char *name, json_t *value);
};

static int bad(const struct reading *r, const char *field, const char *rule)
{
    return bf_problem_set(r->problem, BF_PROBLEM_BAD_FIELD, field, "%s: %s",
                          field, rule);
}

static int read_string(const struct reading *r, const char *name,
                       const json_t *value, struct bf_slice *ret)
{
    if (!json_is_string(value))
        return bad(r, name, "must be a string");
    *ret =
        (struct bf_slice){json_string_value(value), json_string_length(value)};
    return 0;
}

static int read_number(const struct reading *r, const char *name,
                       const json_t *value, int64_t max)
{
    char rule[64];

    if (json_is_integer(value) && json_integer_value(value) >= 0 &&
        json_integer_value(value) <= max)
        return 0;
    snprintf(rule, sizeof(rule), "must be an integer from 0 to %" PRId64, max);
    return bad(r, name, rule);
}

static int read_workspace(struct reading *r, const char *name, json_t *value)
{
    struct bf_slice text = {0};

    if (read_string(r, name, value, &text))
        return -1;
    if (!bf_workspace_ok(text))
        return bad(r, name, "must be 1-64 characters of A-Z a-z 0-9 _ -");
    r->in->job.workspace = text;
    return 0;
}

static int read_job_id(const struct reading *r, const char *name,
                       const json_t *value, struct bf_slice *ret)
{
    struct bf_slice text = {0};

    if (read_string(r, name, value, &text))
        return -1;
    if (!bf_job_id_ok(text))
        return bad(r, name, "must be 1-64 characters of A-Z a-z 0-9 . _ -");
    *ret = text;
    return 0;
}

static int read_id(struct reading *r, const char *name, json_t *value)
{
    return read_job_id(r, name, value, &r->in->job.id);
}

static int read_batch(struct reading *r, const char *name, json_t *value)
{
    return read_job_id(r, name, value, &r->in->job.batch);
}

static int read_batch_index(struct reading *r, const char *name, json_t *value)
{
    struct bf_intake *in = r->in;

    if (read_number(r, name, value, UINT32_MAX))
        return -1;
    snprintf(in->batch_index, sizeof(in->batch_index), "%" PRId64,
             (int64_t)json_integer_value(value));
    in->job.batch_index = bf_slice_str(in->batch_index);
    return 0;
}

static int read_kind(struct reading *r, const char *name, json_t *value)
{
    if (read_string(r, name, value, &r->in->job.kind))
        return -1;
    if (!bf_slice_is(r->in->job.kind, "block"))
        return bad(r, name, "must be block");
    return 0;
}

static int read_execution(struct reading *r, const char *name, json_t *value)
{
    struct bf_slice text = {0};
    int word;

    if (read_string(r, name, value, &text))
        return -1;
    word = bf_execution_parse(text);
    if (word < 0)
        return bad(r, name, "must be at_least_once or at_most_once");
    r->in->job.execution = (enum bf_execution)word;
    return 0;
}

static int read_lane(struct reading *r, const char *name, json_t *value)
{
    struct bf_slice text = {0};

    if (read_string(r, name, value, &text))
        return -1;
    if (!bf_slice_is(text, "jobs") && !bf_slice_is(text, "batch"))
        return bad(r, name, "must be jobs or batch");
    r->in->lane = bf_slice_is(text, "jobs") ? BF_LANE_JOBS : BF_LANE_BATCH;
    return 0;
}

static int read_timeout(struct reading *r, const char *name, json_t *value)
{
    if (read_number(r, name, value, BF_MAX_TIMEOUT_MS))
        return -1;
    if (json_integer_value(value) == 0)
        return bad(r, name, "must be at least 1");
    r->in->job.timeout_ms = (uint32_t)json_integer_value(value);
    return 0;
}

static int read_attempts(struct reading *r, const char *name, json_t *value)
{
    if (read_number(r, name, value, BF_MAX_ATTEMPTS))
        return -1;
    if (json_integer_value(value) == 0)
        return bad(r, name, "must be at least 1");
    r->in->job.max_attempts = (uint32_t)json_integer_value(value);
    return 0;
}

static int read_time(const struct reading *r, const char *name,
                     const json_t *value, int64_t *ret)
{
    struct bf_slice text = {0};

    if (*ret != 0)
        return bad(r, name, "is given twice, as a time and in ms");
    if (read_string(r, name, value, &text))
        return -1;
    if (bf_clock_parse(text, ret, NULL))
        return bad(r, name, "must be an RFC 3339 time");
    return 0;
}

static int read_time_ms(const struct reading *r, const char *name,
                        const json_t *value, int64_t *ret)
{
    if (*ret != 0)
        return bad(r, name, "is given twice, as a time and in ms");
    if (read_number(r, name, value, INT64_MAX / 2))
        return -1;
    *ret = json_integer_value(value);
    return 0;
}

static int read_not_before(struct reading *r, const char *name, json_t *value)
{
    return read_time(r, name, value, &r->in->job.not_before_ms);
}

static int read_not_before_ms(struct reading *r, const char *name,
                              json_t *value)
{
    return read_time_ms(r, name, value, &r->in->job.not_before_ms);
}

static int read_expires(struct reading *r, const char *name, json_t *value)
{
    r->has_expires = true;
    return read_time(r, name, value, &r->in->job.expires_at_ms);
}

static int read_expires_ms(struct reading *r, const char *name, json_t *value)
{
    r->has_expires = true;
    return read_time_ms(r, name, value, &r->in->job.expires_at_ms);
}

static int read_order_key(struct reading *r, const char *name, json_t *value)
{
    struct bf_slice text = {0};

    if (read_string(r, name, value, &text))
        return -1;
    if (!bf_order_key_ok(text))
        return bad(r, name, "must be 1-128 bytes without control characters");
    r->in->job.order_key = text;
    return 0;
}

static bool all_in(struct bf_slice text, const char *allowed)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == 0 || !strchr(allowed, text.ptr[i]))
            return false;
    }
    return true;
}

static int read_backend(struct reading *r, const char *name, json_t *value)
{
    struct bf_slice text = {0};

    if (read_string(r, name, value, &text))
        return -1;
    if (text.len < 1 || text.len > 32 ||
        !all_in(text, "abcdefghijklmnopqrstuvwxyz0123456789-"))
        return bad(r, name, "must be 1-32 characters of a-z 0-9 -");
    r->in->job.backend = text;
    return 0;
}

static bool starts_with(struct bf_slice text, const char *prefix)
{
    size_t len = strlen(prefix);

    return text.len > len && memcmp(text.ptr, prefix, len) == 0;
}

static int read_callback(struct reading *r, const char *name, json_t *value)
{
    struct bf_slice text = {0};

    if (read_string(r, name, value, &text))
        return -1;
    if (text.len > BF_MAX_URL || !bf_graphic_ok(text) ||
        (!starts_with(text, "https://") && !starts_with(text, "http://")))
        return bad(r, name, "must be an http(s) URL of at most 2048 bytes");
    r->in->job.callback_url = text;
    return 0;
}

static int read_correlation(struct reading *r, const char *name, json_t *value)
{
    struct bf_slice text = {0};

    if (read_string(r, name, value, &text))
        return -1;
    if (text.len == 0 || text.len > BF_MAX_HEADER)
        return bad(r, name, "must be 1-1024 bytes");
    r->in->job.correlation_id = text;
    return 0;
}

/* Print a member again; the job's digest covers how the block is spelt. */
static int keep_text(struct reading *r, const char *name, const json_t *value,
                     enum text which, size_t max)
{
    char *text = json_dumps(value, JSON_COMPACT);

    if (!text)
        return bf_problem_set(r->problem, BF_PROBLEM_INTERNAL, name,
                              "out of memory");
    free(r->in->texts[which]);
    r->in->texts[which] = text;
    if (strlen(text) <= max)
        return 0;
    return bf_problem_set(r->problem, BF_PROBLEM_TOO_LARGE, name,
                          "%s: more than %zu bytes of JSON", name, max);
}

/*
 * The members that value has, in the order of names: PROTOCOL.md §1 knows one
 * order. NULL when memory is out.
 */
static json_t *in_order(const json_t *value, const char *const *names)
{
    json_auto_t *sorted = json_object();

    for (size_t i = 0; sorted && names[i]; i++) {
        json_t *item = json_object_get(value, names[i]);

        if (item && json_object_set(sorted, names[i], item))
            return NULL;
    }
    return bf_take(sorted);
}

static int check_strings(const struct reading *r, const char *name,
                         json_t *value)
{
    const char *key;
    json_t *item;

    if (!json_is_object(value))
        return bad(r, name, "must be an object of strings");
    json_object_foreach(value, key, item)
    {
        if (!json_is_string(item))
            return bad(r, name, "must be an object of strings");
    }
    return 0;
}

static int read_labels(struct reading *r, const char *name, json_t *value)
{
    if (check_strings(r, name, value) ||
        keep_text(r, name, value, TEXT_LABELS, BF_MAX_LABELS))
        return -1;
    r->in->job.labels = bf_slice_str(r->in->texts[TEXT_LABELS]);
    return 0;
}

static const char *const context_names[] = {
    "step_name", "step_selector", "block_type", "workflow_execution_id", NULL};

static bool is_context_name(const char *name)
{
    for (size_t i = 0; context_names[i]; i++) {
        if (strcmp(name, context_names[i]) == 0)
            return true;
    }
    return false;
}

static int read_context(struct reading *r, const char *name, json_t *value)
{
    json_auto_t *sorted = NULL;
    const char *key;
    json_t *item;

    if (!json_is_object(value))
        return bad(r, name, "must be an object");
    json_object_foreach(value, key, item)
    {
        if (!is_context_name(key) ||
            (!json_is_string(item) && !json_is_null(item)))
            return bad(r, name,
                       "has step_name, step_selector, block_type and "
                       "workflow_execution_id, strings or null");
    }
    sorted = in_order(value, context_names);
    if (keep_text(r, name, sorted, TEXT_CONTEXT, BF_MAX_CONTEXT))
        return -1;
    r->in->job.context = bf_slice_str(r->in->texts[TEXT_CONTEXT]);
    return 0;
}

enum block_type { BLOCK_STRING, BLOCK_NAME, BLOCK_STRINGS, BLOCK_OPTIONAL };

/* PROTOCOL.md §5.2 */
static const struct {
    const char *name;
    enum block_type type;
    size_t max;
} block_members[] = {
    {"run_function_code", BLOCK_STRING, BF_MAX_BLOCK},
    {"run_function_name", BLOCK_NAME, 256},
    {"imports", BLOCK_STRINGS, BF_MAX_BLOCK},
    {"init_function_code", BLOCK_OPTIONAL, BF_MAX_BLOCK},
    {"init_function_name", BLOCK_NAME, 256},
    {"block_type", BLOCK_STRING, 256},
};

static bool strings_only(const json_t *value)
{
    size_t i;
    json_t *item;

    json_array_foreach(value, i, item)
    {
        if (!json_is_string(item))
            return false;
    }
    return json_is_array(value);
}

static const char *block_rule(size_t row, const json_t *value)
{
    switch (block_members[row].type) {
    case BLOCK_STRINGS:
        return strings_only(value) ? NULL : "must be an array of strings";
    case BLOCK_OPTIONAL:
        return json_is_null(value) || json_is_string(value)
                   ? NULL
                   : "must be a string or null";
    case BLOCK_NAME:
        if (json_is_string(value) && json_string_length(value) == 0)
            return "must not be empty";
        break;
    case BLOCK_STRING:
        break;
    }
    if (!json_is_string(value))
        return "must be a string";
    if (json_string_length(value) > block_members[row].max)
        return "is too long";
    return NULL;
}

static int check_block_member(const struct reading *r, const char *key,
                              const json_t *value)
{
    char field[80];

    snprintf(field, sizeof(field), "block.%s", key);
    for (size_t i = 0; i < bf_countof(block_members); i++) {
        const char *rule;

        if (strcmp(block_members[i].name, key) != 0)
            continue;
        rule = block_rule(i, value);
        return rule ? bad(r, field, rule) : 0;
    }
    return bad(r, field, "is not a member of a block");
}

static int read_block(struct reading *r, const char *name, json_t *value)
{
    const char *names[bf_countof(block_members) + 1] = {NULL};
    json_auto_t *sorted = NULL;
    const char *key;
    json_t *item;

    if (!json_is_object(value))
        return bad(r, name, "must be an object");
    json_object_foreach(value, key, item)
    {
        if (check_block_member(r, key, item))
            return -1;
    }
    if (!json_object_get(value, "run_function_code"))
        return bad(r, "block.run_function_code", "is required");
    for (size_t i = 0; i < bf_countof(block_members); i++)
        names[i] = block_members[i].name;
    sorted = in_order(value, names);
    if (keep_text(r, name, sorted, TEXT_BLOCK, r->ctx->max_block_bytes))
        return -1;
    r->in->job.block = bf_slice_str(r->in->texts[TEXT_BLOCK]);
    return 0;
}

static const struct member members[] = {
    {"workspace", read_workspace},
    {"id", read_id},
    {"kind", read_kind},
    {"block", read_block},
    {"execution", read_execution},
    {"timeout_ms", read_timeout},
    {"max_attempts", read_attempts},
    {"not_before", read_not_before},
    {"not_before_ms", read_not_before_ms},
    {"expires_at", read_expires},
    {"expires_at_ms", read_expires_ms},
    {"order_key", read_order_key},
    {"backend", read_backend},
    {"lane", read_lane},
    {"batch", read_batch},
    {"batch_index", read_batch_index},
    {"callback_url", read_callback},
    {"labels", read_labels},
    {"context", read_context},
    {"correlation_id", read_correlation},
};

static int read_member(struct reading *r, const char *name, json_t *value)
{
    /* Cut out by the scanner, which has checked it; null stands there. */
    if (strcmp(name, "inputs") == 0)
        return 0;
    for (size_t i = 0; i < bf_countof(members); i++) {
        if (strcmp(members[i].name, name) == 0)
            return json_is_null(value) ? 0 : members[i].read(r, name, value);
    }
    return bad(r, name, "is not a member of a job");
}

static int check_times(struct reading *r)
{
    struct bf_job *job = &r->in->job;
    int64_t now = r->ctx->now_ms;
    int64_t latest = now + (int64_t)BF_MAX_EXPIRY_MS;
    int64_t start = job->not_before_ms > now ? job->not_before_ms : now;

    if (!r->has_expires)
        job->expires_at_ms = start + (int64_t)BF_DEFAULT_EXPIRY_MS < latest
                                 ? start + (int64_t)BF_DEFAULT_EXPIRY_MS
                                 : latest;
    if (job->not_before_ms <= now)
        job->not_before_ms = 0; /* now is what it asks for */
    if (job->not_before_ms >= latest)
        return bad(r, "not_before", "must be at most 8 days ahead");
    if (job->expires_at_ms > latest)
        return bad(r, "expires_at", "must be at most 8 days ahead");
    if (job->expires_at_ms <= start)
        return bad(r, "expires_at", "must be after now and after not_before");
    return 0;
}

static void make_id(struct reading *r)
{
    struct bf_intake *in = r->in;

    if (in->job.id.ptr) {
        in->job.id_origin = BF_ID_CLIENT;
        return;
    }
    if (r->ctx->idempotency_key.ptr) {
        in->job.id_origin = BF_ID_KEY;
        bf_job_id_derive(in->job.workspace, r->ctx->idempotency_key,
                         r->ctx->line, in->id);
    } else {
        in->job.id_origin = BF_ID_SERVER;
        bf_uuid7(r->ctx->now_ms, in->id);
    }
    in->job.id = bf_slice_str(in->id);
}

/* Before anything else is said of the job: whose is it? */
static int check_workspace(struct reading *r)
{
    struct bf_intake *in = r->in;

    if (!in->job.workspace.ptr && r->ctx->usual_workspace.ptr) {
        snprintf(in->workspace, sizeof(in->workspace), "%.*s",
                 BF_SLICE_ARG(r->ctx->usual_workspace));
        in->job.workspace = bf_slice_str(in->workspace);
    }
    if (!in->job.workspace.ptr)
        return bad(r, "workspace", "is required");
    return r->ctx->check(r->ctx->check_arg, in->job.workspace, r->problem);
}

static int check_whole(struct reading *r)
{
    const struct bf_job *job = &r->in->job;

    if (check_workspace(r))
        return -1;
    if (!job->block.ptr)
        return bad(r, "block", "is required");
    if (job->batch_index.ptr && !job->batch.ptr)
        return bad(r, "batch", "is required with batch_index");
    if (job->batch.ptr && !job->batch_index.ptr)
        return bad(r, "batch_index", "is required with batch");
    return check_times(r);
}

static int read_rest(struct reading *r)
{
    const struct bf_buf *rest = &r->in->rest;
    json_error_t why;
    const char *name;
    json_t *value;

    r->in->doc =
        json_loadb(rest->data, rest->len, JSON_REJECT_DUPLICATES, &why);
    if (!r->in->doc)
        return bf_problem_set(r->problem, BF_PROBLEM_BAD_JSON, NULL,
                              "the members besides inputs: %s", why.text);
    json_object_foreach(r->in->doc, name, value)
    {
        if (read_member(r, name, value))
            return -1;
    }
    if (check_whole(r))
        return -1;
    make_id(r);
    return 0;
}

/* Which field a scanner's error is about, and how bad it is. */
static int scan_problem(const struct bf_err *err, struct bf_problem *problem)
{
    if (err->kind == BF_ERR_RETRY)
        return bf_problem_err(problem, BF_PROBLEM_INTERNAL, NULL, err);
    if (strcmp(err->code, "bad_inputs") == 0)
        return bf_problem_err(problem, BF_PROBLEM_BAD_FIELD, "inputs", err);
    if (strcmp(err->code, "too_large") == 0)
        return bf_problem_err(problem, BF_PROBLEM_TOO_LARGE, NULL, err);
    return bf_problem_err(problem, BF_PROBLEM_BAD_JSON, NULL, err);
}

static int scan_body(struct bf_slice body, size_t max, struct bf_intake *in,
                     struct bf_problem *problem)
{
    struct bf_err err;

    if (bf_scan(body, &in->job.inputs, &in->rest, &err))
        return scan_problem(&err, problem);
    if (in->job.inputs.len > max)
        return bf_problem_set(problem, BF_PROBLEM_TOO_LARGE, "inputs",
                              "inputs: more than %zu bytes", max);
    return 0;
}

int bf_intake_read(struct bf_slice body, const struct bf_intake_ctx *ctx,
                   struct bf_intake *ret, struct bf_problem *problem)
{
    struct reading r = {.in = ret, .ctx = ctx, .problem = problem};

    bf_assert(ctx->check);
    *ret = (struct bf_intake){
        .rest = BF_BUF_INIT(BF_SCAN_REST),
        .lane = BF_LANE_JOBS,
        .job = {.kind = BF_SLICE_LIT("block"),
                .execution = BF_AT_LEAST_ONCE,
                .spread = ctx->spread,
                .accepted_at_ms = ctx->now_ms,
                .timeout_ms = ctx->default_timeout_ms,
                .max_attempts = 1,
                .traceparent = ctx->traceparent},
    };
    if (scan_body(body, ctx->max_inputs_bytes, ret, problem) || read_rest(&r)) {
        bf_intake_release(ret);
        return -1;
    }
    /* The tree of values is read; the text it came from is not needed. */
    bf_buf_release(&ret->rest);
    return 0;
}

void bf_intake_release(struct bf_intake *intake)
{
    json_decref(intake->doc);
    intake->doc = NULL;
    for (size_t i = 0; i < bf_countof(intake->texts); i++) {
        free(intake->texts[i]);
        intake->texts[i] = NULL;
    }
    bf_buf_release(&intake->rest);
}

int bf_intake_key(const char *header, struct bf_slice *ret,
                  struct bf_problem *problem)
{
    struct bf_slice text = bf_slice_str(header);

    if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"') {
        text.ptr++;
        text.len -= 2;
    }
    if (text.len == 0 || text.len > BF_MAX_IDEMPOTENCY_KEY ||
        !bf_graphic_ok(text))
        return bf_problem_set(problem, BF_PROBLEM_BAD_REQUEST,
                              "Idempotency-Key",
                              "Idempotency-Key: must be 1-255 visible ASCII "
                              "characters");
    *ret = text;
    return 0;
}

struct bf_slice bf_intake_traceparent(const char *header)
{
    static const char shape[] =
        "00-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";
    struct bf_slice text = bf_slice_str(header);

    if (text.len != sizeof(shape) - 1)
        return (struct bf_slice){0};
    for (size_t i = 0; i < text.len; i++) {
        if (shape[i] == 'h' ? !all_in((struct bf_slice){text.ptr + i, 1},
                                      "0123456789abcdef")
                            : text.ptr[i] != shape[i])
            return (struct bf_slice){0};
    }
    return text;
}
