#include "dispatcher/cli/manpage.h"

#include "dispatcher/cli/command.h"
#include "schemas/err.h"

/*
 * Text of the table: a line must not begin like a request, a backslash is
 * groff's, and a bare - would become a hyphen that nobody can paste.
 */
static int add_text(const char *text, struct bf_buf *out, struct bf_err *err)
{
    bool begins = true;

    for (; *text; text++) {
        const char *as = NULL;

        if (*text == '\\')
            as = "\\e";
        else if (*text == '-')
            as = "\\-";
        else if (begins && (*text == '.' || *text == '\''))
            as = *text == '.' ? "\\&." : "\\&'";
        if (as ? bf_buf_adds(out, as, err) : bf_buf_add(out, text, 1, err))
            return -1;
        begins = *text == '\n';
    }
    return 0;
}

static int add_flag(const struct bf_flag *flag, struct bf_buf *out,
                    struct bf_err *err)
{
    char name[96];

    if (bf_buf_adds(out, ".TP\n", err))
        return -1;
    if (flag->letter && bf_buf_addf(out, err, "\\fB\\-%c\\fR, ", flag->letter))
        return -1;
    snprintf(name, sizeof(name), "--%s", flag->name);
    if (bf_buf_adds(out, "\\fB", err) || add_text(name, out, err) ||
        bf_buf_adds(out, "\\fR", err))
        return -1;
    if (flag->arg && bf_buf_addf(out, err, " \\fI%s\\fR%s", flag->arg,
                                 flag->many ? "..." : ""))
        return -1;
    if (bf_buf_adds(out, "\n", err) || add_text(flag->help, out, err))
        return -1;
    return bf_buf_adds(out, "\n", err);
}

static int add_flags(struct bf_flags flags, struct bf_buf *out,
                     struct bf_err *err)
{
    for (size_t i = 0; i < flags.n; i++) {
        if (add_flag(&flags.list[i], out, err))
            return -1;
    }
    return 0;
}

static int add_command(const struct bf_command *command, struct bf_buf *out,
                       struct bf_err *err)
{
    if (bf_buf_adds(out, ".SS \"", err) || add_text(command->name, out, err))
        return -1;
    if (command->words &&
        (bf_buf_adds(out, " ", err) || add_text(command->words, out, err)))
        return -1;
    if (bf_buf_adds(out, "\"\n", err) || add_text(command->summary, out, err) ||
        bf_buf_adds(out, ".\n.PP\n", err) ||
        add_text(command->help, out, err) || bf_buf_adds(out, "\n", err))
        return -1;
    return add_flags(command->options, out, err);
}

static int add_exits(struct bf_buf *out, struct bf_err *err)
{
    static const struct {
        enum bf_exit number;
        const char *text;
    } exits[] = {
#define X(id, number, text) {BF_EXIT_##id, text},
        BF_EXIT_TABLE(X)
#undef X
    };

    if (bf_buf_adds(out, ".SH \"EXIT STATUS\"\n", err))
        return -1;
    for (size_t i = 0; i < bf_countof(exits); i++) {
        if (bf_buf_addf(out, err, ".TP\n\\fB%d\\fR\n%s.\n",
                        (int)exits[i].number, exits[i].text))
            return -1;
    }
    return 0;
}

int bf_manpage(struct bf_buf *out, struct bf_err *err)
{
    const struct bf_command *command;

    if (bf_buf_adds(out,
                    ".\\\" Made from the command table by "
                    "`blockfleet help --man`.\n"
                    ".TH BLOCKFLEET 1 \"\" \"blockfleet " BF_VERSION "\"\n"
                    ".SH NAME\n"
                    "blockfleet \\- run Python blocks on a fleet of workers, "
                    "by Kafka\n"
                    ".SH SYNOPSIS\n"
                    "\\fBblockfleet\\fR \\fICOMMAND\\fR [\\fIoptions\\fR]\n"
                    ".SH OPTIONS\n"
                    "Of every command, besides every setting of\n"
                    "CONFIGURATION.md.\n",
                    err) ||
        add_flags(bf_command_common(), out, err) ||
        bf_buf_adds(out, ".SH COMMANDS\n", err))
        return -1;
    for (size_t i = 0; (command = bf_command_at(i)) != NULL; i++) {
        if (add_command(command, out, err))
            return -1;
    }
    return add_exits(out, err);
}
