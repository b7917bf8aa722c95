#include "schemas/dead.h"

#include "schemas/envelope.h"
#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/utf8.h"

#define ORIGINAL_NULL UINT32_MAX
#define DEAD_MARGIN 16384 /* our own headers, generously */
#define DEAD_MAX_TOPIC 249

static int original_add(const struct bf_header *header, struct bf_buf *out,
                        struct bf_err *err)
{
    unsigned char name[4], value[4];

    bf_put_u32be(name, (uint32_t)header->name.len);
    bf_put_u32be(value, header->value.ptr ? (uint32_t)header->value.len
                                          : ORIGINAL_NULL);
    if (bf_buf_add(out, name, sizeof(name), err) ||
        bf_buf_add(out, header->name.ptr, header->name.len, err) ||
        bf_buf_add(out, value, sizeof(value), err))
        return -1;
    return bf_buf_add(out, header->value.ptr, header->value.len, err);
}

int bf_original_headers(const struct bf_record *source, struct bf_buf *out,
                        struct bf_err *err)
{
    size_t used = 0;
    int left_out = 0;

    for (size_t i = 0; i < source->nheaders; i++) {
        const struct bf_header *header = &source->headers[i];
        size_t need = 8 + header->name.len + header->value.len;

        if (need > BF_MAX_ORIGINALS - used) {
            left_out = 1;
            continue;
        }
        if (original_add(header, out, err))
            return -1;
        used += need;
    }
    return left_out;
}

/* The next length-prefixed field; moves *at behind it. */
static int original_field(struct bf_slice bytes, size_t *at, bool nullable,
                          struct bf_slice *ret)
{
    size_t left = bytes.len - *at;
    uint32_t len;

    if (left < 4)
        return -1;
    len = bf_get_u32be((const unsigned char *)bytes.ptr + *at);
    *at += 4;
    *ret = (struct bf_slice){NULL, 0};
    if (nullable && len == ORIGINAL_NULL)
        return 0;
    if (len > left - 4)
        return -1;
    *ret = (struct bf_slice){bytes.ptr + *at, len};
    *at += len;
    return 0;
}

int bf_original_parse(struct bf_slice bytes, struct bf_record *ret,
                      struct bf_err *err)
{
    size_t at = 0;

    while (at < bytes.len) {
        struct bf_slice name, value;

        if (original_field(bytes, &at, false, &name) ||
            original_field(bytes, &at, true, &value))
            return bf_err_set(err, BF_ERR_REJECT, "bad_record",
                              "bf_original_headers is cut off");
        if (bf_record_ref(ret, name, value, err))
            return -1;
    }
    return 0;
}

/* Key and value, next to that much of headers; says when one had to go. */
static int dead_put_original(const struct bf_death *death,
                             struct bf_slice originals, struct bf_record *rec,
                             bool *truncated, struct bf_err *err)
{
    const struct bf_record *source = death->source;
    size_t room = BF_MAX_RECORD - DEAD_MARGIN - originals.len;

    if (source->key.len > BF_MAX_HEADER)
        *truncated = true;
    else if (bf_record_own(rec, source->key, &rec->key, err))
        return -1;
    rec->value = source->value;
    if (death->truncated || death->bare || source->value.len > room) {
        rec->value = BF_SLICE_LIT("");
        *truncated = true;
    }
    return 0;
}

static int dead_put_envelope(const struct bf_death *death, const char *fleet,
                             struct bf_record *rec, struct bf_err *err)
{
    const struct bf_record *source = death->source;
    struct bf_slice workspace = {NULL, 0};
    char id[BF_HEX128_SIZE], subject[DEAD_MAX_TOPIC + 48];
    struct bf_envelope env = {
        .type = BF_TYPE_DEADLETTER,
        .id = id,
        .fleet = fleet,
        .at_ms = death->at_ms,
        .subject = subject,
    };

    if (death->job)
        workspace = death->job->workspace;
    bf_event_id_dead(workspace, source->topic, source->partition,
                     source->offset, id);
    snprintf(subject, sizeof(subject), "%.*s/%d/%lld", DEAD_MAX_TOPIC,
             source->topic, (int)source->partition, (long long)source->offset);
    return bf_envelope_put(rec, &env, err);
}

static int dead_put_why(const struct bf_death *death, struct bf_record *rec,
                        struct bf_err *err)
{
    bf_autobuf struct bf_buf message = BF_BUF_INIT(BF_MAX_HEADER);
    const struct bf_record *source = death->source;

    if (bf_utf8_clean(&message, bf_slice_str(death->message), BF_MAX_HEADER,
                      err) ||
        bf_record_puts(rec, "__connect.errors.topic", source->topic, err) ||
        bf_record_putu(rec, "__connect.errors.partition",
                       (uint64_t)source->partition, err) ||
        bf_record_putu(rec, "__connect.errors.offset", (uint64_t)source->offset,
                       err) ||
        bf_record_puts(rec, "__connect.errors.stage", death->stage, err) ||
        bf_record_puts(rec, "__connect.errors.exception.class.name",
                       death->reason, err))
        return -1;
    return bf_record_put(rec, "__connect.errors.exception.message",
                         bf_buf_slice(&message), err);
}

static int dead_put_trust(const struct bf_job *job, bool truncated,
                          struct bf_record *rec, struct bf_err *err)
{
    if (bf_record_puts(rec, "bf_trust", job ? "trusted" : "untrusted", err))
        return -1;
    if (truncated && bf_record_puts(rec, "bf_truncated", "true", err))
        return -1;
    if (job && bf_record_put(rec, "bf_workspace", job->workspace, err))
        return -1;
    if (!job || job->id.len == 0)
        return 0;
    if (bf_record_put(rec, "bf_job", job->id, err))
        return -1;
    return bf_record_putu(rec, "bf_generation", job->generation, err);
}

int bf_dead_build(const struct bf_death *death, const char *fleet,
                  struct bf_record *rec, struct bf_err *err)
{
    bf_autobuf struct bf_buf originals = BF_BUF_INIT(BF_MAX_ORIGINALS);
    int left_out =
        death->bare ? 1 : bf_original_headers(death->source, &originals, err);
    bool truncated = left_out > 0 || death->cut;

    if (left_out < 0 ||
        dead_put_original(death, bf_buf_slice(&originals), rec, &truncated,
                          err) ||
        dead_put_envelope(death, fleet, rec, err) ||
        bf_record_put(rec, "bf_original_headers", bf_buf_slice(&originals),
                      err) ||
        dead_put_why(death, rec, err))
        return -1;
    return dead_put_trust(death->job, truncated, rec, err);
}
