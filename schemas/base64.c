#include "schemas/base64.h"

#include <sodium.h>

int bf_base64_decode(enum bf_base64 variant, struct bf_slice text,
                     unsigned char *out, size_t max, size_t *ret_len)
{
    int sodium_variant = variant == BF_BASE64_URL
                             ? sodium_base64_VARIANT_URLSAFE_NO_PADDING
                             : sodium_base64_VARIANT_ORIGINAL;

    if (!text.ptr)
        return -1;
    /* libsodium 1.0.18 takes every byte from 0x80 on for the last letter. */
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.ptr[i] >= 0x80)
            return -1;
    }
    return sodium_base642bin(out, max, text.ptr, text.len, NULL, ret_len, NULL,
                             sodium_variant);
}
