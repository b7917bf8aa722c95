#include "schemas/hash.h"

void bf_put_u16be(unsigned char out[2], uint16_t n)
{
    out[0] = (unsigned char)(n >> 8);
    out[1] = (unsigned char)n;
}

void bf_put_u32be(unsigned char out[4], uint32_t n)
{
    bf_put_u16be(out, (uint16_t)(n >> 16));
    bf_put_u16be(out + 2, (uint16_t)n);
}

void bf_put_u64be(unsigned char out[8], uint64_t n)
{
    bf_put_u32be(out, (uint32_t)(n >> 32));
    bf_put_u32be(out + 4, (uint32_t)n);
}

uint16_t bf_get_u16be(const unsigned char in[2])
{
    return (uint16_t)(in[0] << 8 | in[1]);
}

uint32_t bf_get_u32be(const unsigned char in[4])
{
    return (uint32_t)bf_get_u16be(in) << 16 | bf_get_u16be(in + 2);
}

uint64_t bf_get_u64be(const unsigned char in[8])
{
    return (uint64_t)bf_get_u32be(in) << 32 | bf_get_u32be(in + 4);
}

void bf_hash_init(struct bf_hash *hash, size_t size)
{
    bf_assert(size >= crypto_generichash_BYTES_MIN &&
              size <= crypto_generichash_BYTES_MAX);
    hash->size = size;
    hash->used = 0;
    hash->begun = false;
}

static void hash_flush(struct bf_hash *hash)
{
    if (!hash->begun)
        crypto_generichash_init(&hash->state, NULL, 0, hash->size);
    hash->begun = true;
    crypto_generichash_update(&hash->state, hash->gathered, hash->used);
    hash->used = 0;
}

static void hash_gather(struct bf_hash *hash, const void *bytes, size_t len)
{
    if (len > sizeof(hash->gathered) - hash->used)
        hash_flush(hash);
    if (len > sizeof(hash->gathered)) {
        crypto_generichash_update(&hash->state, bytes, len);
    } else if (len > 0) {
        memcpy(hash->gathered + hash->used, bytes, len);
        hash->used += len;
    }
}

void bf_hash_bytes(struct bf_hash *hash, const void *part, size_t len)
{
    unsigned char length[4];

    bf_assert(len <= UINT32_MAX);
    if (len > 0 && len + 4 <= sizeof(hash->gathered) - hash->used) {
        bf_put_u32be(hash->gathered + hash->used, (uint32_t)len);
        memcpy(hash->gathered + hash->used + 4, part, len);
        hash->used += 4 + len;
        return;
    }
    bf_put_u32be(length, (uint32_t)len);
    hash_gather(hash, length, sizeof(length));
    hash_gather(hash, part, len);
}

void bf_hash_part(struct bf_hash *hash, struct bf_slice part)
{
    bf_hash_bytes(hash, part.ptr, part.len);
}

void bf_hash_str(struct bf_hash *hash, const char *part)
{
    bf_hash_bytes(hash, part, strlen(part));
}

void bf_hash_num(struct bf_hash *hash, uint64_t part)
{
    char digits[BF_U64_SIZE];

    bf_hash_part(hash, bf_u64_text(part, digits));
}

void bf_hash_final(struct bf_hash *hash, unsigned char *out)
{
    if (!hash->begun) {
        crypto_generichash(out, hash->size, hash->gathered, hash->used, NULL,
                           0);
        return;
    }
    hash_flush(hash);
    crypto_generichash_final(&hash->state, out, hash->size);
}

void bf_hash_final_hex(struct bf_hash *hash, char out[33])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[BF_HASH128_BYTES];

    bf_assert(hash->size == sizeof(digest));
    bf_hash_final(hash, digest);
    for (size_t i = 0; i < sizeof(digest); i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[32] = '\0';
}

uint64_t bf_hash64(struct bf_slice bytes)
{
    unsigned char digest[BF_HASH128_BYTES];

    crypto_generichash(digest, sizeof(digest),
                       (const unsigned char *)(bytes.ptr ? bytes.ptr : ""),
                       bytes.len, NULL, 0);
    return bf_get_u64be(digest);
}
