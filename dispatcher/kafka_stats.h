#ifndef BF_DISPATCHER_KAFKA_STATS_H
#define BF_DISPATCHER_KAFKA_STATS_H

/* What matters of librdkafka's statistics (its STATISTICS.md). Pure. */

#include <stdint.h>

#include "schemas/buf.h"

struct bf_err;

struct bf_kafka_stats {
    uint64_t brokers_up; /* connections that are */
    uint64_t requests;
    uint64_t errors;
    uint64_t retries;
    uint64_t timeouts;
    double rtt_p50_s; /* of the slowest broker, in the last interval */
    double rtt_p99_s;
};

/* text: one document of a stats_cb. REJECT "bad_stats"; *ret untouched. */
int bf_kafka_stats_read(struct bf_slice text, struct bf_kafka_stats *ret,
                        struct bf_err *err);

#endif
