#ifndef BF_WORKER_ANSWER_H
#define BF_WORKER_ANSWER_H

/*
 * The answer of whoever runs blocks, in the execute_block shape. Source:
 * PROTOCOL.md §9. Pure; borrows from the JSON.
 */

#include <jansson.h>

#include "schemas/limits.h"
#include "schemas/result.h"

struct bf_err;

/*
 * Ceiling of an answer's JSON, in bytes: a result as a JSON string takes up to
 * three times its size when its writer escapes all but ASCII.
 */
#define BF_MAX_ANSWER (3U * BF_MAX_RESULT + (4U << 20))

struct bf_answer {
    bool success; /* false when it is missing */
    bool server_error;
    struct bf_slice result; /* ptr NULL: none, or not a string */
    struct bf_report report;
};

/*
 * Names that we do not know are skipped; a value of the wrong type is as good
 * as absent. REJECT "bad_answer" for what is no such answer at all.
 */
int bf_answer_read(const json_t *doc, struct bf_answer *ret,
                   struct bf_err *err);

/* The same where the result does not stand in the JSON. */
int bf_answer_read_head(const json_t *doc, struct bf_answer *ret,
                        struct bf_err *err);

#endif
