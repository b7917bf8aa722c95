#ifndef BF_WORKER_SLOT_H
#define BF_WORKER_SLOT_H

/*
 * Which of the workers of one instance this process is: the lowest slot whose
 * lock file nobody holds. The transactional id comes from it, so a restarted
 * worker fences its own former life.
 *
 * The file says to others on this machine that the worker is well: it is empty
 * until its loop turns, and written to every ten seconds from then on.
 */

#include "schemas/limits.h"

struct bf_err;

struct bf_slot {
    int fd; /* holds the lock; -1: none */
    unsigned int number;
    char txn_id[BF_MAX_TXN_ID + 1]; /* group-instance-slot */
};

/* RETRY "no_slot" when all are taken; FATAL when dir cannot be used. */
int bf_slot_take(const char *dir, const char *group, const char *instance,
                 unsigned int slots, struct bf_slot *ret, struct bf_err *err);
void bf_slot_beat(const struct bf_slot *slot);
void bf_slot_release(struct bf_slot *slot);

#endif
