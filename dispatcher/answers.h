#ifndef BF_DISPATCHER_ANSWERS_H
#define BF_DISPATCHER_ANSWERS_H

/*
 * The answers to one upload: a text per line, in the order of the lines though
 * they come in any. What is in order is kept in memory, and once that is much,
 * in a file without a name: a million lines cost a window of them. One thread.
 */

#include <sys/types.h>

#include "schemas/buf.h"

struct bf_answers;

/* Lines from the first awaited one on; bytes of one text and its LF; bytes in
 * memory before there is a file. */
#define BF_ANSWERS_WINDOW ((size_t)8192)
#define BF_ANSWER_BYTES ((size_t)4096)
#define BF_ANSWERS_HELD ((size_t)256 * 1024)

/* dir: borrowed, where the file is made. max_bytes: of all texts. */
struct bf_answers *bf_answers_new(const char *dir, uint64_t max_bytes,
                                  struct bf_err *err);
void bf_answers_free(struct bf_answers *answers);
BF_DEFINE_CLEANUP(bf_answers_freep_, struct bf_answers *, bf_answers_free)
#define bf_autoanswers bf_cleanup(bf_answers_freep_)

enum bf_answers_room {
    BF_ANSWERS_ROOM,
    BF_ANSWERS_WAIT,   /* there is some when awaited answers have come */
    BF_ANSWERS_FULL,   /* the ceiling: there will be none */
    BF_ANSWERS_BROKEN, /* the same, because the file cannot be written */
};

/* Is there room for one more line, and one to refuse the rest with? */
enum bf_answers_room bf_answers_room(const struct bf_answers *answers);

/*
 * One more line is read. Lines are numbered from 0 in the order of these
 * calls. May be called once more after FULL or BROKEN.
 */
void bf_answers_expect(struct bf_answers *answers);

/*
 * The answer to a line that is expected, once for each: at most
 * BF_ANSWER_BYTES - 1, without LF; empty when the line has none.
 */
void bf_answers_put(struct bf_answers *answers, uint64_t line,
                    struct bf_slice text);

/* Lines that are expected and not answered. */
size_t bf_answers_awaited(const struct bf_answers *answers);

/* When none is awaited: all texts, each with an LF. */
uint64_t bf_answers_bytes(const struct bf_answers *answers);
/* Up to size bytes from pos on, which is below bf_answers_bytes(); -1. */
ssize_t bf_answers_read(const struct bf_answers *answers, uint64_t pos,
                        char *out, size_t size);

#endif
