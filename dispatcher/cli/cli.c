#include "dispatcher/cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

#include "dispatcher/cli/client.h"
#include "dispatcher/cli/text.h"
#include "schemas/err.h"
#include "schemas/ids.h"

#define MAX_MESSAGE 4096

enum bf_exit bf_cli_fail(struct bf_cli *cli, const struct bf_err *err)
{
    static const struct {
        const char *code;
        enum bf_exit number;
    } codes[] = {
        {"usage", BF_EXIT_USAGE},
        {"unreachable", BF_EXIT_UNREACHABLE},
        {"refused", BF_EXIT_REFUSED},
        {"pending", BF_EXIT_PENDING},
    };
    enum bf_exit number = BF_EXIT_LOCAL;
    bf_autobuf struct bf_buf text = BF_BUF_INIT(MAX_MESSAGE);

    for (size_t i = 0; i < bf_countof(codes); i++) {
        if (err->code && strcmp(codes[i].code, err->code) == 0)
            number = codes[i].number;
    }
    if (bf_text_add(&text, bf_slice_str(err->msg), 0, true, NULL) == 0)
        fprintf(cli->err, "blockfleet: %s\n", text.data ? text.data : "failed");
    if (number == BF_EXIT_USAGE && cli->command)
        fprintf(cli->err, "'blockfleet help %s' tells more\n",
                cli->command->name);
    return number;
}

int bf_cli_errno(struct bf_err *err, const char *verb, const char *path)
{
    const char *why = strerrordesc_np(errno);

    return bf_err_set(err, BF_ERR_REJECT, "local", "cannot %s %.100s: %s", verb,
                      path, why ? why : "unknown error");
}

int bf_cli_print(struct bf_cli *cli, const struct bf_buf *text,
                 struct bf_err *err)
{
    if (fwrite(text->data ? text->data : "", 1, text->len, cli->out) !=
            text->len ||
        fflush(cli->out) != 0)
        return bf_cli_errno(err, "write", "the output");
    return 0;
}

#define MAX_DOCUMENT (256U << 20)

int bf_cli_rows(struct bf_cli *cli, const struct bf_column *columns,
                size_t ncolumns, const json_t *rows, struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(MAX_DOCUMENT);

    if (cli->json ? bf_table_json(rows, &text, err)
                  : bf_table_text(columns, ncolumns, rows, &text, err))
        return -1;
    return bf_cli_print(cli, &text, err);
}

int bf_cli_record(struct bf_cli *cli, const struct bf_column *columns,
                  size_t ncolumns, const json_t *row, struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(MAX_DOCUMENT);

    if (cli->json ? bf_table_json(row, &text, err)
                  : bf_table_record(columns, ncolumns, row, &text, err))
        return -1;
    return bf_cli_print(cli, &text, err);
}

/* Any of it may be a user's or a server's: four columns show a byte. */
static void say_clean(struct bf_cli *cli, const char *text)
{
    bf_autobuf struct bf_buf clean = BF_BUF_INIT((size_t)4 * MAX_MESSAGE);

    if (bf_text_add(&clean, bf_slice_str(text), 0, true, NULL) == 0)
        fprintf(cli->err, "%s\n", clean.data ? clean.data : "");
}

void bf_cli_say(struct bf_cli *cli, const char *fmt, ...)
{
    char text[MAX_MESSAGE];
    va_list ap;

    if (cli->json)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    say_clean(cli, text);
}

const char *bf_cli_workspace(struct bf_cli *cli, struct bf_err *err)
{
    const char *workspace = bf_args_get(&cli->args, "workspace");

    if (!workspace) {
        bf_err_set(err, BF_ERR_REJECT, "usage",
                   "whose? --workspace is missing");
        return NULL;
    }
    if (!bf_workspace_ok(bf_slice_str(workspace))) {
        bf_err_set(err, BF_ERR_REJECT, "usage",
                   "--workspace must be 1 to 64 of [A-Za-z0-9_-]");
        return NULL;
    }
    return workspace;
}

static int too_large(const char *name, size_t max, struct bf_err *err)
{
    return bf_err_set(err, BF_ERR_REJECT, "local",
                      "%.100s is larger than %zu bytes", name, max);
}

static int read_all(FILE *file, const char *name, struct bf_buf *out,
                    struct bf_err *err)
{
    for (;;) {
        size_t room = out->max - out->len;
        size_t got;

        if (room == 0) {
            if (fgetc(file) != EOF)
                return too_large(name, out->max, err);
            break;
        }
        room = room > 65536 ? 65536 : room;
        if (bf_buf_reserve(out, room, err))
            return -1;
        got = fread(out->data + out->len, 1, room, file);
        out->len += got;
        out->data[out->len] = '\0';
        if (got == 0)
            break;
    }
    return ferror(file) ? bf_cli_errno(err, "read", name) : 0;
}

static void closep(FILE **file)
{
    if (*file)
        fclose(*file);
}

int bf_cli_read(struct bf_cli *cli, const char *path, struct bf_buf *out,
                struct bf_err *err)
{
    bf_cleanup(closep) FILE *file = NULL;

    if (strcmp(path, "-") == 0)
        return read_all(cli->in, "the input", out, err);
    file = fopen(path, "rbe");
    if (!file)
        return bf_cli_errno(err, "read", path);
    return read_all(file, path, out, err);
}

int bf_cli_number(struct bf_cli *cli, const char *name, uint64_t max,
                  uint64_t fallback, uint64_t *ret, struct bf_err *err)
{
    const char *text = bf_args_get(&cli->args, name);

    *ret = fallback;
    if (!text || bf_slice_u64(bf_slice_str(text), max, ret) == 0)
        return 0;
    return bf_err_set(err, BF_ERR_REJECT, "usage",
                      "--%s must be a number from 0 to %llu, not '%.60s'", name,
                      (unsigned long long)max, text);
}

static struct bf_args_rules no_command(void)
{
    return (struct bf_args_rules){.common = bf_command_common(),
                                  .foreign = bf_cli_setting_arity};
}

/* The words that may name a command, from where the options end. */
static int find_command(struct bf_cli *cli, int argc, char **argv,
                        struct bf_err *err)
{
    const char *const words[] = {argc > 0 ? argv[0] : "",
                                 argc > 1 ? argv[1] : ""};
    const char *guess;
    size_t used = 0;

    cli->command = bf_command_find(words, 2, &used);
    if (cli->command)
        return (int)used;
    guess = bf_command_guess(words[0]);
    return bf_err_set(err, BF_ERR_REJECT, "usage",
                      "there is no command '%.40s'%s%s%s; 'blockfleet help' "
                      "lists them",
                      words[0], guess ? ", did you mean '" : "",
                      guess ? guess : "", guess ? "'" : "");
}

/* Options before the command, the command, its own options and words. */
static int parse(struct bf_cli *cli, int argc, char **argv, struct bf_err *err)
{
    const struct bf_args_rules before = no_command();
    struct bf_args_rules rules = before;
    int at = bf_args_parse(&cli->args, &before, argc, argv, 0, err);
    int used;

    if (at < 0)
        return -1;
    if (at == argc)
        return 0;
    used = find_command(cli, argc - at, argv + at, err);
    if (used < 0)
        return -1;
    at += used;
    rules.own = cli->command->options;
    used = bf_args_parse(&cli->args, &rules, argc - at, argv + at,
                         cli->command->max_words, err);
    if (used < 0)
        return -1;
    if (at + used < argc)
        return bf_err_set(err, BF_ERR_REJECT, "usage", "what is '%.80s' for?",
                          argv[at + used]);
    return 0;
}

/* Text made by one of bf_command's functions, to out. */
static enum bf_exit show_help(struct bf_cli *cli)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1 << 20);
    struct bf_err err = {0};

    if ((cli->command ? bf_command_help(cli->command, &text, &err)
                      : bf_command_help_all(&text, &err)) ||
        bf_cli_print(cli, &text, &err))
        return bf_cli_fail(cli, &err);
    return BF_EXIT_OK;
}

static enum bf_exit run(struct bf_cli *cli)
{
    const struct bf_command *command = cli->command;
    struct bf_err err = {0};
    enum bf_exit number;

    if (cli->args.nwords < command->min_words) {
        bf_err_set(&err, BF_ERR_REJECT, "usage", "blockfleet %s needs %s",
                   command->name, command->words);
        return bf_cli_fail(cli, &err);
    }
    if (!command->bare && bf_cli_settings_load(cli, &err))
        return bf_cli_fail(cli, &err);
    number = command->run(cli);
    if (!command->bare)
        bf_cli_settings_release(cli);
    return number;
}

enum bf_exit bf_cli_main(int argc, char **argv, FILE *in, FILE *out, FILE *err)
{
    struct bf_cli cli = {.in = in, .out = out, .err = err};
    struct bf_err failure = {0};
    enum bf_exit number;

    if (bf_args_init(&cli.args, argc, &failure) ||
        parse(&cli, argc - 1, argv + 1, &failure)) {
        number = bf_cli_fail(&cli, &failure);
    } else if (bf_args_has(&cli.args, "help") || !cli.command) {
        number = show_help(&cli);
        if (!bf_args_has(&cli.args, "help"))
            number = BF_EXIT_USAGE;
    } else {
        cli.json = bf_args_has(&cli.args, "json");
        cli.progress = !cli.json && isatty(fileno(err)) == 1;
        number = run(&cli);
    }
    bf_args_release(&cli.args);
    return number;
}
