#include "config/option.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/settings.h"
#include "schemas/buf.h"
#include "schemas/check.h"
#include "schemas/err.h"

#define LIST_MAX 4096    /* items */
#define VALUE_MAX 65536  /* bytes */
#define QUOTED_BYTES 40  /* of a bad value, in a message */
#define SUGGEST_BYTES 64 /* longest name that is compared */

struct unit {
    const char *name;
    int64_t factor;
};

/* Largest first. */
static const struct unit durations[] = {
    {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0},
};
static const struct unit sizes[] = {
    {"G", INT64_C(1) << 30},
    {"M", INT64_C(1) << 20},
    {"k", INT64_C(1) << 10},
    {"", 1},
    {NULL, 0},
};
static const struct unit plain[] = {{"", 1}, {NULL, 0}};

static const struct unit *units_of(enum bf_option_type type)
{
    return type == BF_OPTION_DURATION ? durations
           : type == BF_OPTION_SIZE   ? sizes
                                      : plain;
}

static char *field_of(const struct bf_option *option,
                      struct bf_settings *settings)
{
    return (char *)settings + option->offset;
}

const struct bf_option *bf_option_find(const char *name)
{
    for (size_t i = 0; i < bf_option_count; i++) {
        if (strcmp(bf_options[i].name, name) == 0)
            return &bf_options[i];
    }
    return NULL;
}

/* ---- did you mean -------------------------------------------------------- */

static size_t least(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;

    return ab < c ? ab : c;
}

/* Levenshtein's distance, one row at a time. */
static size_t distance(const char *a, const char *b)
{
    size_t row[SUGGEST_BYTES + 1], alen = strlen(a), blen = strlen(b);

    if (alen > SUGGEST_BYTES || blen > SUGGEST_BYTES)
        return SUGGEST_BYTES;
    for (size_t j = 0; j <= blen; j++)
        row[j] = j;
    for (size_t i = 1; i <= alen; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= blen; j++) {
            size_t above = row[j];

            row[j] = least(row[j] + 1, row[j - 1] + 1,
                           diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[blen];
}

static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot ? dot + 1 : name;
}

const char *bf_option_suggest(const char *name)
{
    const char *best = NULL;
    size_t closest = 4;

    for (size_t i = 0; i < bf_option_count; i++) {
        const char *option = bf_options[i].name;
        size_t far = distance(name, option);

        if (strcmp(last_part(name), last_part(option)) == 0)
            far = 1; /* right name, wrong section */
        if (far < closest && far < strlen(option) / 2) {
            closest = far;
            best = option;
        }
    }
    return best;
}

/* ---- rules --------------------------------------------------------------- */

/* A number in the largest unit that keeps it whole. */
static void print_number(enum bf_option_type type, int64_t number, char *out,
                         size_t size)
{
    const struct unit *unit = units_of(type);

    while (unit[1].name && (number == 0 || number % unit->factor != 0))
        unit++;
    snprintf(out, size, "%lld%s", (long long)(number / unit->factor),
             unit->name);
}

static void print_range(const struct bf_option *option, const char *what,
                        char out[static BF_OPTION_RULE_SIZE])
{
    char lo[32], hi[32];

    print_number(option->type, option->min, lo, sizeof(lo));
    print_number(option->type, option->max, hi, sizeof(hi));
    snprintf(out, BF_OPTION_RULE_SIZE, "%s from %s to %s", what, lo, hi);
}

static void print_words(const struct bf_option *option,
                        char out[static BF_OPTION_RULE_SIZE])
{
    size_t len = 0;

    for (size_t i = 0; option->words[i]; i++) {
        len += (size_t)snprintf(out + len, BF_OPTION_RULE_SIZE - len, "%s%s",
                                i == 0                 ? ""
                                : option->words[i + 1] ? ", "
                                                       : " or ",
                                option->words[i]);
        bf_assert(len < BF_OPTION_RULE_SIZE);
    }
}

void bf_option_rule(const struct bf_option *option,
                    char out[static BF_OPTION_RULE_SIZE])
{
    switch (option->type) {
    case BF_OPTION_STRING:
    case BF_OPTION_LIST:
        snprintf(out, BF_OPTION_RULE_SIZE, "%s",
                 option->form ? option->form->rule : "text");
        break;
    case BF_OPTION_BOOL:
        snprintf(out, BF_OPTION_RULE_SIZE, "true or false");
        break;
    case BF_OPTION_INT:
        print_range(option, "a whole number", out);
        break;
    case BF_OPTION_DURATION:
        print_range(option, "a time (ms, s, m, h)", out);
        break;
    case BF_OPTION_SIZE:
        print_range(option, "bytes (k, M, G)", out);
        break;
    case BF_OPTION_ENUM:
        print_words(option, out);
        break;
    }
}

/* ---- values -------------------------------------------------------------- */

static int refuse(const struct bf_option *option, const char *value,
                  struct bf_err *err)
{
    char rule[BF_OPTION_RULE_SIZE], shown[QUOTED_BYTES + 1];
    size_t len = 0;

    for (; value[len] && len < QUOTED_BYTES; len++)
        shown[len] = isprint((unsigned char)value[len]) ? value[len] : '?';
    shown[len] = '\0';
    bf_option_rule(option, rule);
    return bf_err_set(err, BF_ERR_REJECT, "bad_value",
                      "%s must be %s, not \"%s%s\"", option->name, rule, shown,
                      value[len] ? "..." : "");
}

/* Digits, a minus where the range has one, and a unit. */
static bool read_number(const struct bf_option *option, const char *value,
                        int64_t *ret)
{
    const struct unit *unit = units_of(option->type);
    bool minus = value[0] == '-';
    const char *digits = value + minus;
    size_t len = strspn(digits, "0123456789");
    uint64_t size;
    int64_t number;

    while (unit->name && strcasecmp(unit->name, digits + len) != 0)
        unit++;
    if (!unit->name ||
        bf_slice_u64((struct bf_slice){digits, len}, INT64_MAX, &size) ||
        __builtin_mul_overflow((int64_t)size, unit->factor, &number))
        return false;
    number = minus ? -number : number;
    if (number < option->min || number > option->max)
        return false;
    *ret = number;
    return true;
}

static int set_number(const struct bf_option *option, char *field,
                      const char *value, struct bf_err *err)
{
    int64_t number;

    /* int64_t and uint64_t alike: sizes have no negative range. */
    if (!read_number(option, value, &number))
        return refuse(option, value, err);
    memcpy(field, &number, sizeof(number));
    return 0;
}

static int set_bool(const struct bf_option *option, char *field,
                    const char *value, struct bf_err *err)
{
    bool on = strcmp(value, "true") == 0;

    if (!on && strcmp(value, "false") != 0)
        return refuse(option, value, err);
    memcpy(field, &on, sizeof(on));
    return 0;
}

static int set_word(const struct bf_option *option, char *field,
                    const char *value, struct bf_err *err)
{
    for (int i = 0; option->words[i]; i++) {
        if (strcmp(option->words[i], value) == 0) {
            memcpy(field, &i, sizeof(i));
            return 0;
        }
    }
    return refuse(option, value, err);
}

static int set_string(const struct bf_option *option, char *field,
                      const char *value, struct bf_err *err)
{
    char **string = (char **)(void *)field;
    char *copy;

    if (option->form && !option->form->ok(value))
        return refuse(option, value, err);
    copy = strdup(value);
    if (!copy)
        return bf_err_oom(err);
    free(*string);
    *string = copy;
    return 0;
}

static void list_release(struct bf_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct bf_list){0};
}

/* The item without the blanks around it; moves *at behind its comma. */
static struct bf_slice next_item(const char **at)
{
    const char *from = *at + strspn(*at, " \t");
    size_t len = strcspn(from, ",");

    *at = from + len + (from[len] == ',');
    while (len > 0 && (from[len - 1] == ' ' || from[len - 1] == '\t'))
        len--;
    return (struct bf_slice){from, len};
}

static int list_fill(struct bf_list *list, const struct bf_option *option,
                     const char *value, struct bf_err *err)
{
    const char *at = value;
    size_t commas = 0;

    for (const char *c = value; *c; c++)
        commas += *c == ',';
    if (commas >= LIST_MAX)
        return refuse(option, value, err);
    list->items = calloc(commas + 2, sizeof(*list->items));
    if (!list->items)
        return bf_err_oom(err);
    if (value[0] == '\0')
        return 0;
    for (size_t i = 0; i <= commas; i++) {
        struct bf_slice item = next_item(&at);
        char *copy = strndup(item.ptr, item.len);

        if (!copy)
            return bf_err_oom(err);
        list->items[list->count++] = copy;
        if (option->form && !option->form->ok(copy))
            return refuse(option, value, err);
    }
    return 0;
}

static int set_list(const struct bf_option *option, char *field,
                    const char *value, struct bf_err *err)
{
    struct bf_list *old = (struct bf_list *)(void *)field;
    struct bf_list list = {0};

    if (list_fill(&list, option, value, err)) {
        list_release(&list);
        return -1;
    }
    list_release(old);
    *old = list;
    return 0;
}

static bool is_text(const char *value)
{
    size_t len = strnlen(value, VALUE_MAX + 1);

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)value[i];

        if (c < ' ' || c == 0x7f)
            return false;
    }
    return len <= VALUE_MAX;
}

int bf_option_set(const struct bf_option *option, struct bf_settings *settings,
                  const char *value, struct bf_err *err)
{
    char *field = field_of(option, settings);

    if (!is_text(value))
        return refuse(option, value, err);
    switch (option->type) {
    case BF_OPTION_STRING:
        return set_string(option, field, value, err);
    case BF_OPTION_BOOL:
        return set_bool(option, field, value, err);
    case BF_OPTION_INT:
    case BF_OPTION_DURATION:
    case BF_OPTION_SIZE:
        return set_number(option, field, value, err);
    case BF_OPTION_ENUM:
        return set_word(option, field, value, err);
    case BF_OPTION_LIST:
        return set_list(option, field, value, err);
    }
    abort();
}

void bf_option_clear(const struct bf_option *option,
                     struct bf_settings *settings)
{
    char *field = field_of(option, settings);

    if (option->type == BF_OPTION_STRING) {
        free(*(char **)(void *)field);
        *(char **)(void *)field = NULL;
    } else if (option->type == BF_OPTION_LIST) {
        list_release((struct bf_list *)(void *)field);
    }
}
