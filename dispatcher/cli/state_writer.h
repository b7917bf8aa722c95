#ifndef BF_DISPATCHER_CLI_STATE_WRITER_H
#define BF_DISPATCHER_CLI_STATE_WRITER_H

/*
 * Records that an operator adds to the state topic: signed in trees of 64, in
 * the order in which they are added. Blocking, one thread.
 */

#include "schemas/record.h"
#include "schemas/state.h"

struct bf_err;
struct bf_settings;
struct bf_signer;
struct bf_state_writer;

/* All of it is borrowed. */
struct bf_state_writing {
    const struct bf_settings *settings;
    const char *topic;
    const char *fleet;
    const struct bf_signer *signer; /* of purpose state */
};

/* Nothing is asked of a broker before there is a record to send. */
struct bf_state_writer *bf_state_writer_new(const struct bf_state_writing *what,
                                            struct bf_err *err);
/* What was not flushed may be there or not. */
void bf_state_writer_free(struct bf_state_writer *writer);
BF_DEFINE_CLEANUP(bf_state_writer_freep_, struct bf_state_writer *,
                  bf_state_writer_free)
#define bf_autostatewriter bf_cleanup(bf_state_writer_freep_)

/* The next record of this shard, to be filled at once; NULL on failure. */
struct bf_record *bf_state_writer_next(struct bf_state_writer *writer,
                                       uint32_t shard, struct bf_err *err);
int bf_state_writer_add(struct bf_state_writer *writer, uint32_t shard,
                        const struct bf_entry *entry, struct bf_err *err);

/* Until the brokers have all of it: RETRY "unreachable", REJECT "refused". */
int bf_state_writer_flush(struct bf_state_writer *writer, struct bf_err *err);

#endif
