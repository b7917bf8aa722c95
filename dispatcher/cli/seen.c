#include "dispatcher/cli/seen.h"

#include "schemas/err.h"
#include "schemas/hash.h"

#define FIRST_SIZE 1024U

/* Where it is, or is to be; there is always room. */
static uint64_t *find(const struct bf_seen *seen, uint64_t hash)
{
    size_t at = (size_t)hash & (seen->size - 1);

    while (seen->slots[at] != 0 && seen->slots[at] != hash)
        at = (at + 1) & (seen->size - 1);
    return &seen->slots[at];
}

/* At most half of it is in use. */
static int make_room(struct bf_seen *seen, struct bf_err *err)
{
    struct bf_seen larger = {.count = seen->count};

    if (seen->count < seen->size / 2)
        return 0;
    larger.size = seen->size > 0 ? seen->size * 2 : FIRST_SIZE;
    larger.slots = calloc(larger.size, sizeof(*larger.slots));
    if (!larger.slots)
        return bf_err_oom(err);
    for (size_t i = 0; i < seen->size; i++) {
        if (seen->slots[i] != 0)
            *find(&larger, seen->slots[i]) = seen->slots[i];
    }
    free(seen->slots);
    *seen = larger;
    return 0;
}

int bf_seen_add(struct bf_seen *seen, struct bf_slice text, struct bf_err *err)
{
    uint64_t hash = bf_hash64(text);
    uint64_t *slot;

    if (make_room(seen, err))
        return -1;
    hash = hash > 0 ? hash : 1;
    slot = find(seen, hash);
    if (*slot == hash)
        return 0;
    *slot = hash;
    seen->count++;
    return 1;
}

void bf_seen_release(struct bf_seen *seen)
{
    free(seen->slots);
    *seen = (struct bf_seen){0};
}
