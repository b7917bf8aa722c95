#include "tests/unit/support.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dispatcher/tls.h"

static char cert[] = "/tmp/bf-cert-XXXXXX";
static char key[] = "/tmp/bf-key-XXXXXX";
static int64_t now_ms; /* a clock of our own: nothing waits */

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static bool look(struct bf_tls_files *files)
{
    now_ms += 1000;
    return bf_tls_files_changed(files, now_ms);
}

static void test_read(void **state)
{
    bf_autotls struct bf_tls *tls = NULL;
    struct bf_err err = {0};

    (void)state;
    write_file(cert, "a certificate\n");
    write_file(key, "a key");
    tls = bf_tls_read(cert, key, &err);
    if (!tls)
        fail_msg("%s", err.msg);
    assert_string_equal(bf_tls_cert(tls), "a certificate\n");
    assert_string_equal(bf_tls_key(tls), "a key");
}

static void test_what_cannot_be_read(void **state)
{
    struct bf_err err = {0};

    (void)state;
    write_file(key, "a key");
    assert_null(bf_tls_read("/nowhere", key, &err));
    assert_non_null(strstr(err.msg, "dispatcher.tls_cert: cannot read"));
    assert_int_equal(chmod(key, 0644), 0);
    assert_null(bf_tls_read(cert, key, &err));
    assert_string_equal(err.code, "secret_mode");
    assert_int_equal(chmod(key, 0600), 0);
}

static bool look_and_take(struct bf_tls_files *files)
{
    if (!look(files))
        return false;
    bf_tls_files_taken(files);
    return true;
}

static void test_a_change_is_told_when_it_is_over(void **state)
{
    struct bf_err err = {0};
    struct bf_tls_files *files = bf_tls_files_new(cert, key, &err);

    (void)state;
    assert_non_null(files);
    assert_false(look(files));
    write_file(cert, "another certificate\n");
    assert_false(look(files)); /* the key may be on its way */
    write_file(key, "its own key");
    assert_false(look(files));
    assert_false(bf_tls_files_changed(files, now_ms + 999)); /* too soon */
    assert_true(look_and_take(files));
    assert_false(look(files));
    assert_int_equal(unlink(cert), 0);
    assert_false(look(files));
    assert_true(look_and_take(files));
    write_file(cert, "a third\n");
    assert_false(look(files));
    assert_true(look_and_take(files));
    bf_tls_files_free(files);
}

static void test_what_was_not_taken_is_told_again(void **state)
{
    struct bf_err err = {0};
    struct bf_tls_files *files = bf_tls_files_new(cert, key, &err);

    (void)state;
    assert_non_null(files);
    write_file(cert, "one that is no good yet\n");
    assert_false(look(files));
    assert_true(look(files));
    for (int s = 1; s < 60; s++)
        assert_false(look(files));
    assert_true(look(files));
    write_file(cert, "another: that is tried without waiting\n");
    assert_false(look(files));
    assert_true(look_and_take(files));
    for (int s = 0; s < 120; s++)
        assert_false(look(files));
    bf_tls_files_free(files);
}

static int make_files(void **state)
{
    (void)state;
    close(mkstemp(cert));
    close(mkstemp(key));
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    unlink(cert);
    unlink(key);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_what_cannot_be_read),
        cmocka_unit_test(test_a_change_is_told_when_it_is_over),
        cmocka_unit_test(test_what_was_not_taken_is_told_again),
    };

    return cmocka_run_group_tests(tests, make_files, remove_files);
}
