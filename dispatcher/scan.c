#include "dispatcher/scan.h"

#include "schemas/err.h"
#include "schemas/utf8.h"

enum want {
    WANT_VALUE,
    WANT_VALUE_OR_END, /* after [ */
    WANT_NAME,
    WANT_NAME_OR_END, /* after { */
    WANT_COLON,
    WANT_COMMA_OR_END,
    WANT_NOTHING, /* the outermost value is closed */
};

struct scan {
    const unsigned char *begin;
    const unsigned char *p;
    const unsigned char *end;
    enum want want;
    unsigned depth;
    unsigned char is_array[BF_SCAN_DEPTH]; /* of each open level */
    struct bf_slice name;                  /* last name at depth 1, no quotes */
    const unsigned char *inputs;           /* their {, NULL until seen */
    const unsigned char *inputs_end;       /* after their } */
    struct bf_err *err;
};

static int fail(struct scan *s, const char *code, const char *what)
{
    return bf_err_set(s->err, BF_ERR_REJECT, code, "%s at byte %zu", what,
                      (size_t)(s->p - s->begin));
}

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(unsigned char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static struct bf_slice left_of(const struct scan *s)
{
    return (struct bf_slice){(const char *)s->p, (size_t)(s->end - s->p)};
}

static int scan_escape(struct scan *s)
{
    size_t left = (size_t)(s->end - s->p);

    if (left < 2 || s->p[1] == 0 || !strchr("\"\\/bfnrtu", s->p[1]))
        return fail(s, "bad_json", "an escape that does not exist");
    if (s->p[1] != 'u') {
        s->p += 2;
        return 0;
    }
    for (size_t i = 2; i < 6; i++) {
        if (i >= left || !is_hex(s->p[i]))
            return fail(s, "bad_json", "\\u without four hex digits");
    }
    s->p += 6;
    return 0;
}

/* From the opening quote to after the closing one. */
static int scan_string(struct scan *s)
{
    s->p++;
    while (s->p < s->end) {
        bool ok = true;

        if (*s->p == '"') {
            s->p++;
            return 0;
        }
        if (*s->p == '\\') {
            if (scan_escape(s))
                return -1;
            continue;
        }
        if (*s->p < 0x20)
            return fail(s, "bad_json", "a control character in a string");
        s->p += *s->p < 0x80 ? 1 : bf_utf8_next(left_of(s), &ok);
        if (!ok)
            return fail(s, "bad_json", "a string that is not UTF-8");
    }
    return fail(s, "bad_json", "a string without an end");
}

static int scan_digits(struct scan *s)
{
    if (s->p == s->end || !is_digit(*s->p))
        return fail(s, "bad_json", "a number without digits");
    while (s->p < s->end && is_digit(*s->p))
        s->p++;
    return 0;
}

static bool at(const struct scan *s, const char *chars)
{
    return s->p < s->end && *s->p != 0 && strchr(chars, *s->p);
}

static bool skip_word(struct scan *s, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(s->end - s->p) < len || memcmp(s->p, word, len) != 0)
        return false;
    s->p += len;
    return true;
}

static int scan_number(struct scan *s)
{
    if (skip_word(s, "-Infinity"))
        return 0;
    if (*s->p == '-')
        s->p++;
    if (at(s, "0"))
        s->p++;
    else if (scan_digits(s))
        return -1;
    if (at(s, ".")) {
        s->p++;
        if (scan_digits(s))
            return -1;
    }
    if (!at(s, "eE"))
        return 0;
    s->p++;
    if (at(s, "+-"))
        s->p++;
    return scan_digits(s);
}

static int scan_word(struct scan *s)
{
    static const char *const words[] = {"true", "false", "null", "NaN",
                                        "Infinity"};

    for (size_t i = 0; i < bf_countof(words); i++) {
        if (skip_word(s, words[i]))
            return 0;
    }
    return fail(s, "bad_json", "no JSON value");
}

static int open_level(struct scan *s)
{
    if (s->depth == BF_SCAN_DEPTH)
        return fail(s, "too_deep", "more than 512 levels");
    s->is_array[s->depth++] = *s->p == '[';
    s->want = *s->p == '[' ? WANT_VALUE_OR_END : WANT_NAME_OR_END;
    s->p++;
    return 0;
}

static void after_value(struct scan *s)
{
    s->want = s->depth == 0 ? WANT_NOTHING : WANT_COMMA_OR_END;
    if (s->depth == 1 && s->inputs && !s->inputs_end)
        s->inputs_end = s->p;
}

static int close_level(struct scan *s)
{
    if (s->is_array[s->depth - 1] != (*s->p == ']'))
        return fail(s, "bad_json", "the wrong closing bracket");
    s->depth--;
    s->p++;
    after_value(s);
    return 0;
}

static int begin_inputs(struct scan *s)
{
    if (s->inputs)
        return fail(s, "bad_inputs", "inputs stands twice, again");
    if (*s->p != '{')
        return fail(s, "bad_inputs", "inputs is not an object");
    s->inputs = s->p;
    return 0;
}

static int scan_value(struct scan *s)
{
    int failed;

    if (s->depth == 0 && *s->p != '{')
        return fail(s, "bad_json", "a job is a JSON object: no {");
    if (s->depth == 1 && bf_slice_is(s->name, "inputs") && begin_inputs(s))
        return -1;
    if (*s->p == '{' || *s->p == '[')
        return open_level(s);
    if (*s->p == '"')
        failed = scan_string(s);
    else if (*s->p == '-' || is_digit(*s->p))
        failed = scan_number(s);
    else
        failed = scan_word(s);
    if (failed)
        return -1;
    after_value(s);
    return 0;
}

/*
 * Our own names are plain. An escape in one would let inputs hide behind
 * another spelling, which the JSON library would then decode.
 */
static int scan_name(struct scan *s)
{
    const unsigned char *start = s->p + 1;

    if (*s->p != '"')
        return fail(s, "bad_json", "a member without a name");
    if (scan_string(s))
        return -1;
    s->want = WANT_COLON;
    if (s->depth > 1)
        return 0;
    s->name =
        (struct bf_slice){(const char *)start, (size_t)(s->p - 1 - start)};
    if (memchr(start, '\\', s->name.len))
        return fail(s, "bad_json", "an escape in a member's name");
    return 0;
}

static int scan_colon(struct scan *s)
{
    if (*s->p != ':')
        return fail(s, "bad_json", "no colon after a name");
    s->p++;
    s->want = WANT_VALUE;
    return 0;
}

static int scan_comma(struct scan *s)
{
    if (*s->p != ',')
        return fail(s, "bad_json", "no comma between two values");
    s->p++;
    s->want = s->is_array[s->depth - 1] ? WANT_VALUE : WANT_NAME;
    return 0;
}

static int scan_step(struct scan *s)
{
    bool closing = *s->p == '}' || *s->p == ']';

    switch (s->want) {
    case WANT_VALUE:
        return scan_value(s);
    case WANT_VALUE_OR_END:
        return closing ? close_level(s) : scan_value(s);
    case WANT_NAME:
        return scan_name(s);
    case WANT_NAME_OR_END:
        return closing ? close_level(s) : scan_name(s);
    case WANT_COLON:
        return scan_colon(s);
    case WANT_COMMA_OR_END:
        return closing ? close_level(s) : scan_comma(s);
    case WANT_NOTHING:
        break;
    }
    return fail(s, "bad_json", "something after the job's last }");
}

static int scan_all(struct scan *s)
{
    for (;;) {
        while (at(s, " \t\n\r"))
            s->p++;
        if (s->p == s->end)
            break;
        if (scan_step(s))
            return -1;
    }
    if (s->want != WANT_NOTHING)
        return fail(s, "bad_json", "the JSON ends too early");
    if (!s->inputs)
        return fail(s, "bad_inputs", "no member inputs; the job ends");
    return 0;
}

int bf_scan(struct bf_slice text, struct bf_slice *ret_inputs,
            struct bf_buf *rest, struct bf_err *err)
{
    struct scan s = {.err = err};
    size_t before, after;

    s.begin = (const unsigned char *)(text.ptr ? text.ptr : "");
    s.p = s.begin;
    s.end = s.begin + text.len;
    if (scan_all(&s))
        return -1;
    before = (size_t)(s.inputs - s.begin);
    after = (size_t)(s.end - s.inputs_end);
    bf_buf_clear(rest);
    if (bf_buf_add(rest, text.ptr, before, err) ||
        bf_buf_adds(rest, "null", err) ||
        bf_buf_add(rest, text.ptr + text.len - after, after, err))
        return bf_err_prefix(err, "job without its inputs");
    *ret_inputs =
        (struct bf_slice){text.ptr + before, text.len - before - after};
    return 0;
}
