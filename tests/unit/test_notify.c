#include "support.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "config/notify.h"
#include "schemas/check.h"

#define VARIABLE "NOTIFY_SOCKET"

/* A socket that listens; name as the variable has it. */
static int listen_at(const char *name)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    socklen_t len =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    memcpy(addr.sun_path, name, strlen(name));
    if (name[0] == '@')
        addr.sun_path[0] = '\0';
    assert_int_equal(bind(fd, (const struct sockaddr *)&addr, len), 0);
    assert_int_equal(setenv(VARIABLE, name, 1), 0);
    return fd;
}

static void assert_heard(int fd, const char *text)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    char got[64];
    ssize_t len;

    assert_int_equal(poll(&ready, 1, 60000), 1);
    len = recv(fd, got, sizeof(got), 0);
    assert_int_equal(len, strlen(text));
    assert_memory_equal(got, text, strlen(text));
}

static void tell_by_path(void **state)
{
    char name[] = "/tmp/blockfleet-notify-XXXXXX";
    char path[sizeof(name) + 8];
    bf_autoclose int fd = -1;

    (void)state;
    assert_non_null(mkdtemp(name));
    snprintf(path, sizeof(path), "%s/socket", name);
    fd = listen_at(path);
    assert_int_equal(bf_notify(BF_NOTIFY_READY, NULL), 0);
    assert_heard(fd, "READY=1");
    unlink(path);
    rmdir(name);
}

static void tell_by_abstract_name(void **state)
{
    char name[64];
    bf_autoclose int fd = -1;

    (void)state;
    snprintf(name, sizeof(name), "@blockfleet-notify-%d", (int)getpid());
    fd = listen_at(name);
    assert_int_equal(bf_notify(BF_NOTIFY_STOPPING, NULL), 0);
    assert_int_equal(bf_notify(BF_NOTIFY_ALIVE, NULL), 0);
    assert_heard(fd, "STOPPING=1");
    assert_heard(fd, "WATCHDOG=1");
}

static void nobody_asked(void **state)
{
    (void)state;
    unsetenv(VARIABLE);
    assert_int_equal(bf_notify(BF_NOTIFY_READY, NULL), 0);
    setenv(VARIABLE, "", 1);
    assert_int_equal(bf_notify(BF_NOTIFY_READY, NULL), 0);
}

static void refuse_what_is_no_socket(void **state)
{
    char longest[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
    const char *const names[] = {"vsock:2:1", "relative", "/", longest};

    (void)state;
    memset(longest, '/', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    for (size_t i = 0; i < bf_countof(names); i++) {
        struct bf_err err = {0};

        setenv(VARIABLE, names[i], 1);
        assert_refused(bf_notify(BF_NOTIFY_READY, &err), err, "notify");
    }
}

static void nobody_listens(void **state)
{
    struct bf_err err = {0};

    (void)state;
    setenv(VARIABLE, "/tmp/no/such/socket", 1);
    assert_int_equal(bf_notify(BF_NOTIFY_READY, &err), -1);
    assert_int_equal(err.kind, BF_ERR_RETRY);
    assert_non_null(strstr(err.msg, "ENOENT"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tell_by_path),
        cmocka_unit_test(tell_by_abstract_name),
        cmocka_unit_test(nobody_asked),
        cmocka_unit_test(refuse_what_is_no_socket),
        cmocka_unit_test(nobody_listens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
