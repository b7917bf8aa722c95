#include "schemas/event.h"

#include "schemas/envelope.h"
#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/json.h"

#define EVENT_VALUE_MAX (BF_MAX_RECORD_SMALL - 8192) /* headers beside it */

static const char *const event_names[] = {
#define X(id, name, text) [BF_EVENT_##id] = (name),
    BF_EVENT_TABLE(X)
#undef X
};
_Static_assert(bf_countof(event_names) == BF_EVENTS, "a name each");

const char *bf_event_name(enum bf_event_kind kind)
{
    bf_assert(kind < BF_EVENTS);
    return event_names[kind];
}

int bf_event_kind_parse(struct bf_slice name)
{
    for (int i = 0; i < BF_EVENTS; i++) {
        if (bf_slice_is(name, event_names[i]))
            return i;
    }
    return -1;
}

void bf_event_release(struct bf_event *event)
{
    json_decref(event->doc);
    event->doc = NULL;
}

static void event_id(const struct bf_event *event, char out[BF_HEX128_SIZE])
{
    const struct bf_subject *about = &event->subject;
    char numbers[3][24];
    struct bf_slice parts[] = {
        about->job,      {numbers[0], 0},
        {numbers[1], 0}, bf_slice_str(bf_event_name(event->kind)),
        {numbers[2], 0},
    };

    parts[1].len = (size_t)snprintf(numbers[0], sizeof(numbers[0]), "%u",
                                    about->generation);
    parts[2].len =
        (size_t)snprintf(numbers[1], sizeof(numbers[1]), "%u", about->attempt);
    parts[4].len = (size_t)snprintf(numbers[2], sizeof(numbers[2]), "%llu",
                                    (unsigned long long)event->seq);
    bf_event_id_of(BF_TYPE_EVENT, about->workspace, "job", parts,
                   bf_countof(parts), out);
}

static void event_value(struct bf_json_out *out, const struct bf_event *event)
{
    bf_json_open(out, NULL, '{');
    bf_json_int(out, "v", 1);
    bf_json_text(out, "workspace", event->subject.workspace);
    bf_json_text(out, "job", event->subject.job);
    bf_json_int(out, "generation", event->subject.generation);
    bf_json_int(out, "attempt", event->subject.attempt);
    bf_json_str(out, "event", bf_event_name(event->kind));
    bf_json_int(out, "seq", (int64_t)event->seq);
    bf_json_time(out, "at", event->at_ms);
    if (event->data) {
        bf_json_value(out, "data", event->data);
    } else {
        bf_json_open(out, "data", '{');
        bf_json_close(out, '}');
    }
    bf_json_close(out, '}');
}

int bf_event_build(const struct bf_event *event, const char *fleet,
                   struct bf_record *rec, struct bf_err *err)
{
    const struct bf_subject *about = &event->subject;
    bf_autobuf struct bf_buf text = BF_BUF_INIT(EVENT_VALUE_MAX);
    char id[BF_HEX128_SIZE], subject[BF_SUBJECT_SIZE];
    struct bf_envelope env = {
        .type = BF_TYPE_EVENT,
        .id = id,
        .fleet = fleet,
        .at_ms = event->at_ms,
        .subject = subject,
    };
    struct bf_json_out out;

    bf_assert(bf_workspace_ok(about->workspace) && bf_job_id_ok(about->job) &&
              event->seq <= INT64_MAX);
    bf_json_start(&out, &text, err);
    event_value(&out, event);
    event_id(event, id);
    bf_subject_text(about->workspace, about->job, subject);
    if (bf_json_done(&out) ||
        bf_record_own(rec, bf_buf_slice(&text), &rec->value, err) ||
        bf_record_own(rec, about->workspace, &rec->key, err))
        return -1;
    return bf_envelope_put(rec, &env, err);
}

static void event_read_words(struct bf_json_in *in, struct bf_event *event)
{
    int kind;

    bf_json_get_int(in, "v", 1, 1);
    event->subject.workspace =
        bf_json_get_word(in, "workspace", bf_workspace_ok);
    event->subject.job = bf_json_get_word(in, "job", bf_job_id_ok);
    kind = bf_event_kind_parse(bf_json_get_text(in, "event"));
    if (kind < 0)
        bf_json_get_fail(in, "event", "is not a known word");
    else
        event->kind = (enum bf_event_kind)kind;
}

static int event_read(const struct bf_record *rec, struct bf_event *event,
                      struct bf_err *err)
{
    char id[BF_HEX128_SIZE];
    struct bf_json_in in;

    bf_json_begin(&in, event->doc, "bad_record", err);
    event_read_words(&in, event);
    event->subject.generation =
        (uint32_t)bf_json_get_int(&in, "generation", 0, UINT32_MAX);
    event->subject.attempt =
        (uint32_t)bf_json_get_int(&in, "attempt", 1, UINT32_MAX);
    event->seq = (uint64_t)bf_json_get_int(&in, "seq", 0, INT64_MAX);
    event->at_ms = bf_json_get_time(&in, "at");
    event->data = bf_json_get_object(&in, "data", false);
    if (bf_json_end(&in))
        return -1;
    event_id(event, id);
    if (!bf_slice_is(bf_record_get(rec, "ce_id"), id))
        bf_json_get_fail(&in, "ce_id", "is not the event's id");
    if (!bf_slice_eq(rec->key, event->subject.workspace))
        bf_json_get_fail(&in, "the key", "is not the workspace");
    return bf_json_end(&in);
}

int bf_event_parse(const struct bf_record *rec, struct bf_event *ret,
                   struct bf_err *err)
{
    struct bf_event event = {0};
    int64_t at_ms;

    if (bf_envelope_check(rec, BF_TYPE_EVENT, &at_ms, err))
        return -1;
    event.doc = bf_json_parse_nul(rec->value, BF_MAX_RECORD_SMALL, err);
    if (!event.doc && err && err->kind == BF_ERR_REJECT)
        err->code = "bad_record";
    if (!event.doc || event_read(rec, &event, err)) {
        bf_event_release(&event);
        return -1;
    }
    *ret = event;
    return 0;
}
