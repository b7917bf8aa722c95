#ifndef BF_DISPATCHER_CLI_EXPORT_H
#define BF_DISPATCHER_CLI_EXPORT_H

/*
 * Records as lines of a file that can be carried away and verified elsewhere:
 * one JSON object a line with topic, partition, offset, timestamp_ms, key,
 * headers ([[name, value], ...]) and value. Pure.
 */

#include "schemas/record.h"

struct bf_err;

#define BF_EXPORT_TOPIC 256U /* a topic's name with its NUL */

/* Append the line. REJECT "bad_record": bytes that are not UTF-8. */
int bf_export_line(const struct bf_record *rec, struct bf_buf *out,
                   struct bf_err *err);

/*
 * Back into an initialised record, which owns what it holds, save its topic:
 * that is copied to topic. REJECT "bad_line".
 */
int bf_export_parse(struct bf_slice line, char topic[static BF_EXPORT_TOPIC],
                    struct bf_record *ret, struct bf_err *err);

#endif
