/*
 * Whatever the bytes of a trusted file: it is refused with a line, or every
 * key in it is found again under its id unless revoked, and only for the
 * workspaces that stand in its own line.
 */

#include <stddef.h>
#include <stdint.h>

#include "config/keys.h"
#include "schemas/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_key(const struct bf_keyring *ring,
                      const struct bf_trusted *key)
{
    const struct bf_trusted *found =
        bf_keyring_find(ring, key->purpose, key->id);

    bf_assert(found == (key->revoked ? NULL : key));
    bf_assert(!bf_trusted_allows(key, BF_SLICE_LIT("not/one")) ||
              key->workspaces.len == 0);
    bf_assert(!memchr(key->comment.ptr, '\n', key->comment.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bf_err err = {0};
    struct bf_slice text = {(const char *)data, size};
    bf_autokeyring struct bf_keyring *ring = bf_keyring_parse(text, &err);

    if (!ring) {
        bf_assert(err.kind == BF_ERR_REJECT);
        bf_assert(memcmp(err.msg, "trusted:", 8) == 0);
        return 0;
    }
    for (size_t i = 0; i < bf_keyring_count(ring); i++)
        check_key(ring, bf_keyring_at(ring, i));
    return 0;
}
