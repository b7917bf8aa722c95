#ifndef BF_SCHEMAS_BUF_H
#define BF_SCHEMAS_BUF_H

/*
 * Bytes: a borrowed slice, and a growing buffer that is born with a ceiling.
 * Nothing in this program grows without one.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "schemas/check.h"

struct bf_err;

/* Borrowed bytes, not NUL-terminated. ptr is NULL for "absent". */
struct bf_slice {
    const char *ptr;
    size_t len;
};

/* For printf: "%.*s", BF_SLICE_ARG(slice). */
#define BF_SLICE_ARG(s) (int)(s).len, (s).ptr ? (s).ptr : ""

#define BF_SLICE_LIT(literal)                                                  \
    ((struct bf_slice){(literal), sizeof(literal) - 1})

static inline struct bf_slice bf_slice_str(const char *str)
{
    return (struct bf_slice){str, str ? strlen(str) : 0};
}

static inline bool bf_slice_eq(struct bf_slice a, struct bf_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool bf_slice_is(struct bf_slice a, const char *str)
{
    return bf_slice_eq(a, bf_slice_str(str));
}

/* Byte order, shorter first on a tie; for qsort and search trees. */
int bf_slice_cmp(struct bf_slice a, struct bf_slice b);

/*
 * Decimal digits only, no sign, no leading zero, at most max. Absent or
 * anything else is -1; *ret untouched then.
 */
int bf_slice_u64(struct bf_slice s, uint64_t max, uint64_t *ret);

/* The other way round: the digits, in out (not from its start), no NUL. */
#define BF_U64_SIZE 20
struct bf_slice bf_u64_text(uint64_t number, char out[BF_U64_SIZE]);

/*
 * Cut s at every sep into at most max fields, empty ones too. Their number, or
 * max + 1 when there would be more.
 */
size_t bf_slice_split(struct bf_slice s, char sep, struct bf_slice *fields,
                      size_t max);

/* Growing bytes; data is NUL-terminated whenever it is not NULL. */
struct bf_buf {
    char *data;
    size_t len;
    size_t cap;
    size_t max; /* ceiling on len, in bytes */
};

#define BF_BUF_INIT(max_bytes)                                                 \
    {                                                                          \
        .max = (max_bytes)                                                     \
    }
#define bf_autobuf bf_cleanup(bf_buf_release)

void bf_buf_release(struct bf_buf *buf);

/* len becomes 0, the memory stays. */
void bf_buf_clear(struct bf_buf *buf);

/*
 * Make room for more bytes after len: RETRY on no memory, REJECT "too_large"
 * over the ceiling.
 */
int bf_buf_reserve(struct bf_buf *buf, size_t more, struct bf_err *err);
int bf_buf_add(struct bf_buf *buf, const void *data, size_t len,
               struct bf_err *err);
int bf_buf_adds(struct bf_buf *buf, const char *str, struct bf_err *err);
int bf_buf_addf(struct bf_buf *buf, struct bf_err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Drop the first n bytes. n <= len. */
void bf_buf_consume(struct bf_buf *buf, size_t n);

static inline struct bf_slice bf_buf_slice(const struct bf_buf *buf)
{
    return (struct bf_slice){buf->data ? buf->data : "", buf->len};
}

#endif
