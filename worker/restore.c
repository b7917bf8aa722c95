#include "worker/restore.h"

#include "schemas/err.h"
#include "worker/ledger.h"

static int64_t count_lost(const struct bf_meta *meta, int64_t start)
{
    struct bf_ledger ledger;

    bf_ledger_load(&ledger, meta);
    return bf_ledger_complete(&ledger, meta->base, start);
}

static int check(const struct bf_lane_facts *facts, const struct bf_meta *base,
                 enum bf_lane lane, struct bf_err *err)
{
    if (facts->corrupt)
        return bf_err_set(err, BF_ERR_REJECT, "corrupt_metadata", "lane %s: %s",
                          bf_lane_name(lane), facts->problem.msg);
    if (facts->committed && facts->meta.txn_seq < base->txn_seq)
        return bf_err_set(err, BF_ERR_REJECT, "older_than_base",
                          "lane %s: committed txn_seq %llu is older than the "
                          "b entry's %llu",
                          bf_lane_name(lane),
                          (unsigned long long)facts->meta.txn_seq,
                          (unsigned long long)base->txn_seq);
    return 0;
}

static int resume(const struct bf_lane_facts *facts,
                  const struct bf_shard *shard, enum bf_lane lane,
                  struct bf_resume *ret, struct bf_err *err)
{
    struct bf_meta base;

    if (!bf_shard_base(shard, lane, &base))
        return bf_err_set(err, BF_ERR_REJECT, "no_base",
                          "lane %s: bf.state has no b entry; was `blockfleet "
                          "topics init` run, or was the topic emptied?",
                          bf_lane_name(lane));
    if (check(facts, &base, lane, err))
        return -1;
    ret->meta = facts->committed ? facts->meta : base;
    ret->from_base = !facts->committed && base.txn_seq > 0;
    if (ret->meta.base > facts->high)
        return bf_err_set(err, BF_ERR_REJECT, "ahead_of_log",
                          "lane %s: base %lld is above the log's end %lld",
                          bf_lane_name(lane), (long long)ret->meta.base,
                          (long long)facts->high);
    ret->start = ret->meta.base < facts->low ? facts->low : ret->meta.base;
    ret->lost = count_lost(&ret->meta, ret->start);
    return 0;
}

int bf_restore(const struct bf_query *facts, const struct bf_shard *shard,
               struct bf_restored *ret, struct bf_err *err)
{
    struct bf_restored restored = {.seq = bf_shard_seq(shard)};

    for (size_t i = 0; i < BF_INPUT_LANES; i++) {
        struct bf_resume *lane = &restored.lanes[i];

        if (resume(&facts->lanes[i], shard, (enum bf_lane)i, lane, err))
            return -1;
        if (lane->meta.txn_seq > restored.seq)
            restored.seq = lane->meta.txn_seq;
    }
    *ret = restored;
    return 0;
}
