#ifndef BF_DISPATCHER_CLI_SPLICE_H
#define BF_DISPATCHER_CLI_SPLICE_H

/*
 * A job's JSON made of two halves: what we write, and inputs that go in byte
 * by byte as they were given (a JSON library would lose 2^63, a bare NaN or a
 * repeated member). Pure.
 */

#include <jansson.h>

#include "schemas/buf.h"

struct bf_err;

/* More bytes than any request may have: the inputs and all the rest. */
#define BF_SPLICE_MAX (24U << 20)

/*
 * members: an object without "inputs". inputs: one JSON object, white space
 * around it allowed. Appends {members..., "inputs": ...}. REJECT "usage" when
 * inputs are not a JSON object.
 */
int bf_splice_job(const json_t *members, struct bf_slice inputs,
                  struct bf_buf *out, struct bf_err *err);

/*
 * Append one member to inputs that are being collected from NAME=VALUE pairs:
 * out holds "{" and members, without the closing brace. VALUE is taken as it
 * is when it is JSON (or NaN, Infinity), else it becomes a string. REJECT
 * "usage" when there is no name.
 */
int bf_splice_pair(const char *pair, struct bf_buf *out, struct bf_err *err);

/* Is this exactly one JSON value, as the runner reads JSON? */
bool bf_splice_is_json(struct bf_slice text);

#endif
