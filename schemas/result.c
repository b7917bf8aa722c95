#include "schemas/result.h"

#include "schemas/envelope.h"
#include "schemas/err.h"
#include "schemas/json.h"
#include "schemas/utf8.h"

/* Ceilings of a report's strings as escaped, PROTOCOL.md §5.3. */
#define REPORT_MAX_MESSAGE 1024
#define REPORT_MAX_ERROR 16384
#define REPORT_MAX_NAME 256
#define REPORT_MAX_STREAM 49152

_Static_assert(REPORT_MAX_MESSAGE + REPORT_MAX_ERROR + 3 * REPORT_MAX_NAME +
                       2 * REPORT_MAX_STREAM + 1024 <=
                   BF_MAX_REPORT,
               "a report fits its header, its member names too");

#define USAGE_MAX (64U << 10)

static struct bf_subject end_subject(const struct bf_end *end)
{
    return (struct bf_subject){
        .workspace = end->job->workspace,
        .job = end->job->id,
        .generation = end->job->generation,
        .attempt = end->attempt,
    };
}

/* Key and common headers; the value is there already. */
static int end_put_envelope(const struct bf_end *end, enum bf_type type,
                            const char *fleet, struct bf_record *rec,
                            struct bf_err *err)
{
    struct bf_subject about = end_subject(end);
    char id[BF_HEX128_SIZE], subject[BF_SUBJECT_SIZE];
    struct bf_envelope env = {
        .type = type,
        .id = id,
        .fleet = fleet,
        .at_ms = end->ended_at_ms,
        .subject = subject,
    };

    bf_assert(bf_workspace_ok(about.workspace) && bf_job_id_ok(about.job) &&
              end->attempt > 0);
    bf_event_id(type, &about, id);
    bf_subject_text(about.workspace, about.job, subject);
    if (bf_record_own(rec, about.workspace, &rec->key, err))
        return -1;
    return bf_envelope_put(rec, &env, err);
}

static void report_text(struct bf_json_out *out, const char *name,
                        struct bf_slice text, size_t max)
{
    if (text.ptr)
        bf_json_text_max(out, name, text, max);
}

static void report_streams(struct bf_json_out *out,
                           const struct bf_report *report)
{
    bool out_cut = report->standard_output_truncated;
    bool err_cut = report->standard_error_truncated;

    if (report->standard_output.ptr)
        out_cut |= bf_json_text_max(out, "stdout", report->standard_output,
                                    REPORT_MAX_STREAM);
    if (report->standard_error.ptr)
        err_cut |= bf_json_text_max(out, "stderr", report->standard_error,
                                    REPORT_MAX_STREAM);
    if (out_cut)
        bf_json_bool(out, "stdout_truncated", true);
    if (err_cut)
        bf_json_bool(out, "stderr_truncated", true);
}

static int report_put(const struct bf_report *report, struct bf_record *rec,
                      struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(BF_MAX_REPORT);
    struct bf_json_out out;

    bf_json_start(&out, &text, err);
    bf_json_open(&out, NULL, '{');
    report_text(&out, "message", report->message, REPORT_MAX_MESSAGE);
    report_text(&out, "error", report->error, REPORT_MAX_ERROR);
    report_text(&out, "error_type", report->error_type, REPORT_MAX_NAME);
    if (report->line_number > 0)
        bf_json_int(&out, "line_number", report->line_number);
    report_text(&out, "function_name", report->function_name, REPORT_MAX_NAME);
    report_streams(&out, report);
    if (report->execution_us > 0)
        bf_json_seconds(&out, "execution_time_seconds", report->execution_us);
    report_text(&out, "code_hash", report->code_hash, REPORT_MAX_NAME);
    bf_json_close(&out, '}');
    if (bf_json_done(&out))
        return -1;
    return bf_record_put(rec, "bf_report", bf_buf_slice(&text), err);
}

/* A string of ours, when there is one. */
static int put_known(struct bf_record *rec, const char *name, const char *value,
                     struct bf_err *err)
{
    return value ? bf_record_puts(rec, name, value, err) : 0;
}

/* A copy of the job's header, when it had one. */
static int put_copy(struct bf_record *rec, const char *name,
                    struct bf_slice value, struct bf_err *err)
{
    return value.ptr ? bf_record_put(rec, name, value, err) : 0;
}

static int put_job(struct bf_record *rec, const struct bf_job *job,
                   struct bf_err *err)
{
    if (bf_record_put(rec, "bf_workspace", job->workspace, err))
        return -1;
    return bf_record_put(rec, "bf_job", job->id, err);
}

static int result_put_verdict(const struct bf_end *end, struct bf_record *rec,
                              struct bf_err *err)
{
    const struct bf_job *job = end->job;

    if (put_job(rec, job, err) ||
        bf_record_putu(rec, "bf_generation", job->generation, err) ||
        bf_record_putu(rec, "bf_attempt", end->attempt, err) ||
        bf_record_puts(rec, "bf_execution", bf_execution_name(job->execution),
                       err) ||
        bf_record_puts(rec, "bf_outcome", bf_outcome_name(end->outcome), err) ||
        bf_record_puts(rec, "bf_delivery", bf_delivery_name(end->delivery),
                       err))
        return -1;
    if (end->reason == BF_REASON_NONE)
        return 0;
    return bf_record_puts(rec, "bf_reason", bf_reason_name(end->reason), err);
}

static int result_put_usage_id(const struct bf_end *end, struct bf_record *rec,
                               struct bf_err *err)
{
    struct bf_subject subject = end_subject(end);
    char id[BF_HEX128_SIZE];

    if (!end->has_usage)
        return 0;
    bf_event_id(BF_TYPE_USAGE, &subject, id);
    return bf_record_puts(rec, "bf_usage_id", id, err);
}

static int result_put_run(const struct bf_end *end, struct bf_record *rec,
                          struct bf_err *err)
{
    if (put_known(rec, "bf_run_id", end->run_id, err) ||
        result_put_usage_id(end, rec, err))
        return -1;
    if (!end->run_id)
        return 0;
    if (put_known(rec, "bf_backend", end->backend, err) ||
        put_known(rec, "bf_isolation", end->isolation, err))
        return -1;
    if (end->started_at_ms > 0 &&
        bf_record_putu(rec, "bf_started_at_ms", (uint64_t)end->started_at_ms,
                       err))
        return -1;
    return bf_record_putu(rec, "bf_ended_at_ms", (uint64_t)end->ended_at_ms,
                          err);
}

static int result_put_source(const struct bf_end *end, struct bf_record *rec,
                             struct bf_err *err)
{
    const struct bf_record *source = end->source;

    bf_assert(source->partition >= 0 && source->offset >= 0);
    if (bf_record_puts(rec, "bf_worker", end->worker, err) ||
        bf_record_puts(rec, "bf_source_topic", source->topic, err) ||
        bf_record_putu(rec, "bf_source_partition", (uint64_t)source->partition,
                       err))
        return -1;
    return bf_record_putu(rec, "bf_source_offset", (uint64_t)source->offset,
                          err);
}

static int result_put_dead(const struct bf_end *end, struct bf_record *rec,
                           struct bf_err *err)
{
    char id[BF_HEX128_SIZE];

    if (!end->has_dead_letter)
        return 0;
    bf_event_id_dead(end->job->workspace, end->source->topic,
                     end->source->partition, end->source->offset, id);
    return bf_record_puts(rec, "bf_dead_letter", id, err);
}

static int result_put_luggage(const struct bf_job *job, struct bf_record *rec,
                              struct bf_err *err)
{
    if (put_copy(rec, "bf_batch", job->batch, err) ||
        put_copy(rec, "bf_batch_index", job->batch_index, err) ||
        put_copy(rec, "bf_labels", job->labels, err) ||
        put_copy(rec, "kafka_correlationId", job->correlation_id, err))
        return -1;
    return put_copy(rec, "traceparent", job->traceparent, err);
}

int bf_result_build(const struct bf_end *end, const char *fleet,
                    struct bf_record *rec, struct bf_err *err)
{
    rec->value = BF_SLICE_LIT("");
    if (end->outcome == BF_OUTCOME_SUCCEEDED && end->result.ptr)
        rec->value = end->result;
    if (rec->value.len > BF_MAX_RESULT)
        return bf_err_set(err, BF_ERR_REJECT, "too_large",
                          "the result has more than %u bytes", BF_MAX_RESULT);
    if (end_put_envelope(end, BF_TYPE_RESULT, fleet, rec, err) ||
        result_put_verdict(end, rec, err) || result_put_run(end, rec, err) ||
        result_put_source(end, rec, err) ||
        report_put(&end->report, rec, err) || result_put_dead(end, rec, err))
        return -1;
    return result_put_luggage(end->job, rec, err);
}

static void usage_micros(struct bf_json_out *out, const char *name,
                         int64_t micros)
{
    if (micros > 0)
        bf_json_seconds(out, name, micros);
    else
        bf_json_null(out, name);
}

static void usage_what(struct bf_json_out *out, const struct bf_end *end)
{
    const struct bf_job *job = end->job;

    bf_json_text(out, "workspace", job->workspace);
    bf_json_text(out, "job", job->id);
    bf_json_int(out, "generation", job->generation);
    bf_json_int(out, "attempt", end->attempt);
    bf_json_str(out, "run_id", end->run_id);
    bf_json_str(out, "kind", "run");
    bf_json_str(out, "block_type", end->block_type);
    bf_json_str(out, "fingerprint", end->fingerprint);
    bf_json_str(out, "backend", end->backend);
    bf_json_str(out, "isolation", end->isolation);
    if (end->provider) {
        bf_json_strings(out, "provider", end->provider);
    } else {
        bf_json_open(out, "provider", '{');
        bf_json_close(out, '}');
    }
}

static void usage_how(struct bf_json_out *out, const struct bf_end *end)
{
    bool none = end->reason == BF_REASON_NONE;

    bf_json_str(out, "execution", bf_execution_name(end->job->execution));
    bf_json_str(out, "outcome", bf_outcome_name(end->outcome));
    bf_json_str(out, "reason", none ? NULL : bf_reason_name(end->reason));
    bf_json_str(out, "delivery", bf_delivery_name(end->delivery));
    if (end->started_at_ms > 0)
        bf_json_time(out, "started_at", end->started_at_ms);
    else
        bf_json_null(out, "started_at");
    bf_json_time(out, "ended_at", end->ended_at_ms);
}

static void usage_how_much(struct bf_json_out *out, const struct bf_end *end)
{
    bool succeeded = end->outcome == BF_OUTCOME_SUCCEEDED;

    bf_json_bool(out, "billable",
                 end->billable && end->delivery == BF_DELIVERY_RAN);
    bf_json_count(out, "runs", end->delivery != BF_DELIVERY_DID_NOT_RUN);
    bf_json_seconds(out, "duration_seconds", end->duration_us);
    usage_micros(out, "execution_seconds", end->report.execution_us);
    bf_json_count(out, "input_bytes", end->job->inputs.len);
    bf_json_count(out, "output_bytes", succeeded ? end->result.len : 0);
    usage_micros(out, "vcpu_seconds", end->vcpu_us);
    usage_micros(out, "memory_gib_seconds", end->memory_gib_us);
}

int bf_usage_build(const struct bf_end *end, const char *fleet,
                   struct bf_record *rec, struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(USAGE_MAX);
    struct bf_json_out out;

    bf_assert(end->run_id);
    /* All that most of them need, at once. */
    if (bf_buf_reserve(&text, 1024, err))
        return -1;
    bf_json_start(&out, &text, err);
    bf_json_open(&out, NULL, '{');
    usage_what(&out, end);
    usage_how(&out, end);
    usage_how_much(&out, end);
    bf_json_close(&out, '}');
    if (bf_json_done(&out) ||
        bf_record_own(rec, bf_buf_slice(&text), &rec->value, err) ||
        end_put_envelope(end, BF_TYPE_USAGE, fleet, rec, err) ||
        put_job(rec, end->job, err))
        return -1;
    return bf_record_puts(rec, "bf_run_id", end->run_id, err);
}

static void callback_data(struct bf_json_out *out, const struct bf_end *end)
{
    struct bf_subject subject = end_subject(end);
    bool none = end->reason == BF_REASON_NONE;
    char id[BF_HEX128_SIZE];

    bf_event_id(BF_TYPE_RESULT, &subject, id);
    bf_json_open(out, "data", '{');
    bf_json_text(out, "workspace", subject.workspace);
    bf_json_text(out, "job", subject.job);
    bf_json_int(out, "generation", subject.generation);
    bf_json_int(out, "attempt", subject.attempt);
    bf_json_str(out, "outcome", bf_outcome_name(end->outcome));
    bf_json_str(out, "reason", none ? NULL : bf_reason_name(end->reason));
    bf_json_str(out, "delivery", bf_delivery_name(end->delivery));
    bf_json_str(out, "result_id", id);
    bf_json_close(out, '}');
}

int bf_callback_build(const struct bf_end *end, const char *fleet,
                      struct bf_record *rec, struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(USAGE_MAX);
    struct bf_json_out out;

    bf_assert(end->job->callback_url.ptr);
    bf_json_start(&out, &text, err);
    bf_json_open(&out, NULL, '{');
    bf_json_str(&out, "type", "job.completed");
    bf_json_time(&out, "timestamp", end->ended_at_ms);
    callback_data(&out, end);
    bf_json_close(&out, '}');
    if (bf_json_done(&out) ||
        bf_record_own(rec, bf_buf_slice(&text), &rec->value, err) ||
        end_put_envelope(end, BF_TYPE_CALLBACK, fleet, rec, err) ||
        put_job(rec, end->job, err) ||
        bf_record_putu(rec, "bf_generation", end->job->generation, err))
        return -1;
    return bf_record_put(rec, "bf_callback_url", end->job->callback_url, err);
}

/* No reason has no header. */
static int result_reason(struct bf_slice word)
{
    int reason = bf_reason_parse(word);

    return reason == BF_REASON_NONE ? -1 : reason;
}

static void result_read_verdict(struct bf_reader *r, struct bf_result *ret)
{
    int outcome = 0, delivery = 0, execution = 0, reason = BF_REASON_NONE;

    bf_read_word(r, "bf_workspace", BF_REQUIRED, bf_workspace_ok,
                 &ret->subject.workspace);
    bf_read_word(r, "bf_job", BF_REQUIRED, bf_job_id_ok, &ret->subject.job);
    bf_read_u32(r, "bf_generation", 0, UINT32_MAX, &ret->subject.generation);
    bf_read_u32(r, "bf_attempt", 1, UINT32_MAX, &ret->subject.attempt);
    bf_read_enum(r, "bf_execution", bf_execution_parse, &execution);
    bf_read_enum(r, "bf_outcome", bf_outcome_parse, &outcome);
    bf_read_enum(r, "bf_delivery", bf_delivery_parse, &delivery);
    if (bf_record_find(r->rec, "bf_reason"))
        bf_read_enum(r, "bf_reason", result_reason, &reason);
    ret->execution = (enum bf_execution)execution;
    ret->outcome = (enum bf_outcome)outcome;
    ret->delivery = (enum bf_delivery)delivery;
    ret->reason = (enum bf_reason)reason;
}

static void result_read_run(struct bf_reader *r, struct bf_result *ret)
{
    bf_read_word(r, "bf_run_id", BF_OPTIONAL, bf_hex128_ok, &ret->run_id);
    bf_read_word(r, "bf_usage_id", BF_OPTIONAL, bf_hex128_ok, &ret->usage_id);
    bf_read_word(r, "bf_backend", BF_OPTIONAL, bf_backend_ok, &ret->backend);
    bf_read_word(r, "bf_isolation", BF_OPTIONAL, bf_utf8_ok, &ret->isolation);
    bf_read_i64(r, "bf_started_at_ms", BF_OPTIONAL, BF_MAX_TIME_MS - 1,
                &ret->started_at_ms);
    bf_read_i64(r, "bf_ended_at_ms", BF_OPTIONAL, BF_MAX_TIME_MS - 1,
                &ret->ended_at_ms);
    bf_read_word(r, "bf_worker", BF_REQUIRED, bf_txn_id_ok, &ret->worker);
}

static void result_read_rest(struct bf_reader *r, struct bf_result *ret)
{
    int64_t partition = 0;

    bf_read_bytes(r, "bf_source_topic", BF_REQUIRED, &ret->source_topic);
    bf_read_i64(r, "bf_source_partition", BF_REQUIRED, INT32_MAX, &partition);
    ret->source_partition = (int32_t)partition;
    bf_read_i64(r, "bf_source_offset", BF_REQUIRED, INT64_MAX,
                &ret->source_offset);
    bf_read_bytes(r, "bf_report", BF_REQUIRED, &ret->report);
    bf_read_word(r, "bf_dead_letter", BF_OPTIONAL, bf_hex128_ok,
                 &ret->dead_letter);
    bf_read_word(r, "bf_batch", BF_OPTIONAL, bf_job_id_ok, &ret->batch);
    bf_read_word(r, "bf_batch_index", BF_OPTIONAL, bf_batch_index_ok,
                 &ret->batch_index);
    bf_read_bytes(r, "bf_labels", BF_OPTIONAL, &ret->labels);
    bf_read_bytes(r, "kafka_correlationId", BF_OPTIONAL, &ret->correlation_id);
}

static void result_check_report(struct bf_reader *r,
                                const struct bf_result *ret)
{
    struct bf_err why = {0};
    bf_autojson json_t *doc =
        bf_json_parse_nul(ret->report, BF_MAX_REPORT, &why);

    if (!doc)
        bf_err_set(bf_reader_fail(r), why.kind,
                   why.kind == BF_ERR_REJECT ? "bad_record" : why.code,
                   "bf_report: %s", why.msg);
}

static void result_check(struct bf_reader *r, struct bf_result *ret)
{
    const char *broken = NULL;
    char id[BF_HEX128_SIZE];

    bf_event_id(BF_TYPE_RESULT, &ret->subject, id);
    ret->id = bf_record_get(r->rec, "ce_id");
    ret->value = r->rec->value;
    if (!bf_slice_is(ret->id, id))
        broken = "ce_id is not the result's event id";
    else if (!bf_slice_eq(r->rec->key, ret->subject.workspace))
        broken = "the key is not the workspace";
    else if (!ret->value.ptr)
        broken = "the value is null";
    else if (ret->outcome != BF_OUTCOME_SUCCEEDED && ret->value.len > 0)
        broken = "only a success has a value";
    if (broken)
        bf_err_set(bf_reader_fail(r), BF_ERR_REJECT, "bad_record", "%s",
                   broken);
}

int bf_result_parse(const struct bf_record *rec, struct bf_result *ret,
                    struct bf_err *err)
{
    struct bf_reader r = {.rec = rec, .err = err};
    struct bf_result result = {0};

    if (bf_envelope_check(rec, BF_TYPE_RESULT, &result.at_ms, err))
        return -1;
    result_read_verdict(&r, &result);
    result_read_run(&r, &result);
    result_read_rest(&r, &result);
    if (!r.failed)
        result_check(&r, &result);
    if (!r.failed)
        result_check_report(&r, &result);
    if (r.failed)
        return -1;
    *ret = result;
    return 0;
}
