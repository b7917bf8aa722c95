#include "config/settings.h"

#include <stdio.h>
#include <string.h>

#include "config/option.h"

/* What options are for, by what stands before the dot. In table order. */
static const struct {
    const char *name;
    const char *title;
} groups[] = {
    {"", "Every program"},
    {"kafka", "Kafka"},
    {"topics", "Topics"},
    {"keys", "Keys"},
    {"log", "Log"},
    {"worker", "Worker"},
    {"noop", "The noop backend"},
    {"http", "The http backend"},
    {"modal", "The modal backend"},
    {"e2b", "The e2b backend"},
    {"local", "The local backend"},
    {"dispatcher", "Dispatcher"},
};

static bool in_group(const struct bf_option *option, const char *group)
{
    size_t len = strlen(group);

    if (len == 0)
        return !strchr(option->name, '.');
    return strncmp(option->name, group, len) == 0 && option->name[len] == '.';
}

/* The text in lines of at most width columns, each after the indent. */
static void print_wrapped(FILE *out, const char *indent, const char *text,
                          size_t width)
{
    size_t column = 0;

    while (*text) {
        size_t len = strcspn(text, " ");

        if (column > 0 && column + 1 + len > width) {
            fputc('\n', out);
            column = 0;
        }
        fputs(column > 0 ? " " : indent, out);
        column += (column > 0 ? 1 : strlen(indent)) + len;
        fwrite(text, 1, len, out);
        text += len + strspn(text + len, " ");
    }
    fputc('\n', out);
}

static const char *default_of(const struct bf_option *option)
{
    if (!option->value)
        return option->computed;
    return option->value[0] ? option->value : "empty";
}

static void help_option(FILE *out, const struct bf_option *option)
{
    char rule[BF_OPTION_RULE_SIZE], line[2 * BF_OPTION_RULE_SIZE];

    bf_option_rule(option, rule);
    fprintf(out, "  --%s\n", option->name);
    print_wrapped(out, "      ", option->help, 78);
    snprintf(line, sizeof(line), "Default: %s. Must be %s.", default_of(option),
             rule);
    print_wrapped(out, "      ", line, 78);
}

static void help_group(FILE *out, enum bf_program program, size_t group)
{
    bool titled = false;

    for (size_t i = 0; i < bf_option_count; i++) {
        if (!in_group(&bf_options[i], groups[group].name) ||
            !(bf_options[i].programs & program))
            continue;
        if (!titled)
            fprintf(out, "\n%s:\n", groups[group].title);
        titled = true;
        help_option(out, &bf_options[i]);
    }
}

void bf_settings_help(FILE *out, enum bf_program program)
{
    fprintf(out,
            "Usage: %s [--config FILE] [--<option> <value>]...\n"
            "\n"
            "Options come from blockfleet.ini (here or in /etc/blockfleet),\n"
            "the environment (BLOCKFLEET_WORKER_WINDOW is worker.window) and\n"
            "flags; later ones win. --librdkafka.<property> passes a property\n"
            "to every Kafka handle, --librdkafka.consumer.<property> and\n"
            "--librdkafka.producer.<property> to some.\n",
            bf_program_name(program));
    for (size_t i = 0; i < bf_countof(groups); i++)
        help_group(out, program, i);
    fprintf(out, "\nAlso: --help, --version, --help-markdown, --help-ini\n");
}

/* ---- config/CONFIGURATION.md --------------------------------------------- */

static const char intro[] =
    "# Configuration\n"
    "\n"
    "<!-- Generated from config/option_table.c by `blockfleet-worker\n"
    "--help-markdown`; the tests compare. -->\n"
    "\n"
    "Every option has one name, with a dot. Its value comes from, later ones\n"
    "winning:\n"
    "\n"
    "1. the default;\n"
    "2. an INI file: the one named by `--config` or `BLOCKFLEET_CONFIG`\n"
    "   (empty: none), else `./blockfleet.ini`, else\n"
    "   `/etc/blockfleet/blockfleet.ini`. Option `worker.window` is the key\n"
    "   `window` in the section `[worker]`; names without a dot stand before\n"
    "   the first section. `;` begins a comment (inside a line after a\n"
    "   blank), `#` only at the start of a line;\n"
    "3. the environment: `BLOCKFLEET_WORKER_WINDOW`;\n"
    "4. flags: `--worker.window 4096` or `--worker.window=4096`.\n"
    "\n"
    "An unknown option, a bad value or an option that stands twice in the\n"
    "file stops the start, with the place and the rule. All programs can\n"
    "share one file; as a flag, a program takes only its own options (W\n"
    "worker, D dispatcher, C command line).\n"
    "\n"
    "Times are whole numbers of `ms`, `s`, `m` or `h`. Sizes are bytes, or\n"
    "whole numbers of `k`, `M` or `G` (1024, 1024², 1024³).\n";

static const char outro[] =
    "\n"
    "## librdkafka\n"
    "\n"
    "Any property of librdkafka can be set: in the section `[librdkafka]`\n"
    "for every handle, `[librdkafka.consumer]` or `[librdkafka.producer]` for\n"
    "some; as a flag `--librdkafka.sasl.username`; in the environment\n"
    "`BLOCKFLEET_LIBRDKAFKA_SASL_USERNAME` or\n"
    "`BLOCKFLEET_LIBRDKAFKA_CONSUMER_FETCH_WAIT_MAX_MS`. These come after our\n"
    "own values, the scoped ones last. Properties on which exactly-once\n"
    "delivery depends, and those that an option above sets, are refused with\n"
    "the reason. Secrets (`sasl.password`, `ssl.key.password`, ...) are never\n"
    "printed, are refused as flags and from a file that everyone may read,\n"
    "and are removed from the environment once read.\n"
    "\n"
    "## Other environment variables\n"
    "\n"
    "`BLOCKFLEET_BROKERS` and `BLOCKFLEET_CACHE` belong to `./run`;\n"
    "`BLOCKFLEET_CRASH*` and `BLOCKFLEET_TEST_*` to the tests;\n"
    "`BLOCKFLEET_SECRET_*` hold secrets that options name. Any other\n"
    "`BLOCKFLEET_*` that is no option stops the start.\n";

static void print_cell(FILE *out, const char *text)
{
    for (; *text; text++)
        fprintf(out, *text == '|' || *text == '<' ? "\\%c" : "%c", *text);
}

static void markdown_option(FILE *out, const struct bf_option *option)
{
    char rule[BF_OPTION_RULE_SIZE];

    bf_option_rule(option, rule);
    fprintf(out, "| `%s` | ", option->name);
    if (option->value && option->value[0])
        fprintf(out, "`%s`", option->value);
    else
        print_cell(out, default_of(option));
    fprintf(out, " | ");
    print_cell(out, rule);
    fprintf(out, " | %s%s%s | ",
            option->programs & BF_PROGRAM_WORKER ? "W" : "",
            option->programs & BF_PROGRAM_DISPATCHER ? "D" : "",
            option->programs & BF_PROGRAM_CLI ? "C" : "");
    print_cell(out, option->help);
    fprintf(out, " |\n");
}

void bf_settings_markdown(FILE *out)
{
    fputs(intro, out);
    for (size_t group = 0; group < bf_countof(groups); group++) {
        fprintf(out,
                "\n## %s\n\n"
                "| option | default | must be | for | what |\n"
                "| --- | --- | --- | --- | --- |\n",
                groups[group].title);
        for (size_t i = 0; i < bf_option_count; i++) {
            if (in_group(&bf_options[i], groups[group].name))
                markdown_option(out, &bf_options[i]);
        }
    }
    fputs(outro, out);
}

/* ---- config/blockfleet.ini ----------------------------------------------- */

static void ini_option(FILE *out, const struct bf_option *option)
{
    char rule[BF_OPTION_RULE_SIZE], line[2 * BF_OPTION_RULE_SIZE];
    const char *dot = strchr(option->name, '.');

    bf_option_rule(option, rule);
    fputc('\n', out);
    print_wrapped(out, "# ", option->help, 78);
    snprintf(line, sizeof(line), "Must be %s.", rule);
    print_wrapped(out, "# ", line, 78);
    if (!option->value) {
        snprintf(line, sizeof(line), "Default: %s.", option->computed);
        print_wrapped(out, "# ", line, 78);
    }
    fprintf(out, ";%s =%s%s\n", dot ? dot + 1 : option->name,
            option->value && option->value[0] ? " " : "",
            option->value ? option->value : "");
}

void bf_settings_ini(FILE *out)
{
    fputs("# blockfleet: all options with their defaults. Generated from\n"
          "# config/option_table.c by blockfleet-worker --help-ini; the tests\n"
          "# compare. config/CONFIGURATION.md says how it is read.\n",
          out);
    for (size_t group = 0; group < bf_countof(groups); group++) {
        if (groups[group].name[0])
            fprintf(out, "\n[%s]\n", groups[group].name);
        for (size_t i = 0; i < bf_option_count; i++) {
            if (in_group(&bf_options[i], groups[group].name))
                ini_option(out, &bf_options[i]);
        }
    }
    fputs("\n"
          "# Any property of librdkafka, for every handle.\n"
          "[librdkafka]\n"
          ";security.protocol = SASL_SSL\n"
          "\n[librdkafka.consumer]\n"
          "\n[librdkafka.producer]\n",
          out);
}
