#ifndef BF_WORKER_SHARDS_H
#define BF_WORKER_SHARDS_H

/*
 * The shards of this process, from the assignment to the hand-over:
 *
 *   assign -> ASKING (what is committed?) -> READING (bf.state)
 *          -> OPEN (records flow) -> DRAINING -> unassign
 *
 * A shard whose facts contradict each other is STOPPED: it has an owner, and
 * nothing is read, until an operator confirms: when its state or what is
 * committed for it changes, it is restored again. Every change of hands raises
 * the epoch; what belongs to an older one is dropped. Loop thread only.
 */

#include "schemas/sign.h"
#include "worker/consumer.h"
#include "worker/item.h"
#include "worker/lane_reader.h"
#include "worker/shard.h"

struct bf_committer;
struct bf_err;
struct bf_shards;
struct bf_topics;

struct bf_shards_config {
    const struct bf_topics *topics;
    uint32_t shards;
    int64_t window;   /* offsets above a base that may be under way */
    int64_t drain_ms; /* at the most, in a revoke */
    struct bf_consumer *consumer;
    struct bf_committer *committer;
    struct bf_verifier *verifier; /* of state entries */
};

/* config is copied; what it points to is borrowed. */
struct bf_shards *bf_shards_new(const struct bf_shards_config *config,
                                struct bf_err *err);
void bf_shards_free(struct bf_shards *shards);

/* Serve rebalances and restores. -1: FATAL, the process has to end. */
int bf_shards_serve(struct bf_shards *shards, struct bf_err *err);

/* A message of the committer that is about shards: QUERY, BASES. Takes it. */
void bf_shards_take(struct bf_shards *shards, struct bf_msg *msg);

/*
 * The next thing to work on, shard by shard in turn. Each one counts as under
 * way until bf_shards_done().
 */
enum bf_pull_kind bf_shards_pull(struct bf_shards *shards, struct bf_pull *ret);
void bf_shards_done(struct bf_shards *shards, uint32_t shard, uint32_t epoch);

/* Is what was pulled in this epoch still ours to commit? */
bool bf_shards_owns(const struct bf_shards *shards, uint32_t shard,
                    uint32_t epoch);

/*
 * Is it ours, and since when, in Unix time? Of two owners, the one after the
 * other has the greater one, as far as their clocks agree.
 */
bool bf_shards_since(const struct bf_shards *shards, uint32_t shard,
                     uint32_t *ret_epoch, int64_t *ret_since_ms);

/* Is it being drained, so that nothing new may start? */
bool bf_shards_draining(const struct bf_shards *shards, uint32_t shard);

/*
 * The run that an earlier owner committed to begin at this offset, or NULL. It
 * may be another job's, of a log that was there before this one.
 */
const struct bf_started *bf_shards_started(const struct bf_shards *shards,
                                           uint32_t shard, enum bf_lane lane,
                                           int64_t offset);

/* Has the shard ended a job with this id? */
bool bf_shards_finished(const struct bf_shards *shards, uint32_t shard,
                        const unsigned char id[BF_FINISHED_ID_SIZE]);

/* The same of this job, wherever its record stands, or NULL. */
const struct bf_started *
bf_shards_started_of(const struct bf_shards *shards, uint32_t shard,
                     const unsigned char id[BF_FINISHED_ID_SIZE]);

/*
 * An item that the committer answered: remembers the id that it finished, and
 * takes back those of the shard's own. -1: FATAL.
 */
int bf_shards_answered(struct bf_shards *shards, struct bf_item *item,
                       struct bf_err *err);

/*
 * Has a shard been fenced or begun to drain since this was asked last, or is
 * one still draining?
 */
bool bf_shards_leaving(struct bf_shards *shards);

/* Milliseconds until bf_shards_serve() has something to do by itself. */
int bf_shards_wait(const struct bf_shards *shards, int max_ms);

/* For people: how many shards are open, and how many are stopped. */
void bf_shards_count(const struct bf_shards *shards, size_t *ret_open,
                     size_t *ret_stopped);

#endif
