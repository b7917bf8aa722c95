#ifndef BF_DISPATCHER_CLI_CLI_H
#define BF_DISPATCHER_CLI_CLI_H

/*
 * One run of `blockfleet`: from argv to an exit code, and what commands share.
 * One thread.
 */

#include <jansson.h>
#include <stdio.h>

#include "dispatcher/cli/command.h"
#include "dispatcher/cli/table.h"

struct bf_client;
struct bf_err;
struct bf_settings;

struct bf_cli {
    const struct bf_command *command;
    struct bf_args args; /* words without the command's own */
    struct bf_settings *settings;
    FILE *in;
    FILE *out;
    FILE *err;
    bool json;     /* --json: documents for programs on out */
    bool progress; /* err is a terminal, and not --json */
};

/* The whole program but the process: argv[0] is its name. */
enum bf_exit bf_cli_main(int argc, char **argv, FILE *in, FILE *out, FILE *err);

/*
 * The settings: defaults, file, environment, options, in this order. What they
 * are called is config/settings.h; load fills cli->settings.
 */
int bf_cli_settings_load(struct bf_cli *cli, struct bf_err *err);
void bf_cli_settings_release(struct bf_cli *cli);
bf_args_foreign_fn bf_cli_setting_arity;

/* Tell about err on cli->err, and return the exit code of its kind. */
enum bf_exit bf_cli_fail(struct bf_cli *cli, const struct bf_err *err);

/* Write it to cli->out; REJECT "local" when that fails. */
int bf_cli_print(struct bf_cli *cli, const struct bf_buf *text,
                 struct bf_err *err);

/* Rows as a table, or as a JSON array with --json. */
int bf_cli_rows(struct bf_cli *cli, const struct bf_column *columns,
                size_t ncolumns, const json_t *rows, struct bf_err *err);

/* One object as lines, or as JSON. */
int bf_cli_record(struct bf_cli *cli, const struct bf_column *columns,
                  size_t ncolumns, const json_t *row, struct bf_err *err);

/* "cannot <verb> <path>: <errno's words>"; REJECT "local", returns -1. */
int bf_cli_errno(struct bf_err *err, const char *verb, const char *path);

/* A remark for people, on err, only without --json. */
void bf_cli_say(struct bf_cli *cli, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* A client of the dispatcher that the settings name. */
struct bf_client *bf_cli_client(struct bf_cli *cli, struct bf_err *err);

/* Option --workspace, checked; REJECT "usage" when absent. NULL on failure. */
const char *bf_cli_workspace(struct bf_cli *cli, struct bf_err *err);

/* A whole file, "-": cli->in. REJECT "local" names the file. */
int bf_cli_read(struct bf_cli *cli, const char *path, struct bf_buf *out,
                struct bf_err *err);

/* An option's value as a number from 0 to max, absent: fallback. */
int bf_cli_number(struct bf_cli *cli, const char *name, uint64_t max,
                  uint64_t fallback, uint64_t *ret, struct bf_err *err);

#endif
