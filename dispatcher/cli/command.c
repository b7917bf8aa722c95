#include "dispatcher/cli/command.h"

#include <stdio.h>

#include "schemas/err.h"

static const struct {
    enum bf_exit number;
    const char *name, *text;
} exits[] = {
#define X(id, number, text) {BF_EXIT_##id, #id, text},
    BF_EXIT_TABLE(X)
#undef X
};

static const struct bf_flag common[] = {
    {"config", 0, false, "FILE", "read settings from this file"},
    {"json", 'j', false, NULL, "print JSON documents instead of tables"},
    {"help", 'h', false, NULL, "print this help"},
};

struct bf_flags bf_command_common(void)
{
    return (struct bf_flags){common, bf_countof(common)};
}

static bool two_words(const char *name, const char *first, const char *second)
{
    size_t len = strlen(first);

    return strncmp(name, first, len) == 0 && name[len] == ' ' &&
           strcmp(name + len + 1, second) == 0;
}

const struct bf_command *bf_command_find(const char *const *words, size_t n,
                                         size_t *ret_words)
{
    const struct bf_command *command;

    for (size_t i = 0; n > 1 && (command = bf_command_at(i)) != NULL; i++) {
        if (two_words(command->name, words[0], words[1])) {
            *ret_words = 2;
            return command;
        }
    }
    for (size_t i = 0; n > 0 && (command = bf_command_at(i)) != NULL; i++) {
        if (strcmp(command->name, words[0]) == 0) {
            *ret_words = 1;
            return command;
        }
    }
    return NULL;
}

/* Levenshtein's distance, at most MAX_WORD letters of each. */
#define MAX_WORD 20
static size_t distance(const char *a, const char *b)
{
    size_t row[MAX_WORD + 1], nb = strnlen(b, MAX_WORD);

    for (size_t j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 0; a[i] && i < MAX_WORD; i++) {
        size_t diagonal = row[0];

        row[0] = i + 1;
        for (size_t j = 0; j < nb; j++) {
            size_t best = diagonal + (a[i] != b[j]);

            diagonal = row[j + 1];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (diagonal + 1 < best)
                best = diagonal + 1;
            row[j + 1] = best;
        }
    }
    return row[nb];
}

const char *bf_command_guess(const char *word)
{
    const struct bf_command *command;
    const char *guess = NULL;
    size_t best = 3;

    for (size_t i = 0; (command = bf_command_at(i)) != NULL; i++) {
        size_t far = distance(word, command->name);

        if (two_words(command->name, word,
                      strchr(command->name, ' ')
                          ? strchr(command->name, ' ') + 1
                          : ""))
            far = 1;
        if (far < best) {
            best = far;
            guess = command->name;
        }
    }
    return guess;
}

int bf_command_help_all(struct bf_buf *out, struct bf_err *err)
{
    const struct bf_command *command;

    if (bf_buf_adds(out,
                    "usage: blockfleet COMMAND [options]\n\n"
                    "Runs Python blocks on a fleet of workers, by Kafka.\n\n",
                    err))
        return -1;
    for (size_t i = 0; (command = bf_command_at(i)) != NULL; i++) {
        if (bf_buf_addf(out, err, "  %-14s  %s\n", command->name,
                        command->summary))
            return -1;
    }
    return bf_buf_adds(
        out,
        "\n'blockfleet help COMMAND' tells the options of a command. Every\n"
        "setting of CONFIGURATION.md is an option too.\n",
        err);
}

static int add_option(const struct bf_flag *flag, struct bf_buf *out,
                      struct bf_err *err)
{
    char letter[] = {'-', flag->letter, ',', ' ', '\0'};
    char text[64];

    snprintf(text, sizeof(text), "%s--%s%s%s%s", flag->letter ? letter : "    ",
             flag->name, flag->arg ? " " : "", flag->arg ? flag->arg : "",
             flag->many ? "..." : "");
    return bf_buf_addf(out, err, "  %-27s  %s\n", text, flag->help);
}

static int add_options(struct bf_flags options, struct bf_buf *out,
                       struct bf_err *err)
{
    for (size_t i = 0; i < options.n; i++) {
        if (add_option(&options.list[i], out, err))
            return -1;
    }
    return 0;
}

static bool may_exit(const struct bf_command *command, enum bf_exit number)
{
    const unsigned always = BF_EXIT_BIT(BF_EXIT_OK) |
                            BF_EXIT_BIT(BF_EXIT_USAGE) |
                            BF_EXIT_BIT(BF_EXIT_LOCAL);

    return ((always | command->exits) & BF_EXIT_BIT(number)) != 0;
}

static int add_exits(const struct bf_command *command, struct bf_buf *out,
                     struct bf_err *err)
{
    for (size_t i = 0; i < bf_countof(exits); i++) {
        if (may_exit(command, exits[i].number) &&
            bf_buf_addf(out, err, "  %d  %s\n", (int)exits[i].number,
                        exits[i].text))
            return -1;
    }
    return 0;
}

static int add_usage(const struct bf_command *command, struct bf_buf *out,
                     struct bf_err *err)
{
    return bf_buf_addf(out, err, "blockfleet %s%s%s%s", command->name,
                       command->options.n > 0 ? " [options]" : "",
                       command->words ? " " : "",
                       command->words ? command->words : "");
}

int bf_command_help(const struct bf_command *command, struct bf_buf *out,
                    struct bf_err *err)
{
    if (bf_buf_adds(out, "usage: ", err) || add_usage(command, out, err) ||
        bf_buf_addf(out, err, "\n\n%s\n", command->help))
        return -1;
    if (command->options.n > 0 && (bf_buf_adds(out, "\nOptions:\n", err) ||
                                   add_options(command->options, out, err)))
        return -1;
    if (bf_buf_adds(out, "\nOptions of every command:\n", err) ||
        add_options(bf_command_common(), out, err) ||
        bf_buf_adds(out, "\nExit status:\n", err))
        return -1;
    return add_exits(command, out, err);
}

static int markdown_exits(struct bf_buf *out, struct bf_err *err)
{
    if (bf_buf_adds(
            out, "\n## Exit status\n\n| status | when |\n| --- | --- |\n", err))
        return -1;
    for (size_t i = 0; i < bf_countof(exits); i++) {
        if (bf_buf_addf(out, err, "| %d | %s |\n", (int)exits[i].number,
                        exits[i].text))
            return -1;
    }
    return 0;
}

static int markdown_command(const struct bf_command *command,
                            struct bf_buf *out, struct bf_err *err)
{
    if (bf_buf_addf(out, err, "\n## blockfleet %s\n\n%s.\n\n```\n",
                    command->name, command->summary) ||
        add_usage(command, out, err) ||
        bf_buf_addf(out, err, "\n```\n\n%s\n", command->help))
        return -1;
    if (command->options.n > 0 && (bf_buf_adds(out, "\n```\n", err) ||
                                   add_options(command->options, out, err) ||
                                   bf_buf_adds(out, "```\n", err)))
        return -1;
    if (bf_buf_adds(out, "\nExit status:", err))
        return -1;
    for (size_t i = 0; i < bf_countof(exits); i++) {
        if (may_exit(command, exits[i].number) &&
            bf_buf_addf(out, err, " %d", (int)exits[i].number))
            return -1;
    }
    return bf_buf_adds(out, ".\n", err);
}

int bf_command_markdown(struct bf_buf *out, struct bf_err *err)
{
    const struct bf_command *command;

    if (bf_buf_adds(out,
                    "# blockfleet: the commands\n\n"
                    "Made from the command table by `blockfleet help "
                    "--markdown`; do not edit.\n\n"
                    "Options of every command, besides every setting of "
                    "CONFIGURATION.md:\n\n```\n",
                    err) ||
        add_options(bf_command_common(), out, err) ||
        bf_buf_adds(out, "```\n", err) || markdown_exits(out, err))
        return -1;
    for (size_t i = 0; (command = bf_command_at(i)) != NULL; i++) {
        if (markdown_command(command, out, err))
            return -1;
    }
    return 0;
}
