#include "schemas/blocks.h"

#include "schemas/err.h"

/* A text has one place; the last one with that place is kept. */
struct place {
    char *text; /* NULL: empty */
    size_t len;
    struct bf_block *block;
};

struct bf_blocks {
    struct place places[BF_BLOCKS_MAX];
};

struct bf_blocks *bf_blocks_new(struct bf_err *err)
{
    struct bf_blocks *blocks = calloc(1, sizeof(*blocks));

    if (!blocks)
        bf_err_oom(err);
    return blocks;
}

static void place_clear(struct place *place)
{
    free(bf_take(place->text));
    bf_block_free(bf_take(place->block));
}

void bf_blocks_free(struct bf_blocks *blocks)
{
    if (!blocks)
        return;
    for (size_t i = 0; i < BF_BLOCKS_MAX; i++)
        place_clear(&blocks->places[i]);
    free(blocks);
}

/* Who makes texts collide makes them slow, as all of them were. */
static struct place *place_of(struct bf_blocks *blocks, struct bf_slice text)
{
    uint64_t sum = text.len, word;
    size_t i = 0;

    for (; i + sizeof(word) <= text.len; i += sizeof(word)) {
        memcpy(&word, text.ptr + i, sizeof(word));
        sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        sum ^= sum >> 29;
    }
    for (; i < text.len; i++)
        sum = (sum ^ (unsigned char)text.ptr[i]) * 1099511628211U;
    return &blocks->places[(sum >> 32) % BF_BLOCKS_MAX];
}

static bool place_has(const struct place *place, struct bf_slice text)
{
    return place->text &&
           bf_slice_eq((struct bf_slice){place->text, place->len}, text);
}

/* Not to remember it is no failure. */
static void place_put(struct place *place, struct bf_slice text,
                      struct bf_block *block)
{
    char *copy = malloc(text.len);

    if (!copy)
        return;
    memcpy(copy, text.ptr, text.len);
    place_clear(place);
    place->text = copy;
    place->len = text.len;
    place->block = bf_block_ref(block);
}

struct bf_block *bf_blocks_get(struct bf_blocks *blocks, struct bf_slice text,
                               struct bf_err *err)
{
    struct place *place;
    struct bf_block *block;

    if (!blocks || text.len == 0 || text.len > BF_BLOCKS_TEXT_MAX)
        return bf_block_parse(text, err);
    place = place_of(blocks, text);
    if (place_has(place, text))
        return bf_block_ref(place->block);
    block = bf_block_parse(text, err);
    if (block)
        place_put(place, text, block);
    return block;
}
