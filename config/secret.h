#ifndef BF_CONFIG_SECRET_H
#define BF_CONFIG_SECRET_H

/*
 * Bytes that must never be printed: locked memory with guard pages, left out
 * of core files, read-only after birth, wiped on free (libsodium's
 * sodium_malloc). Each secret is bound at birth to one origin, the name of the
 * only place that it may be sent to or used by ("https://api.e2b.dev",
 * "librdkafka:sasl.password"); asking for it under another name is a broken
 * invariant. There is no way from a secret to a log line or an error.
 *
 * Immutable after birth: any thread may read. REJECT errors name the source,
 * never the content.
 */

#include <stdbool.h>

#include "schemas/buf.h"
#include "schemas/check.h"

struct bf_err;
struct bf_secret;

#define BF_SECRET_MAX_BYTES 65536

/* Copies; wiping the original is the caller's. REJECT "bad_secret" by size. */
struct bf_secret *bf_secret_new(struct bf_slice bytes, const char *origin,
                                struct bf_err *err);

/*
 * Takes the variable out of the environment and wipes it there, so that no
 * child inherits it and no second call finds it: before other threads start.
 */
struct bf_secret *bf_secret_from_env(const char *variable, const char *origin,
                                     struct bf_err *err);

/*
 * A regular file that only its owner may read (mode 0600 or less), without its
 * one trailing line end.
 */
struct bf_secret *bf_secret_from_file(const char *path, const char *origin,
                                      struct bf_err *err);

/*
 * Where users keep such things: in the file if path is not "", else in the
 * variable, without quotes around it. *ret is NULL when there is neither.
 */
int bf_secret_find(const char *path, const char *variable, const char *origin,
                   struct bf_secret **ret, struct bf_err *err);

/* NULL is a no-op. */
void bf_secret_free(struct bf_secret *secret);
BF_DEFINE_CLEANUP(bf_secret_freep, struct bf_secret *, bf_secret_free)
#define bf_autosecret bf_cleanup(bf_secret_freep)

/* Borrowed until the secret is freed; NUL-terminated. */
struct bf_slice bf_secret_reveal(const struct bf_secret *secret,
                                 const char *origin);

/* May it be sent to, or used by, this one? */
bool bf_secret_is_for(const struct bf_secret *secret, const char *origin);

/* In time that depends on the lengths alone. */
bool bf_secret_equal(const struct bf_secret *secret, struct bf_slice bytes);

/*
 * For words of others that may repeat it: '*' over each occurrence, and over a
 * beginning of it, of four bytes or more, that text ends with: it may have been
 * cut there. NULL is a no-op.
 */
void bf_secret_redact(const struct bf_secret *secret, char *text, size_t len);

/*
 * Read a small file that only its owner may read into buf, whose bytes the
 * caller wipes. REJECT "secret_mode", "secret_size" or "secret_file".
 */
int bf_secret_read_file(const char *path, char *buf, size_t size,
                        size_t *ret_len, struct bf_err *err);

#endif
