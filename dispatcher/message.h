#ifndef BF_DISPATCHER_MESSAGE_H
#define BF_DISPATCHER_MESSAGE_H

/* A message of librdkafka's as a record of ours. */

#include <librdkafka/rdkafka.h>

#include "schemas/record.h"

/*
 * *ret is initialised and borrows from message and topic. REJECT
 * "too_many_headers"; *ret can be released in any case.
 */
int bf_message_record(const rd_kafka_message_t *message, const char *topic,
                      struct bf_record *ret, struct bf_err *err);

#endif
