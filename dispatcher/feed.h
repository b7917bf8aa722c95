#ifndef BF_DISPATCHER_FEED_H
#define BF_DISPATCHER_FEED_H

/*
 * The dispatcher's eye on Kafka, a thread of its own: are the topics as they
 * must be, and what do they say about every job. It writes the view; what it
 * knows is in the exchange.
 */

#include "config/fleet_topics.h"
#include "config/trust.h"
#include "dispatcher/exchange.h"

struct bf_feed;

/* Everything is borrowed until bf_feed_free(). */
struct bf_feed_conf {
    /* A read_committed consumer's configuration, without a group. */
    rd_kafka_conf_t *(*kafka)(void *arg, struct bf_err *err);
    void *kafka_arg;
    const struct bf_topics *topics;
    struct bf_trust *trust;         /* who may write what; it looks at it */
    const struct bf_signer *signer; /* of jobs: told of when it is revoked */
    const char *view_path; /* NULL: keep no view, know the topics alone */
    uint32_t spread;       /* what this dispatcher places jobs by */
    struct bf_exchange *exchange;
};

struct bf_feed *bf_feed_new(const struct bf_feed_conf *conf,
                            struct bf_err *err);

/* Stops the thread and waits for it: up to the time of one request. */
void bf_feed_free(struct bf_feed *feed);
BF_DEFINE_CLEANUP(bf_feed_freep_, struct bf_feed *, bf_feed_free)
#define bf_autofeed bf_cleanup(bf_feed_freep_)

/* There are accepted jobs in the exchange. Any thread. */
void bf_feed_wake(struct bf_feed *feed);

#endif
