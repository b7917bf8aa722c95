#ifndef BF_SCHEMAS_CHECK_H
#define BF_SCHEMAS_CHECK_H

/*
 * Invariants, ownership and clean-up: the handful of macros that every other
 * file stands on.
 */

#include <stdlib.h>
#include <unistd.h>

_Noreturn void bf_assert_failed(const char *expr, const char *file, int line,
                                const char *func);

/* Stays on in release builds: an invariant that broke is worth a restart. */
#define bf_assert(e)                                                           \
    ((e) ? (void)0 : bf_assert_failed(#e, __FILE__, __LINE__, __func__))

/*
 * For the few bytes without which nobody could be told of anything: NULL ends
 * the process at once, as a kill would, with exit code 1 and a word on stderr.
 */
void *bf_must(void *ptr);

/* Hand a pointer on: yields p and leaves p NULL, so a cleanup skips it. */
#define bf_take(p)                                                             \
    __extension__({                                                            \
        __typeof__(p) bf_taken_ = (p);                                         \
        (p) = NULL;                                                            \
        bf_taken_;                                                             \
    })

/* Hand a file descriptor on: yields fd and leaves it -1. */
#define bf_take_fd(fd)                                                         \
    __extension__({                                                            \
        int bf_taken_ = (fd);                                                  \
        (fd) = -1;                                                             \
        bf_taken_;                                                             \
    })

#define bf_countof(array) (sizeof(array) / sizeof((array)[0]))

/* bf_cleanup(f) calls f(&variable) when the variable goes out of scope. */
#define bf_cleanup(f) __attribute__((cleanup(f)))

static inline void bf_freep_(void *pp)
{
    free(*(void **)pp);
}

static inline void bf_closep_(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#define bf_autofree bf_cleanup(bf_freep_)
#define bf_autoclose bf_cleanup(bf_closep_)

/* Defines the cleanup function NAME that calls FREE(*pp). */
/* NOLINTBEGIN(bugprone-macro-parentheses): a type cannot be parenthesized */
#define BF_DEFINE_CLEANUP(name, type, free_fn)                                 \
    static inline void name(type *pp)                                          \
    {                                                                          \
        free_fn(*pp);                                                          \
    }
/* NOLINTEND(bugprone-macro-parentheses) */

#endif
