#ifndef BF_DISPATCHER_SEAM_REPLY_H
#define BF_DISPATCHER_SEAM_REPLY_H

/*
 * What an execute_block endpoint answers, made of how a job ended. Whatever is
 * not the doing of the user's code must not be an answer of 200: their client
 * shows every "success": false as the user's error. Pure.
 *
 * Source: roboflow-workflows 0.2.14, dynamic_blocks/modal_executor.py.
 */

#include "dispatcher/problem.h"
#include "schemas/limits.h"
#include "schemas/outcome.h"

/* As JSON in a string: a quote, a backslash or a line feed takes two bytes. */
#define BF_SEAM_REPLY_BYTES                                                    \
    (2 * (size_t)BF_MAX_RESULT + BF_MAX_REPORT + (64U << 10))

/* Borrowed. */
struct bf_seam_end {
    enum bf_outcome outcome;
    enum bf_reason reason;
    enum bf_delivery delivery;
    struct bf_slice report; /* header bf_report, PROTOCOL.md §5.3 */
    struct bf_slice result; /* of a job that succeeded */
    const char *code_hash;
};

/*
 * 0: the body of a 200 is in out. -1 with *problem set: the platform's fault,
 * and out is of no use.
 */
int bf_seam_reply(const struct bf_seam_end *end, struct bf_buf *out,
                  struct bf_problem *problem);

/* Is there an answer of 200 for it? *problem says what to tell if not. */
bool bf_seam_is_users(const struct bf_seam_end *end,
                      struct bf_problem *problem);

/* "Send it again with the code". */
int bf_seam_unknown_code(const char *code_hash, struct bf_buf *out);

#endif
