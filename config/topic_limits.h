#ifndef BF_CONFIG_TOPIC_LIMITS_H
#define BF_CONFIG_TOPIC_LIMITS_H

/*
 * How large a record may be, topic by topic: max.message.bytes as the brokers
 * have it, which bounds a batch of one, its overhead included. Read once, at
 * start, by whoever writes. No state; any thread.
 */

#include "config/fleet_topics.h"
#include "schemas/record.h"

struct bf_topic_limits {
    uint32_t max_bytes[BF_TOPICS];
};

/* What `topics init` creates them with: for those who cannot ask. */
void bf_topic_limits_init(struct bf_topic_limits *limits);

/*
 * Ask the brokers, in one request, which blocks up to timeout_ms. RETRY
 * "limits": no answer, or the right DescribeConfigs is missing on a topic;
 * *ret untouched then. rk: any handle of ours.
 */
int bf_topic_limits_read(rd_kafka_t *rk, const struct bf_topics *topics,
                         int timeout_ms, struct bf_topic_limits *ret,
                         struct bf_err *err);

/* Nothing above this, whatever the topics allow: a producer's own limit. */
void bf_topic_limits_clamp(struct bf_topic_limits *limits, uint32_t max_bytes);

/*
 * FATAL "topic_limit" when a topic cannot hold what every worker must write to
 * it: a state entry, a usage row, a callback, the smallest result.
 */
int bf_topic_limits_check(const struct bf_topic_limits *limits,
                          const struct bf_topics *topics, struct bf_err *err);

/* The smallest of those that workers write to. */
uint32_t bf_topic_limits_least(const struct bf_topic_limits *limits);

/* How far it will be over its topic's limit once it is signed; 0: it fits. */
size_t bf_topic_limits_over(const struct bf_topic_limits *limits,
                            const struct bf_topics *topics,
                            const struct bf_record *rec);

#endif
