#include "dispatcher/feed.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "config/clock.h"
#include "config/log.h"
#include "schemas/err.h"

#define CHECK_MS 10000     /* between two looks at good topics */
#define CHECK_SOON_MS 1000 /* at bad ones */
#define REQUEST_MS 3000
#define IDLE_MS 100

struct bf_feed {
    struct bf_feed_conf conf;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    pthread_t thread;
    bool started;
    atomic_bool stop;
    int64_t next_check_ms;
    uint32_t first_shards; /* the count that jobs were placed by */

    pthread_mutex_t lock;
    struct bf_feed_state state; /* under lock */
};

void bf_feed_state(struct bf_feed *feed, struct bf_feed_state *ret)
{
    pthread_mutex_lock(&feed->lock);
    *ret = feed->state;
    pthread_mutex_unlock(&feed->lock);
}

/* ---- the thread -----------------------------------------------------------*/

static void set_shards(struct bf_feed *feed, uint32_t shards, const char *why)
{
    bool changed;

    pthread_mutex_lock(&feed->lock);
    changed = feed->state.shards != shards || strcmp(feed->state.why, why) != 0;
    feed->state.shards = shards;
    snprintf(feed->state.why, sizeof(feed->state.why), "%s", why);
    pthread_mutex_unlock(&feed->lock);
    if (!changed)
        return;
    if (shards > 0)
        bf_log_info("topics_ready", bf_kv_int("shards", shards));
    else
        bf_log_warn("topics_not_ready", bf_kv_str("why", why));
}

/*
 * A count that changed under us would send one order key to two shards.
 * Changing it is a migration with everything stopped.
 */
static int check_same_shards(struct bf_feed *feed, uint32_t shards,
                             struct bf_err *err)
{
    if (feed->first_shards == 0)
        feed->first_shards = shards;
    if (feed->first_shards == shards)
        return 0;
    return bf_err_set(err, BF_ERR_FATAL, "shards_changed",
                      "every topic had %u partitions and now has %u: finish "
                      "the migration and start again",
                      feed->first_shards, shards);
}

static void check_topics(struct bf_feed *feed)
{
    uint32_t shards = 0;
    struct bf_err err;

    if (bf_topics_check(feed->rk, feed->conf.topics, REQUEST_MS, &shards,
                        &err) ||
        check_same_shards(feed, shards, &err))
        set_shards(feed, 0, err.msg);
    else
        set_shards(feed, shards, "");
    feed->next_check_ms =
        bf_mono_ms() + (feed->state.shards > 0 ? CHECK_MS : CHECK_SOON_MS);
}

static void *run(void *arg)
{
    struct bf_feed *feed = arg;

    while (!atomic_load(&feed->stop)) {
        rd_kafka_message_t *message;

        if (bf_mono_ms() >= feed->next_check_ms)
            check_topics(feed);
        message = rd_kafka_consume_queue(feed->queue, IDLE_MS);
        if (message)
            rd_kafka_message_destroy(message);
    }
    return NULL;
}

/* ---- life -----------------------------------------------------------------*/

static int open_consumer(struct bf_feed *feed, struct bf_err *err)
{
    rd_kafka_conf_t *conf = feed->conf.kafka(feed->conf.kafka_arg, err);
    char why[160];

    if (!conf)
        return -1;
    feed->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    if (!feed->rk) {
        rd_kafka_conf_destroy(conf);
        return bf_err_set(err, BF_ERR_FATAL, "kafka_consumer", "%s", why);
    }
    feed->queue = rd_kafka_queue_new(feed->rk);
    return 0;
}

/* Signals are the loop's business. */
static int start_thread(struct bf_feed *feed, struct bf_err *err)
{
    sigset_t all, old;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&feed->thread, NULL, run, feed);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    feed->started = rc == 0;
    if (rc != 0)
        return bf_err_set(err, BF_ERR_FATAL, "thread", "errno %d", rc);
    return 0;
}

struct bf_feed *bf_feed_new(const struct bf_feed_conf *conf, struct bf_err *err)
{
    bf_autofeed struct bf_feed *feed = calloc(1, sizeof(*feed));

    if (!feed) {
        bf_err_oom(err);
        return NULL;
    }
    feed->conf = *conf;
    pthread_mutex_init(&feed->lock, NULL);
    snprintf(feed->state.why, sizeof(feed->state.why),
             "the topics have not been looked at yet");
    if (open_consumer(feed, err) || start_thread(feed, err))
        return NULL;
    return bf_take(feed);
}

void bf_feed_free(struct bf_feed *feed)
{
    if (!feed)
        return;
    atomic_store(&feed->stop, true);
    if (feed->started)
        pthread_join(feed->thread, NULL);
    if (feed->queue)
        rd_kafka_queue_destroy(feed->queue);
    if (feed->rk)
        rd_kafka_destroy(feed->rk);
    pthread_mutex_destroy(&feed->lock);
    free(feed);
}
