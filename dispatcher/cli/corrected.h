#ifndef BF_DISPATCHER_CLI_CORRECTED_H
#define BF_DISPATCHER_CLI_CORRECTED_H

/*
 * A row of bf.usage with what its corrections have left of it, and what one
 * more of them may say: PROTOCOL.md §5.4. Pure; who may be believed is asked
 * before.
 */

#include <jansson.h>

#include "dispatcher/quantity.h"
#include "schemas/ids.h"
#include "schemas/record.h"

struct bf_err;

struct bf_corrected {
    const char *id; /* of the row, its ce_id; borrowed */
    json_t *row;    /* its value; NULL: not seen */
    int32_t partition;
    char fleet[BF_MAX_ID + 64]; /* from its ce_source */
    json_t *fixes;              /* value by ce_id; owned */
    uint32_t last;              /* the highest number of them; 0: none */
    bool known[BF_QUANTITIES];
    int64_t left[BF_QUANTITIES];
};

int bf_corrected_init(struct bf_corrected *row, const char *id,
                      struct bf_err *err);
void bf_corrected_release(struct bf_corrected *row);
#define bf_autocorrected bf_cleanup(bf_corrected_release)

/* Is this record the row, or a correction of it? By its headers alone. */
bool bf_corrected_wants(const struct bf_corrected *row,
                        const struct bf_record *rec);

/*
 * Count one that it wants; in the order of the partition, as the first of one
 * id counts. REJECT "bad_usage": it is not as it must be.
 */
int bf_corrected_take(struct bf_corrected *row, const struct bf_record *rec,
                      struct bf_err *err);

/*
 * The differences of one more, quantity -> decimal string, as a new reference:
 * of words NAME=DIFFERENCE, or all that is left. REJECT "usage", "refused"
 * (below nothing, nothing to correct).
 */
json_t *bf_corrected_differences(const struct bf_corrected *row,
                                 const char *const *words, size_t nwords,
                                 struct bf_err *err);
json_t *bf_corrected_void(const struct bf_corrected *row, struct bf_err *err);

/* The record, initialised; all but its signature. */
int bf_corrected_build(const struct bf_corrected *row,
                       const json_t *differences, int64_t at_ms,
                       struct bf_record *rec, struct bf_err *err);

#endif
