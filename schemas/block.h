#ifndef BF_SCHEMAS_BLOCK_H
#define BF_SCHEMAS_BLOCK_H

/*
 * The block: a user's code and how to call it, the JSON of header bf_block.
 * Source: PROTOCOL.md §5.2; hashes §2. Pure.
 */

#include "schemas/buf.h"

struct bf_err;
struct bf_json_out;

#define BF_MD5_SIZE 33
#define BF_FINGERPRINT_SIZE 17
#define BF_INIT_HASH_SIZE 33

/*
 * A parsed block; owns its strings, which hold no NUL. Immutable, but for who
 * holds it: references are counted, so that one thread has them all.
 */
struct bf_block;

/* REJECT "bad_block" names the member and the rule; RETRY on no memory. */
struct bf_block *bf_block_parse(struct bf_slice text, struct bf_err *err);
/* One more holder. */
struct bf_block *bf_block_ref(struct bf_block *block);
/* One less; the last one frees it. NULL is a no-op. */
void bf_block_free(struct bf_block *block);
BF_DEFINE_CLEANUP(bf_block_freep_, struct bf_block *, bf_block_free)
#define bf_autoblock bf_cleanup(bf_block_freep_)

const char *bf_block_run_code(const struct bf_block *block);
const char *bf_block_run_function(const struct bf_block *block);
const char *bf_block_init_code(const struct bf_block *block); /* or NULL */
const char *bf_block_init_function(const struct bf_block *block);
const char *bf_block_type(const struct bf_block *block);
const char *bf_block_code_hash(const struct bf_block *block);
const char *bf_block_fingerprint(const struct bf_block *block);
size_t bf_block_imports(const struct bf_block *block);
const char *bf_block_import(const struct bf_block *block, size_t i);

/*
 * Names init code, which the code hash does not cover, to a runner of ours: hex
 * BLAKE2b-128 of function name, NUL, code; "" for none.
 * Source: worker/runner/README.md.
 */
void bf_block_init_hash(const struct bf_block *block,
                        char out[BF_INIT_HASH_SIZE]);

/* Those of them that are not about init code. */
void bf_block_put_run_code(const struct bf_block *block,
                           struct bf_json_out *out);

/* The code's members of a request to run it, PROTOCOL.md §9. */
void bf_block_put_code(const struct bf_block *block, struct bf_json_out *out);

#endif
