#ifndef BF_DISPATCHER_TLS_H
#define BF_DISPATCHER_TLS_H

/*
 * A certificate and its key in PEM, from two files that somebody renews: look
 * whether they have changed, read them anew. Not thread-safe.
 */

#include <stdbool.h>
#include <stdint.h>

#include "schemas/check.h"

struct bf_err;
struct bf_tls;
struct bf_tls_files;

/* The files as they are now. FATAL "tls", or what config/secret.h says. */
struct bf_tls *bf_tls_read(const char *cert, const char *key,
                           struct bf_err *err);
/* NULL is a no-op. The key is wiped. */
void bf_tls_free(struct bf_tls *tls);
BF_DEFINE_CLEANUP(bf_tls_freep_, struct bf_tls *, bf_tls_free)
#define bf_autotls bf_cleanup(bf_tls_freep_)

/* Borrowed; terminated. */
const char *bf_tls_cert(const struct bf_tls *tls);
const char *bf_tls_key(const struct bf_tls *tls);

/* cert and key are borrowed. To be made before what it watches is read. */
struct bf_tls_files *bf_tls_files_new(const char *cert, const char *key,
                                      struct bf_err *err);
/* NULL is a no-op. */
void bf_tls_files_free(struct bf_tls_files *files);

/*
 * Whether they are others than those last taken, and have stayed so from one
 * look to the next: the two are seldom written at once. A second lies between
 * looks, by now_ms (bf_mono_ms()). Until they are taken, the same are told of
 * again a minute later: what was in the way may pass.
 */
bool bf_tls_files_changed(struct bf_tls_files *files, int64_t now_ms);

/* Those last told of are in use. */
void bf_tls_files_taken(struct bf_tls_files *files);

#endif
