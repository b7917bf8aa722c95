#ifndef BF_WORKER_BREAKER_H
#define BF_WORKER_BREAKER_H

/*
 * A circuit breaker of one provider and credential: when calls fail in a row,
 * or most of them do, or the credential is refused, nothing is sent any more
 * but a probe now and then. Whoever is not let through did not start, and
 * comes again. Pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bf_breaker_state { BF_CLOSED, BF_OPEN, BF_HALF_OPEN };

struct bf_breaker {
    enum bf_breaker_state state;
    bool stopped;     /* open for the credential's sake */
    int64_t until_ms; /* open: no probe before */
    int64_t backoff_ms;
    size_t probes;     /* half open: under way */
    size_t in_a_row;   /* closed: faults without a success between */
    size_t refused;    /* credentials, without a success between */
    int64_t good_ms;   /* when the last success was; 0: none yet */
    size_t good, bad;  /* closed: of this window */
    int64_t window_ms; /* its begin */
};

/* What a call was let through as. */
enum bf_pass {
    BF_PASS_NO,
    BF_PASS_YES,
    BF_PASS_PROBE,
};

/* What it told of the provider. */
enum bf_sign {
    BF_SIGN_NONE,       /* nothing: an answer that says no more than that */
    BF_SIGN_GOOD,       /* it does its work */
    BF_SIGN_FAULT,      /* it does not */
    BF_SIGN_CREDENTIAL, /* it will not, until somebody looks after it */
};

enum bf_breaker_news {
    BF_BREAKER_SAME,
    BF_BREAKER_OPENED,
    BF_BREAKER_STOPPED, /* an operator has to know: the credential */
    BF_BREAKER_CLOSED,
};

void bf_breaker_init(struct bf_breaker *breaker);

/*
 * May a call go? On NO *ret_wait_ms is when to ask again. Every other pass is
 * given back by bf_breaker_leave(), once.
 */
enum bf_pass bf_breaker_enter(struct bf_breaker *breaker, int64_t mono_ms,
                              int64_t *ret_wait_ms);

/* retry_after_ms: what a FAULT asks for; 0: nothing. */
enum bf_breaker_news bf_breaker_leave(struct bf_breaker *breaker,
                                      int64_t mono_ms, enum bf_pass pass,
                                      enum bf_sign sign,
                                      int64_t retry_after_ms);

#endif
