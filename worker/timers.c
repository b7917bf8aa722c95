#include "worker/timers.h"

#include "schemas/check.h"
#include "schemas/err.h"

void bf_timers_release(struct bf_timers *timers)
{
    free(timers->heap);
    *timers = (struct bf_timers){.heap = NULL};
}

static void place(struct bf_timers *timers, size_t i, struct bf_timer *timer)
{
    timers->heap[i] = timer;
    timer->slot = i + 1;
}

static void sift_up(struct bf_timers *timers, size_t i)
{
    struct bf_timer *timer = timers->heap[i];

    while (i > 0 && timers->heap[(i - 1) / 2]->due_ms > timer->due_ms) {
        place(timers, i, timers->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(timers, i, timer);
}

static void sift_down(struct bf_timers *timers, size_t i)
{
    struct bf_timer *timer = timers->heap[i];

    for (;;) {
        size_t child = 2 * i + 1;

        if (child + 1 < timers->n &&
            timers->heap[child + 1]->due_ms < timers->heap[child]->due_ms)
            child++;
        if (child >= timers->n || timers->heap[child]->due_ms >= timer->due_ms)
            break;
        place(timers, i, timers->heap[child]);
        i = child;
    }
    place(timers, i, timer);
}

static int grow(struct bf_timers *timers, struct bf_err *err)
{
    size_t cap = timers->cap ? timers->cap * 2 : 64;
    struct bf_timer **heap;

    if (timers->n < timers->cap)
        return 0;
    heap = realloc(timers->heap, cap * sizeof(struct bf_timer *));
    if (!heap)
        return bf_err_oom(err);
    timers->heap = heap;
    timers->cap = cap;
    return 0;
}

int bf_timers_set(struct bf_timers *timers, struct bf_timer *timer,
                  int64_t due_ms, struct bf_err *err)
{
    bf_timers_cancel(timers, timer);
    if (grow(timers, err))
        return -1;
    timer->due_ms = due_ms;
    place(timers, timers->n++, timer);
    sift_up(timers, timer->slot - 1);
    return 0;
}

void bf_timers_cancel(struct bf_timers *timers, struct bf_timer *timer)
{
    size_t i = timer->slot - 1;
    struct bf_timer *last;

    if (timer->slot == 0)
        return;
    bf_assert(i < timers->n && timers->heap[i] == timer);
    last = timers->heap[--timers->n];
    timer->slot = 0;
    if (last == timer)
        return;
    place(timers, i, last);
    sift_up(timers, i);
    sift_down(timers, last->slot - 1);
}

struct bf_timer *bf_timers_due(struct bf_timers *timers, int64_t now_ms)
{
    struct bf_timer *first = timers->n > 0 ? timers->heap[0] : NULL;

    if (!first || first->due_ms > now_ms)
        return NULL;
    bf_timers_cancel(timers, first);
    return first;
}

int bf_timers_wait(const struct bf_timers *timers, int64_t now_ms, int max_ms)
{
    int64_t wait = timers->n > 0 ? timers->heap[0]->due_ms - now_ms : max_ms;

    if (wait < 0)
        return 0;
    return wait < max_ms ? (int)wait : max_ms;
}
