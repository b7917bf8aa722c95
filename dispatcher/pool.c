#include "dispatcher/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "dispatcher/loop.h"
#include "schemas/err.h"

#define MAX_THREADS 16

struct list {
    struct bf_task *first;
    struct bf_task **last;
};

struct bf_pool {
    struct bf_pool_conf conf;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct list todo; /* under lock */
    struct list done; /* under lock */
    bool stop;        /* under lock */
    pthread_t threads[MAX_THREADS];
    unsigned nthreads;
};

static void list_init(struct list *list)
{
    list->first = NULL;
    list->last = &list->first;
}

static void list_add(struct list *list, struct bf_task *task)
{
    task->next = NULL;
    *list->last = task;
    list->last = &task->next;
}

static struct bf_task *list_take(struct list *list)
{
    struct bf_task *task = list->first;

    if (!task)
        return NULL;
    list->first = task->next;
    if (!list->first)
        list->last = &list->first;
    return task;
}

static struct bf_task *next_task(struct bf_pool *pool)
{
    struct bf_task *task;

    pthread_mutex_lock(&pool->lock);
    while (!pool->todo.first && !pool->stop)
        pthread_cond_wait(&pool->work, &pool->lock);
    task = pool->stop ? NULL : list_take(&pool->todo);
    pthread_mutex_unlock(&pool->lock);
    return task;
}

static void *work(void *arg)
{
    struct bf_pool *pool = arg;
    void *context = pool->conf.begin ? pool->conf.begin(pool->conf.arg) : NULL;
    struct bf_task *task = next_task(pool);

    while (task) {
        task->run(task, context);
        pthread_mutex_lock(&pool->lock);
        list_add(&pool->done, task);
        pthread_mutex_unlock(&pool->lock);
        bf_wake(pool->conf.wake_fd);
        task = next_task(pool);
    }
    if (pool->conf.end)
        pool->conf.end(context);
    return NULL;
}

/* Signals are the loop's business. */
static int start_threads(struct bf_pool *pool, struct bf_err *err)
{
    sigset_t all, old;
    int rc = 0;

    bf_assert(pool->conf.threads <= MAX_THREADS);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (rc == 0 && pool->nthreads < pool->conf.threads) {
        rc = pthread_create(&pool->threads[pool->nthreads], NULL, work, pool);
        pool->nthreads += rc == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return bf_err_set(err, BF_ERR_FATAL, "thread", "errno %d", rc);
    return 0;
}

struct bf_pool *bf_pool_new(const struct bf_pool_conf *conf, struct bf_err *err)
{
    bf_autopool struct bf_pool *pool = calloc(1, sizeof(*pool));

    if (!pool) {
        bf_err_oom(err);
        return NULL;
    }
    pool->conf = *conf;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    list_init(&pool->todo);
    list_init(&pool->done);
    if (start_threads(pool, err))
        return NULL;
    return bf_take(pool);
}

void bf_pool_free(struct bf_pool *pool)
{
    struct bf_task *task;

    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->nthreads; i++)
        pthread_join(pool->threads[i], NULL);
    for (task = list_take(&pool->todo); task; task = list_take(&pool->todo))
        list_add(&pool->done, task);
    bf_pool_serve(pool);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void bf_pool_add(struct bf_pool *pool, struct bf_task *task)
{
    pthread_mutex_lock(&pool->lock);
    list_add(&pool->todo, task);
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->lock);
}

void bf_pool_serve(struct bf_pool *pool)
{
    struct bf_task *task;

    do {
        pthread_mutex_lock(&pool->lock);
        task = list_take(&pool->done);
        pthread_mutex_unlock(&pool->lock);
        if (task)
            task->done(task);
    } while (task);
}
