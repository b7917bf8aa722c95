#include "support.h"

#include <sys/socket.h>
#include <unistd.h>

#include "dispatcher/guard.h"

static bool has_ended(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void who_is_late_is_shut_down(void **state)
{
    struct bf_guard guard = {0};
    struct bf_guarded *late, *early;
    int a[2], b[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, b), 0);
    late = bf_guard_add(&guard, a[0]);
    early = bf_guard_add(&guard, b[0]);
    bf_guard_tick(&guard, 1000); /* nothing is expected of them yet */
    bf_guard_until(late, 5000);
    bf_guard_until(early, 5000);
    bf_guard_tick(&guard, 4999);
    assert_false(has_ended(a[1]));
    bf_guard_until(early, 9000);
    bf_guard_tick(&guard, 5998); /* looked less than a second ago */
    assert_false(has_ended(a[1]));
    bf_guard_tick(&guard, 5999);
    assert_true(has_ended(a[1]));
    assert_false(has_ended(b[1]));
    assert_int_equal(guard.expired, 1);
    bf_guard_tick(&guard, 7000);
    assert_int_equal(guard.expired, 1);
    bf_guard_remove(&guard, early);
    bf_guard_remove(&guard, late);
    bf_guard_remove(&guard, NULL);
    assert_int_equal(guard.count, 0);
    for (int i = 0; i < 2; i++) {
        close(a[i]);
        close(b[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_late_is_shut_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
