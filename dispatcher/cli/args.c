#include "dispatcher/cli/args.h"

#include <string.h>

#include "schemas/check.h"
#include "schemas/err.h"

/* Where parsing stands. */
struct cursor {
    struct bf_args *args;
    const struct bf_args_rules *rules;
    char **argv;
    int argc;
    int at;
};

int bf_args_init(struct bf_args *args, int argc, struct bf_err *err)
{
    size_t room = (size_t)argc * 2 + 1;

    memset(args, 0, sizeof(*args));
    args->given = calloc(room, sizeof(*args->given));
    args->words = calloc(room, sizeof(*args->words));
    args->foreign = calloc(room, sizeof(*args->foreign));
    if (args->given && args->words && args->foreign)
        return 0;
    bf_args_release(args);
    return bf_err_oom(err);
}

void bf_args_release(struct bf_args *args)
{
    free(args->given);
    free(args->words);
    free(args->foreign);
    memset(args, 0, sizeof(*args));
}

static const struct bf_flag *find_name(const struct bf_args_rules *rules,
                                       const char *name, size_t len)
{
    const struct bf_flags *const tables[] = {&rules->own, &rules->common};

    for (size_t t = 0; t < bf_countof(tables); t++) {
        for (size_t i = 0; i < tables[t]->n; i++) {
            const struct bf_flag *flag = &tables[t]->list[i];

            if (strlen(flag->name) == len && memcmp(flag->name, name, len) == 0)
                return flag;
        }
    }
    return NULL;
}

static const struct bf_flag *find_letter(const struct bf_args_rules *rules,
                                         char letter)
{
    const struct bf_flags *const tables[] = {&rules->own, &rules->common};

    for (size_t t = 0; t < bf_countof(tables); t++) {
        for (size_t i = 0; i < tables[t]->n; i++) {
            if (tables[t]->list[i].letter == letter)
                return &tables[t]->list[i];
        }
    }
    return NULL;
}

static int add_given(struct cursor *c, const struct bf_flag *flag,
                     const char *value, struct bf_err *err)
{
    for (size_t i = 0; i < c->args->ngiven; i++) {
        if (c->args->given[i].flag == flag && !flag->many)
            return bf_err_set(err, BF_ERR_REJECT, "usage",
                              "--%s is given twice", flag->name);
    }
    c->args->given[c->args->ngiven++] = (struct bf_given){flag, value};
    return 0;
}

/* A value after its option: any next argument, even one with a dash. */
static int take_value(struct cursor *c, const struct bf_flag *flag,
                      struct bf_err *err)
{
    if (c->at >= c->argc)
        return bf_err_set(err, BF_ERR_REJECT, "usage", "--%s needs %s",
                          flag->name, flag->arg);
    return add_given(c, flag, c->argv[c->at++], err);
}

static int parse_foreign(struct cursor *c, const char *text, size_t len,
                         bool has_value, struct bf_err *err)
{
    struct bf_args *args = c->args;
    int arity = c->rules->foreign ? c->rules->foreign(text + 2, len) : -1;

    if (arity < 0)
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "there is no option --%.*s", (int)len, text + 2);
    args->foreign[args->nforeign++] = c->argv[c->at - 1];
    if (arity == 0 || has_value)
        return 0;
    if (c->at >= c->argc)
        return bf_err_set(err, BF_ERR_REJECT, "usage", "--%.*s needs a value",
                          (int)len, text + 2);
    args->foreign[args->nforeign++] = c->argv[c->at++];
    return 0;
}

static int parse_long(struct cursor *c, const char *text, struct bf_err *err)
{
    const char *equals = strchr(text, '=');
    size_t len = equals ? (size_t)(equals - text - 2) : strlen(text + 2);
    const struct bf_flag *flag = find_name(c->rules, text + 2, len);

    if (!flag)
        return parse_foreign(c, text, len, equals != NULL, err);
    if (flag->arg)
        return equals ? add_given(c, flag, equals + 1, err)
                      : take_value(c, flag, err);
    if (equals)
        return bf_err_set(err, BF_ERR_REJECT, "usage", "--%s takes no value",
                          flag->name);
    return add_given(c, flag, NULL, err);
}

/* -j, -jw (two switches), -oFILE, -o FILE. */
static int parse_short(struct cursor *c, const char *text, struct bf_err *err)
{
    for (const char *p = text + 1; *p; p++) {
        const struct bf_flag *flag = find_letter(c->rules, *p);

        if (!flag)
            return bf_err_set(err, BF_ERR_REJECT, "usage",
                              "there is no option -%c", *p);
        if (!flag->arg) {
            if (add_given(c, flag, NULL, err))
                return -1;
            continue;
        }
        return p[1] ? add_given(c, flag, p + 1, err) : take_value(c, flag, err);
    }
    return 0;
}

int bf_args_parse(struct bf_args *args, const struct bf_args_rules *rules,
                  int argc, char **argv, size_t max_words, struct bf_err *err)
{
    struct cursor c = {
        .args = args, .rules = rules, .argv = argv, .argc = argc};
    bool only_words = false;

    while (c.at < argc) {
        const char *text = argv[c.at];
        int failed = 0;

        if (!only_words && strcmp(text, "--") == 0) {
            only_words = true;
            c.at++;
            continue;
        }
        if (only_words || text[0] != '-' || text[1] == '\0') {
            if (args->nwords >= max_words)
                return c.at;
            args->words[args->nwords++] = text;
            c.at++;
            continue;
        }
        c.at++;
        failed = text[1] == '-' ? parse_long(&c, text, err)
                                : parse_short(&c, text, err);
        if (failed)
            return -1;
    }
    return c.at;
}

const char *bf_args_nth(const struct bf_args *args, const char *name, size_t n)
{
    for (size_t i = 0; i < args->ngiven; i++) {
        if (strcmp(args->given[i].flag->name, name) == 0 && n-- == 0)
            return args->given[i].value;
    }
    return NULL;
}

const char *bf_args_get(const struct bf_args *args, const char *name)
{
    const char *value = NULL;

    for (size_t i = 0; i < args->ngiven; i++) {
        if (strcmp(args->given[i].flag->name, name) == 0)
            value = args->given[i].value;
    }
    return value;
}

bool bf_args_has(const struct bf_args *args, const char *name)
{
    for (size_t i = 0; i < args->ngiven; i++) {
        if (strcmp(args->given[i].flag->name, name) == 0)
            return true;
    }
    return false;
}
