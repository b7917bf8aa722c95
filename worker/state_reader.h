#ifndef BF_WORKER_STATE_READER_H
#define BF_WORKER_STATE_READER_H

/*
 * A shard that is being restored: its partition of bf.state, read to the end
 * that the committer saw after asking what is committed. Lives inside the
 * shard's slot; the fields are the module's. Loop thread only.
 */

#include <librdkafka/rdkafka.h>

#include "schemas/err.h"
#include "worker/item.h"
#include "worker/restore.h"

struct bf_consumer;
struct bf_feed;
struct bf_verifier;

struct bf_state_reader {
    const char *topic;            /* borrowed */
    struct bf_verifier *verifier; /* of entries; borrowed */
    uint32_t shard;
    struct bf_feed *feed;
    bool paused; /* assigned or not, since it was left */
    int64_t end; /* offset of the last end-of-partition; -1: none yet */
    int64_t bad; /* offset of a batch that could not be unpacked; -1: none */
    int tries;   /* of that batch */
    bool facts_known;
    struct bf_query facts;
    struct bf_err problem; /* why what was read must not be used */
    struct bf_shard *state;
};

/* topic, verifier and shard are set. Before the assign. */
int bf_state_reader_open(struct bf_state_reader *reader,
                         struct bf_consumer *consumer, struct bf_err *err);

/*
 * Reads no more; what was read stays. The partition stays assigned until the
 * shard goes: see bf_consumer_unassign() for why.
 */
void bf_state_reader_leave(struct bf_state_reader *reader,
                           struct bf_consumer *consumer);

/* Closes it and forgets what was read. After the unassign. */
void bf_state_reader_clear(struct bf_state_reader *reader);

/* Its partition from the beginning, for an assign or unassign. */
void bf_state_reader_add(const struct bf_state_reader *reader,
                         rd_kafka_topic_partition_list_t *parts);

/* The committer's answer. */
void bf_state_reader_facts(struct bf_state_reader *reader,
                           const struct bf_query *facts);

/*
 * Reads what is there. True when all of it was read, or cannot be, and the
 * facts are known: bf_state_reader_restore() is next.
 */
bool bf_state_reader_read(struct bf_state_reader *reader);

/* Where the shard resumes; REJECT or FATAL: why it must not. */
int bf_state_reader_restore(const struct bf_state_reader *reader,
                            struct bf_restored *ret, struct bf_err *err);

/* The state, the caller's to free from now on. */
struct bf_shard *bf_state_reader_take(struct bf_state_reader *reader);

#endif
