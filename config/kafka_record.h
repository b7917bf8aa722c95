#ifndef BF_CONFIG_KAFKA_RECORD_H
#define BF_CONFIG_KAFKA_RECORD_H

/* From librdkafka's message to the record that the codecs read. */

#include <librdkafka/rdkafka.h>

#include "schemas/record.h"

struct bf_err;

/*
 * Borrows from msg, which outlives ret; topic outlives both. REJECT
 * "too_many_headers": ret has the first BF_MAX_HEADERS then.
 */
int bf_kafka_record(const rd_kafka_message_t *msg, const char *topic,
                    struct bf_record *ret, struct bf_err *err);

/*
 * The same with copies of all bytes, so that msg may go. REJECT "too_large"
 * also for what no record may hold, which compression can hide from a broker:
 * ret has it as empty then. RETRY on no memory.
 */
int bf_kafka_record_copy(const rd_kafka_message_t *msg, const char *topic,
                         struct bf_record *ret, struct bf_err *err);

#endif
