#ifndef BF_SCHEMAS_ERR_H
#define BF_SCHEMAS_ERR_H

/*
 * The one error type. A function that can fail takes a caller's struct bf_err
 * as its last parameter and returns -1 (or NULL) with it set; on success it is
 * left alone. Only the loops of the worker and the dispatcher act on the kind.
 */

enum bf_err_kind {
    BF_ERR_NONE,
    BF_ERR_RETRY,  /* the world is in the way: back off and do it again */
    BF_ERR_REJECT, /* the input is wrong: refuse it, go on with the next */
    BF_ERR_FATAL,  /* we are wrong: stop, commit nothing */
};

struct bf_err {
    enum bf_err_kind kind;
    const char *code; /* a literal such as "bad_workspace"; never freed */
    char msg[240];    /* one sentence that names the field and the rule */
};

/*
 * Sets *err and returns -1, so that "return bf_err_set(...)" reads well. Does
 * not allocate: reporting that memory ran out cannot fail. err may be NULL.
 */
int bf_err_set(struct bf_err *err, enum bf_err_kind kind, const char *code,
               const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* RETRY "oom". */
int bf_err_oom(struct bf_err *err);

/* Puts "<fmt>: " before the message that is already there; returns -1. */
int bf_err_prefix(struct bf_err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* "retry", "reject", "fatal" or "none". */
const char *bf_err_kind_name(enum bf_err_kind kind);

#endif
