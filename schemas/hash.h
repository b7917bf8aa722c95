#ifndef BF_SCHEMAS_HASH_H
#define BF_SCHEMAS_HASH_H

/*
 * BLAKE2b over F(a, b, ...): parts with their lengths before them, streamed.
 * Source: PROTOCOL.md §1. Pure; nothing here allocates or fails.
 */

#include <sodium.h>

#include "schemas/buf.h"

#define BF_HASH128_BYTES 16
#define BF_HASH256_BYTES 32

struct bf_hash {
    size_t size; /* of the digest, in bytes */
    /* private: many small parts are gathered, as each update costs a bit */
    size_t used;
    bool begun; /* state has what was gathered before */
    unsigned char gathered[512];
    crypto_generichash_state state;
};

/* size: BF_HASH128_BYTES or BF_HASH256_BYTES. */
void bf_hash_init(struct bf_hash *hash, size_t size);
void bf_hash_part(struct bf_hash *hash, struct bf_slice part);
void bf_hash_str(struct bf_hash *hash, const char *part);
void bf_hash_num(struct bf_hash *hash, uint64_t part);
void bf_hash_bytes(struct bf_hash *hash, const void *part, size_t len);

/* Writes hash->size bytes. */
void bf_hash_final(struct bf_hash *hash, unsigned char *out);

/* The same as lower-case hex; hash->size is 16. */
void bf_hash_final_hex(struct bf_hash *hash, char out[33]);

/* The first 8 bytes of H128(bytes), big-endian; no length before them. */
uint64_t bf_hash64(struct bf_slice bytes);

/* Big-endian numbers of the wire. */
void bf_put_u16be(unsigned char out[2], uint16_t n);
void bf_put_u32be(unsigned char out[4], uint32_t n);
void bf_put_u64be(unsigned char out[8], uint64_t n);
uint16_t bf_get_u16be(const unsigned char in[2]);
uint32_t bf_get_u32be(const unsigned char in[4]);
uint64_t bf_get_u64be(const unsigned char in[8]);

#endif
