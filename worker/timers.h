#ifndef BF_WORKER_TIMERS_H
#define BF_WORKER_TIMERS_H

/*
 * Things to do at a time: a binary heap of timers that live inside what they
 * are about. Pure. One thread.
 */

#include <stddef.h>
#include <stdint.h>

struct bf_err;

struct bf_timer {
    int64_t due_ms; /* bf_mono_ms() */
    size_t slot;    /* private: index + 1 in the heap; 0: not set */
};

struct bf_timers {
    struct bf_timer **heap;
    size_t n, cap;
};

void bf_timers_release(struct bf_timers *timers);

/* Set, or move, a timer. RETRY on no memory: it is not set then. */
int bf_timers_set(struct bf_timers *timers, struct bf_timer *timer,
                  int64_t due_ms, struct bf_err *err);

/* A timer that is not set is left alone. */
void bf_timers_cancel(struct bf_timers *timers, struct bf_timer *timer);

/* Takes the earliest that is due; NULL when none is. */
struct bf_timer *bf_timers_due(struct bf_timers *timers, int64_t now_ms);

/* Milliseconds to the earliest, at most max_ms. */
int bf_timers_wait(const struct bf_timers *timers, int64_t now_ms, int max_ms);

#endif
