#ifndef BF_DISPATCHER_GUNZIP_H
#define BF_DISPATCHER_GUNZIP_H

/*
 * A gzipped body (RFC 1952) made plain as it arrives. What it may swell to is
 * the ceiling of the buffer that it goes to: a bomb costs no more than that.
 * Pure.
 */

#include "schemas/buf.h"

struct bf_err;
struct bf_gunzip;

struct bf_gunzip *bf_gunzip_new(struct bf_err *err);
void bf_gunzip_free(struct bf_gunzip *gunzip);
BF_DEFINE_CLEANUP(bf_gunzip_freep_, struct bf_gunzip *, bf_gunzip_free)
#define bf_autogunzip bf_cleanup(bf_gunzip_freep_)

/*
 * Append what the next piece holds. REJECT "bad_gzip", REJECT "too_large" for
 * more than out takes, RETRY on no memory; nothing may be added after a
 * failure.
 */
int bf_gunzip_add(struct bf_gunzip *gunzip, struct bf_slice piece,
                  struct bf_buf *out, struct bf_err *err);

/* After the last piece. REJECT "bad_gzip": its end is missing. */
int bf_gunzip_end(const struct bf_gunzip *gunzip, struct bf_err *err);

#endif
