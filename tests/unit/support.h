#ifndef BF_TESTS_UNIT_SUPPORT_H
#define BF_TESTS_UNIT_SUPPORT_H

/* cmocka wants its includes in this order; and a few slices to test with. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "schemas/buf.h"
#include "schemas/err.h"

/* A literal with its inner NULs: an expression, and for static tables. */
#define S(literal) BF_SLICE_LIT(literal)
#define LIT(literal)                                                           \
    {                                                                          \
        (literal), sizeof(literal) - 1                                         \
    }
#define NONE ((struct bf_slice){NULL, 0})

#define assert_slice(s, str)                                                   \
    do {                                                                       \
        struct bf_slice got_ = (s);                                            \
        assert_non_null(got_.ptr);                                             \
        assert_int_equal(got_.len, strlen(str));                               \
        assert_memory_equal(got_.ptr, (str), got_.len);                        \
    } while (0)

#define assert_refused(rc, err, with_code)                                     \
    do {                                                                       \
        assert_int_equal((rc), -1);                                            \
        assert_int_equal((err).kind, BF_ERR_REJECT);                           \
        assert_string_equal((err).code, (with_code));                          \
    } while (0)

#endif
