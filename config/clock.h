#ifndef BF_CONFIG_CLOCK_H
#define BF_CONFIG_CLOCK_H

/*
 * The only way to ask for the time, so that tests can say what it is. Any
 * thread; no call fails or blocks.
 */

#include <stdint.h>

struct bf_err;
struct bf_slice;

/* Bytes of "2026-05-09T07:29:33.186Z" with its NUL. */
#define BF_RFC3339_LEN 25

/* Milliseconds since 1970-01-01T00:00:00Z; may jump. For people and records. */
int64_t bf_now_ms(void);

/* Since some fixed moment; never goes back. For timers and rates. */
int64_t bf_mono_ms(void);
int64_t bf_mono_us(void);

/*
 * RFC 3339, UTC, always three decimals. A time outside the years 0 to 9999 is
 * written as the nearest one inside: four digits is all that the format has.
 */
void bf_clock_rfc3339(int64_t unix_ms, char out[static BF_RFC3339_LEN]);

/*
 * Any RFC 3339 date-time with seconds from 00 to 59; decimals after the third
 * are cut off. REJECT "bad_time" for everything else.
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
