#ifndef BF_DISPATCHER_CLI_LOG_WRITER_H
#define BF_DISPATCHER_CLI_LOG_WRITER_H

/*
 * Records that an operator adds to a topic: signed in trees of 64, in the order
 * in which they are added. Blocking, one thread.
 */

#include "schemas/record.h"
#include "schemas/state.h"

struct bf_err;
struct bf_settings;
struct bf_signer;
struct bf_log_writer;

/* All of it is borrowed. */
struct bf_log_writing {
    const struct bf_settings *settings;
    const char *topic;
    const char *fleet;
    const struct bf_signer *signer; /* of the topic's purpose */
};

/* Nothing is asked of a broker before there is a record to send. */
struct bf_log_writer *bf_log_writer_new(const struct bf_log_writing *what,
                                        struct bf_err *err);
/* What was not flushed may be there or not. */
void bf_log_writer_free(struct bf_log_writer *writer);
BF_DEFINE_CLEANUP(bf_log_writer_freep_, struct bf_log_writer *,
                  bf_log_writer_free)
#define bf_autologwriter bf_cleanup(bf_log_writer_freep_)

/* The next record of this partition, to be filled at once; NULL on failure. */
struct bf_record *bf_log_writer_next(struct bf_log_writer *writer,
                                     uint32_t shard, struct bf_err *err);
/* Of the state topic. */
int bf_log_writer_add(struct bf_log_writer *writer, uint32_t shard,
                      const struct bf_entry *entry, struct bf_err *err);

/* Until the brokers have all of it: RETRY "unreachable", REJECT "refused". */
int bf_log_writer_flush(struct bf_log_writer *writer, struct bf_err *err);

#endif
