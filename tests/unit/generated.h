#ifndef BF_TESTS_UNIT_GENERATED_H
#define BF_TESTS_UNIT_GENERATED_H

/* Documents that are made from tables in the code. */

#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/support.h"

/* Compares; with BF_REGENERATE in the environment, writes instead. */
static inline void check_generated(const char *path, const char *want)
{
    bool write = getenv("BF_REGENERATE") != NULL;
    bf_autofree char *have = calloc(1, 1 << 20);
    FILE *file = fopen(path, write ? "we" : "re");

    assert_non_null(have);
    assert_non_null(file);
    if (write)
        assert_true(fputs(want, file) >= 0);
    else
        assert_true(fread(have, 1, (1 << 20) - 1, file) > 0);
    assert_int_equal(fclose(file), 0);
    if (!write && strcmp(want, have) != 0)
        fail_msg("%s is stale: run this test once with BF_REGENERATE=1 in the "
                 "environment and commit what it writes",
                 path);
}

#endif
