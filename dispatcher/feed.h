#ifndef BF_DISPATCHER_FEED_H
#define BF_DISPATCHER_FEED_H

/*
 * The dispatcher's eye on Kafka: a thread of its own that asks whether the
 * fleet's topics are as they must be. Any thread may ask the feed.
 */

#include "config/fleet_topics.h"

struct bf_feed;

/* Everything is borrowed until bf_feed_free(). */
struct bf_feed_conf {
    /* A fresh configuration with brokers and whatever the operator asked. */
    rd_kafka_conf_t *(*kafka)(void *arg, struct bf_err *err);
    void *kafka_arg;
    const struct bf_topics *topics;
};

struct bf_feed *bf_feed_new(const struct bf_feed_conf *conf,
                            struct bf_err *err);

/* Stops the thread and waits for it: up to the time of one request. */
void bf_feed_free(struct bf_feed *feed);
BF_DEFINE_CLEANUP(bf_feed_freep_, struct bf_feed *, bf_feed_free)
#define bf_autofeed bf_cleanup(bf_feed_freep_)

struct bf_feed_state {
    uint32_t shards; /* 0: jobs cannot be accepted, see why */
    char why[256];
};
void bf_feed_state(struct bf_feed *feed, struct bf_feed_state *ret);

#endif
