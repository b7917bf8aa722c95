#include "support.h"

#include <poll.h>
#include <stdatomic.h>

#include "dispatcher/loop.h"
#include "dispatcher/pool.h"

#define TASKS 200

struct work {
    struct bf_task task; /* first */
    int in, out;
    bool done;
};

static atomic_int contexts;

static void *begin(void *arg)
{
    assert_ptr_equal(arg, &contexts);
    atomic_fetch_add(&contexts, 1);
    return &contexts;
}

static void end(void *context)
{
    assert_ptr_equal(context, &contexts);
    atomic_fetch_sub(&contexts, 1);
}

static void run(struct bf_task *task, void *context)
{
    struct work *work = (struct work *)task;

    assert_ptr_equal(context, &contexts);
    work->out = work->in * work->in;
}

static void done(struct bf_task *task)
{
    ((struct work *)task)->done = true;
}

static size_t count_done(const struct work *works)
{
    size_t count = 0;

    for (size_t i = 0; i < TASKS; i++)
        count += works[i].done;
    return count;
}

static struct bf_pool *start(int fd, struct work *works)
{
    const struct bf_pool_conf conf = {.threads = 3,
                                      .wake_fd = fd,
                                      .begin = begin,
                                      .end = end,
                                      .arg = &contexts};
    struct bf_pool *pool = bf_pool_new(&conf, NULL);

    assert_non_null(pool);
    for (int i = 0; i < TASKS; i++) {
        works[i] = (struct work){.task = {.run = run, .done = done}, .in = i};
        bf_pool_add(pool, &works[i].task);
    }
    return pool;
}

static void tasks_come_back_on_the_loop(void **unused)
{
    static struct work works[TASKS];
    int fd = bf_wake_new(NULL);
    struct bf_pool *pool = start(fd, works);

    (void)unused;
    while (count_done(works) < TASKS) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

        assert_int_equal(poll(&poll_fd, 1, 60000), 1);
        bf_wake_clear(fd);
        bf_pool_serve(pool);
    }
    for (int i = 0; i < TASKS; i++)
        assert_int_equal(works[i].out, i * i);
    bf_pool_free(pool);
    assert_int_equal(atomic_load(&contexts), 0);
    close(fd);
}

static void who_is_left_is_told_as_well(void **unused)
{
    static struct work works[TASKS];
    int fd = bf_wake_new(NULL);
    struct bf_pool *pool = start(fd, works);

    (void)unused;
    bf_pool_free(pool);
    assert_int_equal(count_done(works), TASKS);
    assert_int_equal(atomic_load(&contexts), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_come_back_on_the_loop),
        cmocka_unit_test(who_is_left_is_told_as_well),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
