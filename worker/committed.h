#ifndef BF_WORKER_COMMITTED_H
#define BF_WORKER_COMMITTED_H

/* What the group has committed for a shard. Committer's thread. */

#include <librdkafka/rdkafka.h>

#include "config/fleet_topics.h"
#include "worker/item.h"

/* A new one, that nobody has used before. */
void bf_committed_new_mark(char ret_mark[BF_MARK_SIZE]);

/*
 * Adds an offset that means nothing but for its metadata, the mark: commit it,
 * and an answer that shows the mark is not older. end: of bf.state, so that
 * what watches the group's lag finds none there yet.
 */
void bf_committed_mark(rd_kafka_topic_partition_list_t *offsets,
                       const struct bf_topics *topics, uint32_t shard,
                       int64_t end, const char *mark);

/*
 * Fills all of ret but low and high. -1 when there is no answer yet: what is
 * pending gives none; 1 for an answer that does not show mark (NULL: any will
 * do). Blocks up to timeout_ms.
 */
int bf_committed_ask(rd_kafka_t *rk, const struct bf_topics *topics,
                     uint32_t shard, const char *mark, int timeout_ms,
                     struct bf_resume_facts ret[BF_INPUT_LANES]);

/* What a worker writes to, in its transactions alone. */
#define BF_OUTPUTS 5
extern const enum bf_topic bf_outputs[BF_OUTPUTS];

/*
 * Has every transaction ended that wrote to the shard's outputs? What stands
 * behind an open one is hidden from readers, whoever wrote it. 1 or 0; -1: no
 * answer. consumer reads what is committed, reader reads all. Blocks up to
 * timeout_ms, twice.
 */
int bf_committed_settled(rd_kafka_t *consumer, rd_kafka_t *reader,
                         const struct bf_topics *topics, uint32_t shard,
                         int timeout_ms);

#endif
