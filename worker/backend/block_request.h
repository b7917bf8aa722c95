#ifndef BF_WORKER_BACKEND_BLOCK_REQUEST_H
#define BF_WORKER_BACKEND_BLOCK_REQUEST_H

/*
 * The execute_block request and its answer, as every endpoint that runs blocks
 * over HTTP has them. Source: PROTOCOL.md §9; what Roboflow's own endpoints
 * take is a part of it. Pure.
 */

#include "worker/backend.h"
#include "worker/verdict.h"

/* Ceiling of a request, in bytes: every byte of the inputs becomes \u00XX. */
#define BF_MAX_BLOCK_REQUEST                                                   \
    ((size_t)6 * (BF_MAX_INPUTS + BF_MAX_BLOCK) + BF_MAX_CONTEXT + 4096)

enum bf_block_wire {
    BF_WIRE_BLOCKFLEET,
    BF_WIRE_WEBEXEC, /* Roboflow's: no init code, timeout, run id, workspace */
};

/* The request at its largest; the block's strings were escaped before, too. */
size_t bf_block_request_weigh(const struct bf_run_input *input);

/*
 * Can a block be asked for like this? REJECT with a bf_reason's name: inputs
 * are UTF-8 (a JSON string carries characters, others would come back
 * changed), and webexec has no place for init code.
 */
int bf_block_request_check(const struct bf_run_input *input,
                           enum bf_block_wire wire, struct bf_err *err);

/*
 * Appends the request. with_code false: its hash alone, which an endpoint that
 * does not know it answers with UnknownCodeHash.
 */
int bf_block_request_put(const struct bf_run_input *input,
                         enum bf_block_wire wire, bool with_code,
                         struct bf_buf *buf, struct bf_err *err);

/* What became of a request: the answer, and our own words about it. */
struct bf_block_answer {
    json_t *doc; /* what ended the run borrows from it */
    bool wants_code;
    enum bf_reason reason; /* FAILED: in the runner's words; or NONE */
    char message[320];
};
void bf_block_answer_release(struct bf_block_answer *answer);

/*
 * Takes the body of a 200; an earlier one's is dropped. *end gets the report,
 * the runner's own duration, and the result of a run that succeeded; they
 * borrow from *answer.
 */
enum bf_try bf_block_answer_take(struct bf_block_answer *answer,
                                 struct bf_slice body, struct bf_run_end *end);

/*
 * The same of an answer whose result stands beside it; ptr NULL: there is none.
 * *end borrows it.
 */
enum bf_try bf_block_answer_take_head(struct bf_block_answer *answer,
                                      struct bf_slice head,
                                      struct bf_slice result,
                                      struct bf_run_end *end);

/* Our words: what, and why behind it. */
void bf_block_answer_say(struct bf_block_answer *answer, struct bf_run_end *end,
                         const char *what, const char *why);

#endif
