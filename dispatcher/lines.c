#include "dispatcher/lines.h"

#include "schemas/err.h"

void bf_lines_init(struct bf_lines *lines, size_t max_line_bytes)
{
    *lines = (struct bf_lines){.part = BF_BUF_INIT(max_line_bytes)};
}

void bf_lines_release(struct bf_lines *lines)
{
    bf_buf_release(&lines->part);
}

static struct bf_slice without_cr(struct bf_slice text)
{
    if (text.len > 0 && text.ptr[text.len - 1] == '\r')
        text.len--;
    return text;
}

/* Keep a piece of a line; a line over the ceiling is dropped as it comes. */
static int keep(struct bf_lines *lines, struct bf_slice piece,
                struct bf_err *err)
{
    if (lines->skipping)
        return 0;
    if (piece.len > lines->part.max - lines->part.len) {
        lines->skipping = true;
        bf_buf_clear(&lines->part);
        return 0;
    }
    return bf_buf_add(&lines->part, piece.ptr, piece.len, err);
}

static void yield_part(struct bf_lines *lines, struct bf_line *ret)
{
    ret->too_long = lines->skipping;
    ret->text = without_cr(bf_buf_slice(&lines->part));
    lines->skipping = false;
    /* Only forgotten here: the bytes stay until the next bf_buf_add(). */
    lines->part.len = 0;
}

int bf_lines_next(struct bf_lines *lines, struct bf_slice *chunk,
                  struct bf_line *ret, struct bf_err *err)
{
    struct bf_slice piece = *chunk;
    const char *lf;
    bool whole;

    if (chunk->len == 0)
        return 0;
    lf = memchr(chunk->ptr, '\n', chunk->len);
    whole = lf && lines->part.len == 0 && !lines->skipping;
    if (lf)
        piece.len = (size_t)(lf - chunk->ptr);
    if (whole && piece.len <= lines->part.max)
        *ret = (struct bf_line){.text = without_cr(piece)};
    else if (keep(lines, piece, err))
        return -1;
    else if (lf)
        yield_part(lines, ret);
    piece.len += lf ? 1 : 0;
    chunk->ptr += piece.len;
    chunk->len -= piece.len;
    return lf ? 1 : 0;
}

int bf_lines_last(struct bf_lines *lines, struct bf_line *ret)
{
    if (lines->part.len == 0 && !lines->skipping)
        return 0;
    yield_part(lines, ret);
    return 1;
}

void bf_lines_trim(struct bf_lines *lines)
{
    if (lines->part.len == 0)
        bf_buf_release(&lines->part);
}
