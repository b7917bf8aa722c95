#include "dispatcher/guard.h"

#include <stdlib.h>
#include <sys/socket.h>

#define LOOK_MS 1000

struct bf_guarded *bf_guard_add(struct bf_guard *guard, int fd)
{
    struct bf_guarded *guarded = calloc(1, sizeof(*guarded));

    if (!guarded)
        return NULL;
    guarded->fd = fd;
    guarded->deadline_ms = BF_GUARD_NEVER;
    guarded->next = guard->first;
    if (guarded->next)
        guarded->next->prev = guarded;
    guard->first = guarded;
    guard->count++;
    return guarded;
}

void bf_guard_remove(struct bf_guard *guard, struct bf_guarded *guarded)
{
    if (!guarded)
        return;
    if (guarded->next)
        guarded->next->prev = guarded->prev;
    if (guarded->prev)
        guarded->prev->next = guarded->next;
    else
        guard->first = guarded->next;
    guard->count--;
    free(guarded);
}

void bf_guard_until(struct bf_guarded *guarded, int64_t deadline_ms)
{
    if (guarded)
        guarded->deadline_ms = deadline_ms;
}

void bf_guard_tick(struct bf_guard *guard, int64_t mono_ms)
{
    if (mono_ms < guard->next_look_ms)
        return;
    guard->next_look_ms = mono_ms + LOOK_MS;
    for (struct bf_guarded *one = guard->first; one; one = one->next) {
        if (one->deadline_ms > mono_ms)
            continue;
        /* libmicrohttpd sees it end and lets go of it: there is no call. */
        shutdown(one->fd, SHUT_RDWR);
        one->deadline_ms = BF_GUARD_NEVER;
        guard->expired++;
    }
}
