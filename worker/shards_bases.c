#include "worker/shards_private.h"

#include "config/clock.h"
#include "schemas/check.h"
#include "worker/committer.h"

/* A busy shard's transactions have written one by then. */
#define SETTLE_MS 6000
/* The broker forgets offsets that nobody commits, in days at the least. */
#define REPEAT_MS 3600000

void bf_shards_expect_base(struct bf_shard_slot *slot, bool written)
{
    int64_t due_ms = bf_mono_ms() + (written ? REPEAT_MS : SETTLE_MS);

    if (written || due_ms < slot->base_due_ms)
        slot->base_due_ms = due_ms;
}

void bf_shards_take_bases(struct bf_shards *shards,
                          const struct bf_bases *bases)
{
    for (size_t i = 0; i < bases->n; i++) {
        const struct bf_base *base = &bases->shards[i];
        struct bf_shard_slot *slot = &shards->slots[base->shard];

        if (slot->epoch != base->epoch)
            continue;
        for (size_t k = 0; k < BF_INPUT_LANES; k++)
            slot->lanes[k].base = base->base[k];
        bf_shards_expect_base(slot, base->written);
    }
}

void bf_shards_send_base(struct bf_shards *shards, uint32_t id)
{
    struct bf_item *item = bf_must(calloc(1, sizeof(*item)));

    item->msg.kind = BF_MSG_ITEM;
    item->shard = id;
    item->epoch = shards->slots[id].epoch;
    item->of_shard = true;
    item->wants_base = true;
    shards->slots[id].under_way++;
    bf_committer_put(shards->config.committer, &item->msg);
}

void bf_shards_serve_bases(struct bf_shards *shards)
{
    int64_t now = bf_mono_ms();

    for (uint32_t i = 0; i < shards->config.shards; i++) {
        struct bf_shard_slot *slot = &shards->slots[i];

        if (slot->phase != BF_SHARD_OPEN || slot->base_due_ms > now)
            continue;
        slot->base_due_ms = now + REPEAT_MS;
        bf_shards_send_base(shards, i);
    }
}
