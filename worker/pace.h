#ifndef BF_WORKER_PACE_H
#define BF_WORKER_PACE_H

/*
 * How fast a provider may be called: so many calls a second, and so many at
 * once beyond that (GCRA, ITU-T I.371). A caller takes the next place and waits
 * until it is its turn, so that those who wait do not wake all at once. Pure.
 */

#include <stdint.h>

struct bf_pace {
    int64_t every_us; /* 0: no limit */
    int64_t burst_us; /* what may be taken before its time */
    int64_t next_us;  /* the next place's own time */
    int64_t hold_us;  /* nobody before this */
};

/* per_s 0: no limit but what bf_pace_hold() says. */
void bf_pace_init(struct bf_pace *pace, int64_t per_s, int64_t burst);

/* Takes a place: milliseconds until its turn, 0: now. */
int64_t bf_pace_take_ms(struct bf_pace *pace, int64_t mono_ms);

/* Somebody said to wait: no turn for so long. */
void bf_pace_hold(struct bf_pace *pace, int64_t mono_ms, int64_t ms);

#endif
