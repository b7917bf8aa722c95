#include "schemas/control.h"

#include "schemas/envelope.h"
#include "schemas/err.h"
#include "schemas/json.h"

#define CONTROL_VALUE_MAX (BF_MAX_RECORD_SMALL - 8192) /* headers beside it */
#define CONTROL_MAX_ENDS ((size_t)BF_LANES * BF_MAX_SHARDS)

static const char *const control_names[] = {
#define X(id, name) [BF_CONTROL_##id] = (name),
    BF_CONTROL_TABLE(X)
#undef X
};
_Static_assert(bf_countof(control_names) == BF_CONTROLS, "a name each");

enum {
    HAS_JOB = 1,
    HAS_GENERATION = 2,
    HAS_BATCH = 4,
    HAS_COUNT = 8,
    HAS_ENDS = 16,
    HAS_UNTIL = 32,
    HAS_DEAD_LETTER = 64,
    HAS_MAX_FAILURE = 128,
};

/* Which members may stand together. */
static const struct {
    enum bf_control_kind kind;
    unsigned int members;
} control_forms[] = {
    {BF_CONTROL_CANCEL, HAS_JOB | HAS_UNTIL},
    {BF_CONTROL_CANCEL, HAS_JOB | HAS_GENERATION | HAS_UNTIL},
    {BF_CONTROL_CANCEL, HAS_BATCH | HAS_ENDS | HAS_UNTIL},
    {BF_CONTROL_CANCEL, HAS_ENDS | HAS_UNTIL},
    {BF_CONTROL_REPLAY, HAS_JOB | HAS_GENERATION | HAS_DEAD_LETTER},
    {BF_CONTROL_BATCH_OPEN, HAS_BATCH | HAS_UNTIL},
    {BF_CONTROL_BATCH_OPEN, HAS_BATCH | HAS_UNTIL | HAS_MAX_FAILURE},
    {BF_CONTROL_BATCH_SEAL, HAS_BATCH | HAS_COUNT},
    {BF_CONTROL_PAUSE, HAS_UNTIL},
    {BF_CONTROL_PAUSE, 0},
    {BF_CONTROL_RESUME, 0},
};

const char *bf_control_name(enum bf_control_kind kind)
{
    bf_assert(kind < BF_CONTROLS);
    return control_names[kind];
}

int bf_control_kind_parse(struct bf_slice name)
{
    for (int i = 0; i < BF_CONTROLS; i++) {
        if (bf_slice_is(name, control_names[i]))
            return i;
    }
    return -1;
}

void bf_control_release(struct bf_control *control)
{
    json_decref(control->doc);
    control->doc = NULL;
    free(control->owned_ends);
    control->owned_ends = NULL;
}

static int control_bad(struct bf_err *err, const char *what)
{
    return bf_err_set(err, BF_ERR_REJECT, "bad_control", "%s", what);
}

static unsigned int control_members(const struct bf_control *control)
{
    return (control->job.ptr ? HAS_JOB : 0U) |
           (control->has_generation ? HAS_GENERATION : 0U) |
           (control->batch.ptr ? HAS_BATCH : 0U) |
           (control->has_count ? HAS_COUNT : 0U) |
           (control->has_ends ? HAS_ENDS : 0U) |
           (control->until_ms > 0 ? HAS_UNTIL : 0U) |
           (control->dead_letter.ptr ? HAS_DEAD_LETTER : 0U) |
           (control->has_max_failure ? HAS_MAX_FAILURE : 0U);
}

static int ends_check(const struct bf_control *control, struct bf_err *err)
{
    for (size_t i = 0; i < control->nends; i++) {
        const struct bf_control_end *end = &control->ends[i];
        const struct bf_control_end *last = i > 0 ? end - 1 : NULL;

        if (end->partition < 0 || end->partition >= (int32_t)BF_MAX_SHARDS ||
            end->end < 0)
            return control_bad(err, "ends has a number out of range");
        if (last &&
            (end->lane < last->lane ||
             (end->lane == last->lane && end->partition <= last->partition)))
            return control_bad(err, "ends is not in ascending order");
    }
    return 0;
}

/* The rules about whole controls, for those in and those out. */
static int control_check(const struct bf_control *control, struct bf_err *err)
{
    unsigned int members = control_members(control);

    if (!bf_workspace_ok(control->workspace) || !bf_job_id_ok(control->id))
        return control_bad(err, "bf_workspace or bf_control_id is ill-formed");
    if ((control->job.ptr && !bf_job_id_ok(control->job)) ||
        (control->batch.ptr && !bf_job_id_ok(control->batch)) ||
        (control->dead_letter.ptr && !bf_hex128_ok(control->dead_letter)))
        return control_bad(err, "job, batch or dead_letter is ill-formed");
    if (control->has_count && control->count < 0)
        return control_bad(err, "count is negative");
    if (control->max_failure_ppm > BF_PPM)
        return control_bad(err, "max_failure_ppm is over a million");
    for (size_t i = 0; i < bf_countof(control_forms); i++) {
        if (control_forms[i].kind == control->kind &&
            control_forms[i].members == members)
            return ends_check(control, err);
    }
    return bf_err_set(err, BF_ERR_REJECT, "bad_control",
                      "%s does not have just these members",
                      bf_control_name(control->kind));
}

static void put_ends(struct bf_json_out *out, const struct bf_control *control)
{
    bf_json_open(out, "ends", '{');
    for (size_t i = 0; i < control->nends; i++) {
        const struct bf_control_end *end = &control->ends[i];

        if (i == 0 || end[-1].lane != end->lane)
            bf_json_open(out, bf_lane_name(end->lane), '[');
        bf_json_open(out, NULL, '[');
        bf_json_int(out, NULL, end->partition);
        bf_json_int(out, NULL, end->end);
        bf_json_close(out, ']');
        if (i + 1 == control->nends || end[1].lane != end->lane)
            bf_json_close(out, ']');
    }
    bf_json_close(out, '}');
}

static int control_put_value(const struct bf_control *control,
                             struct bf_record *rec, struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(CONTROL_VALUE_MAX);
    struct bf_json_out out;

    bf_json_start(&out, &text, err);
    bf_json_open(&out, NULL, '{');
    bf_json_int(&out, "v", 1);
    if (control->job.ptr)
        bf_json_text(&out, "job", control->job);
    if (control->has_generation)
        bf_json_int(&out, "generation", control->generation);
    if (control->batch.ptr)
        bf_json_text(&out, "batch", control->batch);
    if (control->has_count)
        bf_json_int(&out, "count", control->count);
    if (control->has_ends)
        put_ends(&out, control);
    if (control->until_ms > 0)
        bf_json_time(&out, "until", control->until_ms);
    if (control->dead_letter.ptr)
        bf_json_text(&out, "dead_letter", control->dead_letter);
    if (control->has_max_failure)
        bf_json_int(&out, "max_failure_ppm", control->max_failure_ppm);
    bf_json_close(&out, '}');
    if (bf_json_done(&out))
        return -1;
    return bf_record_own(rec, bf_buf_slice(&text), &rec->value, err);
}

static void control_id(const struct bf_control *control,
                       char out[BF_HEX128_SIZE])
{
    bf_event_id_of(BF_TYPE_CONTROL, control->workspace, "control", &control->id,
                   1, out);
}

int bf_control_build(const struct bf_control *control, const char *fleet,
                     struct bf_record *rec, struct bf_err *err)
{
    char id[BF_HEX128_SIZE], subject[BF_SUBJECT_SIZE];
    struct bf_envelope env = {
        .type = BF_TYPE_CONTROL,
        .id = id,
        .fleet = fleet,
        .at_ms = control->at_ms,
        .subject = subject,
    };

    if (control_check(control, err))
        return -1;
    control_id(control, id);
    bf_subject_text(control->workspace, control->id, subject);
    if (control_put_value(control, rec, err) ||
        bf_record_own(rec, control->workspace, &rec->key, err) ||
        bf_envelope_put(rec, &env, err) ||
        bf_record_put(rec, "bf_workspace", control->workspace, err) ||
        bf_record_puts(rec, "bf_control", bf_control_name(control->kind), err))
        return -1;
    return bf_record_put(rec, "bf_control_id", control->id, err);
}

/* One [partition, end]. */
static bool end_read(const json_t *pair, enum bf_lane lane,
                     struct bf_control_end *ret)
{
    const json_t *partition = json_array_get(pair, 0);
    const json_t *end = json_array_get(pair, 1);

    if (json_array_size(pair) != 2 || !json_is_integer(partition) ||
        !json_is_integer(end) || json_integer_value(partition) < 0 ||
        json_integer_value(partition) >= BF_MAX_SHARDS)
        return false;
    ret->lane = lane;
    ret->partition = (int32_t)json_integer_value(partition);
    ret->end = json_integer_value(end);
    return true;
}

/* The ends of a lane, behind those that are there. */
static bool ends_read_lane(const json_t *list, enum bf_lane lane,
                           struct bf_control *control)
{
    size_t n = json_array_size(list);

    if (!json_is_array(list) || n == 0 || n > BF_MAX_SHARDS)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!end_read(json_array_get(list, i), lane,
                      &control->owned_ends[control->nends]))
            return false;
        control->nends++;
    }
    return true;
}

static void ends_read(struct bf_json_in *in, struct bf_control *control)
{
    const json_t *ends = bf_json_get_object(in, "ends", false);
    size_t known = 0;

    control->has_ends = true;
    control->owned_ends =
        calloc(CONTROL_MAX_ENDS, sizeof(*control->owned_ends));
    if (!control->owned_ends) {
        bf_err_oom(in->failed ? NULL : in->err);
        in->failed = true;
        return;
    }
    for (int i = 0; i < BF_LANES; i++) {
        const char *name = bf_lane_name((enum bf_lane)i);
        const json_t *list = json_object_get(ends, name);

        if (list && !ends_read_lane(list, (enum bf_lane)i, control))
            bf_json_get_fail(in, name, "is not a list of [partition, end]");
        known += list ? 1 : 0;
    }
    if (known != json_object_size(ends))
        bf_json_get_fail(in, "ends", "has an unknown lane");
    control->ends = control->owned_ends;
}

static bool control_has(const struct bf_control *control, const char *name)
{
    return json_object_get(control->doc, name);
}

static int control_read_value(struct bf_control *control, struct bf_err *err)
{
    struct bf_json_in in;

    bf_json_begin(&in, control->doc, "bad_control", err);
    bf_json_get_int(&in, "v", 1, 1);
    if (control_has(control, "job"))
        control->job = bf_json_get_text(&in, "job");
    if (control_has(control, "batch"))
        control->batch = bf_json_get_text(&in, "batch");
    if (control_has(control, "dead_letter"))
        control->dead_letter = bf_json_get_text(&in, "dead_letter");
    if (control_has(control, "until"))
        control->until_ms = bf_json_get_time(&in, "until");
    control->has_generation = control_has(control, "generation");
    if (control->has_generation)
        control->generation =
            (uint32_t)bf_json_get_int(&in, "generation", 0, UINT32_MAX);
    control->has_count = control_has(control, "count");
    if (control->has_count)
        control->count = bf_json_get_int(&in, "count", 0, INT64_MAX);
    control->has_max_failure = control_has(control, "max_failure_ppm");
    if (control->has_max_failure)
        control->max_failure_ppm =
            (uint32_t)bf_json_get_int(&in, "max_failure_ppm", 0, BF_PPM);
    if (control_has(control, "ends"))
        ends_read(&in, control);
    return bf_json_end(&in);
}

static int control_read_head(const struct bf_record *rec,
                             struct bf_control *control, struct bf_err *err)
{
    struct bf_reader r = {.rec = rec, .err = err};
    char id[BF_HEX128_SIZE];
    int kind = 0;

    if (bf_envelope_check(rec, BF_TYPE_CONTROL, &control->at_ms, err))
        return -1;
    bf_read_word(&r, "bf_workspace", BF_REQUIRED, bf_workspace_ok,
                 &control->workspace);
    bf_read_enum(&r, "bf_control", bf_control_kind_parse, &kind);
    bf_read_word(&r, "bf_control_id", BF_REQUIRED, bf_job_id_ok, &control->id);
    if (r.failed)
        return -1;
    control->kind = (enum bf_control_kind)kind;
    control_id(control, id);
    if (!bf_slice_is(bf_record_get(rec, "ce_id"), id))
        return control_bad(err, "ce_id is not the control's event id");
    if (!bf_slice_eq(rec->key, control->workspace))
        return control_bad(err, "the key is not the workspace");
    return 0;
}

int bf_control_parse(const struct bf_record *rec, struct bf_control *ret,
                     struct bf_err *err)
{
    struct bf_control control = {0};
    int rc = control_read_head(rec, &control, err);

    if (rc == 0) {
        control.doc = bf_json_parse(rec->value, BF_MAX_RECORD_SMALL, err);
        rc = control.doc ? 0 : -1;
    }
    if (rc && err && err->kind == BF_ERR_REJECT)
        err->code = "bad_control";
    if (rc == 0 &&
        (control_read_value(&control, err) || control_check(&control, err)))
        rc = -1;
    if (rc) {
        bf_control_release(&control);
        return -1;
    }
    *ret = control;
    return 0;
}
