#ifndef BF_DISPATCHER_LIMITS_H
#define BF_DISPATCHER_LIMITS_H

/*
 * Everything of the HTTP API that has a most, and what happens beyond it: one
 * table, from which LIMITS.md is made. Pure.
 */

#include "dispatcher/problem.h"

/* What answers, when it is not a problem of ours. */
enum bf_limit_by {
    BF_LIMIT_US,      /* application/problem+json with .problem */
    BF_LIMIT_LIBRARY, /* libmicrohttpd: .status and a page of HTML */
    BF_LIMIT_NOBODY,  /* no answer: .then */
};

struct bf_limit {
    const char *what;
    const char *option; /* that says how much; NULL: it is fixed */
    uint64_t most;      /* when it is fixed; 0: none, or .unit says it */
    const char *unit;   /* "bytes" */
    enum bf_limit_by by;
    enum bf_problem_code problem;
    unsigned status;
    const char *then; /* more of it; NULL: nothing */
};

/* NULL: no more. */
const struct bf_limit *bf_limit_at(size_t i);

/* dispatcher/LIMITS.md; a test compares. */
int bf_limits_markdown(struct bf_buf *out, struct bf_err *err);

#endif
