#ifndef BF_DISPATCHER_CLI_COMMAND_H
#define BF_DISPATCHER_CLI_COMMAND_H

/*
 * What a command is, and the one table of them: dispatch, `blockfleet help`
 * and COMMANDS.md are made from it. A new command is a row and a function.
 */

#include "dispatcher/cli/args.h"
#include "dispatcher/cli/exits.h"
#include "schemas/buf.h"

struct bf_cli;
struct bf_err;

#define BF_EXIT_BIT(exit) (1U << (exit))

struct bf_command {
    const char *name;    /* one or two words */
    const char *words;   /* what follows: "ID..."; NULL: nothing */
    const char *summary; /* one line, no full stop */
    const char *help;    /* paragraphs, lines up to 76 columns */
    struct bf_flags options;
    size_t min_words;
    size_t max_words;
    unsigned exits; /* BF_EXIT_BITs besides OK, USAGE and LOCAL */
    /* needs neither settings nor anything outside this process */
    bool bare;
    enum bf_exit (*run)(struct bf_cli *cli);
};

/* In the order in which help lists them. */
const struct bf_command *bf_command_at(size_t i); /* NULL past the last */

/*
 * The command that words name, two words before one; *ret_words: how many of
 * them are its name. NULL: none.
 */
const struct bf_command *bf_command_find(const char *const *words, size_t n,
                                         size_t *ret_words);

/* Options that every command takes. */
struct bf_flags bf_command_common(void);

/* The nearest command to a mistyped word, or NULL. */
const char *bf_command_guess(const char *word);

/* Texts of `blockfleet help`, `blockfleet help COMMAND`, COMMANDS.md. */
int bf_command_help_all(struct bf_buf *out, struct bf_err *err);
int bf_command_help(const struct bf_command *command, struct bf_buf *out,
                    struct bf_err *err);
int bf_command_markdown(struct bf_buf *out, struct bf_err *err);

#endif
