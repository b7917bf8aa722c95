#ifndef BF_DISPATCHER_LINES_H
#define BF_DISPATCHER_LINES_H

/*
 * Cuts a stream that arrives in chunks of any size into lines. Lines end with
 * LF, CR before it is dropped, the last one may lack it. One thread.
 */

#include <stdint.h>

#include "schemas/buf.h"

struct bf_err;

struct bf_lines {
    struct bf_buf part; /* private: a line that has begun */
    bool skipping;      /* private: inside a line over the ceiling */
};

/* A line in a chunk: borrowed until the next call. */
struct bf_line {
    struct bf_slice text;
    bool too_long; /* over the ceiling: text is empty, the bytes are gone */
};

void bf_lines_init(struct bf_lines *lines, size_t max_line_bytes);
void bf_lines_release(struct bf_lines *lines);

/*
 * Take the next line out of *chunk, which moves on past it. 1: *ret is a line;
 * 0: the chunk is used up, give the next one; -1: RETRY, no memory.
 */
int bf_lines_next(struct bf_lines *lines, struct bf_slice *chunk,
                  struct bf_line *ret, struct bf_err *err);

/* After the last chunk: 1 when a line without LF is left, else 0. */
int bf_lines_last(struct bf_lines *lines, struct bf_line *ret);

/* Between two calls: the memory that no line needs now. Ends what is lent. */
void bf_lines_trim(struct bf_lines *lines);

#endif
