#ifndef BF_SCHEMAS_OUTCOME_H
#define BF_SCHEMAS_OUTCOME_H

/*
 * How a job ends: one table for the code, the JSON Schemas and PROTOCOL.md.
 */

#include "schemas/buf.h"

/* X(ENUM, name, what it means) */
#define BF_OUTCOME_TABLE(X)                                                    \
    X(SUCCEEDED, "succeeded", "the block returned; the value is its result")   \
    X(FAILED, "failed", "the user's code raised, or could not be loaded")      \
    X(TIMED_OUT, "timed_out", "the run was killed at its deadline")            \
    X(CANCELLED, "cancelled", "cancelled before its result was published")     \
    X(EXPIRED, "expired", "not started before bf_expires_at_ms")               \
    X(REJECTED, "rejected", "a validly signed record that breaks a rule")      \
    X(UNKNOWN, "unknown", "an at_most_once run whose worker died")             \
    X(DEAD, "dead", "could not be run or answered; see the dead letter")

/* X(ENUM, name, outcomes it goes with, what it means) */
#define BF_REASON_TABLE(X)                                                     \
    X(NONE, "", "", "no reason given")                                         \
    X(OOM, "oom", "failed", "the run met its memory limit")                    \
    X(CPU_LIMIT, "cpu_limit", "failed", "the run met its CPU limit")           \
    X(CRASHED, "crashed", "failed", "the interpreter died of a signal")        \
    X(OUTPUT_TOO_LARGE, "output_too_large", "failed, dead",                    \
      "the result would not fit a record; the run is billed")                  \
    X(BAD_OUTPUT, "bad_output", "failed", "the result is not JSON-like")       \
    X(USER_ERROR, "user_error", "failed", "the user's code raised")            \
    X(INIT_ERROR, "init_error", "failed", "module body or init raised")        \
    X(DEADLINE, "deadline", "timed_out", "bf_timeout_ms passed")               \
    X(BAD_RECORD, "bad_record", "rejected", "a header breaks a rule")          \
    X(BAD_BLOCK, "bad_block", "rejected", "bf_block breaks a rule")            \
    X(UNKNOWN_KIND, "unknown_kind", "rejected", "bf_kind is not known")        \
    X(TOO_LARGE, "too_large", "rejected", "a part is over its ceiling")        \
    X(NOT_TRUSTED, "workspace_not_trusted", "rejected",                        \
      "the local backend serves only local.trusted_workspaces")                \
    X(NO_BACKEND, "no_backend", "rejected", "bf_backend is not configured")    \
    X(WORKER_LOST, "worker_lost", "unknown, dead",                             \
      "the worker died in the middle of the run")                              \
    X(ATTEMPTS, "attempts_exhausted", "dead", "every allowed try failed")      \
    X(BACKEND_REFUSED, "backend_refused", "dead",                              \
      "the provider refuses this request for good")                            \
    X(REFUSED_BY_BROKER, "refused_by_broker", "dead",                          \
      "the broker refuses the output for good")

/* X(ENUM, name, what it means) */
#define BF_DELIVERY_TABLE(X)                                                   \
    X(DID_NOT_RUN, "did_not_run", "user code certainly did not start")         \
    X(RAN, "ran", "it may have started, and an answer or our kill ended it")   \
    X(UNKNOWN, "unknown", "it may have run and nobody can say")

enum bf_outcome {
#define X(id, name, text) BF_OUTCOME_##id,
    BF_OUTCOME_TABLE(X)
#undef X
        BF_OUTCOMES,
};

enum bf_reason {
#define X(id, name, with, text) BF_REASON_##id,
    BF_REASON_TABLE(X)
#undef X
        BF_REASONS,
};

enum bf_delivery {
#define X(id, name, text) BF_DELIVERY_##id,
    BF_DELIVERY_TABLE(X)
#undef X
        BF_DELIVERIES,
};

enum bf_execution { BF_AT_LEAST_ONCE, BF_AT_MOST_ONCE };
enum bf_id_origin { BF_ID_CLIENT, BF_ID_KEY, BF_ID_SERVER };

const char *bf_outcome_name(enum bf_outcome outcome);
const char *bf_reason_name(enum bf_reason reason); /* "" for none */
const char *bf_delivery_name(enum bf_delivery delivery);
const char *bf_execution_name(enum bf_execution execution);
const char *bf_id_origin_name(enum bf_id_origin origin);

/* -1 when there is no such word. */
int bf_outcome_parse(struct bf_slice name);
int bf_reason_parse(struct bf_slice name);
int bf_delivery_parse(struct bf_slice name);
int bf_execution_parse(struct bf_slice name);
int bf_id_origin_parse(struct bf_slice name);

/* The generated part of PROTOCOL.md §3. */
struct bf_err;
int bf_outcome_markdown(struct bf_buf *out, struct bf_err *err);

#endif
