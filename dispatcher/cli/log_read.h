#ifndef BF_DISPATCHER_CLI_LOG_READ_H
#define BF_DISPATCHER_CLI_LOG_READ_H

/*
 * Committed records of one topic, from somewhere to where it ended when it was
 * read. Joins no group. Blocking, one thread.
 */

#include "dispatcher/cli/kafka.h"
#include "schemas/record.h"

struct bf_err;

/* Borrowed for the call. */
struct bf_log_range {
    const char *topic;
    uint32_t partitions;
    int32_t partition; /* -1: all of them */
    int64_t offset;    /* of one partition alone; -1: by from_ms */
    int64_t from_ms;   /* records of that time and later; -1: all */
    bool single;       /* nothing but the record at offset */
};

/*
 * Of each record, in the order of its partition. bad: it is not whole, and this
 * is why; NULL otherwise. Slices borrow from a message that goes afterwards.
 */
typedef int bf_log_fn(void *arg, const struct bf_record *rec,
                      const struct bf_err *bad, struct bf_err *err);

/*
 * fn's failure ends it. RETRY "unreachable" when brokers are silent; REJECT
 * "refused" when one says no, or when a single record is not there.
 */
int bf_log_read(struct bf_kafka *kafka, const struct bf_log_range *range,
                bf_log_fn *fn, void *arg, struct bf_err *err);

#endif
