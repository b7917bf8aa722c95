#ifndef BF_WORKER_LANE_READER_H
#define BF_WORKER_LANE_READER_H

/*
 * One input lane of an open shard: from its log to what there is to work on.
 * What is known to be complete is left out, what the log does not hold is a
 * gap, and what cannot be unpacked is skipped. Lives inside the shard's slot;
 * the fields are the module's. Loop thread only.
 */

#include <librdkafka/rdkafka.h>

#include "schemas/state.h"
#include "worker/ledger.h"
#include "worker/restore.h"
#include "worker/skip.h"

struct bf_consumer;
struct bf_err;
struct bf_feed;

enum bf_pull_kind {
    BF_PULL_NONE,
    BF_PULL_RECORD, /* msg, owned by the caller */
    BF_PULL_GAP,    /* offsets that are not in the log */
};

struct bf_pull {
    enum bf_pull_kind kind;
    uint32_t shard;
    uint32_t epoch;
    enum bf_lane lane;
    rd_kafka_message_t *msg;
    int64_t from, to; /* gap */
    int64_t lost;     /* of them, not known to be complete */
};

struct bf_lane_reader {
    const char *topic; /* borrowed */
    uint32_t shard;
    struct bf_feed *feed;
    struct bf_ledger restored; /* what was complete when it was opened */
    int64_t lost_to; /* from the base to here nothing is left; -1: told */
    int64_t next;    /* the offset that the log should give next */
    int64_t base;    /* committed: below, all is over */
    rd_kafka_message_t *held; /* read, but does not fit the window yet */
    struct bf_skip skip;      /* over what cannot be unpacked */
    int64_t look_at;          /* go on there; -1: go on as it comes */
    bool cut; /* the log lost what comes next: restore the shard again */
};

/* Where it resumes. Nothing is read before bf_lane_reader_open(). */
void bf_lane_reader_init(struct bf_lane_reader *reader, const char *topic,
                         uint32_t shard, const struct bf_resume *from);

/* Before the assign, and after the unassign. Closing what is closed is fine. */
int bf_lane_reader_open(struct bf_lane_reader *reader,
                        struct bf_consumer *consumer, struct bf_err *err);
void bf_lane_reader_close(struct bf_lane_reader *reader);

/* Its partition, and where to read from, for an assign or unassign. */
void bf_lane_reader_add(const struct bf_lane_reader *reader,
                        rd_kafka_topic_partition_list_t *parts);

/*
 * The next record or gap, at most window offsets above the base. Fills in
 * kind, shard and what belongs to the kind; the rest is the caller's.
 */
enum bf_pull_kind bf_lane_reader_pull(struct bf_lane_reader *reader,
                                      int64_t window, struct bf_pull *ret);

/* Does it give nothing until bf_lane_reader_look()? */
bool bf_lane_reader_must_look(const struct bf_lane_reader *reader);

/* Read from another place, if it must; -1: FATAL. */
int bf_lane_reader_look(struct bf_lane_reader *reader,
                        struct bf_consumer *consumer, struct bf_err *err);

#endif
