#include "dispatcher/batch.h"

#include "schemas/control.h"

static const char *const names[] = {
    [BF_BATCH_OPEN] = "open",     [BF_BATCH_EXPIRED] = "expired",
    [BF_BATCH_SEALED] = "sealed", [BF_BATCH_COMPLETE] = "complete",
    [BF_BATCH_FAILED] = "failed",
};
_Static_assert(bf_countof(names) == BF_BATCH_STATES, "a name each");

const char *bf_batch_state_name(enum bf_batch_state state)
{
    bf_assert(state < BF_BATCH_STATES);
    return names[state];
}

int bf_batch_status(enum bf_row_rank rank, enum bf_outcome outcome)
{
    switch (rank) {
    case BF_ROW_WAITING:
    case BF_ROW_PARKED:
        return 0;
    case BF_ROW_STARTED:
        return 1;
    case BF_ROW_ENDED:
        break;
    }
    return 2 + (int)outcome;
}

int64_t bf_batch_ended(const struct bf_batch *batch)
{
    int64_t sum = 0;

    for (int i = 2; i < BF_STATUSES; i++)
        sum += batch->jobs[i];
    return sum;
}

int64_t bf_batch_total(const struct bf_batch *batch)
{
    return batch->jobs[0] + batch->jobs[1] + bf_batch_ended(batch);
}

int64_t bf_batch_failures(const struct bf_batch *batch)
{
    return bf_batch_ended(batch) - batch->jobs[2 + BF_OUTCOME_SUCCEEDED] -
           batch->jobs[2 + BF_OUTCOME_CANCELLED];
}

bool bf_batch_complete(const struct bf_batch *batch)
{
    return batch->sealed && bf_batch_ended(batch) == batch->count &&
           bf_batch_total(batch) == batch->count;
}

/* 128 bits: a count is any number below 2^63. */
static bool has_failed(const struct bf_batch *batch)
{
    __extension__ typedef __int128 wide;
    int64_t of = batch->sealed ? batch->count : bf_batch_total(batch);

    if (batch->max_failure_ppm < 0)
        return false;
    if (!batch->sealed && batch->max_failure_ppm > 0 &&
        bf_batch_ended(batch) < BF_BATCH_JUDGED)
        return false;
    return (wide)bf_batch_failures(batch) * BF_PPM >
           (wide)of * batch->max_failure_ppm;
}

enum bf_batch_state bf_batch_state(const struct bf_batch *batch, int64_t now_ms)
{
    if (has_failed(batch))
        return BF_BATCH_FAILED;
    if (bf_batch_complete(batch))
        return BF_BATCH_COMPLETE;
    if (batch->sealed)
        return BF_BATCH_SEALED;
    if (batch->opened && batch->until_ms <= now_ms)
        return BF_BATCH_EXPIRED;
    return BF_BATCH_OPEN;
}

const char *bf_batch_closed(const struct bf_batch *batch)
{
    if (has_failed(batch))
        return "the batch has failed: more of its jobs than max_failure_rate "
               "allows";
    if (batch->sealed && bf_batch_total(batch) >= batch->count)
        return "the batch is sealed and has all its jobs";
    return NULL;
}
