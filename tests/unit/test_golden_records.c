/* Whole records against the bytes of the other implementation. */

#include "tests/unit/golden.h"

#include "schemas/control.h"
#include "schemas/event.h"
#include "schemas/fleet.h"
#include "schemas/httpsig.h"
#include "schemas/result.h"
#include "schemas/state.h"
#include "schemas/usage.h"

/* A slice member of a struct: text under its name, bytes under <name>_hex. */
struct member {
    const char *name;
    size_t offset;
    bool hex;
};

static struct bf_slice *member_of(void *base, const struct member *member)
{
    return (struct bf_slice *)(void *)((char *)base + member->offset);
}

static const char *member_name(const struct member *member, char out[64])
{
    snprintf(out, 64, "%s%s", member->name, member->hex ? "_hex" : "");
    return out;
}

static void members_read(const json_t *doc, const struct member *members,
                         size_t n, void *base, struct bf_record *arena)
{
    char name[64];

    for (size_t i = 0; i < n; i++) {
        const struct member *m = &members[i];

        member_name(m, name);
        *member_of(base, m) =
            m->hex ? golden_hex(doc, name, arena) : golden_text(doc, name);
    }
}

static void members_write(json_t *doc, const struct member *members, size_t n,
                          void *base)
{
    char name[64];

    for (size_t i = 0; i < n; i++) {
        const struct member *m = &members[i];
        struct bf_slice value = *member_of(base, m);

        json_object_set_new(doc, member_name(m, name),
                            m->hex ? golden_from_slice(value)
                                   : golden_from_text(value));
    }
}

static void set_int(json_t *doc, const char *name, int64_t value)
{
    json_object_set_new(doc, name, json_integer(value));
}

static void set_str(json_t *doc, const char *name, const char *value)
{
    json_object_set_new(doc, name, json_string(value));
}

/* {"record": rec}, or NULL when building it failed. */
static json_t *built(int rc, struct bf_record *rec)
{
    json_t *out = NULL;

    if (rc == 0)
        out = json_pack("{s:o}", "record", golden_from_record(rec));
    bf_record_release(rec);
    return out;
}

/* The initialised record that a case wants filled. */
static void target(const json_t *in, struct bf_record *rec)
{
    bf_record_init(rec, golden_str(in, "topic"),
                   (int32_t)golden_int(in, "partition"));
}

/* ---- jobs ---------------------------------------------------------------- */

#define JOB(member, hex)                                                       \
    {                                                                          \
#member, offsetof(struct bf_job, member), hex                          \
    }

static const struct member job_members[] = {
    JOB(kind, false),        JOB(workspace, false),
    JOB(id, false),          JOB(block, true),
    JOB(inputs, true),       JOB(order_key, true),
    JOB(backend, false),     JOB(batch, false),
    JOB(batch_index, false), JOB(callback_url, false),
    JOB(labels, true),       JOB(context, true),
    JOB(dead_of, false),     JOB(correlation_id, true),
    JOB(traceparent, false),
};

static void job_read(const json_t *doc, struct bf_job *job,
                     struct bf_record *arena)
{
    memset(job, 0, sizeof(*job));
    members_read(doc, job_members, bf_countof(job_members), job, arena);
    job->generation = (uint32_t)golden_int(doc, "generation");
    job->id_origin =
        (enum bf_id_origin)bf_id_origin_parse(golden_text(doc, "id_origin"));
    job->spread = (uint32_t)golden_int(doc, "spread");
    job->execution =
        (enum bf_execution)bf_execution_parse(golden_text(doc, "execution"));
    job->accepted_at_ms = golden_int(doc, "accepted_at_ms");
    job->expires_at_ms = golden_int(doc, "expires_at_ms");
    job->not_before_ms = golden_int(doc, "not_before_ms");
    job->timeout_ms = (uint32_t)golden_int(doc, "timeout_ms");
    job->max_attempts = (uint32_t)golden_int(doc, "max_attempts");
}

static json_t *job_write(struct bf_job *job)
{
    json_t *doc = json_object();

    members_write(doc, job_members, bf_countof(job_members), job);
    set_int(doc, "generation", job->generation);
    set_str(doc, "id_origin", bf_id_origin_name(job->id_origin));
    set_int(doc, "spread", job->spread);
    set_str(doc, "execution", bf_execution_name(job->execution));
    set_int(doc, "accepted_at_ms", job->accepted_at_ms);
    set_int(doc, "expires_at_ms", job->expires_at_ms);
    set_int(doc, "not_before_ms", job->not_before_ms);
    set_int(doc, "timeout_ms", job->timeout_ms);
    set_int(doc, "max_attempts", job->max_attempts);
    return doc;
}

static json_t *op_job_build(const json_t *in, struct bf_record *arena,
                            struct bf_err *err)
{
    struct bf_record rec;
    struct bf_job job;

    target(in, &rec);
    job_read(golden_get(in, "job"), &job, arena);
    return built(bf_job_build(&job, golden_str(in, "fleet"), &rec, err), &rec);
}

static json_t *op_job_parse(const json_t *in, struct bf_record *arena,
                            struct bf_err *err)
{
    bf_autorecord struct bf_record rec;
    struct bf_job job;

    golden_record(golden_get(in, "record"), arena, &rec);
    if (bf_job_parse(&rec, &job, err))
        return NULL;
    return json_pack("{s:o}", "job", job_write(&job));
}

/* ---- results, usage, callbacks ------------------------------------------- */

#define REPORT(member)                                                         \
    {                                                                          \
#member, offsetof(struct bf_report, member), true                      \
    }

static const struct member report_members[] = {
    REPORT(message),        REPORT(error),     REPORT(error_type),
    REPORT(function_name),  REPORT(code_hash), REPORT(standard_output),
    REPORT(standard_error),
};

static void report_read(const json_t *doc, struct bf_report *report,
                        struct bf_record *arena)
{
    members_read(doc, report_members, bf_countof(report_members), report,
                 arena);
    report->standard_output_truncated =
        golden_bool(doc, "standard_output_truncated");
    report->standard_error_truncated =
        golden_bool(doc, "standard_error_truncated");
    report->line_number = golden_int(doc, "line_number");
    report->execution_us = golden_int(doc, "execution_us");
}

static void end_read_words(const json_t *doc, struct bf_end *end)
{
    struct bf_slice reason = golden_text(doc, "reason");

    end->outcome =
        (enum bf_outcome)bf_outcome_parse(golden_text(doc, "outcome"));
    end->delivery =
        (enum bf_delivery)bf_delivery_parse(golden_text(doc, "delivery"));
    if (reason.ptr)
        end->reason = (enum bf_reason)bf_reason_parse(reason);
    end->run_id = golden_str(doc, "run_id");
    end->backend = golden_str(doc, "backend");
    end->isolation = golden_str(doc, "isolation");
    end->worker = golden_str(doc, "worker");
    end->fingerprint = golden_str(doc, "fingerprint");
    end->block_type = golden_str(doc, "block_type");
}

static void end_read(const json_t *doc, struct bf_end *end,
                     struct bf_record *arena)
{
    end_read_words(doc, end);
    report_read(golden_get(doc, "report"), &end->report, arena);
    end->attempt = (uint32_t)golden_int(doc, "attempt");
    end->result = golden_hex(doc, "result_hex", arena);
    end->started_at_ms = golden_int(doc, "started_at_ms");
    end->ended_at_ms = golden_int(doc, "ended_at_ms");
    end->duration_us = golden_int(doc, "duration_us");
    end->vcpu_us = golden_int(doc, "vcpu_us");
    end->memory_gib_us = golden_int(doc, "memory_gib_us");
    end->billable = golden_bool(doc, "billable");
    end->has_usage = golden_bool(doc, "has_usage");
    end->has_dead_letter = golden_bool(doc, "has_dead_letter");
    end->provider = golden_get(doc, "provider");
}

typedef int build_fn(const struct bf_end *end, const char *fleet,
                     struct bf_record *rec, struct bf_err *err);

static json_t *end_build(const json_t *in, struct bf_record *arena,
                         build_fn *build, struct bf_err *err)
{
    const json_t *doc = golden_get(in, "end");
    bf_autorecord struct bf_record source;
    struct bf_end end = {.source = &source};
    struct bf_record rec;
    struct bf_job job;

    target(in, &rec);
    job_read(golden_get(doc, "job"), &job, arena);
    golden_record(golden_get(doc, "source"), arena, &source);
    end.job = &job;
    end_read(doc, &end, arena);
    return built(build(&end, golden_str(in, "fleet"), &rec, err), &rec);
}

static json_t *op_result_build(const json_t *in, struct bf_record *arena,
                               struct bf_err *err)
{
    return end_build(in, arena, bf_result_build, err);
}

static json_t *op_usage_build(const json_t *in, struct bf_record *arena,
                              struct bf_err *err)
{
    return end_build(in, arena, bf_usage_build, err);
}

static json_t *op_callback_build(const json_t *in, struct bf_record *arena,
                                 struct bf_err *err)
{
    return end_build(in, arena, bf_callback_build, err);
}

static json_t *op_idle_build(const json_t *in, struct bf_record *arena,
                             struct bf_err *err)
{
    const json_t *doc = golden_get(in, "idle");
    struct bf_idle idle = {
        .workspace = golden_text(doc, "workspace"),
        .sandbox = golden_text(doc, "sandbox"),
        .backend = golden_str(doc, "backend"),
        .isolation = golden_str(doc, "isolation"),
        .started_at_ms = golden_int(doc, "started_at_ms"),
        .billed_until_ms = golden_int(doc, "billed_until_ms"),
        .billable = golden_bool(doc, "billable"),
        .vcpu_us = golden_int(doc, "vcpu_us"),
        .memory_gib_us = golden_int(doc, "memory_gib_us"),
        .provider = golden_get(doc, "provider"),
    };
    struct bf_record rec;

    (void)arena;
    target(in, &rec);
    return built(bf_idle_build(&idle, golden_str(in, "fleet"), &rec, err),
                 &rec);
}

static json_t *op_correction_build(const json_t *in, struct bf_record *arena,
                                   struct bf_err *err)
{
    const json_t *doc = golden_get(in, "correction");
    struct bf_correction fix = {
        .row = golden_get(doc, "corrected"),
        .row_id = golden_text(doc, "corrected_id"),
        .number = (uint32_t)golden_int(doc, "number"),
        .at_ms = golden_int(doc, "at_ms"),
        .differences = golden_get(doc, "differences"),
    };
    struct bf_record rec;

    (void)arena;
    target(in, &rec);
    return built(bf_correction_build(&fix, golden_str(in, "fleet"), &rec, err),
                 &rec);
}

/* ---- control, events ----------------------------------------------------- */

static size_t ends_flatten(const json_t *ends, struct bf_control_end *list)
{
    size_t n = 0;

    for (int lane = 0; lane < BF_LANES; lane++) {
        const json_t *pairs =
            golden_get(ends, bf_lane_name((enum bf_lane)lane));

        for (size_t i = 0; i < json_array_size(pairs); i++, n++) {
            const json_t *pair = json_array_get(pairs, i);

            assert_in_range(n, 0, 15);
            list[n].lane = (enum bf_lane)lane;
            list[n].partition =
                (int32_t)json_integer_value(json_array_get(pair, 0));
            list[n].end = json_integer_value(json_array_get(pair, 1));
        }
    }
    return n;
}

/* What was built reads back and builds the same again. */
static void control_again(const struct bf_record *rec, const char *fleet)
{
    bf_autorecord struct bf_record again;
    bf_autocontrol struct bf_control control;
    bf_autojson json_t *want = golden_from_record(rec), *got = NULL;

    bf_record_init(&again, rec->topic, rec->partition);
    assert_int_equal(bf_control_parse(rec, &control, NULL), 0);
    assert_int_equal(bf_control_build(&control, fleet, &again, NULL), 0);
    got = golden_from_record(&again);
    assert_true(json_equal(want, got));
}

static json_t *op_control_build(const json_t *in, struct bf_record *arena,
                                struct bf_err *err)
{
    const json_t *doc = golden_get(in, "control");
    struct bf_control_end ends[16];
    struct bf_control control = {
        .workspace = golden_text(doc, "workspace"),
        .id = golden_text(doc, "control_id"),
        .at_ms = golden_int(doc, "at_ms"),
        .job = golden_text(doc, "job"),
        .batch = golden_text(doc, "batch"),
        .dead_letter = golden_text(doc, "dead_letter"),
        .until_ms = golden_int(doc, "until_ms"),
        .generation = (uint32_t)golden_int(doc, "generation"),
        .has_generation = golden_get(doc, "generation"),
        .count = golden_int(doc, "count"),
        .has_count = golden_get(doc, "count"),
        .max_failure_ppm = (uint32_t)golden_int(doc, "max_failure_ppm"),
        .has_max_failure = golden_get(doc, "max_failure_ppm"),
        .ends = ends,
        .has_ends = golden_get(doc, "ends"),
    };
    struct bf_record rec;
    int rc;

    (void)arena;
    control.kind = (enum bf_control_kind)bf_control_kind_parse(
        golden_text(doc, "control"));
    control.nends = ends_flatten(golden_get(doc, "ends"), ends);
    target(in, &rec);
    rc = bf_control_build(&control, golden_str(in, "fleet"), &rec, err);
    if (rc == 0)
        control_again(&rec, golden_str(in, "fleet"));
    return built(rc, &rec);
}

static json_t *op_control_parse(const json_t *in, struct bf_record *arena,
                                struct bf_err *err)
{
    bf_autorecord struct bf_record rec;
    struct bf_control control;
    struct bf_record again;
    int rc;

    golden_record(golden_get(in, "record"), arena, &rec);
    if (bf_control_parse(&rec, &control, err))
        return NULL;
    target(in, &again);
    rc = bf_control_build(&control, golden_str(in, "fleet"), &again, err);
    bf_control_release(&control);
    return built(rc, &again);
}

static void event_again(const struct bf_record *rec, const char *fleet)
{
    bf_autorecord struct bf_record again;
    bf_autoevent struct bf_event event;
    bf_autojson json_t *want = golden_from_record(rec), *got = NULL;

    bf_record_init(&again, rec->topic, rec->partition);
    assert_int_equal(bf_event_parse(rec, &event, NULL), 0);
    assert_int_equal(bf_event_build(&event, fleet, &again, NULL), 0);
    got = golden_from_record(&again);
    assert_true(json_equal(want, got));
}

static json_t *op_event_build(const json_t *in, struct bf_record *arena,
                              struct bf_err *err)
{
    const json_t *doc = golden_get(in, "event");
    const json_t *about = golden_get(doc, "subject");
    struct bf_event event = {
        .subject = {.workspace = golden_text(about, "workspace"),
                    .job = golden_text(about, "job"),
                    .generation = (uint32_t)golden_int(about, "generation"),
                    .attempt = (uint32_t)golden_int(about, "attempt")},
        .seq = (uint64_t)golden_int(doc, "seq"),
        .at_ms = golden_int(doc, "at_ms"),
        .data = golden_get(doc, "data"),
    };
    struct bf_record rec;
    int rc;

    (void)arena;
    event.kind =
        (enum bf_event_kind)bf_event_kind_parse(golden_text(doc, "event"));
    target(in, &rec);
    rc = bf_event_build(&event, golden_str(in, "fleet"), &rec, err);
    if (rc == 0)
        event_again(&rec, golden_str(in, "fleet"));
    return built(rc, &rec);
}

static json_t *op_event_parse(const json_t *in, struct bf_record *arena,
                              struct bf_err *err)
{
    bf_autorecord struct bf_record rec;
    struct bf_event event;
    struct bf_record again;
    int rc;

    golden_record(golden_get(in, "record"), arena, &rec);
    if (bf_event_parse(&rec, &event, err))
        return NULL;
    target(in, &again);
    rc = bf_event_build(&event, golden_str(in, "fleet"), &again, err);
    bf_event_release(&event);
    return built(rc, &again);
}

#define RESULT(member, hex)                                                    \
    {                                                                          \
#member, offsetof(struct bf_result, member), hex                       \
    }

static const struct member result_members[] = {
    RESULT(id, false),
    RESULT(run_id, false),
    RESULT(usage_id, false),
    RESULT(backend, false),
    RESULT(isolation, false),
    RESULT(worker, false),
    RESULT(report, true),
    RESULT(labels, true),
    RESULT(batch, false),
    RESULT(batch_index, false),
    RESULT(correlation_id, true),
    RESULT(dead_letter, false),
    RESULT(source_topic, false),
    RESULT(value, true),
};

static json_t *result_write(struct bf_result *result)
{
    json_t *doc = json_pack("{s:{s:o,s:o,s:I,s:I}}", "subject", "workspace",
                            golden_from_text(result->subject.workspace), "job",
                            golden_from_text(result->subject.job), "generation",
                            (json_int_t)result->subject.generation, "attempt",
                            (json_int_t)result->subject.attempt);

    members_write(doc, result_members, bf_countof(result_members), result);
    set_str(doc, "outcome", bf_outcome_name(result->outcome));
    set_str(doc, "reason", bf_reason_name(result->reason));
    set_str(doc, "delivery", bf_delivery_name(result->delivery));
    set_str(doc, "execution", bf_execution_name(result->execution));
    set_int(doc, "source_partition", result->source_partition);
    set_int(doc, "source_offset", result->source_offset);
    set_int(doc, "at_ms", result->at_ms);
    set_int(doc, "started_at_ms", result->started_at_ms);
    set_int(doc, "ended_at_ms", result->ended_at_ms);
    return doc;
}

static json_t *op_result_parse(const json_t *in, struct bf_record *arena,
                               struct bf_err *err)
{
    bf_autorecord struct bf_record rec;
    struct bf_result result;

    golden_record(golden_get(in, "record"), arena, &rec);
    if (bf_result_parse(&rec, &result, err))
        return NULL;
    return json_pack("{s:o}", "result", result_write(&result));
}

/* ---- dead letters -------------------------------------------------------- */

static json_t *op_dead_build(const json_t *in, struct bf_record *arena,
                             struct bf_err *err)
{
    const json_t *doc = golden_get(in, "death");
    bf_autorecord struct bf_record source;
    struct bf_death death = {
        .source = &source,
        .stage = golden_str(doc, "stage"),
        .reason = golden_str(doc, "reason"),
        .message = golden_str(doc, "message"),
        .at_ms = golden_int(doc, "at_ms"),
        .truncated = golden_bool(doc, "truncated"),
    };
    struct bf_record rec;
    struct bf_job job;

    target(in, &rec);
    golden_record(golden_get(doc, "source"), arena, &source);
    if (golden_get(doc, "job")) {
        job_read(golden_get(doc, "job"), &job, arena);
        death.job = &job;
    }
    return built(bf_dead_build(&death, golden_str(in, "fleet"), &rec, err),
                 &rec);
}

static json_t *op_original_headers(const json_t *in, struct bf_record *arena,
                                   struct bf_err *err)
{
    bf_autobuf struct bf_buf bytes = BF_BUF_INIT(BF_MAX_ORIGINALS);
    bf_autorecord struct bf_record rec;

    golden_record(golden_get(in, "record"), arena, &rec);
    if (bf_original_headers(&rec, &bytes, err) < 0)
        return NULL;
    return json_pack("{s:o}", "bytes_hex",
                     golden_from_slice(bf_buf_slice(&bytes)));
}

static json_t *op_original_parse(const json_t *in, struct bf_record *arena,
                                 struct bf_err *err)
{
    bf_autorecord struct bf_record rec;
    bf_autojson json_t *doc = NULL;

    bf_record_init(&rec, "x", 0);
    if (bf_original_parse(golden_hex(in, "bytes_hex", arena), &rec, err))
        return NULL;
    doc = golden_from_record(&rec);
    return json_pack("{s:O}", "headers", json_object_get(doc, "headers"));
}

/* ---- state --------------------------------------------------------------- */

static const char *const entry_kinds[] = {
    [BF_ENTRY_BASE] = "base",     [BF_ENTRY_RUN] = "run",
    [BF_ENTRY_RANGE] = "range",   [BF_ENTRY_FINISHED] = "finished",
    [BF_ENTRY_CANCEL] = "cancel",
};

/* Only that map, with zeros behind it. */
static const unsigned char *map_read(const json_t *doc, struct bf_record *arena)
{
    struct bf_slice map = golden_hex(doc, "map_hex", arena);
    unsigned char whole[BF_MAP_BYTES] = {0};
    struct bf_slice kept;

    assert_in_range(map.len, 0, sizeof(whole));
    if (map.len > 0)
        memcpy(whole, map.ptr, map.len);
    bf_record_own(arena, (struct bf_slice){(char *)whole, sizeof(whole)}, &kept,
                  NULL);
    return (const unsigned char *)kept.ptr;
}

static json_t *map_write(const unsigned char *map)
{
    size_t len = BF_MAP_BYTES;

    while (len > 0 && map[len - 1] == 0)
        len--;
    return golden_to_hex(map, len);
}

static void base_read(const json_t *doc, struct bf_entry *entry,
                      struct bf_record *arena)
{
    entry->b.base = golden_int(doc, "base");
    entry->b.map = map_read(doc, arena);
    entry->b.host = golden_text(doc, "host");
    entry->b.pid = (uint32_t)golden_int(doc, "pid");
    entry->b.txn_id = golden_text(doc, "txn_id");
    entry->b.at_ms = golden_int(doc, "at_ms");
    entry->b.confirmed = golden_text(doc, "confirmed");
}

static void base_write(json_t *doc, const struct bf_entry *entry)
{
    set_int(doc, "base", entry->b.base);
    json_object_set_new(doc, "map_hex", map_write(entry->b.map));
    json_object_set_new(doc, "host", golden_from_text(entry->b.host));
    set_int(doc, "pid", entry->b.pid);
    json_object_set_new(doc, "txn_id", golden_from_text(entry->b.txn_id));
    set_int(doc, "at_ms", entry->b.at_ms);
    json_object_set_new(doc, "confirmed", golden_from_text(entry->b.confirmed));
}

static enum bf_run_state run_state_of(struct bf_slice word)
{
    enum bf_run_state state = BF_RUN_PARKED;

    while (!bf_slice_is(word, bf_run_state_name(state)))
        state++;
    return state;
}

static void run_read(const json_t *doc, struct bf_entry *entry)
{
    entry->job = golden_text(doc, "job");
    entry->r.state = run_state_of(golden_text(doc, "state"));
    entry->r.generation = (uint32_t)golden_int(doc, "generation");
    entry->r.attempt = (uint32_t)golden_int(doc, "attempt");
    entry->r.due_ms = golden_int(doc, "due_ms");
    entry->r.expires_ms = golden_int(doc, "expires_ms");
    entry->r.order_key = golden_text(doc, "order_key");
    entry->r.run_id = golden_text(doc, "run_id");
    entry->r.digest = golden_text(doc, "digest");
    entry->r.id_origin =
        (enum bf_id_origin)bf_id_origin_parse(golden_text(doc, "id_origin"));
    entry->r.handle = golden_get(doc, "handle");
}

static void run_write(json_t *doc, const struct bf_entry *entry)
{
    json_object_set_new(doc, "job", golden_from_text(entry->job));
    set_str(doc, "state", bf_run_state_name(entry->r.state));
    set_int(doc, "generation", entry->r.generation);
    set_int(doc, "attempt", entry->r.attempt);
    set_int(doc, "due_ms", entry->r.due_ms);
    set_int(doc, "expires_ms", entry->r.expires_ms);
    json_object_set_new(doc, "order_key", golden_from_text(entry->r.order_key));
    json_object_set_new(doc, "run_id", golden_from_text(entry->r.run_id));
    json_object_set_new(doc, "digest", golden_from_text(entry->r.digest));
    set_str(doc, "id_origin", bf_id_origin_name(entry->r.id_origin));
    json_object_set_new(doc, "handle",
                        entry->r.handle ? json_deep_copy(entry->r.handle)
                                        : json_null());
}

static void finished_read(const json_t *doc, struct bf_entry *entry,
                          struct bf_record *arena)
{
    struct bf_slice ids = golden_hex(doc, "ids_hex", arena);

    entry->d.segment = (uint64_t)golden_int(doc, "segment");
    entry->d.ids = (const unsigned char *)ids.ptr;
    entry->d.nids = ids.len / 16;
    entry->d.from_ms = golden_int(doc, "from_ms");
    entry->d.to_ms = golden_int(doc, "to_ms");
}

static void finished_write(json_t *doc, const struct bf_entry *entry)
{
    set_int(doc, "segment", (int64_t)entry->d.segment);
    json_object_set_new(doc, "ids_hex",
                        golden_to_hex(entry->d.ids, entry->d.nids * 16));
    set_int(doc, "from_ms", entry->d.from_ms);
    set_int(doc, "to_ms", entry->d.to_ms);
}

static void cancel_read(const json_t *doc, struct bf_entry *entry)
{
    const json_t *ends = golden_get(doc, "ends");

    entry->job = golden_text(doc, "job");
    entry->batch = golden_text(doc, "batch");
    entry->c.until_ms = golden_int(doc, "until_ms");
    entry->c.control_id = golden_text(doc, "control_id");
    for (int i = 0; i < BF_LANES; i++) {
        const char *lane = bf_lane_name((enum bf_lane)i);

        entry->c.ends[i] = golden_get(ends, lane) ? golden_int(ends, lane) : -1;
    }
}

static void cancel_write(json_t *doc, const struct bf_entry *entry)
{
    json_t *ends = json_object();

    for (int i = 0; i < BF_LANES; i++) {
        if (entry->c.ends[i] >= 0)
            set_int(ends, bf_lane_name((enum bf_lane)i), entry->c.ends[i]);
    }
    json_object_set_new(doc, "ends", ends);
    json_object_set_new(doc, "job", golden_from_text(entry->job));
    json_object_set_new(doc, "batch", golden_from_text(entry->batch));
    set_int(doc, "until_ms", entry->c.until_ms);
    json_object_set_new(doc, "control_id",
                        golden_from_text(entry->c.control_id));
}

static void entry_read_body(const json_t *doc, struct bf_entry *entry,
                            struct bf_record *arena)
{
    switch (entry->kind) {
    case BF_ENTRY_BASE:
        base_read(doc, entry, arena);
        break;
    case BF_ENTRY_RUN:
        run_read(doc, entry);
        break;
    case BF_ENTRY_RANGE:
        entry->f.width = (uint32_t)golden_int(doc, "width");
        entry->f.map = map_read(doc, arena);
        entry->f.earliest_expiry_ms = golden_int(doc, "earliest_expiry_ms");
        break;
    case BF_ENTRY_FINISHED:
        finished_read(doc, entry, arena);
        break;
    case BF_ENTRY_CANCEL:
        cancel_read(doc, entry);
        break;
    }
}

/* An entry from its description; a tombstone has only its id there. */
static void entry_read(const json_t *doc, struct bf_entry *entry,
                       struct bf_record *arena)
{
    size_t kind = 0;

    memset(entry, 0, sizeof(*entry));
    while (kind < bf_countof(entry_kinds) &&
           strcmp(entry_kinds[kind], golden_str(doc, "kind")) != 0)
        kind++;
    assert_in_range(kind, 0, bf_countof(entry_kinds) - 1);
    entry->kind = (enum bf_entry_kind)kind;
    entry->seq = (uint64_t)golden_int(doc, "seq");
    entry->workspace = golden_text(doc, "workspace");
    entry->offset = golden_int(doc, "offset");
    if (golden_get(doc, "lane"))
        entry->lane = (enum bf_lane)bf_lane_parse(golden_text(doc, "lane"));
    entry_read_body(doc, entry, arena);
}

static void entry_write_body(json_t *doc, const struct bf_entry *entry)
{
    switch (entry->kind) {
    case BF_ENTRY_BASE:
        base_write(doc, entry);
        break;
    case BF_ENTRY_RUN:
        run_write(doc, entry);
        break;
    case BF_ENTRY_RANGE:
        set_int(doc, "width", entry->f.width);
        json_object_set_new(doc, "map_hex", map_write(entry->f.map));
        set_int(doc, "earliest_expiry_ms", entry->f.earliest_expiry_ms);
        break;
    case BF_ENTRY_FINISHED:
        finished_write(doc, entry);
        break;
    case BF_ENTRY_CANCEL:
        cancel_write(doc, entry);
        break;
    }
}

static json_t *entry_write(const struct bf_entry *entry, struct bf_slice key)
{
    json_t *doc = json_object();
    bool laned =
        entry->kind != BF_ENTRY_FINISHED && entry->kind != BF_ENTRY_CANCEL;

    set_int(doc, "seq", (int64_t)entry->seq);
    if (entry->tombstone) {
        set_str(doc, "kind", "tombstone");
        json_object_set_new(doc, "entry_id", golden_from_text(key));
        return doc;
    }
    set_str(doc, "kind", entry_kinds[entry->kind]);
    if (laned)
        set_str(doc, "lane", bf_lane_name(entry->lane));
    if (entry->kind == BF_ENTRY_RUN || entry->kind == BF_ENTRY_RANGE)
        set_int(doc, "offset", entry->offset);
    if (entry->workspace.ptr)
        json_object_set_new(doc, "workspace",
                            golden_from_text(entry->workspace));
    entry_write_body(doc, entry);
    return doc;
}

/* C describes a tombstone by its parts: take them from its id. */
static int tombstone_build(const json_t *in, struct bf_record *rec,
                           struct bf_err *err)
{
    const json_t *doc = golden_get(in, "entry");
    const char *fleet = golden_str(in, "fleet");
    bf_autorecord struct bf_record model;
    bf_autoentry struct bf_entry entry;
    struct bf_entry any = {.kind = BF_ENTRY_FINISHED, .tombstone = true};

    any.seq = (uint64_t)golden_int(doc, "seq");
    bf_record_init(&model, rec->topic, rec->partition);
    assert_int_equal(bf_entry_build(&any, fleet, 0, &model, err), 0);
    model.key = golden_text(doc, "entry_id");
    assert_int_equal(bf_entry_parse(&model, &entry, err), 0);
    return bf_entry_build(&entry, fleet, golden_int(in, "now_ms"), rec, err);
}

static json_t *op_entry_build(const json_t *in, struct bf_record *arena,
                              struct bf_err *err)
{
    const json_t *doc = golden_get(in, "entry");
    struct bf_entry entry;
    struct bf_record rec;

    target(in, &rec);
    if (strcmp(golden_str(doc, "kind"), "tombstone") == 0)
        return built(tombstone_build(in, &rec, err), &rec);
    entry_read(doc, &entry, arena);
    return built(bf_entry_build(&entry, golden_str(in, "fleet"),
                                golden_int(in, "now_ms"), &rec, err),
                 &rec);
}

static json_t *op_entry_parse(const json_t *in, struct bf_record *arena,
                              struct bf_err *err)
{
    bf_autorecord struct bf_record rec;
    struct bf_entry entry;
    json_t *doc;

    golden_record(golden_get(in, "record"), arena, &rec);
    if (bf_entry_parse(&rec, &entry, err))
        return NULL;
    doc = entry_write(&entry, rec.key);
    bf_entry_release(&entry);
    return json_pack("{s:o}", "entry", doc);
}

static json_t *op_fleet_build(const json_t *in, struct bf_record *arena,
                              struct bf_err *err)
{
    const json_t *doc = golden_get(in, "entry");
    struct bf_fleet fleet = {
        .shards = (uint32_t)golden_int(doc, "shards"),
        .spread = (uint32_t)golden_int(doc, "spread"),
        .created_ms = golden_int(doc, "created_ms"),
    };
    struct bf_record rec;

    (void)arena;
    snprintf(fleet.name, sizeof(fleet.name), "%s", golden_str(doc, "fleet"));
    target(in, &rec);
    return built(bf_fleet_build(&fleet, &rec, err), &rec);
}

static json_t *op_fleet_parse(const json_t *in, struct bf_record *arena,
                              struct bf_err *err)
{
    bf_autorecord struct bf_record rec;
    struct bf_fleet fleet;

    golden_record(golden_get(in, "record"), arena, &rec);
    if (bf_fleet_parse(&rec, &fleet, err))
        return NULL;
    return json_pack("{s:{s:s,s:I,s:I,s:I}}", "entry", "fleet", fleet.name,
                     "shards", (json_int_t)fleet.shards, "spread",
                     (json_int_t)fleet.spread, "created_ms",
                     (json_int_t)fleet.created_ms);
}

/* ---- forwarded runs ------------------------------------------------------ */

static json_t *op_content_digest(const json_t *in, struct bf_record *arena,
                                 struct bf_err *err)
{
    struct bf_slice body = golden_hex(in, "body_hex", arena);
    char digest[BF_DIGEST_HEADER_SIZE];

    if (bf_content_digest(&body, 1, digest, err))
        return NULL;
    return json_pack("{s:s}", "content_digest", digest);
}

static int seed_sign(void *key, const unsigned char *bytes, size_t len,
                     unsigned char ret_signature[BF_SIGNATURE_SIZE],
                     struct bf_err *err)
{
    unsigned char public_key[32], secret[64];

    (void)err;
    crypto_sign_seed_keypair(public_key, secret, key);
    return crypto_sign_detached(ret_signature, NULL, bytes, len, secret);
}

static json_t *op_http_sign(const json_t *in, struct bf_record *arena,
                            struct bf_err *err)
{
    const json_t *doc = golden_get(in, "message");
    struct bf_http_message msg = {
        .method = golden_str(doc, "method"),
        .target_uri = golden_str(doc, "target_uri"),
        .content_type = golden_str(doc, "content_type"),
        .content_digest = golden_str(doc, "content_digest"),
        .run_id = golden_str(doc, "run_id"),
        .created_s = golden_int(doc, "created_s"),
        .expires_s = golden_int(doc, "expires_s"),
        .nonce = golden_str(doc, "nonce"),
        .key_id = golden_str(doc, "key_id"),
    };
    bf_autobuf struct bf_buf input = BF_BUF_INIT(4096);
    bf_autobuf struct bf_buf sig = BF_BUF_INIT(4096);
    bf_autobuf struct bf_buf base = BF_BUF_INIT(4096);
    unsigned char seed[32];

    (void)arena;
    golden_bytes(in, "seed_hex", seed, sizeof(seed));
    if (bf_http_sign(&msg, seed_sign, seed, &input, &sig, err) ||
        bf_http_base(&msg, &base, err))
        return NULL;
    return json_pack("{s:s,s:s,s:s}", "base", base.data, "signature_input",
                     input.data, "signature", sig.data);
}

static const struct golden_op ops[] = {
    {"job_build", op_job_build},
    {"job_parse", op_job_parse},
    {"result_build", op_result_build},
    {"result_parse", op_result_parse},
    {"usage_build", op_usage_build},
    {"callback_build", op_callback_build},
    {"idle_build", op_idle_build},
    {"correction_build", op_correction_build},
    {"control_build", op_control_build},
    {"control_parse", op_control_parse},
    {"event_build", op_event_build},
    {"event_parse", op_event_parse},
    {"dead_build", op_dead_build},
    {"original_headers", op_original_headers},
    {"original_parse", op_original_parse},
    {"entry_build", op_entry_build},
    {"entry_parse", op_entry_parse},
    {"fleet_build", op_fleet_build},
    {"fleet_parse", op_fleet_parse},
    {"content_digest", op_content_digest},
    {"http_sign", op_http_sign},
    {NULL, NULL},
};

static void test_jobs(void **state)
{
    (void)state;
    assert_in_range(golden_file("job", ops), 100, 1000);
}

static void test_results(void **state)
{
    (void)state;
    assert_in_range(golden_file("result", ops), 40, 1000);
}

static void test_usage(void **state)
{
    (void)state;
    assert_in_range(golden_file("usage", ops), 10, 1000);
}

static void test_callbacks(void **state)
{
    (void)state;
    assert_in_range(golden_file("callback", ops), 10, 1000);
}

static void test_dead_letters(void **state)
{
    (void)state;
    assert_in_range(golden_file("dead", ops), 10, 1000);
}

static void test_control(void **state)
{
    (void)state;
    assert_in_range(golden_file("control", ops), 10, 1000);
}

static void test_events(void **state)
{
    (void)state;
    assert_in_range(golden_file("event", ops), 5, 1000);
}

static void test_state(void **state)
{
    (void)state;
    assert_in_range(golden_file("state", ops), 40, 1000);
}

static void test_forwarded_runs(void **state)
{
    (void)state;
    assert_in_range(golden_file("httpsig", ops), 5, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs),           cmocka_unit_test(test_results),
        cmocka_unit_test(test_usage),          cmocka_unit_test(test_callbacks),
        cmocka_unit_test(test_dead_letters),   cmocka_unit_test(test_control),
        cmocka_unit_test(test_events),         cmocka_unit_test(test_state),
        cmocka_unit_test(test_forwarded_runs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
