#ifndef BF_SCHEMAS_JOB_H
#define BF_SCHEMAS_JOB_H

/* The job record. Source: PROTOCOL.md §2, §4, §5.1. Pure. */

#include "schemas/block.h"
#include "schemas/ids.h"
#include "schemas/outcome.h"
#include "schemas/record.h"

/* Borrows from the record it was read from. Absent slices have ptr NULL. */
struct bf_job {
    struct bf_slice kind;
    struct bf_slice workspace;
    struct bf_slice id;
    uint32_t generation;
    enum bf_id_origin id_origin;
    uint32_t spread;
    enum bf_execution execution;
    int64_t accepted_at_ms; /* ce_time */
    int64_t expires_at_ms;
    int64_t not_before_ms; /* 0 when absent */
    uint32_t timeout_ms;
    uint32_t max_attempts;
    struct bf_slice block; /* JSON text, checked by bf_block_parse() */
    struct bf_slice inputs;
    struct bf_slice order_key;
    struct bf_slice backend;
    struct bf_slice batch;
    struct bf_slice batch_index;
    struct bf_slice callback_url;
    struct bf_slice labels;
    struct bf_slice context;
    struct bf_slice dead_of;
    struct bf_slice correlation_id; /* kafka_correlationId */
    struct bf_slice traceparent;
};

/*
 * Read every header. REJECT names the header and the rule; its code is the
 * name of a bf_reason ("bad_record", "unknown_kind", "too_large"). On failure
 * *ret holds what could be read, so that a rejection can be addressed: each
 * member is valid or absent, and id is absent when the generation is not
 * valid. Does not look into the block.
 */
int bf_job_parse(const struct bf_record *rec, struct bf_job *ret,
                 struct bf_err *err);

/*
 * Does the record lie where it belongs: key = workspace, the fleet's spread,
 * the partition that follows? One that does not is untrusted. To be asked after
 * bf_job_parse(), before heeding what that returned: what it could not read is
 * not held against the place. spread 0: not known.
 */
bool bf_job_placed(const struct bf_record *rec, const struct bf_job *job,
                   uint32_t spread, uint32_t shards);

/*
 * Fill rec (initialised, with topic and partition) with key, value and all
 * headers but the signature; fleet makes ce_source. job's bytes are borrowed
 * for the record's life, except numbers and derived ids. A job that
 * bf_job_parse() would refuse is refused here, with the same words.
 */
int bf_job_build(const struct bf_job *job, const char *fleet,
                 struct bf_record *rec, struct bf_err *err);

#endif
