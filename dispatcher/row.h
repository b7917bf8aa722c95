#ifndef BF_DISPATCHER_ROW_H
#define BF_DISPATCHER_ROW_H

/*
 * What the view knows of one job, and how news are merged into it. Records of
 * different topics arrive in any order; merging commutes, so that every
 * replica and every rebuild ends with the same row. Pure.
 */

#include "schemas/ids.h"
#include "schemas/outcome.h"
#include "schemas/state.h"

enum bf_row_rank {
    BF_ROW_WAITING,
    BF_ROW_PARKED,
    BF_ROW_STARTED,
    BF_ROW_ENDED,
};

/* A row with nothing but zeros knows nothing. */
struct bf_row {
    uint32_t generation; /* the highest one counts, whatever else is said */

    bool has_job; /* the job record was seen */
    enum bf_lane lane;
    int32_t partition;
    int64_t offset;
    int64_t accepted_at_ms;
    int64_t expires_at_ms;
    enum bf_execution execution;

    enum bf_row_rank rank;
    uint64_t seq;     /* of the state entry; of a result: 0 */
    uint32_t attempt; /* 0: not known */
    char run_id[BF_HEX128_SIZE];

    enum bf_outcome outcome; /* when ended */
    int32_t result_partition;
    int64_t result_offset;

    char order_key[BF_MAX_ORDER_KEY + 1]; /* "": none or not known */
    char batch[BF_MAX_ID + 1];            /* the same */
    uint32_t batch_index;
    char labels[BF_MAX_LABELS + 1]; /* JSON text; the same; last, see
                                       bf_exchange_accepted() */
};

enum bf_row_news {
    BF_ROW_OLD = 0,
    BF_ROW_CHANGED = 1,
    BF_ROW_RESULT = 2, /* bit: the news' result is the row's now */
    BF_ROW_FACTS = 4,  /* bit: not its progress alone */
};

/* Merge news into row; both are of one (workspace, job). Says what changed. */
unsigned bf_row_merge(struct bf_row *row, const struct bf_row *news);

/* "waiting", "running" or the outcome's name. */
const char *bf_row_status(enum bf_row_rank rank, enum bf_outcome outcome);

/* The same as one bit of a set of statuses. */
unsigned bf_row_status_bit(enum bf_row_rank rank, enum bf_outcome outcome);
/* A status by its name, "ended" for all outcomes; 0: there is no such. */
unsigned bf_row_status_parse(struct bf_slice name);

#endif
