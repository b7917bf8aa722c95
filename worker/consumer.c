#include "worker/consumer.h"

#include <errno.h>
#include <sys/eventfd.h>

#include "config/clock.h"
#include "config/log.h"
#include "schemas/check.h"
#include "schemas/err.h"

#define MAX_TOPICS 8

struct bf_consumer {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue; /* events */
    rd_kafka_topic_t *topics[MAX_TOPICS];
    size_t ntopics;
    int fd;
};

struct bf_feed {
    rd_kafka_queue_t *queue;
};

static const uint64_t wake_up = 1; /* what librdkafka writes to an eventfd */

static void know_topics(struct bf_consumer *consumer, const char *const *topics,
                        size_t ntopics)
{
    bf_assert(ntopics <= MAX_TOPICS);
    for (size_t i = 0; i < ntopics; i++)
        consumer->topics[i] = rd_kafka_topic_new(consumer->rk, topics[i], NULL);
    consumer->ntopics = ntopics;
}

/*
 * librdkafka tells when a queue stops being empty. What lies in it before it is
 * asked to tell, it tells nobody, and nothing that follows either: look once.
 */
static void watch_queue(const struct bf_consumer *consumer,
                        rd_kafka_queue_t *queue)
{
    rd_kafka_queue_io_event_enable(queue, consumer->fd, &wake_up,
                                   sizeof(wake_up));
    if (write(consumer->fd, &wake_up, sizeof(wake_up)) < 0)
        bf_assert(errno == EAGAIN); /* then it is readable already */
}

struct bf_consumer *bf_consumer_new(rd_kafka_conf_t *conf,
                                    const char *const *topics, size_t ntopics,
                                    struct bf_err *err)
{
    struct bf_consumer *consumer = calloc(1, sizeof(*consumer));
    char reason[256];

    if (!consumer) {
        rd_kafka_conf_destroy(conf);
        bf_err_oom(err);
        return NULL;
    }
    consumer->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    rd_kafka_conf_set_events(conf,
                             RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_ERROR);
    consumer->rk =
        rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof(reason));
    if (consumer->fd < 0 || !consumer->rk) {
        bf_err_set(err, BF_ERR_FATAL, "consumer", "%s",
                   consumer->rk ? strerrorname_np(errno) : reason);
        if (!consumer->rk)
            rd_kafka_conf_destroy(conf);
        bf_consumer_free(consumer, 0);
        return NULL;
    }
    know_topics(consumer, topics, ntopics);
    rd_kafka_poll_set_consumer(consumer->rk);
    consumer->queue = rd_kafka_queue_get_consumer(consumer->rk);
    watch_queue(consumer, consumer->queue);
    return consumer;
}

/* With a closed handle, destroy is quick; with a stuck one it may hang. */
static bool close_handle(struct bf_consumer *consumer, int timeout_ms)
{
    int64_t until = bf_mono_ms() + timeout_ms;
    rd_kafka_error_t *error;

    error = rd_kafka_consumer_close_queue(consumer->rk, consumer->queue);
    if (error)
        rd_kafka_error_destroy(error);
    while (!rd_kafka_consumer_closed(consumer->rk)) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(consumer->queue, 50);

        if (event && rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE)
            rd_kafka_assign(consumer->rk, NULL);
        if (event)
            rd_kafka_event_destroy(event);
        if (bf_mono_ms() > until)
            return false;
    }
    return true;
}

void bf_consumer_free(struct bf_consumer *consumer, int timeout_ms)
{
    bool closed;

    if (!consumer)
        return;
    if (consumer->rk) {
        closed = close_handle(consumer, timeout_ms);
        for (size_t i = 0; i < consumer->ntopics; i++)
            rd_kafka_topic_destroy(consumer->topics[i]);
        rd_kafka_queue_destroy(consumer->queue);
        if (closed)
            rd_kafka_destroy(consumer->rk);
    }
    if (consumer->fd >= 0)
        close(consumer->fd);
    free(consumer);
}

rd_kafka_t *bf_consumer_handle(const struct bf_consumer *consumer)
{
    return consumer->rk;
}

int bf_consumer_fd(const struct bf_consumer *consumer)
{
    return consumer->fd;
}

void bf_consumer_clear_fd(struct bf_consumer *consumer)
{
    uint64_t count;

    if (read(consumer->fd, &count, sizeof(count)) < 0)
        bf_assert(errno == EAGAIN || errno == EINTR);
}

int bf_consumer_subscribe(struct bf_consumer *consumer, const char *topic,
                          struct bf_err *err)
{
    rd_kafka_topic_partition_list_t *topics =
        rd_kafka_topic_partition_list_new(1);
    rd_kafka_resp_err_t code;

    rd_kafka_topic_partition_list_add(topics, topic, RD_KAFKA_PARTITION_UA);
    code = rd_kafka_subscribe(consumer->rk, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    return code ? bf_err_set(err, BF_ERR_FATAL, "subscribe", "%s: %s", topic,
                             rd_kafka_err2str(code))
                : 0;
}

void bf_consumer_unsubscribe(struct bf_consumer *consumer)
{
    rd_kafka_unsubscribe(consumer->rk);
}

bool bf_consumer_is_member(const struct bf_consumer *consumer)
{
    char *id = rd_kafka_memberid(consumer->rk);
    bool is = id && id[0];

    if (id)
        rd_kafka_mem_free(consumer->rk, id);
    return is;
}

bool bf_consumer_is_lost(const struct bf_consumer *consumer)
{
    return rd_kafka_assignment_lost(consumer->rk);
}

static enum bf_consumer_event_kind take_rebalance(struct bf_consumer *consumer,
                                                  rd_kafka_event_t *event,
                                                  struct bf_consumer_event *ret)
{
    bool assign =
        rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    rd_kafka_topic_partition_list_t *parts =
        rd_kafka_event_topic_partition_list(event);

    *ret = (struct bf_consumer_event){
        .kind = assign ? BF_CONSUMER_ASSIGN : BF_CONSUMER_REVOKE,
        .lost = !assign && rd_kafka_assignment_lost(consumer->rk),
        .shards = parts ? rd_kafka_topic_partition_list_copy(parts)
                        : rd_kafka_topic_partition_list_new(0),
    };
    return ret->kind;
}

static enum bf_consumer_event_kind take_error(struct bf_consumer *consumer,
                                              rd_kafka_event_t *event,
                                              struct bf_err *err)
{
    char reason[200];
    rd_kafka_resp_err_t code;

    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR__FATAL &&
        !rd_kafka_event_error_is_fatal(event)) {
        bf_log_warn("consumer",
                    bf_kv_str("error", rd_kafka_event_error_string(event)));
        return BF_CONSUMER_NONE;
    }
    code = rd_kafka_fatal_error(consumer->rk, reason, sizeof(reason));
    bf_err_set(err, BF_ERR_FATAL, "consumer", "%s: %s", rd_kafka_err2name(code),
               reason);
    return BF_CONSUMER_FATAL;
}

enum bf_consumer_event_kind bf_consumer_next(struct bf_consumer *consumer,
                                             struct bf_consumer_event *ret,
                                             struct bf_err *err)
{
    rd_kafka_event_t *event;

    while ((event = rd_kafka_queue_poll(consumer->queue, 0))) {
        enum bf_consumer_event_kind kind = BF_CONSUMER_NONE;

        switch (rd_kafka_event_type(event)) {
        case RD_KAFKA_EVENT_REBALANCE:
            kind = take_rebalance(consumer, event, ret);
            break;
        case RD_KAFKA_EVENT_ERROR:
            kind = take_error(consumer, event, err);
            break;
        case RD_KAFKA_EVENT_FETCH:
            /* A record that no feed gets would look like a loss later. */
            bf_err_set(err, BF_ERR_FATAL, "stray_record",
                       "a record came outside its partition's queue");
            kind = BF_CONSUMER_FATAL;
            break;
        default:
            break;
        }
        rd_kafka_event_destroy(event);
        if (kind != BF_CONSUMER_NONE)
            return kind;
    }
    return BF_CONSUMER_NONE;
}

/*
 * Without a member id the broker would not fence us (anchors.md §2.2), and it
 * may be lost at any moment: only what was the same before and after counts.
 */
rd_kafka_consumer_group_metadata_t *
bf_consumer_group(const struct bf_consumer *consumer)
{
    char *before = rd_kafka_memberid(consumer->rk);
    rd_kafka_consumer_group_metadata_t *group =
        rd_kafka_consumer_group_metadata(consumer->rk);
    char *after = rd_kafka_memberid(consumer->rk);

    if (group &&
        (!before || !before[0] || !after || strcmp(before, after) != 0)) {
        rd_kafka_consumer_group_metadata_destroy(group);
        group = NULL;
    }
    if (before)
        rd_kafka_mem_free(consumer->rk, before);
    if (after)
        rd_kafka_mem_free(consumer->rk, after);
    return group;
}

/* Consumes error. */
static int from_error(rd_kafka_error_t *error, const char *what,
                      struct bf_err *err)
{
    if (!error)
        return 0;
    bf_err_set(err, BF_ERR_FATAL, what, "%s: %s", what,
               rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return -1;
}

int bf_consumer_assign(struct bf_consumer *consumer,
                       const rd_kafka_topic_partition_list_t *parts,
                       struct bf_err *err)
{
    return from_error(rd_kafka_incremental_assign(consumer->rk, parts),
                      "assign", err);
}

int bf_consumer_unassign(struct bf_consumer *consumer,
                         const rd_kafka_topic_partition_list_t *parts,
                         struct bf_err *err)
{
    return from_error(rd_kafka_incremental_unassign(consumer->rk, parts),
                      "unassign", err);
}

typedef rd_kafka_resp_err_t
flow_fn(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions);

static void set_flow(struct bf_consumer *consumer, flow_fn *call,
                     const char *topic, int32_t partition)
{
    rd_kafka_topic_partition_list_t *parts =
        rd_kafka_topic_partition_list_new(1);

    rd_kafka_topic_partition_list_add(parts, topic, partition);
    call(consumer->rk, parts);
    rd_kafka_topic_partition_list_destroy(parts);
}

void bf_consumer_pause(struct bf_consumer *consumer, const char *topic,
                       int32_t partition)
{
    set_flow(consumer, rd_kafka_pause_partitions, topic, partition);
}

void bf_consumer_resume(struct bf_consumer *consumer, const char *topic,
                        int32_t partition)
{
    set_flow(consumer, rd_kafka_resume_partitions, topic, partition);
}

struct bf_feed *bf_feed_open(struct bf_consumer *consumer, const char *topic,
                             int32_t partition, struct bf_err *err)
{
    struct bf_feed *feed = calloc(1, sizeof(*feed));

    if (!feed) {
        bf_err_oom(err);
        return NULL;
    }
    feed->queue = rd_kafka_queue_get_partition(consumer->rk, topic, partition);
    if (!feed->queue) {
        free(feed);
        bf_err_set(err, BF_ERR_FATAL, "feed", "no queue for %s/%d", topic,
                   partition);
        return NULL;
    }
    /* Stays so at the fetcher's start: an application's forward is kept. */
    rd_kafka_queue_forward(feed->queue, NULL);
    watch_queue(consumer, feed->queue);
    return feed;
}

void bf_feed_close(struct bf_feed *feed)
{
    if (!feed)
        return;
    rd_kafka_queue_io_event_enable(feed->queue, -1, NULL, 0);
    rd_kafka_queue_destroy(feed->queue);
    free(feed);
}

rd_kafka_message_t *bf_feed_next(struct bf_feed *feed)
{
    return rd_kafka_consume_queue(feed->queue, 0);
}

bool bf_feed_is_unreadable(const rd_kafka_message_t *msg)
{
    return msg->err == RD_KAFKA_RESP_ERR__BAD_COMPRESSION ||
           msg->err == RD_KAFKA_RESP_ERR__BAD_MSG;
}
