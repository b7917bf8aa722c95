#ifndef BF_WORKER_ATTEMPT_H
#define BF_WORKER_ATTEMPT_H

/*
 * One transaction's worth of items, made ready: the records to produce, the
 * offsets with their metadata, and what each touched shard will be when it is
 * committed. Built anew from the durable ledgers for every try, so that an
 * abort leaves nothing behind. No I/O; committer thread.
 */

#include "worker/committer.h"
#include "worker/ledger.h"

/* What the committer knows of a shard that it commits for. */
struct bf_commit_shard {
    bool open;
    uint32_t epoch;
    uint64_t seq;                             /* of the last commit */
    struct bf_ledger ledgers[BF_INPUT_LANES]; /* what is committed */
    int64_t base_written_ms;                  /* of the b entries */
};

/* The same, as it will be. */
struct bf_touched {
    uint32_t shard;
    uint32_t epoch;
    uint64_t seq;
    bool writes_base;
    bool moved[BF_INPUT_LANES];
    struct bf_ledger ledgers[BF_INPUT_LANES];
};

struct bf_attempt {
    const struct bf_committer_config *config;
    struct bf_item **items;
    size_t nitems;
    struct bf_touched *touched;
    size_t ntouched;
    struct bf_record *entries; /* state records, owned */
    size_t nentries;
    struct bf_outgoing *out; /* outputs of the items, then the entries */
    struct bf_item **owners; /* of out[i]; NULL: of no single item */
    size_t nout;
    rd_kafka_topic_partition_list_t *offsets;
};

/*
 * items are borrowed until bf_attempt_free(). Every one's shard is open in its
 * epoch. RETRY on no memory; FATAL when a record cannot be built or signed.
 */
struct bf_attempt *bf_attempt_new(const struct bf_committer_config *config,
                                  const struct bf_commit_shard *shards,
                                  struct bf_item **items, size_t nitems,
                                  struct bf_err *err);
void bf_attempt_free(struct bf_attempt *attempt);

/* It is committed: make the shards what they are now. */
void bf_attempt_apply(const struct bf_attempt *attempt,
                      struct bf_commit_shard *shards);

/*
 * Is this attempt what is committed? what: the committed offset's metadata of
 * the touched shard's first lane. By txn_seq, and by whose it is.
 */
bool bf_attempt_is(const struct bf_attempt *attempt, const struct bf_touched *t,
                   const struct bf_meta *what);

#endif
