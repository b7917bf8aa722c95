#include "config/topic_limits.h"

#include <stdlib.h>
#include <string.h>

#include "schemas/check.h"
#include "schemas/err.h"

#define SIGNATURE_BYTES 640 /* the header bf_signature, generously */

/* What a worker writes to; 0: nothing. Sources: schemas/limits.h, state.c. */
static const uint32_t needed[BF_TOPICS] = {
    /* a full segment of finished ids, in base64 */
    [BF_TOPIC_STATE] = 384U << 10,
    /* names, labels and a message, without a value */
    [BF_TOPIC_RESULTS] = 32U << 10,
    [BF_TOPIC_DEADLETTER] = 32U << 10,
    [BF_TOPIC_CALLBACKS] = 32U << 10,
    /* a row at its largest, schemas/result.c */
    [BF_TOPIC_USAGE] = 96U << 10,
};

void bf_topic_limits_init(struct bf_topic_limits *limits)
{
    for (int i = 0; i < BF_TOPICS; i++)
        limits->max_bytes[i] = bf_topic_max_bytes((enum bf_topic)i);
}

void bf_topic_limits_clamp(struct bf_topic_limits *limits, uint32_t max_bytes)
{
    for (int i = 0; i < BF_TOPICS; i++) {
        if (limits->max_bytes[i] > max_bytes)
            limits->max_bytes[i] = max_bytes;
    }
}

int bf_topic_limits_check(const struct bf_topic_limits *limits,
                          const struct bf_topics *topics, struct bf_err *err)
{
    for (int i = 0; i < BF_TOPICS; i++) {
        if (limits->max_bytes[i] < needed[i])
            return bf_err_set(err, BF_ERR_FATAL, "topic_limit",
                              "%s takes records of %u bytes, %u are needed: "
                              "raise its max.message.bytes, or our own "
                              "message.max.bytes",
                              topics->names[i], limits->max_bytes[i],
                              needed[i]);
    }
    return 0;
}

uint32_t bf_topic_limits_least(const struct bf_topic_limits *limits)
{
    uint32_t least = UINT32_MAX;

    for (int i = 0; i < BF_TOPICS; i++) {
        if (needed[i] > 0 && limits->max_bytes[i] < least)
            least = limits->max_bytes[i];
    }
    return least;
}

size_t bf_topic_limits_over(const struct bf_topic_limits *limits,
                            const struct bf_topics *topics,
                            const struct bf_record *rec)
{
    size_t bytes = bf_record_bytes(rec) + SIGNATURE_BYTES;
    int which = bf_topic_of(topics, rec->topic);

    bf_assert(which >= 0);
    return bytes > limits->max_bytes[which] ? bytes - limits->max_bytes[which]
                                            : 0;
}

/* ---- asking ---- */

static void options_destroyp(rd_kafka_AdminOptions_t **options)
{
    if (*options)
        rd_kafka_AdminOptions_destroy(*options);
}

static void queue_destroyp(rd_kafka_queue_t **queue)
{
    if (*queue)
        rd_kafka_queue_destroy(*queue);
}

static void event_destroyp(rd_kafka_event_t **event)
{
    if (*event)
        rd_kafka_event_destroy(*event);
}

static int unknown(const char *what, const char *why, struct bf_err *err)
{
    return bf_err_set(err, BF_ERR_RETRY, "limits",
                      "max.message.bytes of %s is not known: %s", what, why);
}

static rd_kafka_event_t *ask(rd_kafka_t *rk, const struct bf_topics *topics,
                             int timeout_ms)
{
    rd_kafka_ConfigResource_t *wanted[BF_TOPICS];
    bf_cleanup(options_destroyp) rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    bf_cleanup(queue_destroyp) rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);

    rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, NULL, 0);
    for (int i = 0; i < BF_TOPICS; i++)
        wanted[i] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC,
                                                topics->names[i]);
    rd_kafka_DescribeConfigs(rk, wanted, BF_TOPICS, options, queue);
    rd_kafka_ConfigResource_destroy_array(wanted, BF_TOPICS);
    /* It answers by itself when time is up. */
    return rd_kafka_queue_poll(queue, timeout_ms + 1000);
}

static int take_limit(const rd_kafka_ConfigResource_t *resource, uint32_t *ret,
                      struct bf_err *err)
{
    const char *topic = rd_kafka_ConfigResource_name(resource);
    size_t n = 0;
    const rd_kafka_ConfigEntry_t **entries =
        rd_kafka_ConfigResource_configs(resource, &n);

    if (rd_kafka_ConfigResource_error(resource))
        return unknown(
            topic, rd_kafka_err2str(rd_kafka_ConfigResource_error(resource)),
            err);
    for (size_t i = 0; i < n; i++) {
        const char *value = rd_kafka_ConfigEntry_value(entries[i]);
        unsigned long bytes;

        if (!value || strcmp(rd_kafka_ConfigEntry_name(entries[i]),
                             "max.message.bytes") != 0)
            continue;
        bytes = strtoul(value, NULL, 10);
        *ret = bytes < INT32_MAX ? (uint32_t)bytes : INT32_MAX;
        return 0;
    }
    return unknown(topic, "the broker does not tell", err);
}

static int take_limits(rd_kafka_event_t *event, const struct bf_topics *topics,
                       struct bf_topic_limits *ret, struct bf_err *err)
{
    size_t n = 0;
    const rd_kafka_ConfigResource_t **resources =
        rd_kafka_DescribeConfigs_result_resources(
            rd_kafka_event_DescribeConfigs_result(event), &n);

    for (size_t i = 0; i < n; i++) {
        int which =
            bf_topic_of(topics, rd_kafka_ConfigResource_name(resources[i]));

        if (which >= 0 && take_limit(resources[i], &ret->max_bytes[which], err))
            return -1;
    }
    return 0;
}

int bf_topic_limits_read(rd_kafka_t *rk, const struct bf_topics *topics,
                         int timeout_ms, struct bf_topic_limits *ret,
                         struct bf_err *err)
{
    bf_cleanup(event_destroyp) rd_kafka_event_t *event =
        ask(rk, topics, timeout_ms);
    struct bf_topic_limits limits;

    if (!event)
        return unknown("our topics", "no broker has answered", err);
    if (rd_kafka_event_error(event))
        return unknown("our topics", rd_kafka_event_error_string(event), err);
    bf_topic_limits_init(&limits);
    if (take_limits(event, topics, &limits, err))
        return -1;
    *ret = limits;
    return 0;
}
