#include "dispatcher/row.h"

static int compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/*
 * The first record of an id is the one that runs; a copy that was sent again
 * is not. Lanes and shards have no common order: any fixed one will do.
 */
static bool is_earlier(const struct bf_row *a, const struct bf_row *b)
{
    int order = compare((int64_t)a->lane, (int64_t)b->lane);

    if (order == 0)
        order = compare(a->partition, b->partition);
    if (order == 0)
        order = compare(a->offset, b->offset);
    return order < 0;
}

static void copy_submitters(struct bf_row *row, const struct bf_row *news)
{
    row->batch_index = news->batch_index;
    memcpy(row->batch, news->batch, sizeof(row->batch));
    memcpy(row->labels, news->labels, sizeof(row->labels));
}

static bool merge_job(struct bf_row *row, const struct bf_row *news)
{
    if (!news->has_job || (row->has_job && !is_earlier(news, row)))
        return false;
    row->has_job = true;
    row->lane = news->lane;
    row->partition = news->partition;
    row->offset = news->offset;
    row->accepted_at_ms = news->accepted_at_ms;
    row->expires_at_ms = news->expires_at_ms;
    row->execution = news->execution;
    memcpy(row->order_key, news->order_key, sizeof(row->order_key));
    copy_submitters(row, news);
    return true;
}

/* Terminal beats started beats parked beats waiting; inside, the later. */
static bool is_further(const struct bf_row *a, const struct bf_row *b)
{
    if (a->rank != b->rank)
        return a->rank > b->rank;
    if (a->rank != BF_ROW_ENDED)
        return a->seq != b->seq ? a->seq > b->seq
                                : strcmp(a->run_id, b->run_id) > 0;
    /* One result per generation is all there is; a second is no news. */
    if (a->result_partition != b->result_partition)
        return a->result_partition < b->result_partition;
    return a->result_offset < b->result_offset;
}

static bool merge_rank(struct bf_row *row, const struct bf_row *news)
{
    if (!is_further(news, row))
        return false;
    row->rank = news->rank;
    row->seq = news->seq;
    row->attempt = news->attempt;
    memcpy(row->run_id, news->run_id, sizeof(row->run_id));
    row->outcome = news->outcome;
    row->result_partition = news->result_partition;
    row->result_offset = news->result_offset;
    /* The job's record says the same; until it is seen, the result does. */
    if (news->rank == BF_ROW_ENDED && !row->has_job)
        copy_submitters(row, news);
    return true;
}

unsigned bf_row_merge(struct bf_row *row, const struct bf_row *news)
{
    unsigned result = BF_ROW_OLD;
    bool had_job = row->has_job;

    if (news->generation < row->generation)
        return BF_ROW_OLD;
    if (news->generation > row->generation) {
        *row = *news;
        return BF_ROW_CHANGED | BF_ROW_FACTS |
               (news->rank == BF_ROW_ENDED ? BF_ROW_RESULT : 0U);
    }
    if (merge_job(row, news))
        result |= BF_ROW_CHANGED | BF_ROW_FACTS;
    if (merge_rank(row, news))
        result |= BF_ROW_CHANGED |
                  (news->rank == BF_ROW_ENDED ? BF_ROW_RESULT : 0U) |
                  (had_job ? 0U : BF_ROW_FACTS);
    return result;
}

const char *bf_row_status(enum bf_row_rank rank, enum bf_outcome outcome)
{
    switch (rank) {
    case BF_ROW_WAITING:
    case BF_ROW_PARKED:
        return "waiting";
    case BF_ROW_STARTED:
        return "running";
    case BF_ROW_ENDED:
        break;
    }
    return bf_outcome_name(outcome);
}

unsigned bf_row_status_bit(enum bf_row_rank rank, enum bf_outcome outcome)
{
    switch (rank) {
    case BF_ROW_WAITING:
    case BF_ROW_PARKED:
        return 1U;
    case BF_ROW_STARTED:
        return 2U;
    case BF_ROW_ENDED:
        break;
    }
    return 4U << outcome;
}

unsigned bf_row_status_parse(struct bf_slice name)
{
    int outcome = bf_outcome_parse(name);

    if (outcome >= 0)
        return bf_row_status_bit(BF_ROW_ENDED, (enum bf_outcome)outcome);
    if (bf_slice_is(name, "waiting"))
        return bf_row_status_bit(BF_ROW_WAITING, BF_OUTCOME_SUCCEEDED);
    if (bf_slice_is(name, "running"))
        return bf_row_status_bit(BF_ROW_STARTED, BF_OUTCOME_SUCCEEDED);
    if (bf_slice_is(name, "ended"))
        return ~3U;
    return 0;
}
