#include "dispatcher/kafka_stats.h"

#include <jansson.h>

#include "schemas/err.h"

static uint64_t number(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));

    return value > 0 ? (uint64_t)value : 0;
}

static double slower(double a, uint64_t us)
{
    double b = (double)us / 1e6;

    return a > b ? a : b;
}

static void add_broker(struct bf_kafka_stats *stats, const json_t *broker)
{
    const char *state = json_string_value(json_object_get(broker, "state"));
    const json_t *rtt = json_object_get(broker, "rtt");

    stats->brokers_up += state && strcmp(state, "UP") == 0;
    stats->requests += number(broker, "tx");
    stats->errors += number(broker, "txerrs") + number(broker, "rxerrs");
    stats->retries += number(broker, "txretries");
    stats->timeouts += number(broker, "req_timeouts");
    stats->rtt_p50_s = slower(stats->rtt_p50_s, number(rtt, "p50"));
    stats->rtt_p99_s = slower(stats->rtt_p99_s, number(rtt, "p99"));
}

int bf_kafka_stats_read(struct bf_slice text, struct bf_kafka_stats *ret,
                        struct bf_err *err)
{
    json_auto_t *doc = json_loadb(text.ptr, text.len, 0, NULL);
    json_t *brokers = json_object_get(doc, "brokers");
    struct bf_kafka_stats stats = {0};
    const char *name;
    json_t *broker;

    if (!json_is_object(brokers))
        return bf_err_set(err, BF_ERR_REJECT, "bad_stats",
                          "these are no statistics of librdkafka");
    json_object_foreach(brokers, name, broker) add_broker(&stats, broker);
    *ret = stats;
    return 0;
}
