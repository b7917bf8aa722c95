/* Completion as a real bash does it, and the manual page as groff reads it. */

#include "tests/unit/support.h"

#include <stdio.h>

#include "dispatcher/cli/command.h"
#include "dispatcher/cli/completion.h"
#include "dispatcher/cli/manpage.h"

#define MAX_TEXT (1U << 20)

/* What a command prints that gets the name of a file with script. */
static void shell(const struct bf_buf *script, const char *command,
                  struct bf_buf *out)
{
    char path[] = "/tmp/blockfleet-completion-XXXXXX", line[1024];
    int fd = mkstemp(path);
    FILE *pipe;
    size_t n;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, script->data, script->len), script->len);
    close(fd);
    snprintf(line, sizeof(line), "%s %s", command, path);
    pipe = popen(line, "re");
    assert_non_null(pipe);
    while ((n = fread(line, 1, sizeof(line), pipe)) > 0)
        assert_int_equal(bf_buf_add(out, line, n, NULL), 0);
    assert_int_equal(pclose(pipe), 0);
    unlink(path);
}

/* What bash offers for the last of words. */
static void offered(const char *words, struct bf_buf *out)
{
    bf_autobuf struct bf_buf script = BF_BUF_INIT(MAX_TEXT);
    char command[512];

    bf_buf_clear(out);
    assert_int_equal(bf_completion("bash", &script, NULL), 0);
    snprintf(command, sizeof(command),
             "bash -c 'source $0; COMP_WORDS=(blockfleet %s); "
             "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _blockfleet; "
             "printf \"<%%s>\" \"${COMPREPLY[@]}\"'",
             words);
    shell(&script, command, out);
}

static void test_bash_completes(void **state)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(MAX_TEXT);

    (void)state;
    offered("su", &out);
    assert_string_equal(out.data, "<submit>");
    offered("topics \"\"", &out);
    assert_string_equal(out.data, "<init><show>");
    offered("topics i", &out);
    assert_string_equal(out.data, "<init>");
    offered("topics init --d", &out);
    assert_string_equal(out.data, "<--dev-keys>");
    offered("status --jso", &out);
    assert_string_equal(out.data, "<--json>");
    offered("submit --code /etc/host", &out);
    assert_non_null(strstr(out.data, "</etc/hosts>"));
    offered("video /etc/host", &out);
    assert_non_null(strstr(out.data, "</etc/hosts>"));
    offered("status /etc/host", &out);
    assert_string_equal(out.data, "<>");
}

static void test_every_option_is_in_every_shell(void **state)
{
    static const char *const shells[] = {"bash", "zsh", "fish"};

    (void)state;
    for (size_t s = 0; s < bf_countof(shells); s++) {
        bf_autobuf struct bf_buf out = BF_BUF_INIT(MAX_TEXT);
        const struct bf_command *command;

        assert_int_equal(bf_completion(shells[s], &out, NULL), 0);
        for (size_t i = 0; (command = bf_command_at(i)) != NULL; i++) {
            for (size_t f = 0; f < command->options.n; f++)
                assert_non_null(
                    strstr(out.data, command->options.list[f].name));
        }
    }
}

static void test_an_unknown_shell_is_refused(void **state)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(MAX_TEXT);
    struct bf_err err = {0};

    (void)state;
    assert_refused(bf_completion("tcsh", &out, &err), err, "usage");
    assert_non_null(strstr(err.msg, "bash, zsh or fish"));
}

/* No line begins like a request by accident, no dash turns into a hyphen. */
static void test_the_manual_page(void **state)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(MAX_TEXT);
    const struct bf_command *command;
    static const char *const requests[] = {".TH ",  ".SH ",  ".SS ",
                                           ".TP\n", ".PP\n", ".\\\" "};

    (void)state;
    assert_int_equal(bf_manpage(&out, NULL), 0);
    for (const char *line = out.data; line; line = strchr(line, '\n')) {
        bool known = false;

        line += *line == '\n';
        for (size_t i = 0; i < bf_countof(requests); i++)
            known =
                known || strncmp(line, requests[i], strlen(requests[i])) == 0;
        assert_true(*line != '.' || known);
        assert_true(*line != '\'');
    }
    for (size_t i = 0; (command = bf_command_at(i)) != NULL; i++) {
        char heading[64];

        snprintf(heading, sizeof(heading), "\n.SS \"%s", command->name);
        assert_non_null(strstr(out.data, heading));
    }
    assert_non_null(strstr(out.data, "\\fB\\-w\\fR, \\fB\\-\\-workspace"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bash_completes),
        cmocka_unit_test(test_every_option_is_in_every_shell),
        cmocka_unit_test(test_an_unknown_shell_is_refused),
        cmocka_unit_test(test_the_manual_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
