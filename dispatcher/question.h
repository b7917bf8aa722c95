#ifndef BF_DISPATCHER_QUESTION_H
#define BF_DISPATCHER_QUESTION_H

/*
 * What a GET asks of the view: read out of path, query and headers, checked,
 * and kept for when the request may be gone.
 */

#include "dispatcher/handler.h"
#include "dispatcher/reader.h"
#include "schemas/ids.h"

enum bf_question_kind {
    BF_ASK_JOB,
    BF_ASK_RESULT,  /* its bytes */
    BF_ASK_JOBS,    /* a page */
    BF_ASK_RESULTS, /* a page */
    BF_ASK_BATCH,
    BF_ASK_BATCHES, /* a page */
    BF_ASK_USAGE,
};

/* Which members count depends on kind. */
struct bf_question {
    enum bf_question_kind kind;
    char workspace[BF_MAX_ID + 1];
    char job[BF_MAX_ID + 1];
    char batch[BF_MAX_ID + 1];            /* "": any */
    char order_key[BF_MAX_ORDER_KEY + 1]; /* "": any */
    char label[512];                      /* "": any; see struct bf_list */
    char cursor[BF_CURSOR_SIZE];          /* "": from the first */
    unsigned statuses;
    unsigned usage_by;      /* of bf_usage_by */
    int64_t from_ms, to_ms; /* [from, to) */
    int limit;
    bool lines;     /* NDJSON is asked for */
    int64_t wait_s; /* for the job's end; 0: not */
};

/* -1 with *problem set: a parameter breaks a rule. */
int bf_question_read(struct bf_question *question, const struct bf_request *req,
                     const struct bf_path *path, struct bf_problem *problem);

#endif
