#include "schemas/check.h"

#include <stdio.h>

void bf_assert_failed(const char *expr, const char *file, int line,
                      const char *func)
{
    fprintf(stderr, "%s:%d: %s: broken invariant: %s\n", file, line, func,
            expr);
    abort();
}

void *bf_must(void *ptr)
{
    if (ptr)
        return ptr;
    fputs("out of memory\n", stderr);
    _exit(1);
}
