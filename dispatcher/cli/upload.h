#ifndef BF_DISPATCHER_CLI_UPLOAD_H
#define BF_DISPATCHER_CLI_UPLOAD_H

/*
 * Many jobs to the dispatcher, as NDJSON in parts: cut, send, read the answers.
 * A part's Idempotency-Key follows from the upload's key, or without one from
 * the part's bytes, and from the part's number: the same sent again is safe.
 */

#include <jansson.h>
#include <stdio.h>

#include "schemas/buf.h"

struct bf_client;
struct bf_err;

#define BF_PART_LINES 10000U
#define BF_PART_BYTES (16U << 20) /* or one line, if that is larger */

/* Lines that go out together. */
struct bf_part {
    struct bf_buf bytes;
    uint64_t *numbers; /* of each line in the file, from 1; owned */
    size_t nlines;
    uint64_t index;  /* of this part, from 0 */
    uint64_t offset; /* bytes of the file read so far */
    uint64_t lines;  /* lines of the file read so far */
    char *spare;     /* private: a line read but not yet part of a part */
    size_t spare_len;
    size_t spare_cap;
};

int bf_part_init(struct bf_part *part, struct bf_err *err);
void bf_part_release(struct bf_part *part);
#define bf_autopart bf_cleanup(bf_part_release)

/*
 * The next part of file; lines of white space are left out. 1: there is one,
 * 0: the file is at its end, -1: REJECT "local".
 */
int bf_part_next(struct bf_part *part, FILE *file, struct bf_err *err);

/* Empty it for the next one, after this was sent. */
void bf_part_clear(struct bf_part *part);

/*
 * Add one line of our own making, without its newline. number: what answers
 * are to call it. The caller sends the part before it is full.
 */
int bf_part_put(struct bf_part *part, uint64_t number, struct bf_slice line,
                struct bf_err *err);

/* An answer to one line. Strings are borrowed for the call. */
struct bf_answer {
    uint64_t number; /* of its line */
    bool accepted;
    const char *workspace;
    const char *job;     /* accepted */
    const char *problem; /* not accepted */
    json_t *doc;         /* the answer itself; may be changed */
};
typedef int bf_answer_fn(void *arg, const struct bf_answer *answer,
                         struct bf_err *err);

/*
 * Send one part until every line is taken or refused for good, and tell of
 * each. key: of the upload, or NULL. RETRY "unreachable" when the dispatcher
 * gives no answer, or none but 429 and 503, for too long.
 */
int bf_part_send(struct bf_client *client, const struct bf_part *part,
                 const char *key, bf_answer_fn *tell, void *arg,
                 struct bf_err *err);

#endif
