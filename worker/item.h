#ifndef BF_WORKER_ITEM_H
#define BF_WORKER_ITEM_H

/*
 * What the loop and the committer hand each other. A message belongs to the
 * thread that took it; nothing else is shared between the two.
 */

#include <librdkafka/rdkafka.h>

#include "schemas/err.h"
#include "schemas/limits.h"
#include "schemas/resume.h"
#include "worker/mailbox.h"

/* A result, a callback, a dead letter, and a usage row per attempt. */
#define BF_ITEM_OUTPUTS (3 + BF_MAX_ATTEMPTS)

/* The lanes that a worker consumes today; control has no reader yet. */
#define BF_INPUT_LANES 2

enum bf_msg_kind {
    /* both ways: struct bf_item */
    BF_MSG_ITEM,
    /* loop -> committer */
    BF_MSG_GROUP, /* struct bf_group_msg */
    BF_MSG_QUERY, /* struct bf_query, answered by itself */
    BF_MSG_OPEN,  /* struct bf_open */
    BF_MSG_FENCE, /* struct bf_fence */
    BF_MSG_STOP,  /* struct bf_msg */
    /* committer -> loop */
    BF_MSG_BASES,   /* struct bf_bases */
    BF_MSG_FATAL,   /* struct bf_fatal */
    BF_MSG_STOPPED, /* struct bf_msg, the STOP itself */
};

enum bf_item_end {
    BF_ITEM_COMMITTED, /* visible, for ever */
    BF_ITEM_DROPPED,   /* the shard is not ours any more: nothing is visible */
    BF_ITEM_REFUSED,   /* the broker refuses an output: make a smaller one */
};

/*
 * One thing that becomes visible in one transaction: outputs, a state entry
 * and completed offsets, any of them absent. Embedded in what the loop knows
 * of it; everything it points to stays until it comes back.
 */
struct bf_item {
    struct bf_msg msg; /* first */
    uint32_t shard;
    uint32_t epoch;
    enum bf_lane lane;
    int64_t from, to;       /* completes [from, to) */
    struct bf_record **out; /* owned; see bf_item_add() */
    size_t nout;
    struct bf_record *few[3]; /* private: where out is, of a usual one */
    struct bf_record **many;  /* private: and of others */
    size_t nsigned;           /* of out; committer's */
    bool of_shard;            /* about the shard itself, not about a job */
    bool of_chore;            /* outputs of housekeeping, see chores.h */
    bool wants_base;          /* the shard's b entries are written, too */
    bool has_entry;           /* entry is written with the rest */
    struct bf_entry entry;    /* seq is filled in by the committer */
    struct bf_entry *more;    /* further entries, the sender's; or NULL */
    size_t nmore;
    bool finishes; /* a job with this id has ended: remembered in a d entry */
    unsigned char finished_id[BF_FINISHED_ID_SIZE];
    uint64_t segment;     /* committer's: the d entry's number */
    size_t bytes;         /* of the outputs, for the ceiling */
    enum bf_item_end end; /* committer's answer */
    rd_kafka_resp_err_t refused;
};

/*
 * One more output, for the item's shard; there may be BF_ITEM_OUTPUTS. NULL: no
 * memory. The loop's, as is bf_item_drop(), which frees all outputs.
 */
struct bf_record *bf_item_add(struct bf_item *item, const char *topic,
                              struct bf_err *err);
void bf_item_drop(struct bf_item *item);

/* Does this very item end a job? (A started entry goes before, without.) */
static inline bool bf_item_finishes(const struct bf_item *item)
{
    return item->finishes && item->from < item->to;
}

struct bf_group_msg {
    struct bf_msg msg;
    rd_kafka_consumer_group_metadata_t *group; /* owned */
};

/* "What is committed for this shard, and where does its state end?" */
#define BF_MARK_SIZE (2 * 16 + 1)

struct bf_query {
    struct bf_msg msg;
    uint32_t shard;
    uint32_t epoch;
    int64_t asked_ms, next_ms, fence_ms; /* these are the committer's */
    char mark[BF_MARK_SIZE];             /* empty: none is put yet */
    struct bf_resume_facts lanes[BF_INPUT_LANES];
    int64_t state_low, state_high;
};

/* The shard is restored: commit for it from here on. */
struct bf_open {
    struct bf_msg msg;
    uint32_t shard;
    uint32_t epoch;
    uint64_t seq;
    struct bf_meta metas[BF_INPUT_LANES];
};

/* The shard is gone: items of this epoch and older come back DROPPED. */
struct bf_fence {
    struct bf_msg msg;
    uint32_t shard;
};

/* After each transaction: how far each shard in it has come. */
struct bf_bases {
    struct bf_msg msg;
    size_t n;
    struct bf_base {
        uint32_t shard;
        uint32_t epoch;
        int64_t base[BF_INPUT_LANES];
        bool written; /* to b entries, too */
    } shards[];
};

struct bf_fatal {
    struct bf_msg msg;
    char text[240];
};

#endif
