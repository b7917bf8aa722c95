#include "dispatcher/cli/fleet_write.h"

#include <unistd.h>

#include "config/clock.h"
#include "config/settings.h"
#include "dispatcher/cli/log_writer.h"
#include "schemas/err.h"
#include "schemas/meta.h"

static int add_fleet(struct bf_log_writer *writer, const struct bf_fleet *fleet,
                     struct bf_err *err)
{
    struct bf_record *rec = bf_log_writer_next(writer, 0, err);

    return rec ? bf_fleet_build(fleet, rec, err) : -1;
}

static int add_base(struct bf_log_writer *writer, const char *host,
                    uint32_t shard, enum bf_lane lane, struct bf_err *err)
{
    const struct bf_entry entry = {
        .kind = BF_ENTRY_BASE,
        .lane = lane,
        .b = {.host = bf_slice_str(host),
              .txn_id = BF_SLICE_LIT("topics-init"),
              .pid = (uint32_t)getpid(),
              .at_ms = bf_now_ms()},
    };

    return bf_log_writer_add(writer, shard, &entry, err);
}

static int add_missing(const struct bf_fleet_writing *writing,
                       struct bf_log_writer *writer,
                       const struct bf_fleet_state *seen,
                       struct bf_written *ret, struct bf_err *err)
{
    if (seen->fleet_seen != BF_SEEN_TRUSTED) {
        if (add_fleet(writer, writing->fleet, err))
            return -1;
        ret->fleet = true;
    }
    for (uint32_t shard = 0; shard < seen->shards; shard++) {
        for (int lane = 0; lane < BF_LANES; lane++) {
            if (bf_fleet_state_base(seen, shard, lane)->seen == BF_SEEN_TRUSTED)
                continue;
            if (add_base(writer, writing->settings->instance, shard, lane, err))
                return -1;
            ret->bases++;
        }
    }
    return 0;
}

int bf_fleet_write(const struct bf_fleet_writing *writing,
                   const struct bf_fleet_state *seen, struct bf_written *ret,
                   struct bf_err *err)
{
    const struct bf_log_writing what = {
        .settings = writing->settings,
        .topic = writing->topic,
        .fleet = writing->fleet->name,
        .signer = writing->signer,
    };
    bf_autologwriter struct bf_log_writer *writer =
        bf_log_writer_new(&what, err);
    struct bf_written written = {0};

    if (!writer || add_missing(writing, writer, seen, &written, err) ||
        bf_log_writer_flush(writer, err))
        return -1;
    *ret = written;
    return 0;
}
