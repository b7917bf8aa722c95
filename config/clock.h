#ifndef BF_CONFIG_CLOCK_H
#define BF_CONFIG_CLOCK_H

/*
 * The only way to ask for the time, so that tests can say what it is. Any
 * thread; no call fails or blocks.
 */

#include <stdint.h>

#include "schemas/time.h"

struct bf_err;
struct bf_slice;

/* Bytes of "2026-05-09T07:29:33.186Z" with its NUL. */
#define BF_RFC3339_LEN BF_TIME_SIZE

/* Milliseconds since 1970-01-01T00:00:00Z; may jump. For people and records. */
int64_t bf_now_ms(void);

/* Since some fixed moment; never goes back. For timers and rates. */
int64_t bf_mono_ms(void);
int64_t bf_mono_us(void);

/* The wire's form (schemas/time.h), under this module's name. */
static inline void bf_clock_rfc3339(int64_t unix_ms, char out[BF_RFC3339_LEN])
{
    bf_time_format(unix_ms, out);
}

/*
 * What people and other programs send: any RFC 3339 date-time, with an offset
 * too, seconds from 00 to 59; decimals after the third are cut off. REJECT
 * "bad_time" for everything else. The wire itself is stricter: schemas/time.h.
 */
int bf_clock_parse(struct bf_slice text, int64_t *ret_unix_ms,
                   struct bf_err *err);

/*
 * Tests only: from now on time stands still at these values and moves by
 * bf_clock_fake_advance alone, both clocks together.
 */
void bf_clock_fake(int64_t now_ms, int64_t mono_us);
void bf_clock_fake_advance(int64_t ms);
/* Back to the machine's clocks. */
void bf_clock_real(void);

#endif
