#include "schemas/ids.h"

#include <sodium.h>

#include "schemas/hash.h"
#include "schemas/utf8.h"

static const char *const type_names[] = {
    [BF_TYPE_JOB] = "dev.blockfleet.job.v1",
    [BF_TYPE_RESULT] = "dev.blockfleet.result.v1",
    [BF_TYPE_USAGE] = "dev.blockfleet.usage.v1",
    [BF_TYPE_DEADLETTER] = "dev.blockfleet.deadletter.v1",
    [BF_TYPE_CALLBACK] = "dev.blockfleet.callback.v1",
    [BF_TYPE_CONTROL] = "dev.blockfleet.control.v1",
    [BF_TYPE_EVENT] = "dev.blockfleet.event.v1",
    [BF_TYPE_STATE] = "dev.blockfleet.state.v1",
};
_Static_assert(bf_countof(type_names) == BF_TYPES, "a name each");

const char *bf_type_name(enum bf_type type)
{
    bf_assert(type < BF_TYPES);
    return type_names[type];
}

void bf_hash_hex(const struct bf_slice *parts, size_t nparts,
                 char out[BF_HEX128_SIZE])
{
    struct bf_hash hash;

    bf_hash_init(&hash, BF_HASH128_BYTES);
    for (size_t i = 0; i < nparts; i++)
        bf_hash_part(&hash, parts[i]);
    bf_hash_final_hex(&hash, out);
}

static bool word_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static bool word_ok(struct bf_slice word, bool dots)
{
    if (!word.ptr || word.len == 0 || word.len > BF_MAX_ID)
        return false;
    for (size_t i = 0; i < word.len; i++) {
        if (!word_char(word.ptr[i]) && !(dots && word.ptr[i] == '.'))
            return false;
    }
    return true;
}

bool bf_workspace_ok(struct bf_slice workspace)
{
    return word_ok(workspace, false);
}

bool bf_job_id_ok(struct bf_slice id)
{
    return word_ok(id, true);
}

bool bf_order_key_ok(struct bf_slice key)
{
    if (!key.ptr || key.len == 0 || key.len > BF_MAX_ORDER_KEY)
        return false;
    for (size_t i = 0; i < key.len; i++) {
        if ((unsigned char)key.ptr[i] < 0x20 || key.ptr[i] == 0x7f)
            return false;
    }
    return bf_utf8_ok(key);
}

bool bf_hex_ok(struct bf_slice text, size_t len)
{
    if (!text.ptr || text.len != len)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return true;
}

bool bf_hex128_ok(struct bf_slice id)
{
    return bf_hex_ok(id, BF_HEX128_LEN);
}

bool bf_txn_id_ok(struct bf_slice id)
{
    if (!id.ptr || id.len == 0 || id.len > BF_MAX_TXN_ID)
        return false;
    return bf_graphic_ok(id);
}

bool bf_backend_ok(struct bf_slice backend)
{
    if (!backend.ptr || backend.len == 0 || backend.len > BF_MAX_BACKEND)
        return false;
    for (size_t i = 0; i < backend.len; i++) {
        char c = backend.ptr[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

bool bf_batch_index_ok(struct bf_slice index)
{
    uint64_t number;

    return bf_slice_u64(index, UINT32_MAX, &number) == 0;
}

void bf_job_id_derive(struct bf_slice workspace, struct bf_slice key,
                      int64_t line, char out[BF_HEX128_SIZE])
{
    struct bf_hash hash;

    bf_hash_init(&hash, BF_HASH128_BYTES);
    bf_hash_str(&hash, "blockfleet/v1/job-id");
    bf_hash_part(&hash, workspace);
    bf_hash_part(&hash, key);
    if (line >= 0)
        bf_hash_num(&hash, (uint64_t)line);
    bf_hash_final_hex(&hash, out);
}

void bf_uuid7(int64_t unix_ms, char out[BF_UUID_SIZE])
{
    unsigned char u[16];
    char hex[33];

    randombytes_buf(u, sizeof(u));
    bf_put_u16be(u, (uint16_t)((uint64_t)unix_ms >> 32));
    bf_put_u32be(u + 2, (uint32_t)unix_ms);
    u[6] = (u[6] & 0x0f) | 0x70; /* version 7 */
    u[8] = (u[8] & 0x3f) | 0x80; /* variant 10 */
    sodium_bin2hex(hex, sizeof(hex), u, sizeof(u));
    snprintf(out, BF_UUID_SIZE, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8,
             hex + 12, hex + 16, hex + 20);
}

void bf_run_id_with(const struct bf_subject *subject,
                    const unsigned char random[16], char out[BF_HEX128_SIZE])
{
    struct bf_hash hash;

    bf_hash_init(&hash, BF_HASH128_BYTES);
    bf_hash_str(&hash, "blockfleet/v1/run");
    bf_hash_part(&hash, subject->workspace);
    bf_hash_part(&hash, subject->job);
    bf_hash_num(&hash, subject->generation);
    bf_hash_num(&hash, subject->attempt);
    bf_hash_bytes(&hash, random, 16);
    bf_hash_final_hex(&hash, out);
}

void bf_run_id(const struct bf_subject *subject, char out[BF_HEX128_SIZE])
{
    unsigned char random[16];

    randombytes_buf(random, sizeof(random));
    bf_run_id_with(subject, random, out);
}

static void event_begin(struct bf_hash *hash, enum bf_type type,
                        struct bf_slice workspace, const char *kind)
{
    bf_hash_init(hash, BF_HASH128_BYTES);
    bf_hash_str(hash, "blockfleet/v1/event");
    bf_hash_str(hash, bf_type_name(type));
    bf_hash_part(hash, workspace);
    bf_hash_str(hash, kind);
}

void bf_event_id(enum bf_type type, const struct bf_subject *subject,
                 char out[BF_HEX128_SIZE])
{
    bool counts_attempts = type == BF_TYPE_RESULT || type == BF_TYPE_USAGE;
    struct bf_hash hash;

    bf_assert(counts_attempts || type == BF_TYPE_JOB ||
              type == BF_TYPE_CALLBACK);
    event_begin(&hash, type, subject->workspace, "job");
    bf_hash_part(&hash, subject->job);
    bf_hash_num(&hash, subject->generation);
    if (counts_attempts)
        bf_hash_num(&hash, subject->attempt);
    bf_hash_final_hex(&hash, out);
}

void bf_event_id_of(enum bf_type type, struct bf_slice workspace,
                    const char *kind, const struct bf_slice *parts,
                    size_t nparts, char out[BF_HEX128_SIZE])
{
    struct bf_hash hash;

    event_begin(&hash, type, workspace, kind);
    for (size_t i = 0; i < nparts; i++)
        bf_hash_part(&hash, parts[i]);
    bf_hash_final_hex(&hash, out);
}

void bf_event_id_dead(struct bf_slice workspace, const char *topic,
                      int32_t partition, int64_t offset,
                      char out[BF_HEX128_SIZE])
{
    struct bf_hash hash;

    bf_assert(partition >= 0 && offset >= 0);
    event_begin(&hash, BF_TYPE_DEADLETTER, workspace, "record");
    bf_hash_str(&hash, topic);
    bf_hash_num(&hash, (uint64_t)partition);
    bf_hash_num(&hash, (uint64_t)offset);
    bf_hash_final_hex(&hash, out);
}

void bf_commit_id(int64_t offset, struct bf_slice metadata,
                  char out[BF_HEX128_SIZE])
{
    struct bf_hash hash;

    bf_hash_init(&hash, BF_HASH128_BYTES);
    bf_hash_str(&hash, "blockfleet/v1/commit");
    if (offset >= 0) {
        bf_hash_num(&hash, (uint64_t)offset);
        bf_hash_part(&hash, metadata);
    }
    bf_hash_final_hex(&hash, out);
}

void bf_state_id(const char *fleet, int32_t shard, struct bf_slice entry,
                 uint64_t seq, char out[BF_HEX128_SIZE])
{
    struct bf_hash hash;

    bf_assert(shard >= 0);
    bf_hash_init(&hash, BF_HASH128_BYTES);
    bf_hash_str(&hash, "blockfleet/v1/state");
    bf_hash_str(&hash, fleet);
    bf_hash_num(&hash, (uint64_t)shard);
    bf_hash_part(&hash, entry);
    bf_hash_num(&hash, seq);
    bf_hash_final_hex(&hash, out);
}

void bf_job_digest(struct bf_slice block, struct bf_slice inputs,
                   char out[BF_HEX128_SIZE])
{
    struct bf_slice parts[] = {BF_SLICE_LIT("blockfleet/v1/digest"), block,
                               inputs};

    bf_hash_hex(parts, bf_countof(parts), out);
}

void bf_finished_id(struct bf_slice workspace, struct bf_slice job,
                    uint32_t generation, unsigned char out[BF_FINISHED_ID_SIZE])
{
    struct bf_hash hash;

    bf_hash_init(&hash, BF_HASH128_BYTES);
    bf_hash_str(&hash, "blockfleet/v1/finished");
    bf_hash_part(&hash, workspace);
    bf_hash_part(&hash, job);
    bf_hash_num(&hash, generation);
    bf_hash_final(&hash, out);
}

int32_t bf_partition(struct bf_slice workspace, struct bf_slice order_key,
                     struct bf_slice job, uint32_t spread, uint32_t shards)
{
    uint64_t within;

    bf_assert(spread > 0 && shards > 0 && shards <= INT32_MAX);
    within = bf_hash64(order_key.ptr ? order_key : job) % spread;
    return (int32_t)((bf_hash64(workspace) + within) % shards);
}
