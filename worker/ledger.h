#ifndef BF_WORKER_LEDGER_H
#define BF_WORKER_LEDGER_H

/*
 * Which offsets of one input partition are complete: a base, below which all
 * are, and a bitmap of the BF_WINDOW offsets from it. Pure. Its owner is the
 * thread that holds it; it does not know Kafka.
 */

#include "schemas/meta.h"

struct bf_ledger {
    int64_t base;
    uint64_t words[BF_WINDOW / 64]; /* bit i: base + i is complete */
};

void bf_ledger_init(struct bf_ledger *ledger, int64_t base);

/* From what a committed offset's metadata says. */
void bf_ledger_load(struct bf_ledger *ledger, const struct bf_meta *meta);

/* Writes base and map of meta; nothing else of it. */
void bf_ledger_store(const struct bf_ledger *ledger, struct bf_meta *meta);

bool bf_ledger_has(const struct bf_ledger *ledger, int64_t offset);

/*
 * Mark [from, to) complete and move the base over what is now contiguous.
 * Returns how many offsets were not complete before. The range must end inside
 * the window, or start at or below the base: bf_ledger_fits() asks first.
 */
int64_t bf_ledger_complete(struct bf_ledger *ledger, int64_t from, int64_t to);

/* May [from, to) be marked now? A range from the base always may. */
bool bf_ledger_fits(const struct bf_ledger *ledger, int64_t from, int64_t to);

/* Complete offsets above the base. */
int64_t bf_ledger_above(const struct bf_ledger *ledger);

#endif
