#ifndef BF_CONFIG_INI_H
#define BF_CONFIG_INI_H

/*
 * An INI file in memory, read by libinih with stricter lines: no byte that is
 * no text, none too long, no continuation lines (an indented line is a line).
 * "; " begins a comment anywhere, "#" at the start of a line only.
 *
 * Sets libinih's global buffer size: before other threads start.
 */

#include "schemas/buf.h"

struct bf_err;

#define BF_INI_LINE_MAX 8000 /* bytes */

/* -1 with *err set stops. section is "" before the first one. */
typedef int bf_ini_fn(void *arg, const char *section, const char *key,
                      const char *value, unsigned line, struct bf_err *err);

/* On -1 *ret_line is the line that err speaks of. REJECT "bad_ini". */
int bf_ini_parse(struct bf_slice text, bf_ini_fn *fn, void *arg,
                 unsigned *ret_line, struct bf_err *err);

#endif
