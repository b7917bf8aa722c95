#ifndef BF_WORKER_CONSUMER_H
#define BF_WORKER_CONSUMER_H

/*
 * The group consumer: rebalances as events, one queue for each assigned
 * partition. It subscribes to the jobs topic alone; whoever handles an event
 * assigns the same partition of every other input beside it. Flow control is
 * to stop reading a partition: librdkafka stops fetching what nobody takes
 * (pause() would throw away what is fetched). Loop thread only; nothing here
 * blocks, but for (un)assign, pause and resume, which ask librdkafka's threads.
 */

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

struct bf_consumer;
struct bf_err;
struct bf_feed;

enum bf_consumer_event_kind {
    BF_CONSUMER_NONE,   /* nothing more for now */
    BF_CONSUMER_ASSIGN, /* answer with bf_consumer_assign() */
    BF_CONSUMER_REVOKE, /* answer with bf_consumer_unassign() */
    BF_CONSUMER_FATAL,  /* err says why: the handle is useless from here */
};

struct bf_consumer_event {
    enum bf_consumer_event_kind kind;
    bool lost;                               /* revoke: already too late */
    rd_kafka_topic_partition_list_t *shards; /* owned by the event's taker */
};

/*
 * Takes conf, in any case. topics: all that will ever be assigned, known from
 * the start, because the first assign of an unknown one waits for a topic
 * scan, up to a second.
 */
struct bf_consumer *bf_consumer_new(rd_kafka_conf_t *conf,
                                    const char *const *topics, size_t ntopics,
                                    struct bf_err *err);

/* Closes within about timeout_ms, or leaves the handle to the process' end. */
void bf_consumer_free(struct bf_consumer *consumer, int timeout_ms);

/* Borrowed; for calls that are safe from any thread. */
rd_kafka_t *bf_consumer_handle(const struct bf_consumer *consumer);

/* Readable when an event or a record may be there. */
int bf_consumer_fd(const struct bf_consumer *consumer);
void bf_consumer_clear_fd(struct bf_consumer *consumer);

int bf_consumer_subscribe(struct bf_consumer *consumer, const char *topic,
                          struct bf_err *err);

/* Leaves the group, by way of REVOKE events; then poll until not a member. */
void bf_consumer_unsubscribe(struct bf_consumer *consumer);
bool bf_consumer_is_member(const struct bf_consumer *consumer);

/* Has the group given our partitions to others, whatever we do? */
bool bf_consumer_is_lost(const struct bf_consumer *consumer);

/*
 * The next event. The group's metadata of an event is what
 * bf_consumer_group() gives before the event is answered; NULL: not a member.
 */
enum bf_consumer_event_kind bf_consumer_next(struct bf_consumer *consumer,
                                             struct bf_consumer_event *ret,
                                             struct bf_err *err);
rd_kafka_consumer_group_metadata_t *
bf_consumer_group(const struct bf_consumer *consumer);

/*
 * Incremental. Offsets are explicit. An empty list is an answer, too. Beware:
 * librdkafka takes any unassign for the answer to a REVOKE that it waits for,
 * also to one that has not been polled yet, and gives the partitions away.
 */
int bf_consumer_assign(struct bf_consumer *consumer,
                       const rd_kafka_topic_partition_list_t *parts,
                       struct bf_err *err);
int bf_consumer_unassign(struct bf_consumer *consumer,
                         const rd_kafka_topic_partition_list_t *parts,
                         struct bf_err *err);

/*
 * Stop and go on reading a partition that stays assigned; what is fetched is
 * thrown away. It stays paused when it is unassigned.
 */
void bf_consumer_pause(struct bf_consumer *consumer, const char *topic,
                       int32_t partition);
void bf_consumer_resume(struct bf_consumer *consumer, const char *topic,
                        int32_t partition);

/*
 * The records of one partition. Open it before the assign, so that none of
 * them goes to the consumer's own queue; close it after the unassign.
 */
struct bf_feed *bf_feed_open(struct bf_consumer *consumer, const char *topic,
                             int32_t partition, struct bf_err *err);
void bf_feed_close(struct bf_feed *feed);

/*
 * The next record or error (err of the message: _PARTITION_EOF has the offset
 * of the end), NULL when there is none now. The caller destroys it.
 */
rd_kafka_message_t *bf_feed_next(struct bf_feed *feed);

/* An error: the batch at its offset cannot be unpacked. It is tried again for
 * ever, and the network may have been at fault. */
bool bf_feed_is_unreadable(const rd_kafka_message_t *msg);

#endif
