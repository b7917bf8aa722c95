#include "schemas/envelope.h"

#include "schemas/err.h"
#include "schemas/time.h"

static const struct {
    const char *name;
    size_t max;
} header_ceilings[] = {
    {"bf_block", BF_MAX_BLOCK},
    {"bf_report", BF_MAX_REPORT},
    {"bf_original_headers", BF_MAX_ORIGINALS},
    {"bf_labels", BF_MAX_LABELS},
    {"bf_context", BF_MAX_CONTEXT},
    {"bf_order_key", BF_MAX_ORDER_KEY},
    {"bf_callback_url", BF_MAX_URL},
};

#define LEAST_CEILING BF_MAX_ORDER_KEY

/* Few values are so long that it matters whose they are. */
static size_t header_ceiling(struct bf_slice name, size_t len)
{
    if (len <= LEAST_CEILING)
        return LEAST_CEILING;
    for (size_t i = 0; i < bf_countof(header_ceilings); i++) {
        if (bf_slice_is(name, header_ceilings[i].name))
            return header_ceilings[i].max;
    }
    return BF_MAX_HEADER;
}

static int envelope_bad(struct bf_err *err, const char *name, const char *rule)
{
    return bf_err_set(err, BF_ERR_REJECT, "bad_record", "%s %s", name, rule);
}

static int envelope_sizes(const struct bf_record *rec, struct bf_err *err)
{
    for (size_t i = 0; i < rec->nheaders; i++) {
        struct bf_slice name = rec->headers[i].name;
        size_t max = header_ceiling(name, rec->headers[i].value.len);

        if (rec->headers[i].value.len > max && bf_record_covered(name))
            return bf_err_set(
                err, BF_ERR_REJECT, "too_large", "%.*s has more than %zu bytes",
                name.len < 64 ? (int)name.len : 64, name.ptr, max);
    }
    return 0;
}

static const char *content_type(enum bf_type type)
{
    return type == BF_TYPE_DEADLETTER ? "application/octet-stream"
                                      : "application/json";
}

static int envelope_check_type(const struct bf_record *rec, enum bf_type type,
                               struct bf_err *err)
{
    const struct bf_header *content = bf_record_find(rec, "content-type");

    if (!bf_slice_is(bf_record_get(rec, "ce_specversion"), "1.0"))
        return envelope_bad(err, "ce_specversion", "is not 1.0");
    if (!bf_slice_is(bf_record_get(rec, "ce_type"), bf_type_name(type)))
        return envelope_bad(err, "ce_type", "is not the topic's");
    if (rec->value.len == 0)
        return content ? envelope_bad(err, "content-type", "without a value")
                       : 0;
    if (!content || !bf_slice_is(content->value, content_type(type)))
        return envelope_bad(err, "content-type", "is not what the type has");
    return 0;
}

int bf_envelope_check(const struct bf_record *rec, enum bf_type type,
                      int64_t *ret_at_ms, struct bf_err *err)
{
    static const char *const present[] = {"ce_id", "ce_source", "ce_subject"};

    if (bf_record_check(rec, err)) {
        if (err)
            err->code = "bad_record";
        return -1;
    }
    if (envelope_sizes(rec, err) || envelope_check_type(rec, type, err))
        return -1;
    for (size_t i = 0; i < bf_countof(present); i++) {
        if (bf_record_get(rec, present[i]).len == 0)
            return envelope_bad(err, present[i], "is missing");
    }
    if (bf_time_parse(bf_record_get(rec, "ce_time"), ret_at_ms))
        return envelope_bad(err, "ce_time", "is not YYYY-MM-DDTHH:MM:SS.mmmZ");
    return 0;
}

void bf_subject_text(struct bf_slice workspace, struct bf_slice id,
                     char out[BF_SUBJECT_SIZE])
{
    bf_assert(workspace.len <= BF_MAX_ID && id.len <= BF_MAX_ID);
    if (workspace.len > 0)
        memcpy(out, workspace.ptr, workspace.len);
    out[workspace.len] = '/';
    if (id.len > 0)
        memcpy(out + workspace.len + 1, id.ptr, id.len);
    out[workspace.len + 1 + id.len] = '\0';
}

int bf_envelope_put(struct bf_record *rec, const struct bf_envelope *env,
                    struct bf_err *err)
{
    char time[BF_TIME_SIZE], source[128];

    bf_time_format(env->at_ms, time);
    snprintf(source, sizeof(source), "/blockfleet/%s", env->fleet);
    if (bf_record_puts(rec, "ce_specversion", "1.0", err) ||
        bf_record_puts(rec, "ce_id", env->id, err) ||
        bf_record_puts(rec, "ce_source", source, err) ||
        bf_record_puts(rec, "ce_type", bf_type_name(env->type), err) ||
        bf_record_puts(rec, "ce_time", time, err) ||
        bf_record_puts(rec, "ce_subject", env->subject, err))
        return -1;
    if (rec->value.len == 0)
        return 0;
    return bf_record_puts(rec, "content-type", content_type(env->type), err);
}

struct bf_err *bf_reader_fail(struct bf_reader *r)
{
    struct bf_err *err = r->failed ? NULL : r->err;

    r->failed = true;
    return err;
}

/* The header's value; false when there is nothing to read. */
static bool reader_find(struct bf_reader *r, const char *name,
                        enum bf_need need, struct bf_slice *ret)
{
    const struct bf_header *header = bf_record_find(r->rec, name);

    if (header && header->value.ptr) {
        *ret = header->value;
        return true;
    }
    if (header)
        envelope_bad(bf_reader_fail(r), name, "is null");
    else if (need == BF_REQUIRED)
        envelope_bad(bf_reader_fail(r), name, "is missing");
    return false;
}

void bf_read_bytes(struct bf_reader *r, const char *name, enum bf_need need,
                   struct bf_slice *ret)
{
    struct bf_slice value;

    if (!reader_find(r, name, need, &value))
        return;
    if (value.len > header_ceiling(bf_slice_str(name), value.len))
        bf_err_set(bf_reader_fail(r), BF_ERR_REJECT, "too_large",
                   "%s is too large", name);
    else
        *ret = value;
}

void bf_read_word(struct bf_reader *r, const char *name, enum bf_need need,
                  bool (*ok)(struct bf_slice), struct bf_slice *ret)
{
    struct bf_slice value = {NULL, 0};

    bf_read_bytes(r, name, need, &value);
    if (!value.ptr)
        return;
    if (ok(value))
        *ret = value;
    else
        envelope_bad(bf_reader_fail(r), name, "is ill-formed");
}

void bf_read_u32(struct bf_reader *r, const char *name, uint32_t min,
                 uint32_t max, uint32_t *ret)
{
    struct bf_slice value;
    uint64_t number;

    if (!reader_find(r, name, BF_REQUIRED, &value))
        return;
    if (bf_slice_u64(value, max, &number) || number < min)
        bf_err_set(bf_reader_fail(r), BF_ERR_REJECT, "bad_record",
                   "%s is not a number from %u to %u", name, min, max);
    else
        *ret = (uint32_t)number;
}

void bf_read_i64(struct bf_reader *r, const char *name, enum bf_need need,
                 int64_t max, int64_t *ret)
{
    struct bf_slice value;
    uint64_t number;

    if (!reader_find(r, name, need, &value))
        return;
    if (bf_slice_u64(value, (uint64_t)max, &number))
        envelope_bad(bf_reader_fail(r), name, "is not a number, or too large");
    else
        *ret = (int64_t)number;
}

void bf_read_enum(struct bf_reader *r, const char *name,
                  int (*parse)(struct bf_slice), int *ret)
{
    struct bf_slice value;
    int word;

    if (!reader_find(r, name, BF_REQUIRED, &value))
        return;
    word = parse(value);
    if (word < 0)
        envelope_bad(bf_reader_fail(r), name, "is not a known word");
    else
        *ret = word;
}
