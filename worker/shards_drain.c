#include "worker/shards_private.h"

#include "config/clock.h"
#include "config/log.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "worker/committer.h"

static void fence(struct bf_shards *shards, uint32_t id)
{
    struct bf_shard_slot *slot = &shards->slots[id];
    struct bf_fence *msg = bf_must(calloc(1, sizeof(*msg)));

    msg->msg.kind = BF_MSG_FENCE;
    msg->shard = id;
    bf_committer_put(shards->config.committer, &msg->msg);
    bf_log_info("shard_fenced", bf_kv_int("shard", id),
                bf_kv_int("epoch", slot->epoch),
                bf_kv_int("under_way", (int64_t)slot->under_way));
    slot->epoch++;
    slot->folding = false;
    slot->under_way = 0;
    slot->phase = BF_SHARD_AWAY;
    slot->leaving = false;
    slot->reopen = false;
    shards->any_leaving = true;
}

static int answer_revoke(struct bf_shards *shards, struct bf_err *err)
{
    rd_kafka_topic_partition_list_t *revoked = bf_take(shards->revoking);
    rd_kafka_topic_partition_list_t *parts =
        rd_kafka_topic_partition_list_new(revoked->cnt);
    int rc;

    for (int i = 0; i < revoked->cnt; i++)
        bf_shard_slot_add(&shards->slots[revoked->elems[i].partition], parts);
    /* Epochs first: from here on nothing of these shards is committed. */
    for (int i = 0; i < revoked->cnt; i++)
        fence(shards, (uint32_t)revoked->elems[i].partition);
    rc = bf_consumer_unassign(shards->config.consumer, parts, err);
    for (int i = 0; i < revoked->cnt; i++)
        bf_shard_slot_clear(&shards->slots[revoked->elems[i].partition]);
    rd_kafka_topic_partition_list_destroy(parts);
    rd_kafka_topic_partition_list_destroy(revoked);
    return rc;
}

void bf_shards_begin_drain(struct bf_shards *shards, uint32_t id)
{
    struct bf_shard_slot *slot = &shards->slots[id];

    if (slot->phase != BF_SHARD_OPEN)
        return;
    slot->phase = BF_SHARD_DRAINING;
    slot->drain_until_ms = bf_mono_ms() + shards->config.drain_ms;
    shards->any_leaving = true;
}

bool bf_shards_leaving(struct bf_shards *shards)
{
    bool was = shards->any_leaving;

    shards->any_leaving = false;
    for (uint32_t i = 0; was && i < shards->config.shards; i++)
        shards->any_leaving |= shards->slots[i].phase == BF_SHARD_DRAINING;
    return was;
}

/* Takes what is not in it yet, to be answered together. */
static void also_revoke(struct bf_shards *shards,
                        rd_kafka_topic_partition_list_t *more)
{
    if (!shards->revoking) {
        shards->revoking = more;
        return;
    }
    for (int i = 0; i < more->cnt; i++) {
        const rd_kafka_topic_partition_t *part = &more->elems[i];

        if (!rd_kafka_topic_partition_list_find(shards->revoking, part->topic,
                                                part->partition))
            rd_kafka_topic_partition_list_add(shards->revoking, part->topic,
                                              part->partition);
    }
    rd_kafka_topic_partition_list_destroy(more);
}

int bf_shards_revoked(struct bf_shards *shards, struct bf_consumer_event *event,
                      struct bf_err *err)
{
    also_revoke(shards, bf_take(event->shards));
    if (event->lost || shards->strayed)
        return answer_revoke(shards, err);
    for (int i = 0; i < shards->revoking->cnt; i++) {
        uint32_t id = (uint32_t)shards->revoking->elems[i].partition;

        shards->slots[id].leaving = true;
        bf_shards_begin_drain(shards, id);
    }
    return 0;
}

/* True when nothing of it is under way any more, or time is up. */
static bool is_drained(struct bf_shards *shards, uint32_t id)
{
    struct bf_shard_slot *slot = &shards->slots[id];

    if (slot->phase != BF_SHARD_DRAINING)
        return true;
    if (bf_mono_ms() >= slot->drain_until_ms)
        return true;
    if (slot->under_way == 0 && !slot->base_sent) {
        bf_shards_send_base(shards, id);
        slot->base_sent = true;
    }
    return slot->under_way == 0;
}

static int serve_revoke(struct bf_shards *shards, struct bf_err *err)
{
    bool drained = true;

    for (int i = 0; i < shards->revoking->cnt; i++)
        drained = is_drained(shards,
                             (uint32_t)shards->revoking->elems[i].partition) &&
                  drained;
    if (!drained && !bf_consumer_is_lost(shards->config.consumer))
        return 0;
    return answer_revoke(shards, err);
}

/* Its log was cut under our feet: look again where to go on. */
static int reopen(struct bf_shards *shards, uint32_t id, struct bf_err *err)
{
    struct bf_shard_slot *slot = &shards->slots[id];
    rd_kafka_topic_partition_list_t *parts =
        rd_kafka_topic_partition_list_new(BF_INPUT_LANES);
    int rc;

    bf_shard_slot_add(slot, parts);
    fence(shards, id);
    bf_shards_stray(shards);
    rc = bf_consumer_unassign(shards->config.consumer, parts, err);
    rd_kafka_topic_partition_list_destroy(parts);
    bf_shard_slot_clear(slot);
    if (rc)
        return -1;
    parts = rd_kafka_topic_partition_list_new(1);
    rc = bf_shards_ask(shards, id, parts, err) ||
         bf_consumer_assign(shards->config.consumer, parts, err);
    rd_kafka_topic_partition_list_destroy(parts);
    return rc ? -1 : 0;
}

static int serve_reopens(struct bf_shards *shards, struct bf_err *err)
{
    for (uint32_t i = 0; shards->any_reopen && i < shards->config.shards; i++) {
        if (shards->slots[i].reopen && is_drained(shards, i) &&
            reopen(shards, i, err))
            return -1;
    }
    shards->any_reopen = false;
    for (uint32_t i = 0; i < shards->config.shards; i++)
        shards->any_reopen = shards->any_reopen || shards->slots[i].reopen;
    return 0;
}

int bf_shards_serve_drains(struct bf_shards *shards, struct bf_err *err)
{
    if (shards->revoking)
        return serve_revoke(shards, err);
    return shards->any_reopen ? serve_reopens(shards, err) : 0;
}

int bf_shards_drain_wait(const struct bf_shards *shards, int max_ms)
{
    int64_t now = bf_mono_ms();
    int64_t wait = max_ms;

    if (!shards->revoking && !shards->any_reopen)
        return max_ms;
    for (uint32_t i = 0; i < shards->config.shards; i++) {
        const struct bf_shard_slot *slot = &shards->slots[i];

        if (slot->phase == BF_SHARD_DRAINING &&
            slot->drain_until_ms - now < wait)
            wait = slot->drain_until_ms - now;
    }
    /* Also to see a lost assignment while we drain. */
    wait = wait > 100 ? 100 : wait;
    return wait > 0 ? (int)wait : 0;
}
