#include "schemas/meta.h"

#include <sodium.h>

#include "schemas/base64.h"
#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/ids.h"

#define META_VERSION 1
#define META_CHECK 4
#define META_HEAD (1 + 8 + 8 + 1) /* up to the writer */
#define META_MAX (META_HEAD + BF_MAX_TXN_ID + 2 + BF_MAP_BYTES + META_CHECK)

_Static_assert(sodium_base64_ENCODED_LEN(META_MAX,
                                         sodium_base64_VARIANT_ORIGINAL) <=
                   BF_MAX_METADATA,
               "a full bitmap fits the broker's ceiling");

static size_t map_len(const unsigned char *map)
{
    size_t len = BF_MAP_BYTES;

    while (len > 0 && map[len - 1] == 0)
        len--;
    return len;
}

static void meta_check(const unsigned char *bytes, size_t len,
                       unsigned char out[META_CHECK])
{
    unsigned char digest[BF_HASH128_BYTES];

    crypto_generichash(digest, sizeof(digest), bytes, len, NULL, 0);
    memcpy(out, digest, META_CHECK);
}

void bf_meta_encode(const struct bf_meta *meta, char out[BF_MAX_METADATA])
{
    size_t writer = strnlen(meta->writer, sizeof(meta->writer));
    size_t m = map_len(meta->map);
    unsigned char bytes[META_MAX];
    unsigned char *p = bytes;

    bf_assert(writer > 0 && writer <= BF_MAX_TXN_ID && meta->base >= 0 &&
              (meta->map[0] & 1) == 0);
    *p++ = META_VERSION;
    bf_put_u64be(p, (uint64_t)meta->base);
    bf_put_u64be(p + 8, meta->txn_seq);
    p += 16;
    *p++ = (unsigned char)writer;
    memcpy(p, meta->writer, writer);
    p += writer;
    bf_put_u16be(p, (uint16_t)m);
    memcpy(p + 2, meta->map, m);
    p += 2 + m;
    meta_check(bytes, (size_t)(p - bytes), p);
    p += META_CHECK;
    sodium_bin2base64(out, BF_MAX_METADATA, bytes, (size_t)(p - bytes),
                      sodium_base64_VARIANT_ORIGINAL);
}

bool bf_meta_has(const struct bf_meta *meta, int64_t offset)
{
    uint64_t bit = (uint64_t)offset - (uint64_t)meta->base;

    if (offset < meta->base)
        return true;
    return bit < BF_WINDOW && (meta->map[bit / 8] & (1U << (bit % 8)));
}

int64_t bf_meta_incomplete(const struct bf_meta *meta, int64_t from, int64_t to)
{
    int64_t at = from > meta->base ? from : meta->base;
    int64_t count = 0;

    for (; at < to && at - meta->base < (int64_t)BF_WINDOW; at++)
        count += !bf_meta_has(meta, at);
    return at < to ? count + (to - at) : count;
}

static int meta_bad(struct bf_err *err, const char *what)
{
    return bf_err_set(err, BF_ERR_REJECT, "bad_metadata", "offset metadata: %s",
                      what);
}

/* The bitmap, after the writer, to the end. */
static int meta_decode_map(const unsigned char *p, size_t len,
                           struct bf_meta *meta, struct bf_err *err)
{
    size_t m;

    if (len < 2)
        return meta_bad(err, "the writer runs over the end");
    m = bf_get_u16be(p);
    if (m > BF_MAP_BYTES || m != len - 2)
        return meta_bad(err, "the bitmap's length is wrong");
    if (m > 0 && p[2 + m - 1] == 0)
        return meta_bad(err, "the bitmap ends in a zero byte");
    if (m > 0 && (p[2] & 1))
        return meta_bad(err, "the base itself is marked complete");
    memcpy(meta->map, p + 2, m);
    return 0;
}

static int meta_decode_body(const unsigned char *p, size_t len,
                            struct bf_meta *meta, struct bf_err *err)
{
    uint64_t base = bf_get_u64be(p + 1);
    size_t writer = p[META_HEAD - 1];

    if (base > INT64_MAX)
        return meta_bad(err, "the base is out of range");
    meta->base = (int64_t)base;
    meta->txn_seq = bf_get_u64be(p + 9);
    if (meta->txn_seq > INT64_MAX)
        return meta_bad(err, "the sequence number is out of range");
    p += META_HEAD;
    len -= META_HEAD;
    if (writer > len ||
        !bf_txn_id_ok((struct bf_slice){(const char *)p, writer}))
        return meta_bad(err, "the writer is not a transactional id");
    memcpy(meta->writer, p, writer);
    return meta_decode_map(p + writer, len - writer, meta, err);
}

int bf_meta_decode(struct bf_slice text, struct bf_meta *ret,
                   struct bf_err *err)
{
    unsigned char bytes[META_MAX], check[META_CHECK];
    struct bf_meta meta = {0};
    size_t len;

    if (bf_base64_decode(BF_BASE64, text, bytes, sizeof(bytes), &len))
        return meta_bad(err, "not base64, or too long");
    if (len < META_HEAD + META_CHECK)
        return meta_bad(err, "too short");
    len -= META_CHECK;
    meta_check(bytes, len, check);
    if (memcmp(check, bytes + len, META_CHECK) != 0)
        return meta_bad(err, "the checksum is wrong");
    if (bytes[0] != META_VERSION)
        return meta_bad(err, "unknown version");
    if (meta_decode_body(bytes, len, &meta, err))
        return -1;
    *ret = meta;
    return 0;
}
