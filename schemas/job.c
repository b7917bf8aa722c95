#include "schemas/job.h"

#include "schemas/envelope.h"
#include "schemas/err.h"
#include "schemas/json.h"
#include "schemas/utf8.h"

static bool url_ok(struct bf_slice url)
{
    size_t scheme = strlen("http://");

    if (url.len > scheme && memcmp(url.ptr, "https://", scheme + 1) == 0)
        scheme++;
    else if (url.len < scheme || memcmp(url.ptr, "http://", scheme) != 0)
        return false;
    return url.len > scheme && bf_graphic_ok(url);
}

static bool not_empty(struct bf_slice value)
{
    return value.len > 0;
}

/* W3C Trace Context's header, version and all. */
static bool traceparent_ok(struct bf_slice text)
{
    static const size_t fields[] = {2, 32, 16, 2};
    size_t at = 0;

    if (!text.ptr || text.len != 55)
        return false;
    for (size_t i = 0; i < bf_countof(fields); i++) {
        if (!bf_hex_ok((struct bf_slice){text.ptr + at, fields[i]}, fields[i]))
            return false;
        at += fields[i] + 1;
        if (at < text.len && text.ptr[at - 1] != '-')
            return false;
    }
    return true;
}

static bool labels_fit(const json_t *labels)
{
    return bf_json_is_strings(labels);
}

static bool context_fits(const json_t *context)
{
    static const char *const names[] = {"step_name", "step_selector",
                                        "block_type", "workflow_execution_id"};
    size_t known = 0;

    for (size_t i = 0; i < bf_countof(names); i++) {
        const json_t *value = json_object_get(context, names[i]);

        if (value && !json_is_string(value) && !json_is_null(value))
            return false;
        known += value ? 1 : 0;
    }
    return known == json_object_size(context);
}

static void job_read_object(struct bf_reader *r, const char *name,
                            bool (*fits)(const json_t *), struct bf_slice *ret)
{
    bf_autojson json_t *doc = NULL;
    struct bf_slice value = {NULL, 0};
    struct bf_err why = {0};

    bf_read_bytes(r, name, BF_OPTIONAL, &value);
    if (!value.ptr)
        return;
    doc = bf_json_parse(value, value.len, &why);
    if (!doc)
        bf_err_set(bf_reader_fail(r), why.kind,
                   why.kind == BF_ERR_REJECT ? "bad_record" : why.code,
                   "%s: %s", name, why.msg);
    else if (!fits(doc))
        bf_err_set(bf_reader_fail(r), BF_ERR_REJECT, "bad_record",
                   "%s has a member that it must not have", name);
    else
        *ret = value;
}

static bool kind_known(struct bf_slice kind)
{
    return bf_slice_is(kind, "block");
}

/* Who and of which kind: enough to answer to. */
static void job_read_identity(struct bf_reader *r, struct bf_job *job)
{
    struct bf_slice id = {NULL, 0};
    int64_t generation = -1;

    bf_read_word(r, "bf_workspace", BF_REQUIRED, bf_workspace_ok,
                 &job->workspace);
    bf_read_word(r, "bf_job", BF_REQUIRED, bf_job_id_ok, &id);
    bf_read_i64(r, "bf_generation", BF_REQUIRED, UINT32_MAX, &generation);
    if (generation >= 0) {
        job->generation = (uint32_t)generation;
        job->id = id;
    }
    bf_read_word(r, "bf_kind", BF_REQUIRED, not_empty, &job->kind);
    if (job->kind.ptr && !kind_known(job->kind))
        bf_err_set(bf_reader_fail(r), BF_ERR_REJECT, "unknown_kind",
                   "bf_kind is not known");
    if (!bf_slice_eq(r->rec->key, job->workspace))
        bf_err_set(bf_reader_fail(r), BF_ERR_REJECT, "bad_record",
                   "the key is not the workspace");
}

static void job_read_orders(struct bf_reader *r, struct bf_job *job)
{
    int origin = BF_ID_SERVER, execution = BF_AT_LEAST_ONCE;

    bf_read_enum(r, "bf_id_origin", bf_id_origin_parse, &origin);
    bf_read_enum(r, "bf_execution", bf_execution_parse, &execution);
    job->id_origin = (enum bf_id_origin)origin;
    job->execution = (enum bf_execution)execution;
    bf_read_u32(r, "bf_spread", 1, BF_MAX_SHARDS, &job->spread);
    bf_read_i64(r, "bf_expires_at_ms", BF_REQUIRED, BF_MAX_TIME_MS - 1,
                &job->expires_at_ms);
    bf_read_i64(r, "bf_not_before_ms", BF_OPTIONAL, BF_MAX_TIME_MS - 1,
                &job->not_before_ms);
    bf_read_u32(r, "bf_timeout_ms", 1, BF_MAX_TIMEOUT_MS, &job->timeout_ms);
    bf_read_u32(r, "bf_max_attempts", 1, BF_MAX_ATTEMPTS, &job->max_attempts);
    bf_read_bytes(r, "bf_block", BF_REQUIRED, &job->block);
    bf_read_word(r, "bf_order_key", BF_OPTIONAL, bf_order_key_ok,
                 &job->order_key);
    bf_read_word(r, "bf_backend", BF_OPTIONAL, bf_backend_ok, &job->backend);
}

/* What the worker only hands on. */
static void job_read_luggage(struct bf_reader *r, struct bf_job *job)
{
    struct bf_slice traceparent = bf_record_get(r->rec, "traceparent");

    bf_read_word(r, "bf_batch", BF_OPTIONAL, bf_job_id_ok, &job->batch);
    bf_read_word(r, "bf_batch_index", BF_OPTIONAL, bf_batch_index_ok,
                 &job->batch_index);
    bf_read_word(r, "bf_callback_url", BF_OPTIONAL, url_ok, &job->callback_url);
    job_read_object(r, "bf_labels", labels_fit, &job->labels);
    job_read_object(r, "bf_context", context_fits, &job->context);
    bf_read_word(r, "bf_dead_of", BF_OPTIONAL, bf_hex128_ok, &job->dead_of);
    bf_read_bytes(r, "kafka_correlationId", BF_OPTIONAL, &job->correlation_id);
    if (traceparent_ok(traceparent))
        job->traceparent = traceparent;
}

static void job_read_inputs(struct bf_reader *r, struct bf_job *job)
{
    struct bf_slice value = r->rec->value;

    if (value.len == 0)
        bf_err_set(bf_reader_fail(r), BF_ERR_REJECT, "bad_record",
                   "the value, the block's inputs, is missing");
    else if (value.len > BF_MAX_INPUTS)
        bf_err_set(bf_reader_fail(r), BF_ERR_REJECT, "too_large",
                   "the inputs have more than %u bytes", BF_MAX_INPUTS);
    else
        job->inputs = value;
}

/* Rules about more than one header. */
static void job_check_pairs(struct bf_reader *r, const struct bf_job *job)
{
    const char *broken = NULL;

    if (job->expires_at_ms > job->accepted_at_ms + (int64_t)BF_MAX_EXPIRY_MS)
        broken = "bf_expires_at_ms is more than 8 days after ce_time";
    else if (job->expires_at_ms < job->not_before_ms)
        broken = "bf_expires_at_ms is before bf_not_before_ms";
    else if (!job->batch.ptr != !job->batch_index.ptr)
        broken = "bf_batch and bf_batch_index stand only together";
    if (broken)
        bf_err_set(bf_reader_fail(r), BF_ERR_REJECT, "bad_record", "%s",
                   broken);
}

static void job_event_id(const struct bf_job *job, char out[BF_HEX128_SIZE])
{
    struct bf_subject subject = {
        .workspace = job->workspace,
        .job = job->id,
        .generation = job->generation,
    };

    bf_event_id(BF_TYPE_JOB, &subject, out);
}

static void job_check_event_id(struct bf_reader *r, const struct bf_job *job)
{
    char id[BF_HEX128_SIZE];

    if (!job->workspace.ptr || !job->id.ptr)
        return;
    job_event_id(job, id);
    if (!bf_slice_is(bf_record_get(r->rec, "ce_id"), id))
        bf_err_set(bf_reader_fail(r), BF_ERR_REJECT, "bad_record",
                   "ce_id is not the job's event id");
}

int bf_job_parse(const struct bf_record *rec, struct bf_job *ret,
                 struct bf_err *err)
{
    struct bf_reader r = {.rec = rec, .err = err};
    struct bf_job job = {.id_origin = BF_ID_SERVER};

    job_read_identity(&r, &job);
    if (bf_envelope_check(rec, BF_TYPE_JOB, &job.accepted_at_ms,
                          r.failed ? NULL : err))
        r.failed = true;
    job_check_event_id(&r, &job);
    job_read_orders(&r, &job);
    job_read_luggage(&r, &job);
    job_read_inputs(&r, &job);
    if (!r.failed)
        job_check_pairs(&r, &job);
    *ret = job;
    return r.failed ? -1 : 0;
}

bool bf_job_placed(const struct bf_record *rec, const struct bf_job *job,
                   uint32_t spread, uint32_t shards)
{
    bool bad_order_key =
        !job->order_key.ptr && bf_record_find(rec, "bf_order_key");

    if (!bf_slice_eq(rec->key, job->workspace))
        return false;
    if (job->spread != 0 && job->spread != spread)
        return false;
    if (!job->id.ptr || bad_order_key || spread == 0)
        return true;
    return rec->partition == bf_partition(job->workspace, job->order_key,
                                          job->id, spread, shards);
}

static int job_put_orders(const struct bf_job *job, struct bf_record *rec,
                          struct bf_err *err)
{
    if (bf_record_pass(rec, "bf_kind", job->kind, err) ||
        bf_record_pass(rec, "bf_workspace", job->workspace, err) ||
        bf_record_pass(rec, "bf_job", job->id, err) ||
        bf_record_putu(rec, "bf_generation", job->generation, err) ||
        bf_record_puts(rec, "bf_id_origin", bf_id_origin_name(job->id_origin),
                       err) ||
        bf_record_putu(rec, "bf_spread", job->spread, err) ||
        bf_record_puts(rec, "bf_execution", bf_execution_name(job->execution),
                       err) ||
        bf_record_putu(rec, "bf_expires_at_ms", (uint64_t)job->expires_at_ms,
                       err))
        return -1;
    if (job->not_before_ms != 0 &&
        bf_record_putu(rec, "bf_not_before_ms", (uint64_t)job->not_before_ms,
                       err))
        return -1;
    if (bf_record_putu(rec, "bf_timeout_ms", job->timeout_ms, err) ||
        bf_record_putu(rec, "bf_max_attempts", job->max_attempts, err))
        return -1;
    return bf_record_pass(rec, "bf_block", job->block, err);
}

static int job_put_rest(const struct bf_job *job, struct bf_record *rec,
                        struct bf_err *err)
{
    const struct {
        const char *name;
        struct bf_slice value;
    } headers[] = {
        {"bf_order_key", job->order_key},
        {"bf_backend", job->backend},
        {"bf_batch", job->batch},
        {"bf_batch_index", job->batch_index},
        {"bf_callback_url", job->callback_url},
        {"bf_labels", job->labels},
        {"bf_context", job->context},
        {"bf_dead_of", job->dead_of},
        {"kafka_correlationId", job->correlation_id},
        {"traceparent", job->traceparent},
    };

    for (size_t i = 0; i < bf_countof(headers); i++) {
        if (bf_record_pass(rec, headers[i].name, headers[i].value, err))
            return -1;
    }
    return 0;
}

int bf_job_build(const struct bf_job *job, const char *fleet,
                 struct bf_record *rec, struct bf_err *err)
{
    char id[BF_HEX128_SIZE], subject[BF_SUBJECT_SIZE];
    struct bf_envelope env = {
        .type = BF_TYPE_JOB,
        .id = id,
        .fleet = fleet,
        .at_ms = job->accepted_at_ms,
        .subject = subject,
    };
    struct bf_job check;

    job_event_id(job, id);
    bf_subject_text(job->workspace, job->id, subject);
    rec->key = job->workspace;
    rec->value = job->inputs;
    if (bf_envelope_put(rec, &env, err) || job_put_orders(job, rec, err) ||
        job_put_rest(job, rec, err))
        return -1;
    return bf_job_parse(rec, &check, err);
}
