#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/ini.h"
#include "config/option.h"
#include "config/secret.h"
#include "config/settings.h"
#include "schemas/err.h"
#include "tests/unit/generated.h"

#define WORD "hunter2-correct-horse"
#define ARGS_MAX 16

static char ini_path[] = "/tmp/bf-settings-XXXXXX";

/* Load as a program started with these words; "--config=" unless given. */
static int load(enum bf_program program, struct bf_settings **ret,
                struct bf_err *err, const char *const *words)
{
    static char copies[ARGS_MAX][256];
    static char *argv[ARGS_MAX + 3];
    int argc = 2;
    char *name = copies[ARGS_MAX - 1], *none = copies[ARGS_MAX - 2];

    snprintf(name, 256, "%s", bf_program_name(program));
    snprintf(none, 256, "--config=");
    argv[0] = name;
    argv[1] = none;
    for (int i = 0; words[i]; i++) {
        assert_true(i < ARGS_MAX - 2);
        snprintf(copies[i], sizeof(copies[i]), "%s", words[i]);
        argv[argc++] = copies[i];
    }
    argv[argc] = NULL;
    return bf_settings_load(ret, program, argc, argv, err);
}

#define LOAD(program, ret, err, ...)                                           \
    load(program, ret, err, (const char *const[]){__VA_ARGS__, NULL})

static void write_ini(const char *text, mode_t mode)
{
    FILE *file = fopen(ini_path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(ini_path, mode), 0);
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in: %s", part, text);
}

static void test_defaults(void **state)
{
    bf_autosettings struct bf_settings *s = bf_settings_new(NULL);

    (void)state;
    assert_non_null(s);
    assert_string_equal(s->fleet, "main");
    assert_true(strlen(s->instance) > 0);
    assert_string_equal(s->kafka.brokers, "127.0.0.1:9092");
    assert_true(s->topics.replication == -1);
    assert_true(s->topics.shards == 12 && s->topics.spread == 4);
    assert_int_equal(s->log.level, BF_LOG_INFO);
    assert_int_equal(s->log.format, BF_LOG_AUTO);
    assert_int_equal(s->worker.backend, BF_BACKEND_NOOP);
    assert_true(s->worker.commit_interval_ms == 20);
    assert_true(s->worker.session_timeout_ms == 15000);
    assert_true(s->worker.memory_bytes == 256U << 20);
    assert_true(s->local.stdout_bytes == 16384);
    assert_true(s->local.trusted_workspaces.count == 0);
    assert_null(s->local.trusted_workspaces.items[0]);
    assert_false(s->dispatcher.anonymous);
    assert_string_equal(s->dispatcher.port_file, "");
    assert_has(s->dispatcher.view, s->run_dir);
    assert_string_equal(bf_settings_where(s, "fleet"), "default");
    assert_null(bf_settings_where(s, "flet"));
}

static void test_later_sources_win(void **state)
{
    bf_autosettings struct bf_settings *s = NULL;
    struct bf_err err = {0};
    char text[64];

    (void)state;
    write_ini("fleet = file\ninstance = i1\n[worker]\nconcurrency = 1\n"
              "window = 100\ndrain = 1m\n",
              0644);
    setenv("BLOCKFLEET_WORKER_WINDOW", "200", 1);
    setenv("BLOCKFLEET_WORKER_DRAIN", "2m", 1);
    /* A provider's name for it is one of ours, which wins. */
    setenv("MODAL_WEB_ENDPOINT_URL", "https://theirs", 1);
    setenv("BLOCKFLEET_MODAL_URL", "https://ours", 1);
    snprintf(text, sizeof(text), "--config=%s", ini_path);
    if (LOAD(BF_PROGRAM_WORKER, &s, &err, text, "--worker.drain", "3m", "left",
             "over"))
        fail_msg("%s", err.msg);
    assert_string_equal(s->fleet, "file");
    assert_true(s->worker.concurrency == 1);
    assert_true(s->worker.window == 200);
    assert_true(s->worker.drain_ms == 180000);
    assert_string_equal(s->modal.url, "https://ours");
    assert_string_equal(bf_settings_where(s, "worker.window"), "environment");
    assert_string_equal(bf_settings_where(s, "worker.drain"), "flag");
    snprintf(text, sizeof(text), "%s:4", ini_path);
    assert_string_equal(bf_settings_where(s, "worker.concurrency"), text);
    assert_int_equal(s->arg_count, 2);
    assert_string_equal(s->args[0], "left");
    assert_string_equal(s->args[1], "over");
    assert_null(s->args[2]);
    unsetenv("BLOCKFLEET_WORKER_WINDOW");
    unsetenv("BLOCKFLEET_WORKER_DRAIN");
    unsetenv("MODAL_WEB_ENDPOINT_URL");
    unsetenv("BLOCKFLEET_MODAL_URL");
}

static const struct {
    const char *name;
    const char *value;
    int64_t want; /* read through worker.drain_ms or the like; see below */
} numbers[] = {
    {"worker.drain", "0ms", 0},
    {"worker.drain", "20ms", 20},
    {"worker.drain", "15s", 15000},
    {"worker.drain", "5m", 300000},
    {"worker.default_timeout", "24h", 86400000},
    {"worker.memory", "64M", 64 << 20},
    {"worker.memory", "65536k", 64 << 20},
    {"worker.memory", "67108864", 64 << 20},
    {"worker.memory", "1G", 1 << 30},
    {"topics.replication", "-1", -1},
    {"topics.replication", "3", 3},
};

static void test_numbers(void **state)
{
    bf_autosettings struct bf_settings *s = bf_settings_new(NULL);

    (void)state;
    for (size_t i = 0; i < bf_countof(numbers); i++) {
        const struct bf_option *option = bf_option_find(numbers[i].name);
        int64_t got;

        assert_int_equal(
            bf_settings_set(s, numbers[i].name, numbers[i].value, NULL), 0);
        memcpy(&got, (char *)s + option->offset, sizeof(got));
        assert_true(got == numbers[i].want);
    }
}

static const struct {
    const char *name;
    const char *value;
    const char *part; /* of the message */
} refused[] = {
    {"worker.concurrency", "0", "a whole number from 1 to 65536, not \"0\""},
    {"worker.concurrency", "65537", "from 1 to 65536"},
    {"worker.concurrency", "-5", "from 1 to 65536"},
    {"worker.concurrency", "5k", "whole number"},
    {"worker.concurrency", "", "whole number"},
    {"worker.concurrency", "99999999999999999999", "whole number"},
    {"worker.concurrency", "1 ", "whole number"},
    {"worker.commit_interval", "20", "a time (ms, s, m, h) from 1ms to 1s"},
    {"worker.commit_interval", "0ms", "from 1ms to 1s"},
    {"worker.commit_interval", "1.5s", "from 1ms to 1s"},
    {"worker.session_timeout", "5999ms", "from 6s to 30m"},
    {"worker.default_timeout", "9223372036854775807h", "from 1ms to 24h"},
    {"worker.memory", "31M", "bytes (k, M, G) from 32M to 1024G"},
    {"worker.memory", "18446744073709551615G", "from 32M"},
    {"worker.memory", "64MB", "from 32M"},
    {"worker.backend", "lambda",
     "noop, http, local, modal or e2b, not \"lambda\""},
    {"log.level", "INFO", "error, warn, info or debug"},
    {"dispatcher.anonymous", "yes", "true or false"},
    {"fleet", "", "1 to 32 of a-z, 0-9 and -"},
    {"fleet", "Main", "1 to 32"},
    {"fleet", "123456789012345678901234567890123", "1 to 32"},
    {"instance", "a b", "1 to 64"},
    {"keys.dir", "", "some text"},
    {"keys.dir", "a\nb", "not \"a?b\""},
    {"dispatcher.listen", "8080", "host:port"},
    {"dispatcher.listen", ":8080", "host:port"},
    {"dispatcher.listen", "a:65536", "host:port"},
    {"dispatcher.listen", "[::1:80", "host:port"},
    {"dispatcher.listen", "::1:80", "host:port"},
    {"http.url", "ftp://x", "http://"},
    {"http.url", "http://", "http://"},
    {"http.url", "http://me:pw@host/", "without user name"},
    {"local.trusted_workspaces", "a,,b", "separated by commas"},
    {"local.trusted_workspaces", "a,b c", "separated by commas"},
    {"local.trusted_workspaces", ",", "separated by commas"},
    {"worker.concurency", "5", "did you mean worker.concurrency?"},
    {"concurrency", "5", "did you mean worker.concurrency?"},
    {"workers.window", "5", "did you mean worker.window?"},
    {"flet", "x", "did you mean fleet?"},
    {"entirely.different", "x", "no option entirely.different; --help"},
    {"", "x", "no option"},
    {"librdkafka.", "x", "librdkafka has no property"},
    {"librdkafka.fetch.wait.maxms", "1", "no property fetch.wait.maxms"},
    {"librdkafka.fetch.wait.max.ms", "no", "fetch.wait.max.ms"},
    {"librdkafka.dr_msg_cb", "x", "librdkafka has no property"},
    {"librdkafka.ssl_key", "x", "librdkafka has no property"},
    {"librdkafka.enable.auto.commit", "true", "in the transaction"},
    {"librdkafka.isolation.level", "read_committed", "cannot be set"},
    {"librdkafka.consumer.auto.offset.reset", "earliest", "cannot be set"},
    {"librdkafka.producer.acks", "1", "exactly-once"},
    {"librdkafka.producer.enable.idempotence", "false", "exactly-once"},
    {"librdkafka.transactional.id", "x", "fencing"},
    {"librdkafka.partition.assignment.strategy", "range", "cooperatively"},
    {"librdkafka.enable.auto.offset.store", "true", "in the transaction"},
    {"librdkafka.bootstrap.servers", "x", "kafka.brokers"},
    {"librdkafka.sasl.password", WORD, "a command line is none"},
};

static void test_refused(void **state)
{
    bf_autosettings struct bf_settings *s = bf_settings_new(NULL);
    struct bf_err err;

    (void)state;
    for (size_t i = 0; i < bf_countof(refused); i++) {
        if (bf_settings_set(s, refused[i].name, refused[i].value, &err) == 0)
            fail_msg("%s = %s passed", refused[i].name, refused[i].value);
        assert_int_equal(err.kind, BF_ERR_REJECT);
        assert_has(err.msg, refused[i].part);
        assert_null(strstr(err.msg, WORD));
    }
    assert_true(s->worker.concurrency == 256);
    assert_true(s->prop_count == 0);
}

static void test_list(void **state)
{
    bf_autosettings struct bf_settings *s = bf_settings_new(NULL);
    const char *name = "local.trusted_workspaces";

    (void)state;
    assert_int_equal(bf_settings_set(s, name, "a, b ,c_1-Z", NULL), 0);
    assert_true(s->local.trusted_workspaces.count == 3);
    assert_string_equal(s->local.trusted_workspaces.items[0], "a");
    assert_string_equal(s->local.trusted_workspaces.items[1], "b");
    assert_string_equal(s->local.trusted_workspaces.items[2], "c_1-Z");
    assert_null(s->local.trusted_workspaces.items[3]);
    assert_int_equal(bf_settings_set(s, name, "", NULL), 0);
    assert_true(s->local.trusted_workspaces.count == 0);
}

static void test_listen_and_url_forms(void **state)
{
    const char *const listens[] = {"127.0.0.1:0", "[::1]:0", "localhost:8080",
                                   "[::]:65535", "0.0.0.0:80"};
    const char *const urls[] = {"http://a", "https://a.b:1/c?d=e@f", ""};
    bf_autosettings struct bf_settings *s = bf_settings_new(NULL);

    (void)state;
    for (size_t i = 0; i < bf_countof(listens); i++)
        assert_int_equal(
            bf_settings_set(s, "dispatcher.listen", listens[i], NULL), 0);
    for (size_t i = 0; i < bf_countof(urls); i++)
        assert_int_equal(bf_settings_set(s, "http.url", urls[i], NULL), 0);
}

static const struct {
    const char *text;
    const char *part;
} bad_files[] = {
    {"\n\n[worker]\nconcurency = 5\n", "x.ini:4: no option worker.concurency"},
    {"[worker]\nconcurrency = 5\nconcurrency = 6\n",
     "x.ini:3: worker.concurrency is already set in line 2"},
    {"[worker]\nwindow = 64\n[http]\n[worker]\nwindow = 64\n", "x.ini:5: "},
    {"[worker]\n concurrency = 5\n  concurrency = 6\n", "x.ini:3: "},
    {"[librdkafka]\nfetch.wait.max.ms=5\nfetch.wait.max.ms=6\n",
     "x.ini:3: fetch.wait.max.ms is already set in line 2"},
    {"fleet\n", "x.ini:1: expected [section], key = value"},
    {"[worker\nwindow = 64\n", "x.ini:1: expected"},
    {"= 5\n", "x.ini:1: no option"},
    {"fleet = a\nwindow = 64", "x.ini:2: no option window; did you mean "
                               "worker.window?"},
    {"fleet = a\n\nfleet\x01 = b\n", "x.ini:3: byte 0x01 is not text"},
    {"fleet = a # b\n", "x.ini:1: fleet must be"},
};

static void test_bad_files(void **state)
{
    struct bf_err err;

    (void)state;
    for (size_t i = 0; i < bf_countof(bad_files); i++) {
        bf_autosettings struct bf_settings *s = bf_settings_new(NULL);

        if (bf_settings_read_ini(s, bf_slice_str(bad_files[i].text), "x.ini",
                                 &err) == 0)
            fail_msg("passed: %s", bad_files[i].text);
        assert_has(err.msg, bad_files[i].part);
    }
}

static void test_good_file(void **state)
{
    const char *text = "\xef\xbb\xbf; comment\r\n# another\r\nfleet: a\r\n\r\n"
                       "[worker]\r\n\tconcurrency =\t7 ; seven\r\n"
                       "  window = 64\n[librdkafka.producer]\nlinger.ms = 1";
    bf_autosettings struct bf_settings *s = bf_settings_new(NULL);
    struct bf_err err = {0};

    (void)state;
    if (bf_settings_read_ini(s, bf_slice_str(text), "x.ini", &err))
        fail_msg("%s", err.msg);
    assert_string_equal(s->fleet, "a");
    assert_true(s->worker.concurrency == 7 && s->worker.window == 64);
    assert_true(s->prop_count == 1);
    assert_int_equal(s->props[0].scope, BF_KAFKA_PRODUCERS);
    assert_string_equal(s->props[0].name, "linger.ms");
    assert_string_equal(s->props[0].value, "1");
}

/* Lines around the ceiling, NULs, every byte, no line ends at all. */
static void test_hostile_files(void **state)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1 << 20);
    struct bf_err err;

    (void)state;
    for (int len = BF_INI_LINE_MAX - 2; len < BF_INI_LINE_MAX + 3; len++) {
        bf_autosettings struct bf_settings *s = bf_settings_new(NULL);
        int res;

        bf_buf_clear(&text);
        bf_buf_addf(&text, NULL, "[keys]\ndir=%0*d", len - 4, 0);
        res = bf_settings_read_ini(s, bf_buf_slice(&text), "x.ini", &err);
        assert_int_equal(res, len <= BF_INI_LINE_MAX ? 0 : -1);
        if (res == 0)
            assert_int_equal(strlen(s->keys.dir), len - 4);
        else
            assert_has(err.msg, "x.ini:2: a line may have at most");
    }
    for (int c = 0; c < 256; c++) {
        bf_autosettings struct bf_settings *s = bf_settings_new(NULL);
        int res;

        bf_buf_clear(&text);
        bf_buf_addf(&text, NULL, "[keys]\ndir = a%cb\n\n\n\n", c);
        res = bf_settings_read_ini(s, bf_buf_slice(&text), "x.ini", &err);
        if ((c < ' ' && c != '\t' && c != '\n' && c != '\r') || c == 127) {
            assert_int_equal(res, -1);
            assert_has(err.msg, "x.ini:2: byte 0x");
        }
    }
}

/* A file that somebody named must be there and be a file of sane size. */
static void test_named_file(void **state)
{
    struct bf_settings *s = NULL;
    struct bf_err err;

    (void)state;
    assert_int_equal(
        LOAD(BF_PROGRAM_WORKER, &s, &err, "--config", "/nonexistent/x"), -1);
    assert_has(err.msg, "cannot open /nonexistent/x");
    assert_int_equal(LOAD(BF_PROGRAM_WORKER, &s, &err, "--config", "/"), -1);
    assert_has(err.msg, "cannot read /");
    assert_int_equal(LOAD(BF_PROGRAM_WORKER, &s, &err, "--config", "/dev/zero"),
                     -1);
    assert_has(err.msg, "has more than 1048576 bytes");
    assert_null(s);
}

static const struct {
    const char *name;
    const char *value;
    const char *part; /* NULL: loads */
} variables[] = {
    {"BLOCKFLEET_WORKER_DEFAULT_TIMEOUT", "3s", NULL},
    {"BLOCKFLEET_BROKERS", "x", NULL},
    {"MODAL_WEB_ENDPOINT_URL", "https://a--b.modal.run", NULL},
    {"MODAL_WEB_ENDPOINT_URL", "", NULL},
    {"MODAL_WEB_ENDPOINT_URL", "a b",
     "environment MODAL_WEB_ENDPOINT_URL: modal.url must be"},
    {"BLOCKFLEET_CRASH_AT", "x", NULL},
    {"BLOCKFLEET_TEST_X", "x", NULL},
    {"BLOCKFLEET_LIBRDKAFKA_CONSUMER_FETCH_WAIT_MAX_MS", "7", NULL},
    {"BLOCKFLEET_WORKER_WINDOWS", "64",
     "environment BLOCKFLEET_WORKER_WINDOWS: no option worker.windows; did "
     "you mean worker.window?"},
    {"BLOCKFLEET_WORKER_WINDOW", "63",
     "environment BLOCKFLEET_WORKER_WINDOW: worker.window must be"},
    {"BLOCKFLEET_LIBRDKAFKA_NO_SUCH", "63", "no property no.such"},
    {"BLOCKFLEET_", "63", "no option"},
    {"BLOCKFLEET_RUN_KEYS", "x", NULL},
};

static void test_environment(void **state)
{
    struct bf_err err;

    (void)state;
    for (size_t i = 0; i < bf_countof(variables); i++) {
        bf_autosettings struct bf_settings *s = NULL;
        int res;

        setenv(variables[i].name, variables[i].value, 1);
        res = LOAD(BF_PROGRAM_WORKER, &s, &err, "x");
        unsetenv(variables[i].name);
        assert_int_equal(res, variables[i].part ? -1 : 0);
        if (variables[i].part)
            assert_has(err.msg, variables[i].part);
        else if (i == 0)
            assert_true(s->worker.default_timeout_ms == 3000);
        else if (i == 4)
            assert_string_equal(s->props[0].name, "fetch.wait.max.ms");
    }
}

static void test_flags(void **state)
{
    struct bf_settings *s = NULL;
    struct bf_err err;

    (void)state;
    assert_int_equal(LOAD(BF_PROGRAM_WORKER, &s, &err, "--worker.windw=64"),
                     -1);
    assert_has(err.msg, "flag --worker.windw: no option");
    assert_has(err.msg, "did you mean worker.window?");
    assert_int_equal(LOAD(BF_PROGRAM_WORKER, &s, &err, "--worker.window"), -1);
    assert_has(err.msg, "flag --worker.window: needs a value");
    assert_int_equal(
        LOAD(BF_PROGRAM_DISPATCHER, &s, &err, "--worker.window=64"), -1);
    assert_has(err.msg, "no option of blockfleet-dispatcher");
    assert_int_equal(LOAD(BF_PROGRAM_WORKER, &s, &err, "--wait"), -1);
    assert_int_equal(LOAD(BF_PROGRAM_WORKER, &s, &err, "--topics.spread=13"),
                     -1);
    assert_string_equal(err.msg,
                        "flag: topics.spread must be at most topics.shards");
    assert_int_equal(LOAD(BF_PROGRAM_WORKER, &s, &err, "--worker.backend=http"),
                     -1);
    assert_has(err.msg, "http.url must be set when worker.backend is http");
    assert_null(s);
    assert_int_equal(LOAD(BF_PROGRAM_WORKER, &s, &err, "--worker.window=64",
                          "--worker.window", "65"),
                     0);
    assert_true(s->worker.window == 65);
    bf_settings_free(s);
}

/* The CLI's own flags are left where they were, in order. */
static void test_flags_of_subcommands(void **state)
{
    const char *const want[] = {"submit", "--workspace", "w1",      "--help",
                                "--wait", "file",        "--fleet", "--x"};
    bf_autosettings struct bf_settings *s = NULL;
    struct bf_settings *none = NULL;
    struct bf_err err = {0};

    (void)state;
    if (LOAD(BF_PROGRAM_CLI, &s, &err, "submit", "--workspace", "w1", "--fleet",
             "f2", "--help", "--wait", "file", "--", "--fleet", "--x"))
        fail_msg("%s", err.msg);
    assert_string_equal(s->fleet, "f2");
    assert_int_equal(s->arg_count, (int)bf_countof(want));
    for (int i = 0; i < s->arg_count; i++)
        assert_string_equal(s->args[i], want[i]);
    assert_int_equal(LOAD(BF_PROGRAM_CLI, &none, &err, "--kafka.broker", "x"),
                     -1);
    assert_has(err.msg, "did you mean kafka.brokers?");
}

static void test_secrets_stay_secret(void **state)
{
    bf_autosettings struct bf_settings *s = NULL;
    struct bf_settings *none = NULL;
    struct bf_err err;

    (void)state;
    setenv("BLOCKFLEET_LIBRDKAFKA_SASL_PASSWORD", WORD, 1);
    assert_int_equal(LOAD(BF_PROGRAM_WORKER, &s, &err, "x"), 0);
    assert_null(getenv("BLOCKFLEET_LIBRDKAFKA_SASL_PASSWORD"));
    assert_null(s->props[0].value);
    assert_true(bf_secret_equal(s->props[0].secret, bf_slice_str(WORD)));

    assert_int_equal(LOAD(BF_PROGRAM_WORKER, &none, &err,
                          "--librdkafka.sasl.password=" WORD),
                     -1);
    assert_has(err.msg, "sasl.password");
    assert_null(strstr(err.msg, WORD));

    /* Only a file that others cannot read may hold one. */
    write_ini("[librdkafka]\nsasl.password = " WORD "\n", 0644);
    assert_int_equal(LOAD(BF_PROGRAM_WORKER, &none, &err, "--config", ini_path),
                     -1);
    assert_has(err.msg, ":2: sasl.password is a secret");
    assert_null(strstr(err.msg, WORD));
    chmod(ini_path, 0640);
    assert_int_equal(LOAD(BF_PROGRAM_WORKER, &none, &err, "--config", ini_path),
                     0);
    assert_true(bf_secret_equal(none->props[0].secret, bf_slice_str(WORD)));
    bf_settings_free(none);

    /* A secret under a wrong name is not quoted either. */
    none = NULL;
    write_ini("[librdkafka]\nsasl.passwort = " WORD "\n", 0600);
    assert_int_equal(LOAD(BF_PROGRAM_WORKER, &none, &err, "--config", ini_path),
                     -1);
    assert_has(err.msg, "sasl.passwort");
    assert_null(strstr(err.msg, WORD));
}

/* ---- generated files ----------------------------------------------------- */

static char *generated(void (*print)(FILE *out))
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    print(out);
    fclose(out);
    return text;
}

static void test_documents_are_generated(void **state)
{
    bf_autofree char *page = generated(bf_settings_markdown);
    bf_autofree char *file = generated(bf_settings_ini);

    (void)state;
    check_generated(BF_SOURCE_DIR "/config/CONFIGURATION.md", page);
    check_generated(BF_SOURCE_DIR "/config/blockfleet.ini", file);
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* With every option switched on, the shipped file says what the table says. */
static void test_shipped_file_loads(void **state)
{
    bf_autofree char *text = generated(bf_settings_ini);
    bf_autosettings struct bf_settings *s = bf_settings_new(NULL);
    struct bf_err err = {0};
    size_t from_file = 0;

    (void)state;
    for (char *c = text; *c; c++) {
        if (*c != '\n' || c[1] != ';')
            continue;
        /* The computed ones have no value to show. */
        if (!begins(c + 2, "instance") && !begins(c + 2, "run_dir") &&
            !begins(c + 2, "view") && !begins(c + 2, "api_keys"))
            c[1] = ' ';
    }
    if (bf_settings_read_ini(s, bf_slice_str(text), "f", &err))
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < bf_option_count; i++)
        from_file += bf_settings_where(s, bf_options[i].name)[0] == 'f';
    assert_int_equal(from_file, bf_option_count - 4);
    assert_true(s->worker.concurrency == 256);
}

static void test_help_names_every_option_once(void **state)
{
    char *text = NULL, flag[80];
    size_t size;

    (void)state;
    for (unsigned p = BF_PROGRAM_WORKER; p <= BF_PROGRAM_CLI; p *= 2) {
        FILE *out = open_memstream(&text, &size);

        bf_settings_help(out, (enum bf_program)p);
        fclose(out);
        for (size_t i = 0; i < bf_option_count; i++) {
            snprintf(flag, sizeof(flag), "  --%s\n", bf_options[i].name);
            assert_int_equal(!strstr(text, flag),
                             !(bf_options[i].programs & p));
        }
        for (char *line = text; line; line = strchr(line, '\n')) {
            line += *line == '\n';
            assert_in_range(strcspn(line, "\n"), 0, 80);
        }
        free(text);
    }
}

/* What the table's rows must keep among themselves. */
static void test_table_is_sound(void **state)
{
    bf_autofree char *markdown = generated(bf_settings_markdown);
    char a[80], b[80];

    (void)state;
    for (size_t i = 0; i < bf_option_count; i++) {
        const struct bf_option *option = &bf_options[i];

        assert_true(option->programs != 0 && option->help);
        assert_true(!option->value != !option->computed);
        snprintf(a, sizeof(a), "| `%s` |", option->name);
        assert_has(markdown, a);
        for (size_t j = 0; j < i; j++) {
            assert_true(option->offset != bf_options[j].offset);
            snprintf(a, sizeof(a), "%s", option->name);
            snprintf(b, sizeof(b), "%s", bf_options[j].name);
            /* One variable must not mean two options. */
            for (char *c = a; (c = strchr(c, '_'));)
                *c = '.';
            for (char *c = b; (c = strchr(c, '_'));)
                *c = '.';
            assert_string_not_equal(a, b);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_later_sources_win),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_listen_and_url_forms),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_good_file),
        cmocka_unit_test(test_hostile_files),
        cmocka_unit_test(test_named_file),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_flags_of_subcommands),
        cmocka_unit_test(test_secrets_stay_secret),
        cmocka_unit_test(test_documents_are_generated),
        cmocka_unit_test(test_shipped_file_loads),
        cmocka_unit_test(test_help_names_every_option_once),
        cmocka_unit_test(test_table_is_sound),
    };
    int fd = mkstemp(ini_path), failed;

    if (fd < 0)
        return 1;
    close(fd);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(ini_path);
    return failed;
}
