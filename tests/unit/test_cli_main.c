#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <ftw.h>
#include <string.h>

#include "dispatcher/cli/cli.h"
#include "schemas/check.h"
#include "schemas/err.h"

/* One run of the program; texts are the caller's. */
struct run {
    enum bf_exit number;
    char *out;
    char *err;
};

static void run(struct run *run, const char *const *words, size_t n)
{
    char *argv[16] = {0};
    size_t out_len, err_len;
    FILE *in = fopen("/dev/null", "re");
    FILE *out = open_memstream(&run->out, &out_len);
    FILE *err = open_memstream(&run->err, &err_len);

    assert_true(n + 2 < bf_countof(argv));
    assert_true(in && out && err);
    argv[0] = strdup("blockfleet");
    for (size_t i = 0; i < n; i++)
        argv[i + 1] = strdup(words[i]);
    run->number = bf_cli_main((int)n + 1, argv, in, out, err);
    for (size_t i = 0; i <= n; i++)
        free(argv[i]);
    fclose(in);
    fclose(out);
    fclose(err);
}

static void run_release(struct run *run)
{
    free(run->out);
    free(run->err);
}

#define autorun bf_cleanup(run_release) struct run
#define RUN(r, ...)                                                            \
    run((r), (const char *const[]){__VA_ARGS__},                               \
        bf_countof(((const char *const[]){__VA_ARGS__})))

static int remove_one(const char *path, const struct stat *stat, int type,
                      struct FTW *ftw)
{
    (void)stat;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_tree(const char *folder)
{
    assert_int_equal(nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void test_help(void **state)
{
    autorun all, one, flag;

    (void)state;
    RUN(&all, "help");
    assert_int_equal(all.number, BF_EXIT_OK);
    assert_non_null(strstr(all.out, "\n  submit"));
    RUN(&one, "help", "submit");
    assert_non_null(strstr(one.out, "--execution MODE"));
    assert_non_null(strstr(one.out, "\n  4  "));
    assert_null(strstr(one.out, "\n  5  "));
    RUN(&flag, "submit", "-h");
    assert_int_equal(flag.number, BF_EXIT_OK);
    assert_string_equal(flag.out, one.out);
}

static void test_usage_errors(void **state)
{
    static const struct {
        const char *words[4];
        const char *told;
    } rows[] = {
        {{"sumbit"}, "did you mean 'submit'"},
        {{"xyzzy"}, "no command 'xyzzy'"},
        {{"status", "-w", "w"}, "needs ID..."},
        {{"results", "extra"}, "what is 'extra' for"},
        {{"submit", "--frobnicate"}, "no option --frobnicate"},
        {{"submit", "--worker.slots=2"}, "no option --worker.slots"},
        {{"submit", "--topics.shards", "0"}, "topics.shards"},
        {{"submit", "-c", "/dev/null"}, "--workspace is missing"},
        {{"submit", "-w", "a/b"}, "--workspace must be"},
        {{"submit", "-w", "w"}, "--code FILE is missing"},
        {{"wait", "-w", "w"}, "needs ID..."},
        {{"help", "nothing"}, "no command 'nothing'"},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        autorun found;
        size_t n = 0;

        while (n < bf_countof(rows[i].words) && rows[i].words[n])
            n++;
        run(&found, rows[i].words, n);
        assert_int_equal(found.number, BF_EXIT_USAGE);
        assert_string_equal(found.out, "");
        if (!strstr(found.err, rows[i].told))
            fail_msg("'%s' has no '%s'", found.err, rows[i].told);
    }
}

static void test_unreachable(void **state)
{
    autorun found;

    (void)state;
    /* port 1 of the loopback: nobody listens, nothing is sent anywhere */
    RUN(&found, "status", "-w", "w", "--dispatcher.url=http://127.0.0.1:1", "x",
        "--json");
    assert_int_equal(found.number, BF_EXIT_UNREACHABLE);
    assert_non_null(strstr(found.err, "http://127.0.0.1:1"));
}

static void test_missing_file(void **state)
{
    autorun found;

    (void)state;
    RUN(&found, "submit", "-w", "w", "-c", "/nowhere/block.py");
    assert_int_equal(found.number, BF_EXIT_LOCAL);
    assert_non_null(
        strstr(found.err, "cannot read /nowhere/block.py: No such"));
}

static void test_version_json(void **state)
{
    autorun found;

    (void)state;
    RUN(&found, "--json", "version");
    assert_int_equal(found.number, BF_EXIT_OK);
    assert_non_null(strstr(found.out, "\"blockfleet\":\"" BF_VERSION "\""));
}

static void test_keys(void **state)
{
    char folder[] = "/tmp/test_cli_main.XXXXXX";
    char here[64], there[64];
    autorun made, bad, trusted, again, revoked, listed, unknown;
    autorun public, none, gone;
    json_auto_t *doc = NULL;
    json_auto_t *rows = NULL;
    const char *id, *line;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(here, sizeof(here), "--keys.dir=%s/a", folder);
    snprintf(there, sizeof(there), "--keys.dir=%s/b", folder);
    RUN(&made, "keys", "new", "job", here, "-w", "x", "-w", "y", "--json");
    assert_int_equal(made.number, BF_EXIT_OK);
    doc = json_loads(made.out, 0, NULL);
    id = json_string_value(json_object_get(doc, "id"));
    line = json_string_value(json_object_get(doc, "line"));
    assert_non_null(strstr(line, " workspaces=x,y"));
    RUN(&bad, "keys", "new", "jobs", here);
    assert_int_equal(bad.number, BF_EXIT_USAGE);
    RUN(&public, "keys", "public", "job", here);
    assert_int_equal(public.number, BF_EXIT_OK);
    assert_int_equal(strncmp(public.out, line, strlen(line)), 0);
    assert_string_equal(public.out + strlen(line), "\n");
    RUN(&none, "keys", "public", here);
    assert_int_equal(none.number, BF_EXIT_LOCAL);
    assert_non_null(strstr(none.err, "no key of purpose run"));
    RUN(&trusted, "keys", "trust", line, "caf\xe9", there); /* no UTF-8 */
    assert_int_equal(trusted.number, BF_EXIT_OK);
    RUN(&again, "keys", "trust", "job", "ed25519", "AAAA", there);
    assert_int_equal(again.number, BF_EXIT_LOCAL);
    RUN(&revoked, "keys", "revoke", id, there);
    assert_int_equal(revoked.number, BF_EXIT_OK);
    RUN(&gone, "keys", "public", "job", there);
    assert_int_equal(gone.number, BF_EXIT_LOCAL);
    RUN(&unknown, "keys", "revoke", "0123456789abcdef", there);
    assert_int_equal(unknown.number, BF_EXIT_LOCAL);
    RUN(&listed, "keys", "list", there, "--json");
    rows = json_loads(listed.out, 0, NULL);
    assert_int_equal(json_array_size(rows), 1);
    assert_true(
        json_is_true(json_object_get(json_array_get(rows, 0), "revoked")));
    assert_false(
        json_is_true(json_object_get(json_array_get(rows, 0), "signs")));
    remove_tree(folder);
}

/* The mode of a file, and its only line into text. */
static mode_t only_line(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "re");
    struct stat st;

    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &st), 0);
    assert_non_null(fgets(text, (int)size, file));
    assert_int_equal(fgetc(file), EOF);
    fclose(file);
    return st.st_mode & 0777;
}

static void test_apikeys(void **state)
{
    char folder[] = "/tmp/test_cli_main.XXXXXX";
    char file[80], output[80], text[128] = "";
    autorun made, bare, both, gone, hidden, again, listed, revoked, unknown;
    json_auto_t *doc = NULL, *rows = NULL;
    const char *key, *id;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof(file), "--dispatcher.api_keys=%s/k/keys", folder);
    snprintf(output, sizeof(output), "%s/mine", folder);
    RUN(&made, "apikeys", "new", file, "-w", "x", "-w", "y", "--json",
        "--comment", "for tests", "--expires-at", "2099-01-01T00:00:00Z");
    assert_int_equal(made.number, BF_EXIT_OK);
    doc = json_loads(made.out, 0, NULL);
    key = json_string_value(json_object_get(doc, "key"));
    id = json_string_value(json_object_get(doc, "id"));
    assert_int_equal(strlen(key), 59);
    assert_memory_equal(key + 3, id, 12);
    RUN(&bare, "apikeys", "new", file);
    assert_int_equal(bare.number, BF_EXIT_USAGE);
    RUN(&both, "apikeys", "new", file, "-w", "x", "--all-workspaces");
    assert_int_equal(both.number, BF_EXIT_USAGE);
    RUN(&gone, "apikeys", "new", file, "-w", "x", "--expires-at",
        "2001-01-01T00:00:00Z");
    assert_int_equal(gone.number, BF_EXIT_USAGE);

    /* Into a file: not on the screen, not readable by others, not twice. */
    RUN(&hidden, "apikeys", "new", file, "--all-workspaces", "-o", output);
    assert_int_equal(hidden.number, BF_EXIT_OK);
    assert_int_equal(only_line(output, text, sizeof(text)), 0600);
    assert_memory_equal(text, "bf_", 3);
    assert_null(strstr(hidden.out, "bf_"));
    assert_null(strstr(hidden.err, "bf_"));
    RUN(&again, "apikeys", "new", file, "--all-workspaces", "-o", output);
    assert_int_equal(again.number, BF_EXIT_LOCAL);

    RUN(&revoked, "apikeys", "revoke", id, file);
    assert_int_equal(revoked.number, BF_EXIT_OK);
    RUN(&unknown, "apikeys", "revoke", "0123456789ab", file);
    assert_int_equal(unknown.number, BF_EXIT_LOCAL);
    RUN(&listed, "apikeys", "list", file, "--json");
    assert_null(strstr(listed.out, "bf_"));
    rows = json_loads(listed.out, 0, NULL);
    assert_int_equal(json_array_size(rows), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *row = json_array_get(rows, i);
        bool first =
            strcmp(json_string_value(json_object_get(row, "id")), id) == 0;

        assert_int_equal(json_is_true(json_object_get(row, "valid")), !first);
        assert_string_equal(
            json_string_value(json_object_get(row, "workspaces")),
            first ? "x,y" : "*");
    }
    remove_tree(folder);
}

/* COMMANDS.md is what the table says: `blockfleet help --markdown` makes it. */
static void test_document(void **state)
{
    static const char path[] = BF_SOURCE_DIR "/dispatcher/cli/COMMANDS.md";
    bf_autobuf struct bf_buf want = BF_BUF_INIT(1 << 20);
    bf_autobuf struct bf_buf have = BF_BUF_INIT(1 << 20);
    struct bf_cli cli = {0};
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(bf_command_markdown(&want, &err), 0);
    assert_int_equal(bf_cli_read(&cli, path, &have, &err), 0);
    assert_string_equal(have.data, want.data);
}

/* People edit it, in whatever encoding: the others are listed all the same. */
static void test_apikeys_of_a_hand(void **state)
{
    static const char lines[] =
        "0123456789ab 00000000000000000000000000000000000000000000000000000000"
        "00000000 workspaces=x created=2026-01-01T00:00:00.000Z caf\xe9\n";
    char path[] = "/tmp/test_cli_main.XXXXXX";
    bf_autoclose int fd = mkstemp(path);
    char file[80];
    autorun listed;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, lines, strlen(lines)), strlen(lines));
    snprintf(file, sizeof(file), "--dispatcher.api_keys=%s", path);
    RUN(&listed, "apikeys", "list", file);
    unlink(path);
    assert_string_equal(listed.err, "");
    assert_int_equal(listed.number, BF_EXIT_OK);
    assert_non_null(strstr(listed.out, "caf\\xe9"));
}

/* A line that was refused may have said anything. */
static void test_what_is_said_moves_no_terminal(void **state)
{
    char *text = NULL;
    size_t len;
    struct bf_cli cli = {.err = open_memstream(&text, &len)};

    (void)state;
    assert_non_null(cli.err);
    bf_cli_say(&cli, "line %d: %s", 3,
               "\x1b]0;x\a\xc2\x9b is no member\nof it");
    fclose(cli.err);
    assert_string_equal(text,
                        "line 3: \\x1b]0;x\\x07\\x9b is no member\nof it\n");
    free(text);
}

/* What help prints fits a terminal, and says nothing twice. */
static void test_table_is_tidy(void **state)
{
    const struct bf_command *command;

    (void)state;
    for (size_t i = 0; (command = bf_command_at(i)); i++) {
        bf_autobuf struct bf_buf text = BF_BUF_INIT(1 << 20);
        struct bf_err err = {0};

        assert_int_equal(bf_command_help(command, &text, &err), 0);
        for (const char *at = text.data; *at; at += *at == '\n') {
            size_t len = strcspn(at, "\n");

            if (len > 80)
                fail_msg("%zu columns: %.*s", len, (int)len, at);
            at += len;
        }
        for (size_t a = 0; a < command->options.n; a++)
            for (size_t b = 0; b < a; b++)
                assert_string_not_equal(command->options.list[a].name,
                                        command->options.list[b].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_usage_errors),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_version_json),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_apikeys),
        cmocka_unit_test(test_apikeys_of_a_hand),
        cmocka_unit_test(test_what_is_said_moves_no_terminal),
        cmocka_unit_test(test_document),
        cmocka_unit_test(test_table_is_tidy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
