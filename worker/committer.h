#ifndef BF_WORKER_COMMITTER_H
#define BF_WORKER_COMMITTER_H

/*
 * The thread that makes things visible: it groups items into transactions
 * with the consumed offsets, and owns every blocking Kafka call. The rules are
 * anchors.md §10 as sharpened by design.md §4:
 *
 *  - every transaction sends the offsets of every shard it writes for, moved
 *    or not, under the group metadata of the latest rebalance event;
 *  - outputs are kept until the commit is known: an abort produces the same
 *    bytes again and never runs anything again;
 *  - what is not positively resolved is read back, by the shard's txn_seq.
 */

#include <librdkafka/rdkafka.h>

#include "schemas/sign.h"
#include "worker/item.h"
#include "worker/txn.h"

struct bf_committer;
struct bf_err;
struct bf_topics;

struct bf_committer_config {
    const struct bf_topics *topics;
    const char *fleet;
    const char *txn_id; /* ours; also the writer in metadata and b */
    const char *host;
    uint32_t shards;
    int interval_ms; /* between starts of transactions */
    size_t bytes;    /* of outputs: one is started at once */
    int txn_timeout_ms;
    const struct bf_signer *result_signer; /* used in its thread */
    const struct bf_signer *state_signer;
    rd_kafka_t *consumer; /* the group's, read_committed; borrowed */
    rd_kafka_t *reader;   /* group-less, read_uncommitted; borrowed */
    /* A producer configuration with this transactional.id. */
    rd_kafka_conf_t *(*producer_conf)(void *arg, const char *txn_id,
                                      struct bf_err *err);
    void *arg;
};

/* Starts the thread. config is copied, what it points to is borrowed. */
struct bf_committer *bf_committer_new(const struct bf_committer_config *config,
                                      struct bf_err *err);

/* After BF_MSG_STOPPED only: joins the thread. */
void bf_committer_free(struct bf_committer *committer);

/* Loop thread: hand a message over; its kind says what it is. */
void bf_committer_put(struct bf_committer *committer, struct bf_msg *msg);

/* Loop thread: what the committer says; for epoll, and to take. */
int bf_committer_fd(const struct bf_committer *committer);
struct bf_msg *bf_committer_take(struct bf_committer *committer);

#endif
