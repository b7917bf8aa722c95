#include "config/ini.h"

#include <ini.h>
#include <stdbool.h>
#include <string.h>

#include "schemas/err.h"

struct reader {
    struct bf_slice rest;
    bf_ini_fn *fn;
    void *arg;
    unsigned line;
    bool failed;
    struct bf_err *err;
};

static int check_line(struct bf_slice line, struct bf_err *err)
{
    if (line.len > BF_INI_LINE_MAX)
        return bf_err_set(err, BF_ERR_REJECT, "bad_ini",
                          "a line may have at most %d bytes", BF_INI_LINE_MAX);
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.ptr[i];

        if ((c < ' ' && c != '\t' && c != '\r') || c == 0x7f)
            return bf_err_set(err, BF_ERR_REJECT, "bad_ini",
                              "byte 0x%02x is not text", c);
    }
    return 0;
}

/* libinih's fgets(): one line, or NULL at the end and after any error. */
static char *next_line(char *out, int size, void *stream)
{
    struct reader *in = stream;
    const char *end;
    struct bf_slice line;

    if (in->failed || in->rest.len == 0)
        return NULL;
    end = memchr(in->rest.ptr, '\n', in->rest.len);
    line.ptr = in->rest.ptr;
    line.len = end ? (size_t)(end - line.ptr) : in->rest.len;
    in->rest.ptr += line.len + (end != NULL);
    in->rest.len -= line.len + (end != NULL);
    in->line++;
    if (check_line(line, in->err) || (size_t)size < line.len + 2) {
        in->failed = true;
        return NULL;
    }
    while (line.len > 0 && (*line.ptr == ' ' || *line.ptr == '\t')) {
        line.ptr++;
        line.len--;
    }
    memcpy(out, line.ptr, line.len);
    out[line.len] = '\n';
    out[line.len + 1] = '\0';
    return out;
}

static int on_pair(void *user, const char *section, const char *key,
                   const char *value)
{
    struct reader *in = user;

    if (!in->failed)
        in->failed = in->fn(in->arg, section, key, value ? value : "", in->line,
                            in->err) != 0;
    return !in->failed;
}

/* ini_parse_stream() passes one pointer to the reader and one to on_pair. */
int bf_ini_parse(struct bf_slice text, bf_ini_fn *fn, void *arg,
                 unsigned *ret_line, struct bf_err *err)
{
    struct reader in = {text, fn, arg, 0, false, err};
    int res;

    ini_use_stack = false;
    ini_max_line = BF_INI_LINE_MAX + 3;
    ini_initial_alloc = BF_INI_LINE_MAX + 3;
    res = ini_parse_stream(next_line, &in, on_pair, &in);
    *ret_line = in.line;
    if (res == -2)
        return bf_err_oom(err);
    /* The first error wins; libinih reads on after its own. */
    if (res > 0 && (!in.failed || (unsigned)res < in.line)) {
        *ret_line = (unsigned)res;
        return bf_err_set(err, BF_ERR_REJECT, "bad_ini",
                          "expected [section], key = value or a comment");
    }
    return in.failed ? -1 : 0;
}
