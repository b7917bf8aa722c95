#ifndef BF_DISPATCHER_CLI_KAFKA_H
#define BF_DISPATCHER_CLI_KAFKA_H

/*
 * What `topics` and `doctor` ask of brokers: one consumer handle that
 * joins no group, for administration, watermarks and reading; blocking, one
 * thread.
 * RETRY "unreachable" when no broker answers in time, REJECT "refused" when one
 * says no.
 */

#include <jansson.h>
#include <librdkafka/rdkafka.h>

#include "config/fleet_topics.h"

struct bf_err;
struct bf_kafka_want;
struct bf_settings;

struct bf_kafka;
struct bf_kafka *bf_kafka_new(const struct bf_settings *settings,
                              struct bf_err *err);
void bf_kafka_free(struct bf_kafka *kafka);
BF_DEFINE_CLEANUP(bf_kafka_freep_, struct bf_kafka *, bf_kafka_free)
#define bf_autokafka bf_cleanup(bf_kafka_freep_)

/* A quiet handle of any role: what goes wrong shows in results alone. */
rd_kafka_t *bf_kafka_open(const struct bf_settings *settings,
                          const struct bf_kafka_want *want, struct bf_err *err);

/*
 * Make a handle know a topic before it is assigned or written to: what it does
 * not know yet waits for its next scan, up to a second.
 */
void bf_kafka_learn(rd_kafka_t *rk, const char *topic);

rd_kafka_t *bf_kafka_handle(struct bf_kafka *kafka);

/* Of all topics; nothing is created. rd_kafka_metadata_destroy() it. */
const struct rd_kafka_metadata *bf_kafka_metadata(struct bf_kafka *kafka,
                                                  struct bf_err *err);

struct bf_new_topic {
    const char *name;
    int partitions;
    int replication;
    struct bf_topic_setting settings[BF_TOPIC_SETTINGS];
    size_t nsettings;
    bool ret_created; /* false: it was there */
};

/* In one request; fails on the first topic that was not and is not there. */
int bf_kafka_create(struct bf_kafka *kafka, struct bf_new_topic *topics,
                    size_t ntopics, struct bf_err *err);

/* {topic: {property: value}}; a topic that does not exist is left out. */
json_t *bf_kafka_topic_configs(struct bf_kafka *kafka, const char *const *names,
                               size_t n, struct bf_err *err);

/* {property: value} of one broker. */
json_t *bf_kafka_broker_config(struct bf_kafka *kafka, int32_t broker,
                               struct bf_err *err);

/*
 * {"state", "assignor", "members": [{"client", "host", "partitions": n,
 * "numbers": [which]}]}; a group that does not exist is "Dead".
 */
json_t *bf_kafka_group(struct bf_kafka *kafka, const char *group,
                       struct bf_err *err);

/*
 * Committed offsets with metadata of partitions 0..shards of n topics; offset
 * RD_KAFKA_OFFSET_INVALID: none. The caller destroys the list.
 */
rd_kafka_topic_partition_list_t *bf_kafka_committed(struct bf_kafka *kafka,
                                                    const char *group,
                                                    const char *const *topics,
                                                    size_t n, uint32_t shards,
                                                    struct bf_err *err);

/* The first and the next offset of a partition. */
int bf_kafka_watermarks(struct bf_kafka *kafka, const char *topic,
                        int32_t partition, int64_t *ret_low, int64_t *ret_high,
                        struct bf_err *err);

#endif
