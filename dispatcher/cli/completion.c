#include "dispatcher/cli/completion.h"

#include "dispatcher/cli/command.h"
#include "schemas/err.h"

/* What an option's value is, by what the table calls it. */
static bool is_path(const struct bf_flag *flag)
{
    return flag->arg &&
           (strcmp(flag->arg, "FILE") == 0 || strcmp(flag->arg, "DIR") == 0);
}

static bool words_are_paths(const struct bf_command *command)
{
    return command->words && strstr(command->words, "FILE") != NULL;
}

/* ---- bash, and zsh by its bashcompinit
 * -------------------------------------*/

/* Of commands of two words the second ones. */
static int bash_second_words(struct bf_buf *out, struct bf_err *err)
{
    const struct bf_command *command;

    for (size_t i = 0; (command = bf_command_at(i)) != NULL; i++) {
        const char *blank = strchr(command->name, ' ');

        if (blank &&
            bf_buf_addf(out, err, "    [ \"$1\" != %.*s ] || echo %s\n",
                        (int)(blank - command->name), command->name, blank + 1))
            return -1;
    }
    return 0;
}

static int bash_flags(struct bf_flags flags, bool paths, struct bf_buf *out,
                      struct bf_err *err)
{
    for (size_t i = 0; i < flags.n; i++) {
        if (paths && !is_path(&flags.list[i]))
            continue;
        if (bf_buf_addf(out, err, " --%s", flags.list[i].name))
            return -1;
        if (paths && flags.list[i].letter &&
            bf_buf_addf(out, err, " -%c", flags.list[i].letter))
            return -1;
    }
    return 0;
}

static int bash_command(const struct bf_command *command, struct bf_buf *out,
                        struct bf_err *err)
{
    if (bf_buf_addf(out, err, "        '%s')\n            options='",
                    command->name) ||
        bash_flags(command->options, false, out, err) ||
        bf_buf_adds(out, "'\n            paths='", err) ||
        bash_flags(command->options, true, out, err))
        return -1;
    return bf_buf_addf(out, err, "'\n            words=%d ;;\n",
                       words_are_paths(command));
}

/* The first words that commands begin with, each once. */
static int first_words(const char *between, struct bf_buf *out,
                       struct bf_err *err)
{
    const struct bf_command *command, *before = NULL;

    for (size_t i = 0; (command = bf_command_at(i)) != NULL; i++) {
        size_t len = strcspn(command->name, " ");
        bool same = before && strncmp(before->name, command->name, len) == 0 &&
                    before->name[len] == ' ';

        before = command;
        if (!same &&
            bf_buf_addf(out, err, "%s%.*s", between, (int)len, command->name))
            return -1;
    }
    return 0;
}

static const char bash_head[] =
    "# Completion of blockfleet for bash. To have it: source it, or put it\n"
    "# into $XDG_DATA_HOME/bash-completion/completions/blockfleet.\n"
    "_blockfleet_after() {\n";

static const char bash_middle[] =
    "}\n\n"
    "_blockfleet() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
    "    local first='' second='' options='' paths='' words=0 word i\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        case $word in\n"
    "        -*) ;;\n"
    "        *) if [ -z \"$first\" ]; then first=$word\n"
    "           elif [ -z \"$second\" ]; then second=$word; fi ;;\n"
    "        esac\n"
    "    done\n"
    "    if [ -n \"$(_blockfleet_after \"$first\")\" ]; then\n"
    "        if [ -z \"$second\" ]; then\n"
    "            COMPREPLY=($(compgen -W \"$(_blockfleet_after \"$first\")\" "
    "-- \"$cur\"))\n"
    "            return\n"
    "        fi\n"
    "        first=\"$first $second\"\n"
    "    fi\n"
    "    case $first in\n"
    "        '') options='";

static const char bash_tail[] =
    "    esac\n"
    "    if [[ \" $paths --config \" == *\" $prev \"* ]] ||\n"
    "        { [ \"$words\" = 1 ] && [[ $cur != -* ]]; }; then\n"
    "        COMPREPLY=($(compgen -f -- \"$cur\"))\n"
    "    elif [ -z \"$first\" ] || [[ $cur == -* ]]; then\n"
    "        [ -z \"$first\" ] || options+='";

static const char bash_end[] =
    "'\n"
    "        COMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n"
    "    fi\n"
    "}\n"
    "complete -o filenames -F _blockfleet blockfleet\n";

static int bash(struct bf_buf *out, struct bf_err *err)
{
    const struct bf_command *command;

    if (bf_buf_adds(out, bash_head, err) || bash_second_words(out, err) ||
        bf_buf_adds(out, bash_middle, err) || first_words(" ", out, err) ||
        bf_buf_adds(out, "' ;;\n", err))
        return -1;
    for (size_t i = 0; (command = bf_command_at(i)) != NULL; i++) {
        if (bash_command(command, out, err))
            return -1;
    }
    if (bf_buf_adds(out, bash_tail, err) ||
        bash_flags(bf_command_common(), false, out, err))
        return -1;
    return bf_buf_adds(out, bash_end, err);
}

static int zsh(struct bf_buf *out, struct bf_err *err)
{
    if (bf_buf_adds(out,
                    "#compdef blockfleet\n"
                    "autoload -U +X compinit && compinit\n"
                    "autoload -U +X bashcompinit && bashcompinit\n",
                    err))
        return -1;
    return bash(out, err);
}

/* ---- fish -----------------------------------------------------------------*/

/* In single quotes, where ' and \ are escaped. */
static int fish_quoted(const char *text, struct bf_buf *out, struct bf_err *err)
{
    for (; *text; text++) {
        if ((*text == '\'' || *text == '\\') && bf_buf_adds(out, "\\", err))
            return -1;
        if (bf_buf_add(out, text, 1, err))
            return -1;
    }
    return 0;
}

/* condition: of fish, that the command line has come to this command. */
static int fish_flag(const struct bf_flag *flag, const char *condition,
                     struct bf_buf *out, struct bf_err *err)
{
    if (bf_buf_addf(out, err, "complete -c blockfleet %s -l %s", condition,
                    flag->name))
        return -1;
    if (flag->letter && bf_buf_addf(out, err, " -s %c", flag->letter))
        return -1;
    if (flag->arg && bf_buf_adds(out, is_path(flag) ? " -rF" : " -x", err))
        return -1;
    if (bf_buf_adds(out, " -d '", err) || fish_quoted(flag->help, out, err))
        return -1;
    return bf_buf_adds(out, "'\n", err);
}

static void fish_condition(const struct bf_command *command, char out[160])
{
    const char *blank = strchr(command->name, ' ');

    if (blank)
        snprintf(out, 160,
                 "-n '__fish_seen_subcommand_from %.*s; and "
                 "__fish_seen_subcommand_from %s'",
                 (int)(blank - command->name), command->name, blank + 1);
    else
        snprintf(out, 160, "-n '__fish_seen_subcommand_from %s'",
                 command->name);
}

/* The word itself: the second one when its name has two. */
static int fish_word(const struct bf_command *command, struct bf_buf *out,
                     struct bf_err *err)
{
    const char *blank = strchr(command->name, ' ');
    char condition[160];

    if (blank)
        snprintf(condition, sizeof(condition),
                 "__fish_seen_subcommand_from %.*s; and test (count "
                 "(commandline -opc)) -eq 2",
                 (int)(blank - command->name), command->name);
    else
        snprintf(condition, sizeof(condition), "__fish_use_subcommand");
    if (bf_buf_addf(out, err, "complete -c blockfleet -f -n '%s' -a %s -d '",
                    condition, blank ? blank + 1 : command->name) ||
        fish_quoted(command->summary, out, err))
        return -1;
    return bf_buf_adds(out, "'\n", err);
}

static int fish_command(const struct bf_command *command, struct bf_buf *out,
                        struct bf_err *err)
{
    char condition[160];

    fish_condition(command, condition);
    if (fish_word(command, out, err))
        return -1;
    for (size_t i = 0; i < command->options.n; i++) {
        if (fish_flag(&command->options.list[i], condition, out, err))
            return -1;
    }
    return 0;
}

static int fish(struct bf_buf *out, struct bf_err *err)
{
    const struct bf_command *command;

    if (bf_buf_adds(out,
                    "# Completion of blockfleet for fish: to be put into\n"
                    "# ~/.config/fish/completions/blockfleet.fish\n"
                    "complete -c blockfleet -n __fish_use_subcommand -f -a '",
                    err) ||
        first_words(" ", out, err) || bf_buf_adds(out, "'\n", err))
        return -1;
    for (size_t i = 0; i < bf_command_common().n; i++) {
        if (fish_flag(&bf_command_common().list[i], "", out, err))
            return -1;
    }
    for (size_t i = 0; (command = bf_command_at(i)) != NULL; i++) {
        if (fish_command(command, out, err))
            return -1;
    }
    return 0;
}

int bf_completion(const char *shell, struct bf_buf *out, struct bf_err *err)
{
    static const struct {
        const char *name;
        int (*make)(struct bf_buf *out, struct bf_err *err);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};

    for (size_t i = 0; i < bf_countof(shells); i++) {
        if (strcmp(shells[i].name, shell) == 0)
            return shells[i].make(out, err);
    }
    return bf_err_set(err, BF_ERR_REJECT, "usage",
                      "there is no completion for '%.40s': bash, zsh or fish",
                      shell);
}
