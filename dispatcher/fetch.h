#ifndef BF_DISPATCHER_FETCH_H
#define BF_DISPATCHER_FETCH_H

/*
 * One record's value by its coordinates: results that are too large for the
 * view. Blocks; one thread at a time.
 */

#include <librdkafka/rdkafka.h>

#include "schemas/buf.h"

struct bf_err;
struct bf_fetch;

/* Takes rk, a read_committed consumer without a group. */
struct bf_fetch *bf_fetch_new(rd_kafka_t *rk, struct bf_err *err);
void bf_fetch_free(struct bf_fetch *fetch);
BF_DEFINE_CLEANUP(bf_fetch_freep_, struct bf_fetch *, bf_fetch_free)
#define bf_autofetch bf_cleanup(bf_fetch_freep_)

/*
 * Append the value to out. REJECT "gone" when the topic does not have that
 * record any more, RETRY "timeout" or "oom".
 */
int bf_fetch_value(struct bf_fetch *fetch, const char *topic, int32_t partition,
                   int64_t offset, struct bf_buf *out, struct bf_err *err);

#endif
