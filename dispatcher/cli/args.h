#ifndef BF_DISPATCHER_CLI_ARGS_H
#define BF_DISPATCHER_CLI_ARGS_H

/*
 * Options and words of a command line, by a command's own table: --name VALUE,
 * --name=VALUE, -n VALUE, -nVALUE, switches, `--` before words that begin with
 * a dash. Pure; borrows argv and the tables.
 */

#include <stdbool.h>
#include <stddef.h>

struct bf_err;

struct bf_flag {
    const char *name; /* long, without dashes */
    char letter;      /* -l; 0: none */
    bool many;        /* may be given more than once */
    const char *arg;  /* what the value is called; NULL: a switch */
    const char *help; /* one clause, no full stop */
};

struct bf_flags {
    const struct bf_flag *list;
    size_t n;
};

/*
 * An option of no table: does a setting have this name (no dashes)? 1: yes,
 * and it takes a value; 0: yes, a switch; -1: no.
 */
typedef int bf_args_foreign_fn(const char *name, size_t len);

struct bf_args_rules {
    struct bf_flags own;    /* the command's */
    struct bf_flags common; /* every command's */
    bf_args_foreign_fn *foreign;
};

struct bf_given {
    const struct bf_flag *flag;
    const char *value; /* NULL for a switch */
};

/* What was found. Arrays are owned, strings are argv's. */
struct bf_args {
    struct bf_given *given;
    size_t ngiven;
    const char **words;
    size_t nwords;
    char **foreign; /* options of no table, as they stood, for the settings */
    size_t nforeign;
};

/* Room for argc arguments; RETRY on no memory. */
int bf_args_init(struct bf_args *args, int argc, struct bf_err *err);
void bf_args_release(struct bf_args *args);
#define bf_autoargs bf_cleanup(bf_args_release)

/*
 * Take argv[0..argc) into args; may be called again for the rest. max_words:
 * stop before the word after that many. Returns how many of argv were used, or
 * -1: REJECT "usage" names the option.
 */
int bf_args_parse(struct bf_args *args, const struct bf_args_rules *rules,
                  int argc, char **argv, size_t max_words, struct bf_err *err);

/* The last value of an option; NULL when it was not given. */
const char *bf_args_get(const struct bf_args *args, const char *name);
bool bf_args_has(const struct bf_args *args, const char *name);

/* The nth value of an option that may stand several times, NULL past it. */
const char *bf_args_nth(const struct bf_args *args, const char *name, size_t n);

#endif
