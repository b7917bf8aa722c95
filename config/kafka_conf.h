#ifndef BF_CONFIG_KAFKA_CONF_H
#define BF_CONFIG_KAFKA_CONF_H

/*
 * The only place that knows how a Kafka handle of ours is configured. What is
 * measured stands in kafka_conf.c, next to each value. The operator's own
 * librdkafka properties come last; those that exactly-once depends on cannot
 * be among them (config/kafka_props.h).
 *
 * Every handle logs through config/log.h as "kafka_<facility>", rate-limited,
 * and reports errors there as "kafka_error" unless the caller takes them as
 * events (rd_kafka_conf_set_events on the result). Statistics are off.
 */

#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdint.h>

struct bf_err;
struct bf_settings;

enum bf_kafka_role {
    /* Member of kafka.group by cooperative-sticky, read_committed. */
    BF_KAFKA_CONSUMER,
    /* Never subscribes, so no member: assign() and committed() only. */
    BF_KAFKA_READER_COMMITTED,
    BF_KAFKA_READER_UNCOMMITTED,
    BF_KAFKA_TXN_PRODUCER,
    BF_KAFKA_PRODUCER, /* idempotent, no transactions */
    BF_KAFKA_ADMIN,    /* for rd_kafka_new(RD_KAFKA_PRODUCER, ...) */
};

/* RD_KAFKA_CONSUMER or RD_KAFKA_PRODUCER for rd_kafka_new(). */
rd_kafka_type_t bf_kafka_role_type(enum bf_kafka_role role);

typedef void bf_kafka_dr_fn(rd_kafka_t *rk, const rd_kafka_message_t *message,
                            void *opaque);

struct bf_kafka_want {
    enum bf_kafka_role role;
    const char *transactional_id; /* BF_KAFKA_TXN_PRODUCER: required */
    bf_kafka_dr_fn *dr_msg_cb;    /* producers; NULL: one that does nothing */
    void *opaque;                 /* for every callback of the handle */
    /*
     * Memory of its queues. A consumer's or reader's is divided by
     * partitions, all it may be assigned at once over all topics; a
     * producer's bounds what is not yet delivered. 0: librdkafka's defaults.
     */
    uint64_t queue_bytes;
    uint32_t partitions;
    /*
     * Producers: the largest max.message.bytes of the topics it writes. A
     * larger record is refused by producev() with MSG_SIZE_TOO_LARGE, alone,
     * where the broker would abort a whole transaction. 0: 16 MiB.
     */
    uint32_t max_message_bytes;
    /*
     * Producers: the smallest max.message.bytes of those topics. More records
     * than that at once, and the broker refuses what it would take one by
     * one. 0: librdkafka's default of 1 MB, which is also the most.
     */
    uint32_t batch_bytes;
};

/*
 * For rd_kafka_new(), which takes it on success; else rd_kafka_conf_destroy().
 * NULL on REJECT "bad_value" (from a property of the operator's), "memory" (see
 * below) or RETRY "oom".
 */
rd_kafka_conf_t *bf_kafka_conf_new(const struct bf_settings *settings,
                                   const struct bf_kafka_want *want,
                                   struct bf_err *err);

/* The largest record that a producer so configured takes. */
uint32_t bf_kafka_conf_max_message(const rd_kafka_conf_t *conf);

/* One consumer's share of memory, per partition. */
struct bf_kafka_budget {
    uint32_t queued_kbytes;   /* queued.max.messages.kbytes */
    uint32_t fetch_bytes;     /* fetch.message.max.bytes */
    uint32_t fetch_max_bytes; /* fetch.max.bytes, of one broker's answer */
};

#define BF_KAFKA_PARTITION_MIN_BYTES 16384

/*
 * librdkafka counts its queue per partition once each has its own, stops
 * fetching when it is full, and may overshoot by one fetch that was under way:
 * partitions * (queued + fetch) <= budget, half each, both fixed when the
 * handle is made. A single record larger than a fetch still comes, alone:
 * what no setting bounds. REJECT "memory" under 16 KiB a partition.
 */
int bf_kafka_budget(uint64_t budget_bytes, uint32_t partitions,
                    struct bf_kafka_budget *ret, struct bf_err *err);

#endif
