#ifndef BF_SCHEMAS_USAGE_H
#define BF_SCHEMAS_USAGE_H

/*
 * Rows of bf.usage that are no runs; those of runs come with their results
 * (result.h). Source: PROTOCOL.md §5.4. Pure.
 */

#include <jansson.h>

#include "schemas/record.h"

struct bf_err;

/* A stretch in which a pooled sandbox cost something and ran nothing. */
struct bf_idle {
    struct bf_slice workspace;
    struct bf_slice sandbox; /* as a job id */
    const char *backend;
    const char *isolation;
    int64_t started_at_ms;
    int64_t billed_until_ms;
    bool billable;
    int64_t vcpu_us;        /* vCPU-seconds in millionths; 0: not told */
    int64_t memory_gib_us;  /* GiB-seconds in millionths; 0: not told */
    const json_t *provider; /* object of strings, or NULL */
};

/* Differences to a row that stands in the topic for ever. */
struct bf_correction {
    const json_t *row;         /* the value of the row, parsed */
    struct bf_slice row_id;    /* its ce_id */
    uint32_t number;           /* from 1 */
    int64_t at_ms;             /* when it was corrected */
    const json_t *differences; /* quantity -> decimal string, signed */
};

/*
 * Fill an initialised record, all but the signature; what it holds is a copy.
 * REJECT "bad_usage" for a row that is none or is a correction itself.
 */
int bf_idle_build(const struct bf_idle *idle, const char *fleet,
                  struct bf_record *rec, struct bf_err *err);
int bf_correction_build(const struct bf_correction *fix, const char *fleet,
                        struct bf_record *rec, struct bf_err *err);

#endif
