#ifndef BF_SCHEMAS_RESUME_H
#define BF_SCHEMAS_RESUME_H

/*
 * Where an input partition resumes, from what Kafka has committed for it and
 * what its shard's newest b entry says; or why it must not: design.md §4.6,
 * PROTOCOL.md §8. The one rule of workers that restore and of operators who
 * look on. Pure.
 */

#include "schemas/err.h"
#include "schemas/state.h"

/* What Kafka knows of the partition. */
struct bf_resume_facts {
    bool committed; /* meta is what is committed */
    bool corrupt;   /* what is committed cannot be read: problem */
    int64_t offset; /* committed, in either case */
    struct bf_err problem;
    struct bf_meta meta;
    char commit_id[BF_HEX128_SIZE]; /* of whatever is committed, or is not */
    int64_t low, high;              /* what the log holds: [low, high) */
};

/* All but low and high; offset < 0: nothing is committed. */
void bf_resume_facts_take(struct bf_resume_facts *facts, int64_t offset,
                          struct bf_slice metadata);

/* The newest b entry of a shard and lane. */
struct bf_resume_base {
    bool known;
    struct bf_meta meta;            /* txn_seq is the entry's seq */
    char confirmed[BF_HEX128_SIZE]; /* commit id; empty: not confirmed */
};

/*
 * The lane's next b entry in the log, or its end. REJECT "state_went_back":
 * its seq is lower than the last one's; base stays as it was.
 */
int bf_resume_base_take(struct bf_resume_base *base,
                        const struct bf_entry *entry, struct bf_err *err);

struct bf_resume {
    struct bf_meta meta; /* what is complete */
    int64_t start;       /* where to read from */
    int64_t lost;        /* offsets in [meta.base, start) that were not
                            complete and are not in the log any more */
    bool from_base;      /* the committed offset had expired */
    bool confirmed;      /* an operator says so: the b entry overrules what is
                            committed */
};

/*
 * REJECT stops the shard until an operator confirms: "no_base",
 * "corrupt_metadata", "older_than_base", "ahead_of_log".
 */
int bf_resume(const struct bf_resume_facts *facts,
              const struct bf_resume_base *base, enum bf_lane lane,
              struct bf_resume *ret, struct bf_err *err);

#endif
