#ifndef BF_WORKER_WIRE_EXECUTE_H
#define BF_WORKER_WIRE_EXECUTE_H

/*
 * What E2B's code interpreter answers to POST /execute: one JSON object on each
 * line, the last one {"type": "end_of_execution"}. Source: e2b-dev/
 * code-interpreter, template/server/api/models/output.py. Pure.
 */

#include "schemas/buf.h"

struct bf_err;

#define BF_EXECUTE_NAME 64
#define BF_EXECUTE_VALUE 200

/* What the stream said, as far as it came. */
struct bf_execute {
    struct bf_buf out, err; /* ceilings by the caller; the rest is dropped */
    bool out_cut, err_cut;
    bool started; /* the kernel took the code */
    bool failed;  /* an error came: */
    char error_name[BF_EXECUTE_NAME];
    char error_value[BF_EXECUTE_VALUE];
    bool whole;  /* the last line came: nothing was lost */
    bool broken; /* lines came that are no such stream */
};

void bf_execute_release(struct bf_execute *execute);

/*
 * Takes what there is of a body, which may be cut anywhere. Results of cells
 * are skipped. Only RETRY on no memory is an error.
 */
int bf_execute_read(struct bf_slice body, struct bf_execute *execute,
                    struct bf_err *err);

#endif
