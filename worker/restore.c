#include "worker/restore.h"

#include "schemas/err.h"

int bf_restore(const struct bf_query *facts, const struct bf_shard *shard,
               struct bf_restored *ret, struct bf_err *err)
{
    struct bf_restored restored = {.seq = bf_shard_seq(shard)};

    for (size_t i = 0; i < BF_INPUT_LANES; i++) {
        enum bf_lane lane = (enum bf_lane)i;
        struct bf_resume *resume = &restored.lanes[i];

        if (bf_resume(&facts->lanes[i], bf_shard_base(shard, lane), lane,
                      resume, err))
            return -1;
        if (resume->meta.txn_seq > restored.seq)
            restored.seq = resume->meta.txn_seq;
    }
    *ret = restored;
    return 0;
}
