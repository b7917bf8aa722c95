#ifndef BF_DISPATCHER_SCAN_H
#define BF_DISPATCHER_SCAN_H

/*
 * Finds a job's inputs in its JSON without touching them. Inputs are opaque:
 * a JSON library would lose 2^63, a bare NaN, "\u0000" or a second member of
 * the same name, so none sees them. Pure, any thread.
 *
 * The grammar is RFC 8259 with the three words that Python's json module adds
 * (NaN, Infinity, -Infinity): what the runner can read.
 */

#include "schemas/buf.h"

struct bf_err;

#define BF_SCAN_DEPTH 512       /* nested arrays and objects, outermost is 1 */
#define BF_SCAN_REST (2U << 20) /* bytes of a job's JSON without its inputs */

/*
 * text is one JSON object with exactly one member "inputs", an object.
 * *ret_inputs: its bytes inside text, from { to }. rest: an initialised buffer
 * that gets text with null in their place, small enough for a JSON library;
 * cleared first, undefined on failure.
 *
 * REJECT "bad_json", "too_deep", "bad_inputs" (absent, twice, no object),
 * "too_large" (the rest); each message names the byte, counted from 0.
 */
int bf_scan(struct bf_slice text, struct bf_slice *ret_inputs,
            struct bf_buf *rest, struct bf_err *err);

#endif
