#ifndef BF_SCHEMAS_IDS_H
#define BF_SCHEMAS_IDS_H

/* Identities and placement. Source: PROTOCOL.md §1, §2. Pure. */

#include <stdint.h>

#include "schemas/buf.h"
#include "schemas/limits.h"

struct bf_err;

/* hex(H128(F(parts...))) into out. */
void bf_hash_hex(const struct bf_slice *parts, size_t nparts,
                 char out[BF_HEX128_SIZE]);

bool bf_workspace_ok(struct bf_slice workspace);
bool bf_job_id_ok(struct bf_slice id);
bool bf_order_key_ok(struct bf_slice key);

/* Lower-case hex digits, exactly len of them. */
bool bf_hex_ok(struct bf_slice text, size_t len);
bool bf_hex128_ok(struct bf_slice id); /* len 32 */

/* A transactional id: 1 to 200 bytes of 0x21 to 0x7e. */
bool bf_txn_id_ok(struct bf_slice id);

bool bf_backend_ok(struct bf_slice backend);
bool bf_batch_index_ok(struct bf_slice index);

/* line < 0: no line number. */
void bf_job_id_derive(struct bf_slice workspace, struct bf_slice key,
                      int64_t line, char out[BF_HEX128_SIZE]);

#define BF_UUID_SIZE 37
/* A UUIDv7 (RFC 9562 §5.7) for this wall-clock time. */
void bf_uuid7(int64_t unix_ms, char out[BF_UUID_SIZE]);

/* (workspace, job id, generation, attempt): what a result is about. */
struct bf_subject {
    struct bf_slice workspace;
    struct bf_slice job;
    uint32_t generation;
    uint32_t attempt;
};

/* A new random run id. */
void bf_run_id(const struct bf_subject *subject, char out[BF_HEX128_SIZE]);

/* The same with given randomness, for goldens. */
void bf_run_id_with(const struct bf_subject *subject,
                    const unsigned char random[16], char out[BF_HEX128_SIZE]);

/* Record types; the ce_type is "dev.blockfleet.<name>.v1". */
enum bf_type {
    BF_TYPE_JOB,
    BF_TYPE_RESULT,
    BF_TYPE_USAGE,
    BF_TYPE_DEADLETTER,
    BF_TYPE_CALLBACK,
    BF_TYPE_CONTROL,
    BF_TYPE_EVENT,
    BF_TYPE_STATE,
    BF_TYPES,
};
const char *bf_type_name(enum bf_type type); /* "dev.blockfleet.job.v1" */

/* Event id of a job, result, run usage or callback record. */
void bf_event_id(enum bf_type type, const struct bf_subject *subject,
                 char out[BF_HEX128_SIZE]);

/* Event id of any subject kind: PROTOCOL.md's table. */
void bf_event_id_of(enum bf_type type, struct bf_slice workspace,
                    const char *kind, const struct bf_slice *parts,
                    size_t nparts, char out[BF_HEX128_SIZE]);

/* Event id of the dead letter of a record; workspace empty if untrusted. */
void bf_event_id_dead(struct bf_slice workspace, const char *topic,
                      int32_t partition, int64_t offset,
                      char out[BF_HEX128_SIZE]);

/* Names what is committed for a partition; offset < 0: nothing is. */
void bf_commit_id(int64_t offset, struct bf_slice metadata,
                  char out[BF_HEX128_SIZE]);

/* ce_id of a state entry; PROTOCOL.md §8. */
void bf_state_id(const char *fleet, int32_t shard, struct bf_slice entry,
                 uint64_t seq, char out[BF_HEX128_SIZE]);

void bf_job_digest(struct bf_slice block, struct bf_slice inputs,
                   char out[BF_HEX128_SIZE]);
#define BF_FINISHED_ID_SIZE 16
void bf_finished_id(struct bf_slice workspace, struct bf_slice job,
                    uint32_t generation,
                    unsigned char out[BF_FINISHED_ID_SIZE]);

/* order_key absent (ptr NULL): the job id decides. 1 <= spread, shards. */
int32_t bf_partition(struct bf_slice workspace, struct bf_slice order_key,
                     struct bf_slice job, uint32_t spread, uint32_t shards);

#endif
