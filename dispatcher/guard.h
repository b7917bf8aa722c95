#ifndef BF_DISPATCHER_GUARD_H
#define BF_DISPATCHER_GUARD_H

/*
 * Connections that take too long: each has a moment by which it must have come
 * further, whatever trickles in meanwhile (libmicrohttpd's own timeout begins
 * anew with every byte). Who misses it is shut down. Loop thread.
 */

#include <stddef.h>
#include <stdint.h>

struct bf_guard {
    struct bf_guarded *first; /* private */
    size_t count;
    int64_t next_look_ms; /* private */
    uint64_t expired;     /* in all */
};

struct bf_guarded {
    struct bf_guarded *next, *prev; /* private */
    int fd;                         /* borrowed */
    int64_t deadline_ms;            /* bf_mono_ms(); see bf_guard_until() */
};

#define BF_GUARD_NEVER INT64_MAX

/* Watched until bf_guard_remove(). NULL: no memory. */
struct bf_guarded *bf_guard_add(struct bf_guard *guard, int fd);
/* NULL is a no-op. */
void bf_guard_remove(struct bf_guard *guard, struct bf_guarded *guarded);

/* It has until then; NULL is a no-op. */
void bf_guard_until(struct bf_guarded *guarded, int64_t deadline_ms);

/* Shut down who is late. Looks once a second, however often it is called. */
void bf_guard_tick(struct bf_guard *guard, int64_t mono_ms);

#endif
