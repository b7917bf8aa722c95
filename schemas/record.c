#include "schemas/record.h"

#include "schemas/err.h"

/* All that a result or a usage row of no great length puts into one. */
#define CHUNK_BYTES 1216
/* All that a job, a result or a usage row usually has. */
#define USUAL_HEADERS 24

/* Owned bytes; a record frees all of its chunks at once. */
struct bf_chunk {
    struct bf_chunk *next;
    size_t used;
    size_t cap;
    char bytes[];
};

void bf_record_init(struct bf_record *rec, const char *topic, int32_t partition)
{
    *rec = (struct bf_record){
        .topic = topic,
        .partition = partition,
        .offset = -1,
        .timestamp_ms = -1,
    };
}

void bf_record_release(struct bf_record *rec)
{
    while (rec->chunks) {
        struct bf_chunk *next = rec->chunks->next;

        free(rec->chunks);
        rec->chunks = next;
    }
    free(bf_take(rec->headers));
    rec->nheaders = rec->max_headers = 0;
    rec->key = (struct bf_slice){NULL, 0};
    rec->value = (struct bf_slice){NULL, 0};
}

static struct bf_chunk *chunk_new(struct bf_record *rec, size_t cap)
{
    struct bf_chunk *chunk = malloc(sizeof(*chunk) + cap);

    if (!chunk)
        return NULL;
    chunk->used = 0;
    chunk->cap = cap;
    chunk->next = rec->chunks;
    rec->chunks = chunk;
    return chunk;
}

static struct bf_chunk *record_chunk(struct bf_record *rec, size_t len)
{
    struct bf_chunk *chunk = rec->chunks;

    if (chunk && chunk->cap - chunk->used >= len)
        return chunk;
    return chunk_new(rec, len > CHUNK_BYTES ? len : CHUNK_BYTES);
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

static void move(struct bf_chunk *chunk, struct bf_slice *bytes)
{
    char *to = chunk->bytes + chunk->used;

    if (bytes->len > 0)
        memcpy(to, bytes->ptr, bytes->len);
    if (bytes->ptr)
        bytes->ptr = to;
    chunk->used += bytes->len;
}

int bf_record_own_all(struct bf_record *rec, struct bf_err *err)
{
    size_t bytes = rec->key.len + rec->value.len;
    struct bf_chunk *chunk;

    for (size_t i = 0; i < rec->nheaders; i++)
        bytes += rec->headers[i].name.len + rec->headers[i].value.len;
    if (bytes > BF_MAX_RECORD)
        return bf_err_set(err, BF_ERR_REJECT, "too_large",
                          "more than %u bytes for one record", BF_MAX_RECORD);
    chunk = chunk_new(rec, bytes + 1);
    if (!chunk)
        return bf_err_oom(err);
    move(chunk, &rec->key);
    move(chunk, &rec->value);
    for (size_t i = 0; i < rec->nheaders; i++) {
        move(chunk, &rec->headers[i].name);
        move(chunk, &rec->headers[i].value);
    }
    return 0;
}

/* A record lives for seconds beside thousands: no more than it needs. */
static int make_room(struct bf_record *rec, struct bf_err *err)
{
    size_t max = rec->max_headers > 0 ? BF_MAX_HEADERS : USUAL_HEADERS;
    struct bf_header *grown =
        reallocarray(rec->headers, max, sizeof(*rec->headers));

    if (!grown)
        return bf_err_oom(err);
    rec->headers = grown;
    rec->max_headers = max;
    return 0;
}

int bf_record_ref(struct bf_record *rec, struct bf_slice name,
                  struct bf_slice value, struct bf_err *err)
{
    if (rec->nheaders >= BF_MAX_HEADERS)
        return bf_err_set(err, BF_ERR_REJECT, "too_many_headers",
                          "more than %d headers", BF_MAX_HEADERS);
    if (rec->nheaders == rec->max_headers && make_room(rec, err))
        return -1;
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
    char digits[BF_U64_SIZE];

    return bf_record_put(rec, name, bf_u64_text(value, digits), err);
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

/* One bit of 64, the same for the same name. */
static uint64_t name_bit(struct bf_slice name)
{
    const unsigned char *at = (const unsigned char *)name.ptr;
    size_t sum = name.len;

    if (name.len > 0)
        sum += 7U * at[name.len / 2] + 31U * at[name.len - 1];
    return UINT64_C(1) << sum % 64;
}

static bool stands_before(const struct bf_record *rec, size_t i)
{
    for (size_t j = 0; j < i; j++) {
        if (bf_slice_eq(rec->headers[j].name, rec->headers[i].name))
            return true;
    }
    return false;
}

int bf_record_check(const struct bf_record *rec, struct bf_err *err)
{
    uint64_t seen = 0;

    for (size_t i = 0; i < rec->nheaders; i++) {
        struct bf_slice name = rec->headers[i].name;
        uint64_t bit = name_bit(name);

        /* Most records differ in these bits: no need to compare all pairs. */
        if ((seen & bit) && name_is_ours(name) && stands_before(rec, i))
            return bf_err_set(err, BF_ERR_REJECT, "duplicate_header",
                              "header %.*s stands twice",
                              name.len < 64 ? (int)name.len : 64, name.ptr);
        seen |= bit;
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
