#ifndef BF_WORKER_TXN_H
#define BF_WORKER_TXN_H

/*
 * The transactional producer as a machine with few ends: give it records,
 * offsets and the group's metadata, and it says what became of them. Blocks;
 * committer thread only. The table of errors is anchors.md §9.1's: librdkafka
 * marks each error retriable, abortable or fatal, and this file adds which of
 * the abortable ones will not go away by themselves.
 *
 * KIP-890 is in no librdkafka (#5423): a late EndTxn of a timed-out
 * transaction can hit the next one. So whatever was not positively resolved
 * ends in a new producer, whose epoch fences the old one's requests.
 */

#include <librdkafka/rdkafka.h>

#include "schemas/record.h"

struct bf_err;
struct bf_txn;

enum bf_txn_end {
    BF_TXN_COMMITTED,
    BF_TXN_ABORTED, /* nothing of it is visible: the same again */
    BF_TXN_STALE,   /* aborted: the group moved on, wait for its event */
    BF_TXN_REFUSED, /* aborted: an output is refused for good */
    BF_TXN_UNSURE,  /* may be committed: bf_txn_open(), then read back */
    BF_TXN_FENCED,  /* as UNSURE, and another producer may have our id */
};
const char *bf_txn_end_name(enum bf_txn_end end);

/* One record to produce; lives until bf_txn_run() has returned. */
struct bf_outgoing {
    const struct bf_record *rec;
    rd_kafka_resp_err_t refused; /* set when the broker refused this one */
};

struct bf_txn_batch {
    struct bf_outgoing *out;
    size_t nout;
    const rd_kafka_topic_partition_list_t *offsets;
    const rd_kafka_consumer_group_metadata_t *group;
};

struct bf_txn_config {
    /* A new producer configuration with this transactional.id. */
    rd_kafka_conf_t *(*conf)(void *arg, struct bf_err *err);
    void *arg;
    const char *const *topics; /* outputs, borrowed for the txn's life */
    size_t ntopics;
};

/* No I/O yet. config is copied. */
struct bf_txn *bf_txn_new(const struct bf_txn_config *config,
                          struct bf_err *err);

/* Aborts what is open, within timeout_ms, and destroys. */
void bf_txn_free(struct bf_txn *txn, int timeout_ms);

/*
 * Destroy any producer, make a new one, init_transactions: afterwards the old
 * one is fenced and its last transaction is over, either way. RETRY: call
 * again. FATAL: the configuration is wrong.
 */
int bf_txn_open(struct bf_txn *txn, int timeout_ms, struct bf_err *err);
bool bf_txn_is_open(const struct bf_txn *txn);

/*
 * One transaction. On REFUSED, refused is set in every member of the batch
 * that the broker named, and in all when it named none; err tells of the end,
 * whenever that is not COMMITTED. UNSURE, FENCED and what the broker (not our
 * own librdkafka) has REFUSED leave it closed.
 */
enum bf_txn_end bf_txn_run(struct bf_txn *txn, struct bf_txn_batch *batch,
                           struct bf_err *err);

/* How long the transaction that last ran was open, in ms. */
int64_t bf_txn_age_ms(const struct bf_txn *txn);

/* Serve delivery reports and logs while idle; never blocks. */
void bf_txn_poll(struct bf_txn *txn);

#endif
