#ifndef BF_SCHEMAS_BASE64_H
#define BF_SCHEMAS_BASE64_H

/* base64 with one spelling each. Source: PROTOCOL.md §1. Pure. */

#include "schemas/buf.h"

enum bf_base64 {
    BF_BASE64,     /* RFC 4648 §4, with padding */
    BF_BASE64_URL, /* RFC 4648 §5, without */
};

/*
 * At most max bytes into out; -1 for anything that the encoder would not have
 * written: other characters, padding too much or too little, unused bits set.
 */
int bf_base64_decode(enum bf_base64 variant, struct bf_slice text,
                     unsigned char *out, size_t max, size_t *ret_len);

/* Write len bytes in the URL variant, without a NUL; returns the end. */
char *bf_base64_url(const unsigned char *bytes, size_t len, char *out);

/* Bytes of that text. */
static inline size_t bf_base64_url_size(size_t len)
{
    return (len * 4 + 2) / 3;
}

#endif
