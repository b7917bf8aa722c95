#ifndef BF_SCHEMAS_RESULT_H
#define BF_SCHEMAS_RESULT_H

/*
 * What a worker writes about a job: result, usage, callback; dead letters are
 * in dead.h. Source: PROTOCOL.md §5.3, §5.4, §5.6. Pure: the same input gives
 * the same bytes.
 */

#include <jansson.h>

#include "schemas/dead.h"
#include "schemas/job.h"

/*
 * What the runner said besides the result itself; absent: ptr NULL, numbers
 * <= 0. Text is any bytes: it is made valid UTF-8 and cut to its ceiling.
 */
struct bf_report {
    struct bf_slice message; /* our own words */
    struct bf_slice error;
    struct bf_slice error_type;
    struct bf_slice function_name;
    struct bf_slice code_hash;
    struct bf_slice standard_output;
    struct bf_slice standard_error;
    bool standard_output_truncated;
    bool standard_error_truncated;
    int64_t line_number;
    int64_t execution_us; /* the runner's own word */
};

/* How one job ended. Everything is borrowed. */
struct bf_end {
    const struct bf_job *job;
    const struct bf_record *source; /* topic, partition, offset */
    uint32_t attempt;
    enum bf_outcome outcome;
    enum bf_reason reason;
    enum bf_delivery delivery;
    struct bf_slice result; /* value; only for succeeded */
    struct bf_report report;
    const char *run_id;  /* NULL: no run was begun */
    const char *backend; /* NULL: no run was begun */
    const char *isolation;
    const char *worker;      /* transactional id */
    const char *fingerprint; /* NULL: unknown */
    const char *block_type;  /* NULL: unknown */
    int64_t started_at_ms;   /* 0: nobody knows */
    int64_t ended_at_ms;     /* always: when the outcome was decided */
    int64_t duration_us;     /* monotonic clock of the supervisor */
    int64_t vcpu_us;         /* vCPU-seconds in millionths; 0: not told */
    int64_t memory_gib_us;   /* GiB-seconds in millionths; 0: not told */
    bool billable;
    bool has_usage;         /* a usage row goes with it */
    bool has_dead_letter;   /* a dead letter goes with it, trusted */
    const json_t *provider; /* object of strings, or NULL */
};

/*
 * Each fills an initialised record, all but the signature. What it holds is a
 * copy, save the bytes of end->result, which must outlive it, and the topic.
 * REJECT "too_large" for a result over its ceiling. A usage row needs a run_id,
 * a callback the job's URL.
 */
int bf_result_build(const struct bf_end *end, const char *fleet,
                    struct bf_record *rec, struct bf_err *err);
int bf_usage_build(const struct bf_end *end, const char *fleet,
                   struct bf_record *rec, struct bf_err *err);
int bf_callback_build(const struct bf_end *end, const char *fleet,
                      struct bf_record *rec, struct bf_err *err);

/* What a reader of results needs. Borrows from the record. Absent: ptr NULL. */
struct bf_result {
    struct bf_subject subject;
    struct bf_slice id; /* ce_id */
    enum bf_outcome outcome;
    enum bf_reason reason;
    enum bf_delivery delivery;
    enum bf_execution execution;
    struct bf_slice run_id, usage_id, backend, isolation, worker;
    struct bf_slice report, labels, batch, batch_index, correlation_id;
    struct bf_slice dead_letter;
    struct bf_slice source_topic;
    int32_t source_partition;
    int64_t source_offset;
    int64_t at_ms, started_at_ms, ended_at_ms; /* 0 when absent */
    struct bf_slice value;
};
/* REJECT "bad_record" or "too_large"; *ret untouched then. */
int bf_result_parse(const struct bf_record *rec, struct bf_result *ret,
                    struct bf_err *err);

#endif
