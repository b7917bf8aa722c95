#include "tests/bench/bench.h"

#include <stdarg.h>
#include <sys/resource.h>

#include "schemas/buf.h"

#define ANSWER_MS 10000

void bench_die(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

const char *bench_text(char **argv, const char *name, const char *usual)
{
    size_t len = strlen(name);

    for (size_t i = 1; argv[i]; i++) {
        if (strncmp(argv[i], name, len) == 0 && argv[i][len] == '=')
            return argv[i] + len + 1;
    }
    if (!usual)
        bench_die("%s: %s= is missing", argv[0], name);
    return usual;
}

int64_t bench_number(char **argv, const char *name, int64_t usual)
{
    const char *text = bench_text(argv, name, "");
    uint64_t number;

    if (!text[0])
        return usual;
    if (bf_slice_u64(bf_slice_str(text), INT64_MAX, &number))
        bench_die("%s: %s=%s is not a number", argv[0], name, text);
    return (int64_t)number;
}

/* Nothing is measured with what Kafka does not take. */
static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *msg,
                      void *opaque)
{
    (void)rk;
    (void)opaque;
    if (msg->err)
        bench_die("not delivered: %s", rd_kafka_err2str(msg->err));
}

rd_kafka_t *bench_kafka(rd_kafka_type_t type, const char *brokers,
                        const struct bench_set *more, size_t nmore)
{
    static const struct bench_set common[] = {
        {"socket.nagle.disable", "true"},
        {"reconnect.backoff.max.ms", "500"},
        {"message.max.bytes", "16777216"},
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[256];
    rd_kafka_t *rk;

    if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, why, sizeof(why)))
        bench_die("%s", why);
    for (size_t i = 0; i < bf_countof(common) + nmore; i++) {
        const struct bench_set *set =
            i < bf_countof(common) ? &common[i] : &more[i - bf_countof(common)];

        if (rd_kafka_conf_set(conf, set->name, set->value, why, sizeof(why)))
            bench_die("%s", why);
    }
    if (type == RD_KAFKA_PRODUCER)
        rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rk = rd_kafka_new(type, conf, why, sizeof(why));
    if (!rk)
        bench_die("%s", why);
    return rk;
}

static int64_t micros(const struct timeval *time)
{
    return (int64_t)time->tv_sec * 1000000 + time->tv_usec;
}

int64_t bench_cpu_us(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return micros(&usage.ru_utime) + micros(&usage.ru_stime);
}

uint32_t bench_partitions(rd_kafka_t *rk, const char *name)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
    const struct rd_kafka_metadata *metadata;
    int count = 0;

    if (!topic || rd_kafka_metadata(rk, 0, topic, &metadata, ANSWER_MS))
        bench_die("no answer about %s", name);
    if (metadata->topic_cnt == 1)
        count = metadata->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
    if (count <= 0)
        bench_die("no topic %s", name);
    return (uint32_t)count;
}
