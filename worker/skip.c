#include "worker/skip.h"

#define TRIES 3

void bf_skip_init(struct bf_skip *skip)
{
    *skip = (struct bf_skip){.bad = -1, .outside = -1, .at = -1, .here = -1};
}

static int64_t give_up(struct bf_skip *skip, int64_t next, int64_t bad)
{
    if (bad != skip->bad)
        skip->tries = 0;
    skip->bad = bad;
    if (++skip->tries < TRIES)
        return -1;
    skip->start = next > skip->here ? next : skip->here;
    skip->inside = skip->start;
    skip->outside = -1;
    skip->at = skip->start + 1;
    return skip->at;
}

static int64_t middle(const struct bf_skip *skip)
{
    return skip->inside + (skip->outside - skip->inside) / 2;
}

int64_t bf_skip_unreadable(struct bf_skip *skip, int64_t next, int64_t bad)
{
    if (skip->at < 0)
        return give_up(skip, next, bad);
    if (bad != skip->bad) {
        int64_t here = skip->at;
        int64_t back = bf_skip_readable(skip);

        if (back >= 0)
            return back;
        /* Its neighbour is no better. */
        skip->here = here;
        return give_up(skip, next, bad);
    }
    skip->inside = skip->at;
    if (skip->outside < 0)
        skip->at += skip->inside - skip->start;
    else if (skip->outside - skip->inside == 1)
        skip->at = skip->outside;
    else
        skip->at = middle(skip);
    return skip->at;
}

int64_t bf_skip_readable(struct bf_skip *skip)
{
    if (skip->at >= 0)
        skip->outside = skip->at;
    if (skip->at < 0 || skip->outside - skip->inside == 1) {
        bf_skip_init(skip);
        return -1;
    }
    skip->at = middle(skip);
    return skip->at;
}
