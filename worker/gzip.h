#ifndef BF_WORKER_GZIP_H
#define BF_WORKER_GZIP_H

/*
 * Bodies that are compressed on their way out (RFC 1952), where that pays.
 * Pure.
 */

#include "schemas/buf.h"

struct bf_err;

enum bf_gzip_policy {
    BF_GZIP_OFF,
    BF_GZIP_AUTO, /* where a sample says that it pays */
    BF_GZIP_ON,
};

/*
 * Is it worth the time? AUTO: neither short (nothing is gained), nor so long
 * that it would hold up the loop, and a sample of it shrinks by a
 * third (images in base64 shrink by a fourth).
 */
bool bf_gzip_pays(enum bf_gzip_policy policy, struct bf_slice bytes);

/* Appends bytes as one gzip member, in haste (level 1). */
int bf_gzip_put(struct bf_slice bytes, struct bf_buf *out, struct bf_err *err);

#endif
