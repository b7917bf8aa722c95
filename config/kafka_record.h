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

/* The same with copies of all bytes, so that msg may go. */
int bf_kafka_record_copy(const rd_kafka_message_t *msg, const char *topic,
                         struct bf_record *ret, struct bf_err *err);

#endif
