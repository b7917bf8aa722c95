#ifndef BF_WORKER_LATELY_H
#define BF_WORKER_LATELY_H

/*
 * What was seen lately, by a hash, each with a number: a table of a fixed size
 * that forgets what was not asked for in the longest time. Pure.
 */

#include <stddef.h>
#include <stdint.h>

#include "schemas/check.h"

struct bf_err;
struct bf_lately;

/* sets: a power of two; it remembers up to four times as many. */
struct bf_lately *bf_lately_new(size_t sets, struct bf_err *err);
void bf_lately_free(struct bf_lately *lately);
BF_DEFINE_CLEANUP(bf_lately_freep_, struct bf_lately *, bf_lately_free)
#define bf_autolately bf_cleanup(bf_lately_freep_)

/* Its number, or NULL; until the next call. */
int64_t *bf_lately_find(struct bf_lately *lately, uint64_t hash);

/* Remember it, or give it another number. */
void bf_lately_put(struct bf_lately *lately, uint64_t hash, int64_t number);

void bf_lately_forget(struct bf_lately *lately, uint64_t hash);

#endif
