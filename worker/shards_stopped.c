#include "worker/shards_private.h"

#include "config/clock.h"
#include "schemas/check.h"
#include "worker/committer.h"

/* An operator who has confirmed looks on: soon, but at little cost. */
#define LOOK_EVERY_MS 5000

void bf_shards_stop(struct bf_shards *shards, uint32_t id)
{
    shards->slots[id].phase = BF_SHARD_STOPPED;
    shards->slots[id].look_ms = bf_mono_ms() + LOOK_EVERY_MS;
}

static void look(struct bf_shards *shards, uint32_t id)
{
    struct bf_query *query = bf_must(calloc(1, sizeof(*query)));

    query->msg.kind = BF_MSG_QUERY;
    query->shard = id;
    query->epoch = shards->slots[id].epoch;
    /* not again before this one is answered */
    shards->slots[id].look_ms = INT64_MAX;
    bf_committer_put(shards->config.committer, &query->msg);
}

void bf_shards_serve_stopped(struct bf_shards *shards)
{
    int64_t now = bf_mono_ms();

    for (uint32_t i = 0; i < shards->config.shards; i++) {
        const struct bf_shard_slot *slot = &shards->slots[i];

        if (slot->phase == BF_SHARD_STOPPED && slot->look_ms <= now)
            look(shards, i);
    }
}

/*
 * Of the log's ends alone we learn nothing: a base above the end is no better
 * when the log has grown to there.
 */
static bool is_news(const struct bf_query *old, const struct bf_query *now)
{
    bool news = old->state_high != now->state_high;

    for (size_t i = 0; i < BF_INPUT_LANES; i++)
        news = news ||
               strcmp(old->lanes[i].commit_id, now->lanes[i].commit_id) != 0;
    return news;
}

void bf_shards_compare(struct bf_shards *shards, const struct bf_query *facts)
{
    struct bf_shard_slot *slot = &shards->slots[facts->shard];

    if (is_news(&slot->reader.facts, facts)) {
        slot->reopen = true;
        shards->any_reopen = true;
    } else {
        slot->look_ms = bf_mono_ms() + LOOK_EVERY_MS;
    }
}
