#ifndef BF_DISPATCHER_SOURCE_H
#define BF_DISPATCHER_SOURCE_H

/*
 * Every partition of the topics that the view is made of, read_committed,
 * without a group, from given positions. The feed's thread alone.
 */

#include "config/fleet_topics.h"

struct bf_err;
struct bf_source;

/*
 * rk: a consumer, queue: one of its, for this alone; both borrowed, as topics.
 * shards partitions of each topic.
 */
struct bf_source *bf_source_new(rd_kafka_t *rk, rd_kafka_queue_t *queue,
                                const struct bf_topics *topics, uint32_t shards,
                                struct bf_err *err);
/* Before the start: read nothing but where the fleet's own entry stands. */
void bf_source_only_fleet(struct bf_source *source);
/* Stops reading. NULL is a no-op. */
void bf_source_free(struct bf_source *source);
BF_DEFINE_CLEANUP(bf_source_freep_, struct bf_source *, bf_source_free)
#define bf_autosource bf_cleanup(bf_source_freep_)

/* The topics, in no special order. */
#define BF_SOURCE_TOPICS 6
extern const enum bf_topic bf_source_topics[BF_SOURCE_TOPICS];

/* Before the start: the next offset to read; -1: the first there is. */
void bf_source_set_position(struct bf_source *source, enum bf_topic topic,
                            int32_t partition, int64_t next);

/*
 * Ask for the ends of all partitions: what is committed now is below. 1 when
 * a position lies above its end: it is of another log. Blocks up to
 * timeout_ms.
 */
int bf_source_ask_ends(struct bf_source *source, int timeout_ms,
                       struct bf_err *err);
int bf_source_start(struct bf_source *source, struct bf_err *err);

/*
 * The next message with a record, or NULL when there is none within
 * timeout_ms. Ends of partitions are taken note of. The caller destroys it
 * and tells by bf_source_done() that it was dealt with.
 */
rd_kafka_message_t *bf_source_next(struct bf_source *source, int timeout_ms,
                                   enum bf_topic *ret_topic);
void bf_source_done(struct bf_source *source, enum bf_topic topic,
                    int32_t partition, int64_t offset);

/* The next offset to read. */
int64_t bf_source_position(const struct bf_source *source, enum bf_topic topic,
                           int32_t partition);
/* Was it moved since the last call? */
bool bf_source_moved(struct bf_source *source, enum bf_topic topic,
                     int32_t partition);

/* Has everything below the ends that were asked for last been read? */
bool bf_source_reached(const struct bf_source *source);
bool bf_source_reached_one(const struct bf_source *source, enum bf_topic topic,
                           int32_t partition);

#endif
