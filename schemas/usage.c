#include "schemas/usage.h"

#include "schemas/envelope.h"
#include "schemas/err.h"
#include "schemas/json.h"

#define USAGE_MAX (64U << 10)

/* The members of every row in their order; quantities with their zero. */
static const struct usage_member {
    const char *name;
    const char *zero;
} usage_members[] = {
    {"workspace", NULL},
    {"job", NULL},
    {"generation", NULL},
    {"attempt", NULL},
    {"run_id", NULL},
    {"kind", NULL},
    {"block_type", NULL},
    {"fingerprint", NULL},
    {"backend", NULL},
    {"isolation", NULL},
    {"provider", NULL},
    {"execution", NULL},
    {"outcome", NULL},
    {"reason", NULL},
    {"delivery", NULL},
    {"started_at", NULL},
    {"ended_at", NULL},
    {"billable", NULL},
    {"runs", "0"},
    {"duration_seconds", "0.000000"},
    {"execution_seconds", "0.000000"},
    {"input_bytes", "0"},
    {"output_bytes", "0"},
    {"vcpu_seconds", "0.000000"},
    {"memory_gib_seconds", "0.000000"},
};

/* Members that only an idle row has, after the others. */
static const char *const idle_members[] = {"sandbox", "billed_until_ms"};

static void put_nulls(struct bf_json_out *out, const char *const *names,
                      size_t n)
{
    for (size_t i = 0; i < n; i++)
        bf_json_null(out, names[i]);
}

static void put_told(struct bf_json_out *out, const char *name, int64_t micros)
{
    if (micros > 0)
        bf_json_seconds(out, name, micros);
    else
        bf_json_null(out, name);
}

static void idle_what(struct bf_json_out *out, const struct bf_idle *idle)
{
    static const char *const of_runs[] = {"job", "generation", "attempt",
                                          "run_id"};
    static const char *const of_blocks[] = {"block_type", "fingerprint"};
    static const char *const of_ends[] = {"execution", "outcome", "reason",
                                          "delivery"};

    bf_json_text(out, "workspace", idle->workspace);
    put_nulls(out, of_runs, bf_countof(of_runs));
    bf_json_str(out, "kind", "idle");
    put_nulls(out, of_blocks, bf_countof(of_blocks));
    bf_json_str(out, "backend", idle->backend);
    bf_json_str(out, "isolation", idle->isolation);
    if (idle->provider) {
        bf_json_strings(out, "provider", idle->provider);
    } else {
        bf_json_open(out, "provider", '{');
        bf_json_close(out, '}');
    }
    put_nulls(out, of_ends, bf_countof(of_ends));
}

static void idle_how_much(struct bf_json_out *out, const struct bf_idle *idle)
{
    int64_t ms = idle->billed_until_ms - idle->started_at_ms;

    bf_json_time(out, "started_at", idle->started_at_ms);
    bf_json_time(out, "ended_at", idle->billed_until_ms);
    bf_json_bool(out, "billable", idle->billable);
    bf_json_count(out, "runs", 0);
    bf_json_seconds(out, "duration_seconds", ms * 1000);
    bf_json_null(out, "execution_seconds");
    bf_json_count(out, "input_bytes", 0);
    bf_json_count(out, "output_bytes", 0);
    put_told(out, "vcpu_seconds", idle->vcpu_us);
    put_told(out, "memory_gib_seconds", idle->memory_gib_us);
    bf_json_text(out, "sandbox", idle->sandbox);
    bf_json_int(out, "billed_until_ms", idle->billed_until_ms);
}

/* Value, key and common headers, and bf_workspace. */
static int usage_put(struct bf_record *rec, struct bf_slice value,
                     struct bf_slice workspace, const struct bf_envelope *env,
                     struct bf_err *err)
{
    if (bf_record_own(rec, value, &rec->value, err) ||
        bf_record_own(rec, workspace, &rec->key, err) ||
        bf_envelope_put(rec, env, err))
        return -1;
    return bf_record_put(rec, "bf_workspace", workspace, err);
}

int bf_idle_build(const struct bf_idle *idle, const char *fleet,
                  struct bf_record *rec, struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(USAGE_MAX);
    char id[BF_HEX128_SIZE], subject[BF_SUBJECT_SIZE], until[24];
    struct bf_slice parts[] = {idle->sandbox, {until, 0}};
    struct bf_envelope env = {
        .type = BF_TYPE_USAGE,
        .id = id,
        .fleet = fleet,
        .at_ms = idle->billed_until_ms,
        .subject = subject,
    };
    struct bf_json_out out;

    bf_assert(bf_workspace_ok(idle->workspace) && bf_job_id_ok(idle->sandbox));
    parts[1].len = (size_t)snprintf(until, sizeof(until), "%lld",
                                    (long long)idle->billed_until_ms);
    bf_event_id_of(BF_TYPE_USAGE, idle->workspace, "idle", parts, 2, id);
    bf_subject_text(idle->workspace, idle->sandbox, subject);
    bf_json_start(&out, &text, err);
    bf_json_open(&out, NULL, '{');
    idle_what(&out, idle);
    idle_how_much(&out, idle);
    bf_json_close(&out, '}');
    if (bf_json_done(&out))
        return -1;
    return usage_put(rec, bf_buf_slice(&text), idle->workspace, &env, err);
}

static int usage_bad(struct bf_err *err, const char *name, const char *rule)
{
    return bf_err_set(err, BF_ERR_REJECT, "bad_usage", "%s %s", name, rule);
}

static void correction_member(struct bf_json_out *out,
                              const struct bf_correction *fix,
                              const struct usage_member *member)
{
    const json_t *value = json_object_get(fix->row, member->name);
    const json_t *difference = json_object_get(fix->differences, member->name);

    if (strcmp(member->name, "kind") == 0)
        bf_json_str(out, "kind", "correction");
    else if (!member->zero)
        bf_json_value(out, member->name, value);
    else if (difference)
        bf_json_value(out, member->name, difference);
    else
        bf_json_str(out, member->name,
                    json_is_null(value) ? NULL : member->zero);
}

static int correction_value(const struct bf_correction *fix,
                            struct bf_buf *text, struct bf_err *err)
{
    struct bf_json_out out;

    bf_json_start(&out, text, err);
    bf_json_open(&out, NULL, '{');
    for (size_t i = 0; i < bf_countof(usage_members); i++)
        correction_member(&out, fix, &usage_members[i]);
    for (size_t i = 0; i < bf_countof(idle_members); i++) {
        const json_t *value = json_object_get(fix->row, idle_members[i]);

        if (value)
            bf_json_value(&out, idle_members[i], value);
    }
    bf_json_text(&out, "correction_of", fix->row_id);
    bf_json_int(&out, "correction_number", fix->number);
    bf_json_close(&out, '}');
    return bf_json_done(&out);
}

static int correction_check(const struct bf_correction *fix, struct bf_err *err)
{
    struct bf_slice kind = bf_json_slice(json_object_get(fix->row, "kind"));

    for (size_t i = 0; i < bf_countof(usage_members); i++) {
        if (!json_object_get(fix->row, usage_members[i].name))
            return usage_bad(err, usage_members[i].name, "is missing");
    }
    if (!bf_workspace_ok(bf_json_slice(json_object_get(fix->row, "workspace"))))
        return usage_bad(err, "workspace", "is ill-formed");
    if (!bf_slice_is(kind, "run") && !bf_slice_is(kind, "idle"))
        return usage_bad(err, "kind", "is neither run nor idle");
    if (!bf_hex128_ok(fix->row_id) || fix->number == 0)
        return usage_bad(err, "the corrected row", "has no id or number");
    return fix->differences && !bf_json_is_strings(fix->differences)
               ? usage_bad(err, "a difference", "is not a string")
               : 0;
}

/* The row's own header, when it has one. */
static int correction_header(const struct bf_correction *fix,
                             const char *member, const char *header,
                             struct bf_record *rec, struct bf_err *err)
{
    struct bf_slice value = bf_json_slice(json_object_get(fix->row, member));

    return value.ptr ? bf_record_put(rec, header, value, err) : 0;
}

int bf_correction_build(const struct bf_correction *fix, const char *fleet,
                        struct bf_record *rec, struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(USAGE_MAX);
    struct bf_slice workspace =
        bf_json_slice(json_object_get(fix->row, "workspace"));
    char id[BF_HEX128_SIZE], subject[BF_SUBJECT_SIZE], number[16];
    struct bf_slice parts[] = {fix->row_id, {number, 0}};
    struct bf_envelope env = {
        .type = BF_TYPE_USAGE,
        .id = id,
        .fleet = fleet,
        .at_ms = fix->at_ms,
        .subject = subject,
    };

    if (correction_check(fix, err) || correction_value(fix, &text, err))
        return -1;
    parts[1].len = (size_t)snprintf(number, sizeof(number), "%u", fix->number);
    bf_event_id_of(BF_TYPE_USAGE, workspace, "correction", parts, 2, id);
    bf_subject_text(workspace, fix->row_id, subject);
    if (usage_put(rec, bf_buf_slice(&text), workspace, &env, err) ||
        correction_header(fix, "job", "bf_job", rec, err))
        return -1;
    return correction_header(fix, "run_id", "bf_run_id", rec, err);
}
