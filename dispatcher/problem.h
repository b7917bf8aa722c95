#ifndef BF_DISPATCHER_PROBLEM_H
#define BF_DISPATCHER_PROBLEM_H

/*
 * Why a request was refused, as RFC 9457 (problem details) tells it: status,
 * title, detail, and the field of the request that broke a rule. Pure.
 */

#include "schemas/buf.h"
#include "schemas/err.h"

/* X(ENUM, code, status, title): type is "urn:blockfleet:problem:<code>". */
#define BF_PROBLEM_TABLE(X)                                                    \
    X(BAD_JSON, "bad_json", 400, "The body is not a job in JSON")              \
    X(BAD_FIELD, "bad_field", 422, "A field breaks a rule")                    \
    X(BAD_REQUEST, "bad_request", 400, "The request breaks a rule")            \
    X(UNAUTHORIZED, "unauthorized", 401, "Who are you?")                       \
    X(FORBIDDEN, "forbidden", 403, "This is not yours")                        \
    X(NOT_FOUND, "not_found", 404, "There is no such thing")                   \
    X(METHOD, "method_not_allowed", 405, "This resource has other methods")    \
    X(NO_RESULT, "no_result", 409, "The job has no result bytes")              \
    X(BATCH, "batch", 409, "The batch does not allow it")                      \
    X(GONE, "gone", 410, "It is past its retention")                           \
    X(TOO_LARGE, "too_large", 413, "The request is too large")                 \
    X(MEDIA_TYPE, "media_type", 415, "Send JSON or NDJSON")                    \
    X(BUSY, "busy", 429, "Too many bytes on their way")                        \
    X(RATE, "rate_limited", 429, "Too much at once of this workspace")         \
    X(INTERNAL, "internal", 500, "Our fault")                                  \
    X(UNAVAILABLE, "unavailable", 503, "Not now")                              \
    X(NOT_CONFIRMED, "not_confirmed", 503,                                     \
      "The job may or may not have been stored")

enum bf_problem_code {
#define X(id, code, status, title) BF_PROBLEM_##id,
    BF_PROBLEM_TABLE(X)
#undef X
        BF_PROBLEMS,
};

struct bf_problem {
    enum bf_problem_code code;
    char field[80];         /* "" when no field is to blame */
    char detail[320];       /* one sentence */
    unsigned retry_after_s; /* 0: a second, if it may be tried again at all */
};

unsigned bf_problem_status(enum bf_problem_code code);
/* "bad_json"; the last part of the type. */
const char *bf_problem_name(enum bf_problem_code code);
const char *bf_problem_title(enum bf_problem_code code);
/* Seconds for Retry-After; 0: trying again as it is will not help. */
unsigned bf_problem_retry_after(const struct bf_problem *problem);

/* Sets *problem (which may be NULL) and returns -1. field NULL: none. */
int bf_problem_set(struct bf_problem *problem, enum bf_problem_code code,
                   const char *field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* From an error of a library: its message, with this code. Returns -1. */
int bf_problem_err(struct bf_problem *problem, enum bf_problem_code code,
                   const char *field, const struct bf_err *err);

/* The application/problem+json body. instance: the request's path, or NULL. */
int bf_problem_json(const struct bf_problem *problem, const char *instance,
                    struct bf_buf *out, struct bf_err *err);

#endif
