#ifndef BF_DISPATCHER_CLI_TEXT_H
#define BF_DISPATCHER_CLI_TEXT_H

/*
 * Text from strangers on a terminal: how wide it is, and how to print it so
 * that it cannot move the cursor. UTF-8 whatever the locale. Pure.
 */

#include <stdint.h>

#include "schemas/buf.h"

struct bf_err;

/*
 * The code point at the start of text and its length in bytes in *ret_len;
 * 0xFFFD and length 1 for a byte that is not UTF-8. text is not empty.
 */
uint32_t bf_text_next(struct bf_slice text, size_t *ret_len);

/* Columns of a terminal: 0, 1 or 2. Unicode 15: Mn, Me, Cf; W, F. */
int bf_text_width_of(uint32_t code);

/* Columns of what bf_text_add() makes of it. */
size_t bf_text_width(struct bf_slice text);

/*
 * Append it, control characters and bytes that are not UTF-8 as \xNN, cut with
 * an ellipsis to max_columns. newline: whether \n stays as it is.
 */
int bf_text_add(struct bf_buf *out, struct bf_slice text, size_t max_columns,
                bool newline, struct bf_err *err);

/* 1536 -> "1.5 KiB", and so on; exact below 1024. */
void bf_text_bytes(uint64_t bytes, char out[static 16]);

#endif
