#include "dispatcher/closed.h"

struct bf_closed_slot {
    uint64_t key;
    const char *why;
    int64_t until_ms;
    bool used;
};

void bf_closed_release(struct bf_closed *closed)
{
    free(closed->slots);
    *closed = (struct bf_closed){0};
}

/* Its slot, or the free one where it belongs; keys are hashes already. */
static struct bf_closed_slot *slot_of(struct bf_closed_slot *slots, size_t cap,
                                      uint64_t key)
{
    size_t i = key & (cap - 1);

    while (slots[i].used && slots[i].key != key)
        i = (i + 1) & (cap - 1);
    return &slots[i];
}

/* Half of it stays free. */
static bool make_room(struct bf_closed *closed)
{
    size_t cap = closed->cap ? closed->cap * 2 : 64;
    struct bf_closed_slot *slots;

    if (closed->count * 2 < closed->cap)
        return true;
    if (closed->count >= BF_CLOSED_MAX)
        return false;
    slots = calloc(cap, sizeof(*slots));
    if (!slots)
        return false;
    for (size_t i = 0; i < closed->cap; i++) {
        if (closed->slots[i].used)
            *slot_of(slots, cap, closed->slots[i].key) = closed->slots[i];
    }
    free(closed->slots);
    closed->slots = slots;
    closed->cap = cap;
    return true;
}

void bf_closed_set(struct bf_closed *closed, uint64_t key, const char *why,
                   int64_t until_ms)
{
    struct bf_closed_slot *slot;

    if (!make_room(closed))
        return;
    slot = slot_of(closed->slots, closed->cap, key);
    closed->count += slot->used ? 0 : 1;
    *slot = (struct bf_closed_slot){
        .key = key, .why = why, .until_ms = until_ms, .used = true};
}

const char *bf_closed_find(const struct bf_closed *closed, uint64_t key,
                           int64_t now_ms)
{
    const struct bf_closed_slot *slot;

    if (closed->cap == 0)
        return NULL;
    slot = slot_of(closed->slots, closed->cap, key);
    if (!slot->used || slot->why)
        return slot->used ? slot->why : NULL;
    return slot->until_ms <= now_ms ? "the batch is past its until" : NULL;
}
