#include "dispatcher/loop.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "schemas/err.h"

#define WATCHES 8

struct watch {
    bf_loop_fn *fn;
    void *arg;
};

struct bf_loop {
    int fd;
    size_t nwatches;
    struct watch watches[WATCHES];
};

struct bf_loop *bf_loop_new(struct bf_err *err)
{
    struct bf_loop *loop = calloc(1, sizeof(*loop));

    if (!loop) {
        bf_err_oom(err);
        return NULL;
    }
    loop->fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->fd < 0) {
        bf_err_set(err, BF_ERR_FATAL, "epoll", "epoll_create1: errno %d",
                   errno);
        free(loop);
        return NULL;
    }
    return loop;
}

void bf_loop_free(struct bf_loop *loop)
{
    if (!loop)
        return;
    close(loop->fd);
    free(loop);
}

int bf_loop_add(struct bf_loop *loop, int fd, bf_loop_fn *fn, void *arg,
                struct bf_err *err)
{
    struct watch *watch = &loop->watches[loop->nwatches];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch};

    bf_assert(loop->nwatches < WATCHES);
    if (epoll_ctl(loop->fd, EPOLL_CTL_ADD, fd, &event))
        return bf_err_set(err, BF_ERR_FATAL, "epoll", "epoll_ctl: errno %d",
                          errno);
    *watch = (struct watch){fn, arg};
    loop->nwatches++;
    return 0;
}

void bf_loop_wait(struct bf_loop *loop, int timeout_ms)
{
    struct epoll_event events[WATCHES];
    int count = epoll_wait(loop->fd, events, WATCHES, timeout_ms);

    for (int i = 0; i < count; i++) {
        const struct watch *watch = events[i].data.ptr;

        watch->fn(watch->arg);
    }
}

int bf_sooner_ms(int a_ms, int b_ms)
{
    if (a_ms < 0 || b_ms < 0)
        return a_ms < 0 ? b_ms : a_ms;
    return a_ms < b_ms ? a_ms : b_ms;
}

int bf_wake_new(struct bf_err *err)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    if (fd < 0)
        return bf_err_set(err, BF_ERR_FATAL, "eventfd", "errno %d", errno);
    return fd;
}

void bf_wake(int fd)
{
    const uint64_t one = 1;

    /* It fails only when it is readable already. */
    if (write(fd, &one, sizeof(one)) < 0)
        return;
}

void bf_wake_clear(int fd)
{
    uint64_t count;

    if (read(fd, &count, sizeof(count)) < 0)
        return;
}
