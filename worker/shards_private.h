#ifndef BF_WORKER_SHARDS_PRIVATE_H
#define BF_WORKER_SHARDS_PRIVATE_H

/*
 * Shared by the files of one module alone, see shards.h for what it does:
 *
 *   shards.c          events in, records out, what others ask
 *   shards_open.c     from the assignment to OPEN or STOPPED
 *   shards_drain.c    from OPEN to away, or back to ASKING
 *   shards_stopped.c  from STOPPED back to ASKING
 *   shards_bases.c    the b entries that no job's end brings along
 */

#include "worker/shards.h"
#include "worker/state_reader.h"

enum bf_shard_phase {
    BF_SHARD_AWAY,
    BF_SHARD_ASKING,
    BF_SHARD_READING,
    BF_SHARD_OPEN,
    BF_SHARD_DRAINING,
    BF_SHARD_STOPPED,
};

struct bf_shard_slot {
    enum bf_shard_phase phase;
    uint32_t epoch;
    int64_t since_ms; /* OPEN and DRAINING: Unix time */
    bool leaving;     /* in a REVOKE that is not answered yet */
    bool reopen;      /* drained to be restored again, not to be given away */
    struct bf_state_reader reader; /* ASKING and READING; its facts: STOPPED */
    struct bf_lane_reader lanes[BF_INPUT_LANES]; /* OPEN and DRAINING */
    struct bf_shard *state;                      /* the same */
    size_t under_way;
    bool base_sent;      /* the last b entry is with the committer */
    int64_t base_due_ms; /* OPEN: when the next b entry is sent for */
    bool folding;        /* a fold of the finished ids is with the committer */
    int64_t drain_until_ms;
    int64_t look_ms; /* STOPPED: when the facts are asked for again */
};

struct bf_shards {
    struct bf_shards_config config;
    struct bf_shard_slot *slots;
    size_t turn;                               /* whose turn it is to pull */
    rd_kafka_topic_partition_list_t *revoking; /* unanswered REVOKE */
    bool strayed; /* an unassign of ours may have answered one unseen */
    bool any_reopen;
    bool any_look;
    bool any_leaving; /* see bf_shards_leaving() */
};

/* ---- shards.c ---- */

/* Closes what is open, and forgets. After the unassign. */
void bf_shard_slot_clear(struct bf_shard_slot *slot);

/* What is assigned for it, whatever its phase. */
void bf_shard_slot_add(const struct bf_shard_slot *slot,
                       rd_kafka_topic_partition_list_t *parts);

/*
 * An unassign that answers nothing. librdkafka may all the same take it for
 * the answer to a REVOKE that it has just sent: when that one is seen, its
 * shards belong to others already, and nothing of them may be drained. Not
 * while there is a REVOKE that we have seen.
 */
void bf_shards_stray(struct bf_shards *shards);

/* ---- shards_open.c ---- */

/*
 * A new life of the shard: asks the committer, opens the feed of its state,
 * adds what is to be assigned to parts. FATAL on no memory.
 */
int bf_shards_ask(struct bf_shards *shards, uint32_t id,
                  rd_kafka_topic_partition_list_t *parts, struct bf_err *err);

int bf_shards_assigned(struct bf_shards *shards,
                       const rd_kafka_topic_partition_list_t *parts,
                       struct bf_err *err);

/* The committer's answer to the asking. */
void bf_shards_take_facts(struct bf_shards *shards,
                          const struct bf_query *facts);

/* Reads the states on; opens or stops those that are read. */
int bf_shards_serve_restores(struct bf_shards *shards, struct bf_err *err);

/* ---- shards_drain.c ---- */

/* An OPEN shard gives nothing new from here on. */
void bf_shards_begin_drain(struct bf_shards *shards, uint32_t id);

/* Takes the event's list. */
int bf_shards_revoked(struct bf_shards *shards, struct bf_consumer_event *event,
                      struct bf_err *err);

/* Gives up, or restores again, what is drained or out of time. */
int bf_shards_serve_drains(struct bf_shards *shards, struct bf_err *err);

/* Milliseconds until the next one is out of time, at most max_ms. */
int bf_shards_drain_wait(const struct bf_shards *shards, int max_ms);

/* ---- shards_stopped.c ---- */

/* An operator may confirm: from now on it is looked at now and then. */
void bf_shards_stop(struct bf_shards *shards, uint32_t id);

/* Asks again for the facts of those whose time has come. */
void bf_shards_serve_stopped(struct bf_shards *shards);

/* What a STOPPED shard's facts are now: other than before, it is reopened. */
void bf_shards_compare(struct bf_shards *shards, const struct bf_query *facts);

/* ---- shards_bases.c ---- */

/*
 * What was committed last is (not) in a b entry: one is due soon, so that a
 * shard which falls idle and then loses its offsets goes on from no older one;
 * or in an hour, so that it does not lose them.
 */
void bf_shards_expect_base(struct bf_shard_slot *slot, bool written);

/* How far the committer has come. */
void bf_shards_take_bases(struct bf_shards *shards,
                          const struct bf_bases *bases);

void bf_shards_send_base(struct bf_shards *shards, uint32_t id);

/* Sends for those that are due. */
void bf_shards_serve_bases(struct bf_shards *shards);

#endif
