/* Whatever stands as a block: refused, or with names and hashes of its own. */

#include <stddef.h>
#include <stdint.h>

#include "schemas/block.h"
#include "schemas/err.h"
#include "schemas/ids.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_taken(const struct bf_block *block)
{
    size_t run = strlen(bf_block_run_function(block));
    size_t init = strlen(bf_block_init_function(block));

    bf_assert(bf_block_run_code(block));
    bf_assert(run >= 1 && run <= 256 && init >= 1 && init <= 256);
    bf_assert(strlen(bf_block_type(block)) <= 256);
    bf_assert(bf_hex_ok(bf_slice_str(bf_block_code_hash(block)), 32));
    bf_assert(bf_hex_ok(bf_slice_str(bf_block_fingerprint(block)), 16));
    for (size_t i = 0; i < bf_block_imports(block); i++)
        bf_assert(bf_block_import(block, i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bf_slice input = {(const char *)data, size};
    struct bf_err err = {0};
    bf_autoblock struct bf_block *block = bf_block_parse(input, &err);

    if (block)
        check_taken(block);
    else
        bf_assert(strcmp(err.code, "bad_block") == 0);
    return 0;
}
