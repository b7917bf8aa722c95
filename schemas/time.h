#ifndef BF_SCHEMAS_TIME_H
#define BF_SCHEMAS_TIME_H

/*
 * Wall-clock times in RFC 3339 UTC with three decimals, the only form on the
 * wire: 2026-11-21T13:00:00.000Z. Source: PROTOCOL.md §1. Pure.
 */

#include <stdint.h>

#include "schemas/buf.h"

#define BF_TIME_LEN 24
#define BF_TIME_SIZE (BF_TIME_LEN + 1)

/* Clamped to the years 1970 to 9999, which is all that the form can say. */
void bf_time_format(int64_t unix_ms, char out[BF_TIME_SIZE]);

/* -1 for any other form, or a day or an hour that does not exist. */
int bf_time_parse(struct bf_slice text, int64_t *ret_unix_ms);

#endif
