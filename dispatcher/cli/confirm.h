#ifndef BF_DISPATCHER_CLI_CONFIRM_H
#define BF_DISPATCHER_CLI_CONFIRM_H

/*
 * From where a stopped shard is to go on, as an operator says, and what that
 * costs. Pure.
 */

#include "dispatcher/cli/look.h"

struct bf_err;

enum bf_confirm_from {
    BF_CONFIRM_BASE,      /* what the newest b entry says */
    BF_CONFIRM_COMMITTED, /* what is committed, as far as it can be read */
    BF_CONFIRM_EARLIEST,  /* the first record that the log holds */
    BF_CONFIRM_LATEST,    /* what is written from now on */
    BF_CONFIRM_OFFSET,
};

struct bf_confirm_want {
    enum bf_confirm_from from;
    int64_t offset; /* for OFFSET */
};

/* "base", "committed", ..., or a number. REJECT "usage". */
int bf_confirm_parse(const char *word, struct bf_confirm_want *ret,
                     struct bf_err *err);

struct bf_confirm {
    struct bf_meta meta;     /* of the new b entry; no writer */
    struct bf_resume resume; /* what a worker will make of it */
    int64_t todo;            /* offsets that run for the first time */
    int64_t again;           /* that had ended, and may run again */
    int64_t skipped;         /* that had not ended, and get no result */
    bool unsure; /* these count what b knows; later ends nobody can read */
};

/*
 * REJECT "refused" when there is nothing of that kind to start from. state_seq
 * is the highest of the shard's entries; the new one's is above all.
 */
int bf_confirm_plan(const struct bf_lane_seen *seen,
                    const struct bf_confirm_want *want, uint64_t state_seq,
                    struct bf_confirm *ret, struct bf_err *err);

#endif
