#include "dispatcher/fetch.h"

#include "config/clock.h"
#include "schemas/err.h"

#define FETCH_MS 10000

struct bf_fetch {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
};

struct bf_fetch *bf_fetch_new(rd_kafka_t *rk, struct bf_err *err)
{
    struct bf_fetch *fetch = calloc(1, sizeof(*fetch));

    if (!fetch) {
        rd_kafka_destroy(rk);
        bf_err_oom(err);
        return NULL;
    }
    fetch->rk = rk;
    fetch->queue = rd_kafka_queue_new(rk);
    return fetch;
}

void bf_fetch_free(struct bf_fetch *fetch)
{
    if (!fetch)
        return;
    rd_kafka_queue_destroy(fetch->queue);
    rd_kafka_destroy(fetch->rk);
    free(fetch);
}

static int gone(struct bf_err *err)
{
    return bf_err_set(err, BF_ERR_REJECT, "gone",
                      "Kafka does not have the result's record any more");
}

/* 1: it was the one, and is in out; 0: go on; -1. */
static int look_at(const rd_kafka_message_t *message, int64_t offset,
                   struct bf_buf *out, struct bf_err *err)
{
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF ||
        message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
        message->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)
        return gone(err);
    if (message->err || message->offset < offset)
        return 0;
    if (message->offset > offset)
        return gone(err);
    return bf_buf_add(out, message->payload, message->len, err) ? -1 : 1;
}

static int wait_for(struct bf_fetch *fetch, int64_t offset, struct bf_buf *out,
                    struct bf_err *err)
{
    int64_t until = bf_mono_ms() + FETCH_MS;
    int rc = 0;

    while (rc == 0 && bf_mono_ms() < until) {
        rd_kafka_message_t *message = rd_kafka_consume_queue(fetch->queue, 100);

        if (!message)
            continue;
        rc = look_at(message, offset, out, err);
        rd_kafka_message_destroy(message);
    }
    if (rc == 0)
        return bf_err_set(err, BF_ERR_RETRY, "timeout",
                          "Kafka did not give the record in time");
    return rc > 0 ? 0 : -1;
}

static rd_kafka_topic_t *open_topic(struct bf_fetch *fetch, const char *topic,
                                    struct bf_err *err)
{
    rd_kafka_topic_conf_t *conf = rd_kafka_topic_conf_new();
    rd_kafka_topic_t *rkt;
    char why[160];

    /* A record past retention must not become the earliest one. */
    rd_kafka_topic_conf_set(conf, "auto.offset.reset", "error", why,
                            sizeof(why));
    rkt = rd_kafka_topic_new(fetch->rk, topic, conf);
    if (!rkt)
        bf_err_set(err, BF_ERR_RETRY, "kafka_topic", "%s",
                   rd_kafka_err2str(rd_kafka_last_error()));
    return rkt;
}

int bf_fetch_value(struct bf_fetch *fetch, const char *topic, int32_t partition,
                   int64_t offset, struct bf_buf *out, struct bf_err *err)
{
    rd_kafka_topic_t *rkt = open_topic(fetch, topic, err);
    int rc;

    if (!rkt)
        return -1;
    if (rd_kafka_consume_start_queue(rkt, partition, offset, fetch->queue)) {
        rc = bf_err_set(err, BF_ERR_RETRY, "kafka_consume", "%s",
                        rd_kafka_err2str(rd_kafka_last_error()));
    } else {
        rc = wait_for(fetch, offset, out, err);
        rd_kafka_consume_stop(rkt, partition);
    }
    rd_kafka_topic_destroy(rkt);
    return rc;
}
