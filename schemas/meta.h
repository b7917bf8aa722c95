#ifndef BF_SCHEMAS_META_H
#define BF_SCHEMAS_META_H

/* The metadata of a committed offset. Source: PROTOCOL.md §7. Pure. */

#include "schemas/buf.h"
#include "schemas/limits.h"

struct bf_err;

#define BF_MAP_BYTES (BF_WINDOW / 8)

struct bf_meta {
    int64_t base;
    uint64_t txn_seq;
    char writer[BF_MAX_TXN_ID + 1];
    unsigned char map[BF_MAP_BYTES]; /* bit i: base + i is complete */
};

/*
 * Is the offset complete? Below the base all are, above the map none is.
 */
bool bf_meta_has(const struct bf_meta *meta, int64_t offset);

/* How many offsets of [from, to) are not complete. */
int64_t bf_meta_incomplete(const struct bf_meta *meta, int64_t from,
                           int64_t to);

/*
 * base64 text, NUL-terminated; always fits. The writer is not empty and bit 0
 * is clear.
 */
void bf_meta_encode(const struct bf_meta *meta, char out[BF_MAX_METADATA]);

/* REJECT "bad_metadata": version, length, checksum, set bit 0. */
int bf_meta_decode(struct bf_slice text, struct bf_meta *ret,
                   struct bf_err *err);

#endif
