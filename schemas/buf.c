#include "schemas/buf.h"

#include <stdio.h>

#include "schemas/err.h"

int bf_slice_cmp(struct bf_slice a, struct bf_slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.ptr, b.ptr, len) : 0;

    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

int bf_slice_u64(struct bf_slice s, uint64_t max, uint64_t *ret)
{
    uint64_t value = 0;

    if (!s.ptr || s.len == 0 || s.len > 20 || (s.len > 1 && s.ptr[0] == '0'))
        return -1;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9' ||
            __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, s.ptr[i] - '0', &value))
            return -1;
    }
    if (value > max)
        return -1;
    *ret = value;
    return 0;
}

struct bf_slice bf_u64_text(uint64_t number, char out[BF_U64_SIZE])
{
    size_t at = BF_U64_SIZE;

    do {
        out[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return (struct bf_slice){out + at, BF_U64_SIZE - at};
}

size_t bf_slice_split(struct bf_slice s, char sep, struct bf_slice *fields,
                      size_t max)
{
    const char *end = s.ptr + s.len;
    size_t n = 0;

    for (const char *at = s.ptr;; at++) {
        const char *next =
            at < end ? memchr(at, sep, (size_t)(end - at)) : NULL;

        if (n == max)
            return max + 1;
        fields[n++] = (struct bf_slice){at, (size_t)((next ? next : end) - at)};
        if (!next)
            return n;
        at = next;
    }
}

void bf_buf_release(struct bf_buf *buf)
{
    free(buf->data);
    buf->data = NULL;
    buf->len = 0;
    buf->cap = 0;
}

void bf_buf_clear(struct bf_buf *buf)
{
    buf->len = 0;
    if (buf->data)
        buf->data[0] = '\0';
}

int bf_buf_reserve(struct bf_buf *buf, size_t more, struct bf_err *err)
{
    size_t want, cap;
    char *data;

    if (buf->len > buf->max || more > buf->max - buf->len)
        return bf_err_set(err, BF_ERR_REJECT, "too_large",
                          "more than %zu bytes", buf->max);
    want = buf->len + more + 1;
    if (want <= buf->cap)
        return 0;
    cap = buf->cap < 64 ? 64 : buf->cap;
    while (cap < want)
        cap += cap / 2;
    if (cap > buf->max + 1)
        cap = buf->max + 1;
    data = realloc(buf->data, cap);
    if (!data)
        return bf_err_oom(err);
    buf->data = data;
    buf->cap = cap;
    return 0;
}

int bf_buf_add(struct bf_buf *buf, const void *data, size_t len,
               struct bf_err *err)
{
    if (bf_buf_reserve(buf, len, err))
        return -1;
    if (len > 0)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
    return 0;
}

int bf_buf_adds(struct bf_buf *buf, const char *str, struct bf_err *err)
{
    return bf_buf_add(buf, str, strlen(str), err);
}

int bf_buf_addf(struct bf_buf *buf, struct bf_err *err, const char *fmt, ...)
{
    va_list ap;
    int len;

    va_start(ap, fmt);
    len = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (len < 0)
        return bf_err_set(err, BF_ERR_REJECT, "bad_format", "cannot format");
    if (bf_buf_reserve(buf, (size_t)len, err))
        return -1;
    va_start(ap, fmt);
    vsnprintf(buf->data + buf->len, (size_t)len + 1, fmt, ap);
    va_end(ap);
    buf->len += (size_t)len;
    return 0;
}

void bf_buf_consume(struct bf_buf *buf, size_t n)
{
    bf_assert(n <= buf->len);
    if (n == 0)
        return;
    memmove(buf->data, buf->data + n, buf->len - n);
    buf->len -= n;
    buf->data[buf->len] = '\0';
}
