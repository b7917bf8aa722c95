#ifndef BF_SCHEMAS_UTF8_H
#define BF_SCHEMAS_UTF8_H

/*
 * UTF-8 as Unicode §3.9 has it: no overlong forms, no surrogates, nothing
 * above U+10FFFF. Pure.
 */

#include "schemas/buf.h"

struct bf_err;

/*
 * The first character of a non-empty text: its length in bytes, 1 to 4. When
 * it is ill-formed, *ret_ok is false and the length is that of its maximal
 * subpart, which one U+FFFD stands for.
 */
size_t bf_utf8_next(struct bf_slice text, bool *ret_ok);

bool bf_utf8_ok(struct bf_slice text);

/* The longest prefix of whole characters of at most max bytes. */
struct bf_slice bf_utf8_cut(struct bf_slice text, size_t max);

/*
 * Append text with U+FFFD for what is ill-formed, as many whole characters as
 * fit into max bytes. RETRY on no memory.
 */
int bf_utf8_clean(struct bf_buf *out, struct bf_slice text, size_t max,
                  struct bf_err *err);

/* Only bytes 0x21 to 0x7e. */
bool bf_graphic_ok(struct bf_slice text);

#endif
