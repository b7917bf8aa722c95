#ifndef BF_CONFIG_FLEET_TOPICS_H
#define BF_CONFIG_FLEET_TOPICS_H

/*
 * The topics of a fleet: one table of their names, clean-up, sizes and who
 * signs what is in them, for whoever creates, checks, writes or reads them.
 * Source: PROTOCOL.md §4. No state; any thread.
 */

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "schemas/buf.h"
#include "schemas/limits.h"
#include "schemas/purpose.h"
#include "schemas/state.h"

struct bf_err;

#define BF_DAY_MS 86400000LL

/*
 * X(ENUM, name after the prefix, retention in ms (-1: compacted),
 *   max.message.bytes, purpose of its signatures (BF_PURPOSES: unsigned))
 */
#define BF_TOPIC_TABLE(X)                                                      \
    X(JOBS, "jobs", 15 * BF_DAY_MS, BF_MAX_RECORD, BF_PURPOSE_JOB)             \
    X(BATCH, "jobs.batch", 15 * BF_DAY_MS, BF_MAX_RECORD, BF_PURPOSE_JOB)      \
    X(STATE, "state", -1, BF_MAX_RECORD_SMALL, BF_PURPOSE_STATE)               \
    X(RESULTS, "results", 7 * BF_DAY_MS, BF_MAX_RECORD, BF_PURPOSE_RESULT)     \
    X(USAGE, "usage", 35 * BF_DAY_MS, BF_MAX_RECORD_SMALL, BF_PURPOSE_RESULT)  \
    X(DEADLETTER, "deadletter", 30 * BF_DAY_MS, BF_MAX_RECORD,                 \
      BF_PURPOSE_RESULT)                                                       \
    X(CALLBACKS, "callbacks", 7 * BF_DAY_MS, BF_MAX_RECORD_SMALL,              \
      BF_PURPOSE_RESULT)                                                       \
    X(CONTROL, "control", 7 * BF_DAY_MS, BF_MAX_RECORD_SMALL,                  \
      BF_PURPOSE_CONTROL)                                                      \
    X(EVENTS, "events", 1 * BF_DAY_MS, BF_MAX_RECORD_SMALL, BF_PURPOSES)

enum bf_topic {
#define X(id, name, retention_ms, max_bytes, purpose) BF_TOPIC_##id,
    BF_TOPIC_TABLE(X)
#undef X
        BF_TOPICS,
};

#define BF_TOPIC_NAME_SIZE 128 /* with its NUL */
#define BF_TOPICS_PREFIX "bf."

/* The names of one fleet's topics; filled by bf_topics_init(). */
struct bf_topics {
    char names[BF_TOPICS][BF_TOPIC_NAME_SIZE];
};

/*
 * prefix: [a-zA-Z0-9._-], up to 100 characters, may be empty. REJECT
 * "bad_prefix" otherwise.
 */
int bf_topics_init(struct bf_topics *topics, const char *prefix,
                   struct bf_err *err);

/* The full name; lives as long as topics. */
const char *bf_topic_name(const struct bf_topics *topics, enum bf_topic which);

/* The topic that a lane's records stand in. */
enum bf_topic bf_lane_topic(enum bf_lane lane);

/* Which topic of the fleet has this name; -1: none. */
int bf_topic_of(const struct bf_topics *topics, const char *name);

/* The name without prefix: "jobs.batch". */
const char *bf_topic_short(enum bf_topic which);
int64_t bf_topic_retention_ms(enum bf_topic which); /* -1: compacted */
uint32_t bf_topic_max_bytes(enum bf_topic which);   /* max.message.bytes */

/* BF_PURPOSES when its records are not signed. */
enum bf_purpose bf_topic_purpose(enum bf_topic which);

/* One property that a topic of ours is created with. */
struct bf_topic_setting {
    const char *name; /* a literal: "cleanup.policy" */
    char value[24];
};
#define BF_TOPIC_SETTINGS 10

/* Returns how many of ret are filled. replication decides min.insync. */
size_t bf_topic_settings(enum bf_topic which, int replication,
                         struct bf_topic_setting ret[BF_TOPIC_SETTINGS]);

/*
 * Ask the broker, in one request that creates nothing, and blocks up to
 * timeout_ms: do all topics exist, with equal partition counts? *ret_shards is
 * that count. RETRY "unreachable"; FATAL "no_topic", "unequal_shards",
 * "too_many_shards".
 */
int bf_topics_check(rd_kafka_t *rk, const struct bf_topics *topics,
                    int timeout_ms, uint32_t *ret_shards, struct bf_err *err);

/*
 * After a question about offsets that failed: let the handle learn anew who
 * leads what. librdkafka 2.0.2 does so by itself when a fetch or a produce is
 * refused, but sends rd_kafka_query_watermark_offsets() and
 * rd_kafka_offsets_for_times() to whoever led last, and again, for minutes.
 */
void bf_topics_look_again(rd_kafka_t *rk, int timeout_ms);

/* bf_topics_check()'s question to an answer that is already there. */
int bf_topics_check_in(const struct rd_kafka_metadata *metadata,
                       const struct bf_topics *topics, uint32_t *ret_shards,
                       struct bf_err *err);

/* That topic's partitions in an answer; -1: it does not exist. */
int bf_topic_partitions(const struct rd_kafka_metadata *metadata,
                        const char *name);

#endif
