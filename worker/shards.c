#include "worker/shards_private.h"

#include "config/clock.h"
#include "config/fleet_topics.h"
#include "config/log.h"
#include "schemas/check.h"
#include "worker/committer.h"
#include "worker/folding.h"

struct bf_shards *bf_shards_new(const struct bf_shards_config *config,
                                struct bf_err *err)
{
    struct bf_shards *shards = calloc(1, sizeof(*shards));

    if (shards)
        shards->slots = calloc(config->shards, sizeof(*shards->slots));
    if (!shards || !shards->slots) {
        free(shards);
        bf_err_oom(err);
        return NULL;
    }
    shards->config = *config;
    for (uint32_t i = 0; i < config->shards; i++) {
        struct bf_state_reader *reader = &shards->slots[i].reader;

        reader->topic = bf_topic_name(config->topics, BF_TOPIC_STATE);
        reader->verifier = config->verifier;
        reader->shard = i;
    }
    return shards;
}

void bf_shard_slot_clear(struct bf_shard_slot *slot)
{
    bf_state_reader_clear(&slot->reader);
    for (size_t i = 0; i < BF_INPUT_LANES; i++)
        bf_lane_reader_close(&slot->lanes[i]);
    bf_shard_free(bf_take(slot->state));
}

void bf_shard_slot_add(const struct bf_shard_slot *slot,
                       rd_kafka_topic_partition_list_t *parts)
{
    if (slot->phase == BF_SHARD_AWAY)
        return;
    bf_state_reader_add(&slot->reader, parts);
    if (slot->phase != BF_SHARD_OPEN && slot->phase != BF_SHARD_DRAINING)
        return;
    for (size_t i = 0; i < BF_INPUT_LANES; i++)
        bf_lane_reader_add(&slot->lanes[i], parts);
}

void bf_shards_free(struct bf_shards *shards)
{
    if (!shards)
        return;
    for (uint32_t i = 0; i < shards->config.shards; i++)
        bf_shard_slot_clear(&shards->slots[i]);
    if (shards->revoking)
        rd_kafka_topic_partition_list_destroy(shards->revoking);
    free(shards->slots);
    free(shards);
}

/* ---- what the committer says of a shard ---- */

void bf_shards_take(struct bf_shards *shards, struct bf_msg *msg)
{
    if (msg->kind == BF_MSG_QUERY)
        bf_shards_take_facts(shards, (struct bf_query *)msg);
    else if (msg->kind == BF_MSG_BASES)
        bf_shards_take_bases(shards, (struct bf_bases *)msg);
    free(msg);
}

/* ---- events ---- */

void bf_shards_stray(struct bf_shards *shards)
{
    bf_assert(!shards->revoking);
    shards->strayed = true;
}

static int look(struct bf_shards *shards, struct bf_lane_reader *lane,
                struct bf_err *err)
{
    if (!bf_lane_reader_must_look(lane))
        return 0;
    bf_shards_stray(shards);
    return bf_lane_reader_look(lane, shards->config.consumer, err);
}

static int serve_looks(struct bf_shards *shards, struct bf_err *err)
{
    for (uint32_t i = 0; i < shards->config.shards; i++) {
        struct bf_shard_slot *slot = &shards->slots[i];

        for (size_t which = 0;
             slot->phase == BF_SHARD_OPEN && which < BF_INPUT_LANES; which++) {
            if (look(shards, &slot->lanes[which], err))
                return -1;
        }
    }
    shards->any_look = false;
    return 0;
}

static void send_group(struct bf_shards *shards)
{
    struct bf_group_msg *msg = bf_must(calloc(1, sizeof(*msg)));

    msg->msg.kind = BF_MSG_GROUP;
    msg->group = bf_consumer_group(shards->config.consumer);
    bf_committer_put(shards->config.committer, &msg->msg);
}

static int serve_event(struct bf_shards *shards,
                       struct bf_consumer_event *event, struct bf_err *err)
{
    int rc;

    bf_log_info("rebalance",
                bf_kv_str("what", event->kind == BF_CONSUMER_ASSIGN ? "assign"
                                                                    : "revoke"),
                bf_kv_bool("lost", event->lost),
                bf_kv_int("shards", event->shards->cnt));
    /*
     * Before the answer: it is the generation in which we own them. But it
     * may be the next one already, once librdkafka has taken an answer.
     */
    if (!shards->strayed)
        send_group(shards);
    rc = event->kind == BF_CONSUMER_ASSIGN
             ? bf_shards_assigned(shards, event->shards, err)
             : bf_shards_revoked(shards, event, err);
    if (shards->strayed)
        send_group(shards);
    if (event->shards)
        rd_kafka_topic_partition_list_destroy(event->shards);
    return rc;
}

int bf_shards_serve(struct bf_shards *shards, struct bf_err *err)
{
    struct bf_consumer_event event = {0};
    enum bf_consumer_event_kind kind;

    while ((kind = bf_consumer_next(shards->config.consumer, &event, err)) !=
           BF_CONSUMER_NONE) {
        if (kind == BF_CONSUMER_FATAL || serve_event(shards, &event, err))
            return -1;
    }
    shards->strayed = false;
    /* First those that unassign, as soon after the poll as can be. */
    if (shards->any_look && !shards->revoking && serve_looks(shards, err))
        return -1;
    if (bf_shards_serve_drains(shards, err))
        return -1;
    bf_shards_serve_stopped(shards);
    bf_shards_serve_bases(shards);
    return bf_shards_serve_restores(shards, err);
}

static int64_t due_ms(const struct bf_shard_slot *slot)
{
    if (slot->phase == BF_SHARD_OPEN)
        return slot->base_due_ms;
    return slot->phase == BF_SHARD_STOPPED ? slot->look_ms : INT64_MAX;
}

int bf_shards_wait(const struct bf_shards *shards, int max_ms)
{
    int64_t now = bf_mono_ms();
    int64_t wait = bf_shards_drain_wait(shards, max_ms);

    if (shards->any_look && !shards->revoking)
        return 0;
    for (uint32_t i = 0; i < shards->config.shards; i++) {
        if (due_ms(&shards->slots[i]) - now < wait)
            wait = due_ms(&shards->slots[i]) - now;
    }
    return wait > 0 ? (int)wait : 0;
}

/* ---- records ---- */

static enum bf_pull_kind pull(struct bf_shards *shards, uint32_t id,
                              enum bf_lane which, struct bf_pull *ret)
{
    struct bf_shard_slot *slot = &shards->slots[id];
    struct bf_lane_reader *lane = &slot->lanes[which];
    enum bf_pull_kind kind =
        bf_lane_reader_pull(lane, shards->config.window, ret);

    if (lane->cut) {
        bf_shards_begin_drain(shards, id);
        slot->reopen = true;
        shards->any_reopen = true;
    }
    shards->any_look = shards->any_look || bf_lane_reader_must_look(lane);
    if (kind == BF_PULL_NONE)
        return kind;
    ret->epoch = slot->epoch;
    ret->lane = which;
    slot->under_way++;
    return kind;
}

enum bf_pull_kind bf_shards_pull(struct bf_shards *shards, struct bf_pull *ret)
{
    size_t lanes = (size_t)shards->config.shards * BF_INPUT_LANES;

    for (size_t i = 0; i < lanes; i++) {
        size_t turn = (shards->turn + i) % lanes;
        uint32_t id = (uint32_t)(turn / BF_INPUT_LANES);
        enum bf_lane which = (enum bf_lane)(turn % BF_INPUT_LANES);

        if (shards->slots[id].phase != BF_SHARD_OPEN ||
            pull(shards, id, which, ret) == BF_PULL_NONE)
            continue;
        shards->turn = (turn + 1) % lanes;
        return ret->kind;
    }
    return BF_PULL_NONE;
}

void bf_shards_done(struct bf_shards *shards, uint32_t shard, uint32_t epoch)
{
    struct bf_shard_slot *slot = &shards->slots[shard];

    if (slot->epoch != epoch)
        return;
    bf_assert(slot->under_way > 0);
    slot->under_way--;
}

/* ---- finished ids ---- */

/* Now and then the small segments become one: fewer keys to restore. */
static void fold_finished(struct bf_shards *shards, uint32_t id)
{
    struct bf_shard_slot *slot = &shards->slots[id];
    struct bf_item *item;

    if (slot->folding || slot->phase != BF_SHARD_OPEN)
        return;
    item = bf_folding_new(bf_shard_finished(slot->state), bf_now_ms());
    if (!item)
        return;
    item->shard = id;
    item->epoch = slot->epoch;
    slot->folding = true;
    slot->under_way++;
    bf_committer_put(shards->config.committer, &item->msg);
}

bool bf_shards_finished(const struct bf_shards *shards, uint32_t shard,
                        const unsigned char id[BF_FINISHED_ID_SIZE])
{
    return bf_finished_has(bf_shard_finished(shards->slots[shard].state), id);
}

const struct bf_started *
bf_shards_started_of(const struct bf_shards *shards, uint32_t shard,
                     const unsigned char id[BF_FINISHED_ID_SIZE])
{
    return bf_shard_started_of(shards->slots[shard].state, id);
}

static int fold_answered(struct bf_shard_slot *slot, struct bf_item *item,
                         struct bf_err *err)
{
    slot->folding = false;
    if (item->end != BF_ITEM_COMMITTED)
        return 0;
    bf_log_debug("finished_folded", bf_kv_int("shard", item->shard),
                 bf_kv_int("segments", (int64_t)item->nmore));
    return bf_folding_done(item, bf_shard_finished(slot->state), err);
}

int bf_shards_answered(struct bf_shards *shards, struct bf_item *item,
                       struct bf_err *err)
{
    struct bf_shard_slot *slot = &shards->slots[item->shard];
    int rc = 0;

    if (bf_shards_owns(shards, item->shard, item->epoch)) {
        if (item->of_shard && !item->wants_base)
            rc = fold_answered(slot, item, err);
        else if (bf_item_finishes(item) && item->end == BF_ITEM_COMMITTED)
            rc = bf_finished_add(bf_shard_finished(slot->state), item->segment,
                                 item->finished_id, bf_now_ms(), err);
        if (rc == 0 && bf_item_finishes(item))
            fold_finished(shards, item->shard);
        if (item->end == BF_ITEM_COMMITTED && item->has_entry &&
            item->entry.tombstone)
            bf_shard_run_ended(slot->state, item->lane, item->entry.offset);
    }
    if (!item->of_shard)
        return rc;
    bf_shards_done(shards, item->shard, item->epoch);
    if (item->wants_base)
        free(item);
    else
        bf_folding_free(item);
    return rc;
}

bool bf_shards_owns(const struct bf_shards *shards, uint32_t shard,
                    uint32_t epoch)
{
    const struct bf_shard_slot *slot = &shards->slots[shard];

    return slot->epoch == epoch &&
           (slot->phase == BF_SHARD_OPEN || slot->phase == BF_SHARD_DRAINING);
}

bool bf_shards_since(const struct bf_shards *shards, uint32_t shard,
                     uint32_t *ret_epoch, int64_t *ret_since_ms)
{
    const struct bf_shard_slot *slot = &shards->slots[shard];

    if (!bf_shards_owns(shards, shard, slot->epoch))
        return false;
    *ret_epoch = slot->epoch;
    *ret_since_ms = slot->since_ms;
    return true;
}

bool bf_shards_draining(const struct bf_shards *shards, uint32_t shard)
{
    return shards->slots[shard].phase == BF_SHARD_DRAINING;
}

const struct bf_started *bf_shards_started(const struct bf_shards *shards,
                                           uint32_t shard, enum bf_lane lane,
                                           int64_t offset)
{
    return bf_shard_started(shards->slots[shard].state, lane, offset);
}

void bf_shards_count(const struct bf_shards *shards, size_t *ret_open,
                     size_t *ret_stopped)
{
    *ret_open = 0;
    *ret_stopped = 0;
    for (uint32_t i = 0; i < shards->config.shards; i++) {
        *ret_open += shards->slots[i].phase == BF_SHARD_OPEN;
        *ret_stopped += shards->slots[i].phase == BF_SHARD_STOPPED;
    }
}
