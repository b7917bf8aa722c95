#ifndef BF_SCHEMAS_JOB_H
#define BF_SCHEMAS_JOB_H

/* The job record and its block. Source: PROTOCOL.md §5.1, §5.2. Pure. */

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
 * *ret holds what could be read (workspace and id are empty or valid), so that
 * a rejection can be addressed. Does not look into the block.
 */
int bf_job_parse(const struct bf_record *rec, struct bf_job *ret,
                 struct bf_err *err);

/*
 * Fill rec (initialised, with topic and partition) with key, value and all
 * headers but the signature; fleet makes ce_source. job's bytes are borrowed
 * for the record's life, except numbers and derived ids.
 */
int bf_job_build(const struct bf_job *job, const char *fleet,
                 struct bf_record *rec, struct bf_err *err);

#define BF_MD5_SIZE 33
#define BF_FINGERPRINT_SIZE 17

/* A parsed block; owns its strings. */
struct bf_block;
struct bf_block *bf_block_parse(struct bf_slice text, struct bf_err *err);
void bf_block_free(struct bf_block *block);
BF_DEFINE_CLEANUP(bf_block_freep_, struct bf_block *, bf_block_free)
#define bf_autoblock bf_cleanup(bf_block_freep_)

const char *bf_block_run_code(const struct bf_block *block);
const char *bf_block_run_function(const struct bf_block *block);
const char *bf_block_init_code(const struct bf_block *block); /* or NULL */
const char *bf_block_init_function(const struct bf_block *block);
const char *bf_block_type(const struct bf_block *block);
const char *bf_block_code_hash(const struct bf_block *block);
const char *bf_block_fingerprint(const struct bf_block *block);
size_t bf_block_imports(const struct bf_block *block);
const char *bf_block_import(const struct bf_block *block, size_t i);

#endif
