/*
 * ThreadSanitizer of gcc 12 and clang 14 knows POSIX threads only, and a
 * thread that it did not see start crashes it. Debian's librdkafka starts its
 * own with C11's thrd_create(). In a TSan build these definitions come before
 * glibc's and hand everything on to POSIX, which glibc's do as well.
 */

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(thrd_t) == sizeof(pthread_t), "one kind of thread");
_Static_assert(sizeof(mtx_t) >= sizeof(pthread_mutex_t), "one kind of mutex");
_Static_assert(sizeof(cnd_t) >= sizeof(pthread_cond_t),
               "one kind of condition");

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */

struct start {
    thrd_start_t fn;
    void *arg;
};

static pthread_mutex_t *posix_mutex(mtx_t *mutex)
{
    return (pthread_mutex_t *)(void *)mutex;
}

static pthread_cond_t *posix_cond(cnd_t *cond)
{
    return (pthread_cond_t *)(void *)cond;
}

static void *run(void *arg)
{
    struct start start = *(struct start *)arg;

    free(arg);
    return (void *)(intptr_t)start.fn(start.arg);
}

int thrd_create(thrd_t *thread, thrd_start_t fn, void *arg)
{
    struct start *start = malloc(sizeof(*start));

    if (!start)
        return thrd_nomem;
    *start = (struct start){fn, arg};
    if (pthread_create(thread, NULL, run, start) == 0)
        return thrd_success;
    free(start);
    return thrd_error;
}

int thrd_join(thrd_t thread, int *ret)
{
    void *value;

    if (pthread_join(thread, &value))
        return thrd_error;
    if (ret)
        *ret = (int)(intptr_t)value;
    return thrd_success;
}

int mtx_init(mtx_t *mutex, int type)
{
    pthread_mutexattr_t attr;
    int res;

    pthread_mutexattr_init(&attr);
    if (type & mtx_recursive)
        pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    res = pthread_mutex_init(posix_mutex(mutex), &attr);
    pthread_mutexattr_destroy(&attr);
    return res ? thrd_error : thrd_success;
}

int mtx_lock(mtx_t *mutex)
{
    return pthread_mutex_lock(posix_mutex(mutex)) ? thrd_error : thrd_success;
}

int mtx_unlock(mtx_t *mutex)
{
    return pthread_mutex_unlock(posix_mutex(mutex)) ? thrd_error : thrd_success;
}

void mtx_destroy(mtx_t *mutex)
{
    pthread_mutex_destroy(posix_mutex(mutex));
}

int cnd_init(cnd_t *cond)
{
    return pthread_cond_init(posix_cond(cond), NULL) ? thrd_error
                                                     : thrd_success;
}

int cnd_signal(cnd_t *cond)
{
    return pthread_cond_signal(posix_cond(cond)) ? thrd_error : thrd_success;
}

int cnd_broadcast(cnd_t *cond)
{
    return pthread_cond_broadcast(posix_cond(cond)) ? thrd_error : thrd_success;
}

int cnd_wait(cnd_t *cond, mtx_t *mutex)
{
    return pthread_cond_wait(posix_cond(cond), posix_mutex(mutex))
               ? thrd_error
               : thrd_success;
}

int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex,
                  const struct timespec *restrict until)
{
    int res =
        pthread_cond_timedwait(posix_cond(cond), posix_mutex(mutex), until);

    return res == 0           ? thrd_success
           : res == ETIMEDOUT ? thrd_timedout
                              : thrd_error;
}

void cnd_destroy(cnd_t *cond)
{
    pthread_cond_destroy(posix_cond(cond));
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
