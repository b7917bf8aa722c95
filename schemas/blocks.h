#ifndef BF_SCHEMAS_BLOCKS_H
#define BF_SCHEMAS_BLOCKS_H

/*
 * Blocks that were parsed lately, by their text: jobs by the thousand carry
 * the same one, and to parse and hash it costs more than all else that is read
 * of a job. Pure. One thread, with all holders of its blocks.
 */

#include "schemas/block.h"

/* Kept at most: this many, none with a longer text. */
#define BF_BLOCKS_MAX 64
#define BF_BLOCKS_TEXT_MAX (64U << 10)

struct bf_blocks;

struct bf_blocks *bf_blocks_new(struct bf_err *err);
/* NULL is a no-op. What others hold stays theirs. */
void bf_blocks_free(struct bf_blocks *blocks);
BF_DEFINE_CLEANUP(bf_blocks_freep_, struct bf_blocks *, bf_blocks_free)
#define bf_autoblocks bf_cleanup(bf_blocks_freep_)

/*
 * As bf_block_parse(), with the same errors: the caller bf_block_free()s it.
 * blocks NULL: nothing is remembered.
 */
struct bf_block *bf_blocks_get(struct bf_blocks *blocks, struct bf_slice text,
                               struct bf_err *err);

#endif
