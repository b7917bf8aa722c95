#include "tests/unit/support.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/run_dir.h"

#define STRANGER 12345

static char dir[] = "/tmp/bf-run-XXXXXX";

static const char *below(const char *name)
{
    static char path[64];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void assert_unfit(const char *path, const char *words)
{
    struct bf_err err = {0};

    assert_int_equal(bf_run_dir_make(path, &err), -1);
    assert_string_equal(err.code, "run_dir");
    if (!strstr(err.msg, words))
        fail_msg("%s", err.msg);
}

static void test_made_for_its_owner_alone(void **state)
{
    struct bf_err err = {0};
    struct stat st;

    (void)state;
    assert_int_equal(bf_run_dir_make(below("new"), &err), 0);
    assert_int_equal(stat(below("new"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(bf_run_dir_make(below("new"), &err), 0);
    assert_unfit(below("no/where"), "ENOENT");
}

static void test_everybody_may_not_write_there(void **state)
{
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(chmod(below("new"), 0777), 0);
    assert_unfit(below("new"), "everybody may write");
    assert_int_equal(chmod(below("new"), 01777), 0); /* as /tmp */
    assert_int_equal(bf_run_dir_make(below("new"), &err), 0);
    assert_int_equal(chmod(below("new"), 0700), 0);
}

static void test_a_file_is_none(void **state)
{
    FILE *file = fopen(below("file"), "w");

    (void)state;
    assert_non_null(file);
    fclose(file);
    assert_unfit(below("file"), "not a directory");
}

/* In a process that is not root: exit code 0 when it is refused. */
static void as_stranger(const char *path)
{
    struct bf_err err = {0};

    if (setuid(STRANGER))
        _exit(2);
    _exit(bf_run_dir_make(path, &err) != 0 && strstr(err.msg, "another user")
              ? 0
              : 1);
}

static void assert_stranger_refused(const char *path)
{
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0)
        as_stranger(path);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_a_directory_of_somebody_else_is_refused(void **state)
{
    struct bf_err err = {0};

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chmod(dir, 0755), 0);
    assert_int_equal(chown(below("new"), STRANGER + 1, STRANGER + 1), 0);
    assert_stranger_refused(below("new"));
    assert_int_equal(bf_run_dir_make(below("new"), &err), 0); /* root */
    assert_int_equal(chmod(dir, 01777), 0);
    assert_unfit(below("new"), "another user"); /* to root, too */
    assert_int_equal(chmod(dir, 0755), 0);
    assert_int_equal(chown(below("new"), STRANGER, STRANGER), 0);
    assert_int_equal(symlink("new", below("link")), 0);
    assert_int_equal(lchown(below("link"), STRANGER + 1, STRANGER + 1), 0);
    assert_stranger_refused(below("link"));
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(below("link"));
    unlink(below("file"));
    rmdir(below("new"));
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made_for_its_owner_alone),
        cmocka_unit_test(test_everybody_may_not_write_there),
        cmocka_unit_test(test_a_file_is_none),
        cmocka_unit_test(test_a_directory_of_somebody_else_is_refused),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
