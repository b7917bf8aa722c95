#ifndef BF_CONFIG_OPTION_H
#define BF_CONFIG_OPTION_H

/*
 * An option: one row of config/option_table.c, from which reading, help and
 * documents follow. To add one: a field in struct bf_settings and a row.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bf_err;
struct bf_settings;

enum bf_option_type {
    BF_OPTION_STRING,   /* char * */
    BF_OPTION_BOOL,     /* bool: true, false */
    BF_OPTION_INT,      /* int64_t */
    BF_OPTION_DURATION, /* int64_t, ms: 20ms, 15s, 5m, 24h */
    BF_OPTION_SIZE,     /* uint64_t, bytes: 4096, 64k, 256M, 1G (powers of 2) */
    BF_OPTION_ENUM,     /* an enum: the index into words */
    BF_OPTION_LIST,     /* struct bf_list: separated by commas, may be empty */
};

/* What a string, or an item of a list, must look like. */
struct bf_form {
    const char *rule; /* follows "must be " */
    bool (*ok)(const char *value);
};

struct bf_option {
    const char *name;
    enum bf_option_type type;
    unsigned programs;        /* bits of enum bf_program */
    const char *value;        /* the default as one would write it; or NULL: */
    const char *computed;     /* how the program finds it, in words */
    int64_t min, max;         /* of numbers, in their base unit */
    const char *const *words; /* of an enum, NULL-terminated */
    const struct bf_form *form; /* of a string or list; NULL: any text */
    const char *help;           /* one sentence or two, no line breaks */
    size_t offset;              /* into struct bf_settings */
};

extern const struct bf_option bf_options[];
extern const size_t bf_option_count;

#define BF_OPTION_RULE_SIZE 200

/* NULL: no such option. */
const struct bf_option *bf_option_find(const char *name);

/* The option that was probably meant; NULL: no idea. */
const char *bf_option_suggest(const char *name);

/* "a whole number from 1 to 65536": follows "must be ". */
void bf_option_rule(const struct bf_option *option,
                    char out[static BF_OPTION_RULE_SIZE]);

/* REJECT "bad_value" with the rule; the old value stays then. */
int bf_option_set(const struct bf_option *option, struct bf_settings *settings,
                  const char *value, struct bf_err *err);

/* Free what the option's field owns. */
void bf_option_clear(const struct bf_option *option,
                     struct bf_settings *settings);

#endif
