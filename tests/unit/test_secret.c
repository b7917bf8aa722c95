#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/secret.h"
#include "schemas/err.h"

#define WORD "hunter2-correct-horse"

static char path[] = "/tmp/bf-secret-XXXXXX";

static void write_file(const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

static void test_new_and_reveal(void **state)
{
    bf_autosecret struct bf_secret *secret =
        bf_secret_new(bf_slice_str(WORD), "https://a", NULL);

    (void)state;
    assert_non_null(secret);
    assert_true(bf_slice_is(bf_secret_reveal(secret, "https://a"), WORD));
    assert_true(bf_secret_equal(secret, bf_slice_str(WORD)));
    assert_false(bf_secret_equal(secret, bf_slice_str(WORD "!")));
    assert_false(
        bf_secret_equal(secret, bf_slice_str("hunter2-correct-hors!")));
    assert_false(bf_secret_equal(secret, (struct bf_slice){0}));
}

/* In a child: revealing to another origin, or writing to it, must kill. */
static int death_of(void (*act)(const struct bf_secret *),
                    const struct bf_secret *secret)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        /* The sanitizer's report and the assertion's are expected noise. */
        close(STDERR_FILENO);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        act(secret);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void reveal_elsewhere(const struct bf_secret *secret)
{
    bf_secret_reveal(secret, "https://b");
}

static void reveal_at_home(const struct bf_secret *secret)
{
    bf_secret_reveal(secret, "https://a");
}

static void overwrite(const struct bf_secret *secret)
{
    char *bytes = NULL;
    struct bf_slice slice = bf_secret_reveal(secret, "https://a");

    memcpy(&bytes, &slice.ptr, sizeof(bytes));
    *(volatile char *)bytes = 'x';
}

static void test_bound_to_its_origin(void **state)
{
    bf_autosecret struct bf_secret *secret =
        bf_secret_new(bf_slice_str(WORD), "https://a", NULL);

    (void)state;
    assert_int_equal(death_of(reveal_at_home, secret), 0);
    assert_int_not_equal(death_of(reveal_elsewhere, secret), 0);
    assert_int_not_equal(death_of(overwrite, secret), 0);
}

static void test_size(void **state)
{
    struct bf_err err;
    char *big = calloc(1, BF_SECRET_MAX_BYTES + 1);
    struct bf_secret *secret;

    (void)state;
    assert_null(bf_secret_new(bf_slice_str(""), "o", &err));
    assert_string_equal(err.code, "bad_secret");
    assert_null(bf_secret_new((struct bf_slice){big, BF_SECRET_MAX_BYTES + 1},
                              "o", &err));
    secret =
        bf_secret_new((struct bf_slice){big, BF_SECRET_MAX_BYTES}, "o", NULL);
    assert_non_null(secret);
    bf_secret_free(secret);
    bf_secret_free(NULL);
    free(big);
}

static void test_env_is_taken(void **state)
{
    bf_autosecret struct bf_secret *secret = NULL;
    struct bf_err err;
    const char *old;

    (void)state;
    setenv("BF_TEST_SECRET", WORD, 1);
    old = getenv("BF_TEST_SECRET");
    secret = bf_secret_from_env("BF_TEST_SECRET", "o", &err);
    assert_non_null(secret);
    assert_true(bf_secret_equal(secret, bf_slice_str(WORD)));
    assert_null(getenv("BF_TEST_SECRET"));
    /* setenv()'s own copy outlives unsetenv() in glibc, and was wiped. */
    assert_int_equal(old[0], '\0');
    assert_null(bf_secret_from_env("BF_TEST_SECRET", "o", &err));
    assert_string_equal(err.code, "secret_env");
}

static void test_file(void **state)
{
    const struct {
        const char *text;
        mode_t mode;
        const char *code; /* NULL: loads as WORD */
    } files[] = {
        {WORD, 0600, NULL},          {WORD "\n", 0400, NULL},
        {WORD "\r\n", 0600, NULL},   {WORD, 0640, "secret_mode"},
        {WORD, 0604, "secret_mode"}, {WORD, 0620, "secret_mode"},
        {"\n", 0600, "bad_secret"},
    };
    struct bf_err err;

    (void)state;
    for (size_t i = 0; i < bf_countof(files); i++) {
        struct bf_secret *secret;

        write_file(files[i].text, 0600);
        chmod(path, files[i].mode);
        secret = bf_secret_from_file(path, "o", &err);
        if (!files[i].code) {
            assert_non_null(secret);
            assert_true(bf_secret_equal(secret, bf_slice_str(WORD)));
        } else {
            assert_null(secret);
            assert_string_equal(err.code, files[i].code);
            assert_null(strstr(err.msg, "hunter2"));
        }
        bf_secret_free(secret);
        chmod(path, 0600);
    }
}

static void test_not_a_file(void **state)
{
    struct bf_err err;

    (void)state;
    assert_null(bf_secret_from_file("/nonexistent/x", "o", &err));
    assert_string_equal(err.code, "secret_file");
    assert_null(bf_secret_from_file("/", "o", &err));
    assert_string_equal(err.code, "secret_file");
    assert_null(bf_secret_from_file("/dev/zero", "o", &err));
    assert_string_equal(err.code, "secret_file");
}

static void test_large_file(void **state)
{
    struct bf_err err;

    (void)state;
    write_file("", 0600);
    assert_int_equal(truncate(path, BF_SECRET_MAX_BYTES + 1), 0);
    assert_null(bf_secret_from_file(path, "o", &err));
    assert_string_equal(err.code, "secret_size");
}

/* The file wins; quotes are a shell's. */
static void test_find(void **state)
{
    struct bf_secret *secret = (struct bf_secret *)state;
    struct bf_err err = {0};

    assert_int_equal(bf_secret_find("", "BF_NO_SUCH", "o", &secret, &err), 0);
    assert_null(secret);
    setenv("BF_SECRET_TEST", "\"" WORD "\"", 1);
    assert_int_equal(bf_secret_find("", "BF_SECRET_TEST", "o", &secret, &err),
                     0);
    assert_true(bf_slice_is(bf_secret_reveal(secret, "o"), WORD));
    assert_null(getenv("BF_SECRET_TEST"));
    bf_secret_free(secret);
    setenv("BF_SECRET_TEST", "other", 1);
    write_file("'" WORD "\n", 0600); /* half a pair is a part of it */
    assert_int_equal(bf_secret_find(path, "BF_SECRET_TEST", "o", &secret, &err),
                     0);
    assert_true(bf_slice_is(bf_secret_reveal(secret, "o"), "'" WORD));
    assert_true(bf_secret_is_for(secret, "o"));
    assert_false(bf_secret_is_for(secret, "p"));
    bf_secret_free(secret);
    write_file(WORD, 0644);
    assert_int_equal(bf_secret_find(path, "BF_SECRET_TEST", "o", &secret, &err),
                     -1);
    assert_string_equal(err.code, "secret_mode");
    unsetenv("BF_SECRET_TEST");
}

static void test_redact(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"", ""},
        {"key-1234", "********"},
        {"no such key: key-1234!", "no such key: ********!"},
        {"key-1234key-1234", "****************"},
        {"key-key-1234", "key-********"},
        {"key-1235 key-123", "key-1235 *******"}, /* cut */
        {"a key-", "a ****"},
        {"a key", "a key"}, /* a word as any other */
        {"KEY-1234", "KEY-1234"},
    };
    struct bf_err err;
    struct bf_secret *secret =
        bf_secret_new(bf_slice_str("key-1234"), "o", &err);

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        char text[32];

        snprintf(text, sizeof(text), "%s", rows[i].text);
        bf_secret_redact(NULL, text, strlen(text));
        assert_string_equal(text, rows[i].text);
        bf_secret_redact(secret, text, strlen(text));
        assert_string_equal(text, rows[i].want);
    }
    bf_secret_free(secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_and_reveal),
        cmocka_unit_test(test_bound_to_its_origin),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_env_is_taken),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_not_a_file),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_redact),
        cmocka_unit_test(test_large_file),
    };
    int fd = mkstemp(path), failed;

    if (fd < 0)
        return 1;
    close(fd);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
