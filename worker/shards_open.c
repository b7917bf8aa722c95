#include "worker/shards_private.h"

#include "config/clock.h"
#include "config/fleet_topics.h"
#include "config/log.h"
#include "schemas/check.h"
#include "worker/committer.h"
#include "worker/crash.h"

int bf_shards_ask(struct bf_shards *shards, uint32_t id,
                  rd_kafka_topic_partition_list_t *parts, struct bf_err *err)
{
    struct bf_shard_slot *slot = &shards->slots[id];
    struct bf_query *query = calloc(1, sizeof(*query));

    if (!query ||
        bf_state_reader_open(&slot->reader, shards->config.consumer, err)) {
        free(query);
        return bf_err_set(err, BF_ERR_FATAL, "oom", "no memory for a shard");
    }
    slot->phase = BF_SHARD_ASKING;
    query->msg.kind = BF_MSG_QUERY;
    query->shard = id;
    query->epoch = slot->epoch;
    bf_committer_put(shards->config.committer, &query->msg);
    bf_shard_slot_add(slot, parts);
    return 0;
}

int bf_shards_assigned(struct bf_shards *shards,
                       const rd_kafka_topic_partition_list_t *parts,
                       struct bf_err *err)
{
    rd_kafka_topic_partition_list_t *states =
        rd_kafka_topic_partition_list_new(parts->cnt);
    int rc = 0;

    for (int i = 0; i < parts->cnt && rc == 0; i++) {
        uint32_t id = (uint32_t)parts->elems[i].partition;

        bf_assert(id < shards->config.shards);
        bf_assert(shards->slots[id].phase == BF_SHARD_AWAY);
        shards->slots[id].epoch++;
        rc = bf_shards_ask(shards, id, states, err);
    }
    if (rc == 0)
        rc = bf_consumer_assign(shards->config.consumer, states, err);
    rd_kafka_topic_partition_list_destroy(states);
    return rc;
}

/* ---- open, or stop ---- */

static int assign_lanes(struct bf_shards *shards, struct bf_shard_slot *slot,
                        struct bf_err *err)
{
    rd_kafka_topic_partition_list_t *parts =
        rd_kafka_topic_partition_list_new(BF_INPUT_LANES);
    int rc = 0;

    for (size_t i = 0; i < BF_INPUT_LANES; i++) {
        rc = rc ||
             bf_lane_reader_open(&slot->lanes[i], shards->config.consumer, err);
        bf_lane_reader_add(&slot->lanes[i], parts);
    }
    rc = rc || bf_consumer_assign(shards->config.consumer, parts, err);
    rd_kafka_topic_partition_list_destroy(parts);
    return rc ? -1 : 0;
}

static void tell_committer(struct bf_shards *shards, uint32_t id,
                           const struct bf_restored *restored)
{
    struct bf_open *open = bf_must(calloc(1, sizeof(*open)));

    open->msg.kind = BF_MSG_OPEN;
    open->shard = id;
    open->epoch = shards->slots[id].epoch;
    open->seq = restored->seq;
    for (size_t i = 0; i < BF_INPUT_LANES; i++)
        open->metas[i] = restored->lanes[i].meta;
    bf_committer_put(shards->config.committer, &open->msg);
}

/* What an operator should know of where a lane goes on. */
static void warn(uint32_t id, enum bf_lane lane, const struct bf_resume *resume)
{
    const char *event = resume->confirmed   ? "shard_confirmed"
                        : resume->from_base ? "offsets_expired"
                                            : NULL;

    if (event)
        bf_log_warn(event, bf_kv_int("shard", id),
                    bf_kv_str("lane", bf_lane_name(lane)),
                    bf_kv_int("base", resume->meta.base));
}

static bool is_ahead_of_base(const struct bf_shard *state,
                             const struct bf_restored *restored)
{
    for (size_t i = 0; i < BF_INPUT_LANES; i++) {
        if (restored->lanes[i].meta.txn_seq >
            bf_shard_base(state, (enum bf_lane)i)->meta.txn_seq)
            return true;
    }
    return false;
}

static int open_shard(struct bf_shards *shards, uint32_t id,
                      const struct bf_restored *restored, struct bf_err *err)
{
    struct bf_shard_slot *slot = &shards->slots[id];

    slot->state = bf_state_reader_take(&slot->reader);
    for (size_t i = 0; i < BF_INPUT_LANES; i++) {
        bf_lane_reader_init(&slot->lanes[i],
                            bf_topic_name(shards->config.topics,
                                          bf_lane_topic((enum bf_lane)i)),
                            id, &restored->lanes[i]);
        warn(id, (enum bf_lane)i, &restored->lanes[i]);
    }
    tell_committer(shards, id, restored);
    slot->phase = BF_SHARD_OPEN;
    slot->since_ms = bf_now_ms();
    slot->base_sent = false;
    slot->base_due_ms = INT64_MAX;
    bf_shards_expect_base(slot, !is_ahead_of_base(slot->state, restored));
    bf_log_info("shard_open", bf_kv_int("shard", id),
                bf_kv_int("epoch", slot->epoch),
                bf_kv_int("base", slot->lanes[0].base),
                bf_kv_int("above", bf_ledger_above(&slot->lanes[0].restored)),
                bf_kv_int("started", (int64_t)bf_shard_count(slot->state)));
    bf_state_reader_leave(&slot->reader, shards->config.consumer);
    return assign_lanes(shards, slot, err);
}

/* Reads on, and is done with it once all is read. */
static int restore(struct bf_shards *shards, uint32_t id, struct bf_err *err)
{
    struct bf_shard_slot *slot = &shards->slots[id];
    struct bf_restored restored;
    struct bf_err why = {0};

    if (!bf_state_reader_read(&slot->reader) || slot->leaving)
        return 0;
    /* An assign would make librdkafka forget it before we see the REVOKE. */
    if (bf_consumer_is_lost(shards->config.consumer))
        return 0;
    bf_crash_point("before_restore");
    if (bf_state_reader_restore(&slot->reader, &restored, &why) == 0)
        return open_shard(shards, id, &restored, err);
    bf_log_err(BF_LOG_ERROR, "shard_stopped", &why, bf_kv_int("shard", id));
    bf_shards_stop(shards, id);
    bf_state_reader_leave(&slot->reader, shards->config.consumer);
    return 0;
}

int bf_shards_serve_restores(struct bf_shards *shards, struct bf_err *err)
{
    for (uint32_t i = 0; i < shards->config.shards; i++) {
        enum bf_shard_phase phase = shards->slots[i].phase;

        if ((phase == BF_SHARD_ASKING || phase == BF_SHARD_READING) &&
            restore(shards, i, err))
            return -1;
    }
    return 0;
}

void bf_shards_take_facts(struct bf_shards *shards,
                          const struct bf_query *facts)
{
    struct bf_shard_slot *slot = &shards->slots[facts->shard];

    if (slot->epoch != facts->epoch)
        return;
    if (slot->phase == BF_SHARD_STOPPED)
        bf_shards_compare(shards, facts);
    if (slot->phase != BF_SHARD_ASKING)
        return;
    bf_state_reader_facts(&slot->reader, facts);
    slot->phase = BF_SHARD_READING;
}
