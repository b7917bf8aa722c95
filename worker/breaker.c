#include "worker/breaker.h"

#include "schemas/check.h"

#define IN_A_ROW 10      /* faults that open it */
#define WINDOW_MS 10000  /* of which at least so many calls, */
#define WINDOW_LEAST 40  /* half of them faults, open it, too */
#define FIRST_MS 1000    /* open for so long, then twice that, */
#define MOST_MS 60000    /* at the most so long */
#define REFUSALS 3       /* in a row, while others are served */
#define SERVED_MS 10000  /* that long after a success */
#define STOPPED_MS 60000 /* between two probes of a refused credential */
#define PROBES 2         /* at once */

void bf_breaker_init(struct bf_breaker *breaker)
{
    *breaker = (struct bf_breaker){.state = BF_CLOSED, .backoff_ms = FIRST_MS};
}

enum bf_pass bf_breaker_enter(struct bf_breaker *breaker, int64_t mono_ms,
                              int64_t *ret_wait_ms)
{
    if (breaker->state == BF_CLOSED)
        return BF_PASS_YES;
    if (breaker->state == BF_OPEN && mono_ms >= breaker->until_ms)
        breaker->state = BF_HALF_OPEN;
    if (breaker->state == BF_HALF_OPEN && breaker->probes < PROBES) {
        breaker->probes++;
        return BF_PASS_PROBE;
    }
    *ret_wait_ms =
        breaker->state == BF_OPEN ? breaker->until_ms - mono_ms : FIRST_MS;
    return BF_PASS_NO;
}

static enum bf_breaker_news close_it(struct bf_breaker *breaker)
{
    struct bf_breaker fresh;
    bool was_closed = breaker->state == BF_CLOSED;

    if (was_closed)
        return BF_BREAKER_SAME;
    bf_breaker_init(&fresh);
    fresh.probes = breaker->probes;
    fresh.good_ms = breaker->good_ms;
    *breaker = fresh;
    return BF_BREAKER_CLOSED;
}

static enum bf_breaker_news open_it(struct bf_breaker *breaker, int64_t mono_ms,
                                    int64_t at_least_ms)
{
    enum bf_breaker_news news =
        breaker->state == BF_CLOSED ? BF_BREAKER_OPENED : BF_BREAKER_SAME;
    int64_t ms =
        breaker->backoff_ms > at_least_ms ? breaker->backoff_ms : at_least_ms;

    breaker->state = BF_OPEN;
    breaker->until_ms = mono_ms + ms;
    breaker->backoff_ms =
        breaker->backoff_ms * 2 < MOST_MS ? breaker->backoff_ms * 2 : MOST_MS;
    return news;
}

static enum bf_breaker_news stop_it(struct bf_breaker *breaker, int64_t mono_ms)
{
    bool known = breaker->stopped;
    bool served =
        breaker->good_ms > 0 && mono_ms - breaker->good_ms < SERVED_MS;

    /* What one tenant's code may have faked is no reason to stop them all. */
    if (!known && served && ++breaker->refused < REFUSALS)
        return BF_BREAKER_SAME;
    breaker->state = BF_OPEN;
    breaker->stopped = true;
    breaker->until_ms = mono_ms + STOPPED_MS;
    return known ? BF_BREAKER_SAME : BF_BREAKER_STOPPED;
}

/* While it is closed: is this fault one too many? */
static bool is_too_much(struct bf_breaker *breaker)
{
    size_t all = breaker->good + breaker->bad;

    return breaker->in_a_row >= IN_A_ROW ||
           (all >= WINDOW_LEAST && breaker->bad * 2 >= all);
}

static void count(struct bf_breaker *breaker, int64_t mono_ms, bool good)
{
    if (mono_ms - breaker->window_ms >= WINDOW_MS) {
        breaker->window_ms = mono_ms;
        breaker->good = 0;
        breaker->bad = 0;
    }
    breaker->good += good ? 1 : 0;
    breaker->bad += good ? 0 : 1;
    breaker->in_a_row = good ? 0 : breaker->in_a_row + 1;
}

enum bf_breaker_news bf_breaker_leave(struct bf_breaker *breaker,
                                      int64_t mono_ms, enum bf_pass pass,
                                      enum bf_sign sign, int64_t retry_after_ms)
{
    bool probe = pass == BF_PASS_PROBE;

    bf_assert(pass != BF_PASS_NO && (!probe || breaker->probes > 0));
    breaker->probes -= probe ? 1 : 0;
    switch (sign) {
    case BF_SIGN_NONE:
        return BF_BREAKER_SAME;
    case BF_SIGN_CREDENTIAL:
        return stop_it(breaker, mono_ms);
    case BF_SIGN_GOOD:
        /* Calls that went before it opened prove nothing now. */
        if (breaker->state != BF_CLOSED && !probe)
            return BF_BREAKER_SAME;
        count(breaker, mono_ms, true);
        breaker->good_ms = mono_ms;
        breaker->refused = 0;
        return close_it(breaker);
    case BF_SIGN_FAULT:
        break;
    }
    if (breaker->state != BF_CLOSED)
        return probe ? open_it(breaker, mono_ms, retry_after_ms)
                     : BF_BREAKER_SAME;
    count(breaker, mono_ms, false);
    return is_too_much(breaker) ? open_it(breaker, mono_ms, retry_after_ms)
                                : BF_BREAKER_SAME;
}
