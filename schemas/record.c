#include "schemas/record.h"

#include <inttypes.h>

#include "schemas/err.h"

#define CHUNK_BYTES 2048

/* Owned bytes; a record frees all of its chunks at once. */
struct bf_chunk {
    struct bf_chunk *next;
    size_t used;
    size_t cap;
    char bytes[];
};

void bf_record_init(struct bf_record *rec, const char *topic, int32_t partition)
{
    memset(rec, 0, sizeof(*rec));
    rec->topic = topic;
    rec->partition = partition;
    rec->offset = -1;
    rec->timestamp_ms = -1;
}

void bf_record_release(struct bf_record *rec)
{
    while (rec->chunks) {
        struct bf_chunk *next = rec->chunks->next;

        free(rec->chunks);
        rec->chunks = next;
    }
    rec->nheaders = 0;
    rec->key = (struct bf_slice){NULL, 0};
    rec->value = (struct bf_slice){NULL, 0};
}

static struct bf_chunk *record_chunk(struct bf_record *rec, size_t len)
{
    size_t cap = len > CHUNK_BYTES ? len : CHUNK_BYTES;
    struct bf_chunk *chunk = rec->chunks;

    if (chunk && chunk->cap - chunk->used >= len)
        return chunk;
    chunk = malloc(sizeof(*chunk) + cap);
    if (!chunk)
        return NULL;
    chunk->used = 0;
    chunk->cap = cap;
    chunk->next = rec->chunks;
    rec->chunks = chunk;
    return chunk;
}

int bf_record_own(struct bf_record *rec, struct bf_slice bytes,
                  struct bf_slice *ret, struct bf_err *err)
{
    struct bf_chunk *chunk;
    char *to;

    if (bytes.len == 0) {
        *ret = (struct bf_slice){bytes.ptr ? "" : NULL, 0};
        return 0;
    }
    if (bytes.len > BF_MAX_RECORD)
        return bf_err_set(err, BF_ERR_REJECT, "too_large",
                          "more than %u bytes for one record", BF_MAX_RECORD);
    chunk = record_chunk(rec, bytes.len);
    if (!chunk)
        return bf_err_oom(err);
    to = chunk->bytes + chunk->used;
    memcpy(to, bytes.ptr, bytes.len);
    chunk->used += bytes.len;
    *ret = (struct bf_slice){to, bytes.len};
    return 0;
}

int bf_record_ref(struct bf_record *rec, struct bf_slice name,
                  struct bf_slice value, struct bf_err *err)
{
    if (rec->nheaders >= BF_MAX_HEADERS)
        return bf_err_set(err, BF_ERR_REJECT, "too_many_headers",
                          "more than %d headers", BF_MAX_HEADERS);
    rec->headers[rec->nheaders].name = name;
    rec->headers[rec->nheaders].value = value;
    rec->nheaders++;
    return 0;
}

int bf_record_put(struct bf_record *rec, const char *name,
                  struct bf_slice value, struct bf_err *err)
{
    struct bf_slice copy;

    if (bf_record_own(rec, value, &copy, err))
        return -1;
    return bf_record_ref(rec, bf_slice_str(name), copy, err);
}

int bf_record_puts(struct bf_record *rec, const char *name, const char *value,
                   struct bf_err *err)
{
    return bf_record_put(rec, name, bf_slice_str(value), err);
}

int bf_record_putu(struct bf_record *rec, const char *name, uint64_t value,
                   struct bf_err *err)
{
    char digits[24];

    snprintf(digits, sizeof(digits), "%" PRIu64, value);
    return bf_record_puts(rec, name, digits, err);
}

int bf_record_pass(struct bf_record *rec, const char *name,
                   struct bf_slice value, struct bf_err *err)
{
    return value.ptr ? bf_record_ref(rec, bf_slice_str(name), value, err) : 0;
}

const struct bf_header *bf_record_find(const struct bf_record *rec,
                                       const char *name)
{
    struct bf_slice want = bf_slice_str(name);

    for (size_t i = 0; i < rec->nheaders; i++) {
        if (bf_slice_eq(rec->headers[i].name, want))
            return &rec->headers[i];
    }
    return NULL;
}

struct bf_slice bf_record_get(const struct bf_record *rec, const char *name)
{
    const struct bf_header *header = bf_record_find(rec, name);

    return header ? header->value : (struct bf_slice){NULL, 0};
}

static bool name_starts(struct bf_slice name, const char *prefix)
{
    size_t len = strlen(prefix);

    return name.len >= len && memcmp(name.ptr, prefix, len) == 0;
}

bool bf_record_covered(struct bf_slice name)
{
    if (name_starts(name, "bf_"))
        return !bf_slice_is(name, "bf_signature");
    return name_starts(name, "ce_") || name_starts(name, "kafka_") ||
           name_starts(name, "__connect.errors.") ||
           bf_slice_is(name, "content-type");
}

static bool name_is_ours(struct bf_slice name)
{
    return bf_record_covered(name) || bf_slice_is(name, "bf_signature");
}

int bf_record_check(const struct bf_record *rec, struct bf_err *err)
{
    for (size_t i = 1; i < rec->nheaders; i++) {
        struct bf_slice name = rec->headers[i].name;

        if (!name_is_ours(name))
            continue;
        for (size_t j = 0; j < i; j++) {
            if (bf_slice_eq(rec->headers[j].name, name))
                return bf_err_set(err, BF_ERR_REJECT, "duplicate_header",
                                  "header %.*s stands twice",
                                  name.len < 64 ? (int)name.len : 64, name.ptr);
        }
    }
    return 0;
}

size_t bf_record_bytes(const struct bf_record *rec)
{
    /* Varints, attributes and a batch of its own, generously. */
    size_t bytes = 128 + rec->key.len + rec->value.len;

    for (size_t i = 0; i < rec->nheaders; i++)
        bytes += 10 + rec->headers[i].name.len + rec->headers[i].value.len;
    return bytes;
}
