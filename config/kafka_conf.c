#include "config/kafka_conf.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/log.h"
#include "config/secret.h"
#include "config/settings.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/limits.h"

#define FETCH_MAX_BYTES (512U << 10)  /* more gets larger, not faster */
#define QUEUED_MAX_KBYTES (64U << 10) /* librdkafka's default */
#define ANSWER_MAX_BYTES (50U << 20)  /* librdkafka's default */
#define BATCH_BYTES 1000000U          /* librdkafka's default */
#define POLL_INTERVAL_MIN_MS 300000
#define EVENT_BYTES 48

#define BIT(role) (1U << (role))
#define GROUP BIT(BF_KAFKA_CONSUMER)
#define READ_C BIT(BF_KAFKA_READER_COMMITTED)
#define READ_U BIT(BF_KAFKA_READER_UNCOMMITTED)
#define CONSUMERS (GROUP | READ_C | READ_U)
#define TXN BIT(BF_KAFKA_TXN_PRODUCER)
#define PLAIN BIT(BF_KAFKA_PRODUCER)
#define PRODUCERS (TXN | PLAIN)
#define ADMIN BIT(BF_KAFKA_ADMIN)
#define EVERY (CONSUMERS | PRODUCERS | ADMIN)

static const char *const role_names[] = {
    [BF_KAFKA_CONSUMER] = "consumer",
    [BF_KAFKA_READER_COMMITTED] = "reader",
    [BF_KAFKA_READER_UNCOMMITTED] = "rereader",
    [BF_KAFKA_TXN_PRODUCER] = "committer",
    [BF_KAFKA_PRODUCER] = "producer",
    [BF_KAFKA_ADMIN] = "admin",
};

/* What does not depend on settings. Times are measured on librdkafka 2.0.2. */
static const struct {
    unsigned roles;
    const char *name;
    const char *value;
} fixed[] = {
    /* The default was false until 2.10; small requests wait 40 ms then. */
    {EVERY, "socket.nagle.disable", "true"},
    {EVERY, "socket.keepalive.enable", "true"},
    /* Idle brokers hang up, which is no news. */
    {EVERY, "log.connection.close", "false"},
    /* A commit resumes 0.2 to 1.3 s after a broker is back, not 10 s. */
    {EVERY, "reconnect.backoff.ms", "50"},
    {EVERY, "reconnect.backoff.max.ms", "500"},
    {EVERY, "statistics.interval.ms", "0"},
    {EVERY, "allow.auto.create.topics", "false"},

    {CONSUMERS, "enable.auto.commit", "false"},
    {CONSUMERS, "enable.auto.offset.store", "false"},
    /* A lost offset is for an operator, neither skipped nor repeated. */
    {CONSUMERS, "auto.offset.reset", "error"},
    /* A shard is restored when it reaches its end. */
    {CONSUMERS, "enable.partition.eof", "true"},
    /*
     * An end of partition is told by the answer to a fetch, and one that is
     * under way does not learn of a newly assigned partition: at 500 ms, half
     * a second more until a restored shard is open.
     */
    {CONSUMERS, "fetch.wait.max.ms", "100"},
    /* Fewer, and a queue that runs empty waits 1 s for its next fetch. */
    {CONSUMERS, "queued.min.messages", "1000"},
    {GROUP | READ_C, "isolation.level", "read_committed"},
    {READ_U, "isolation.level", "read_uncommitted"},
    /* With range or roundrobin everyone is idle until a dead member expires. */
    {GROUP, "partition.assignment.strategy", "cooperative-sticky"},

    {PRODUCERS, "enable.idempotence", "true"},
    {PRODUCERS, "acks", "all"},
    /* flush() sends at once anyway; 0 only makes the timer thread spin. */
    {PRODUCERS, "linger.ms", "5"},
    {PRODUCERS, "compression.codec", "lz4"},
    /* Back-to-back transactions wait this long: 14/s at 100, 70/s at 10. */
    {PRODUCERS, "retry.backoff.ms", "10"},
    /* Without transactions a caller waits for the report, so it must come. */
    {PLAIN, "message.timeout.ms", "30000"},
};

rd_kafka_type_t bf_kafka_role_type(enum bf_kafka_role role)
{
    return BIT(role) & CONSUMERS ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER;
}

/* ---- memory -------------------------------------------------------------- */

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

int bf_kafka_budget(uint64_t budget_bytes, uint32_t partitions,
                    struct bf_kafka_budget *ret, struct bf_err *err)
{
    uint64_t share = partitions ? budget_bytes / partitions : 0;

    if (share < BF_KAFKA_PARTITION_MIN_BYTES)
        return bf_err_set(err, BF_ERR_REJECT, "memory",
                          "%llu bytes for the queues of %u partitions are less "
                          "than %d each: raise worker.memory",
                          (unsigned long long)budget_bytes, partitions,
                          BF_KAFKA_PARTITION_MIN_BYTES);
    ret->fetch_bytes = (uint32_t)smaller(share / 2, FETCH_MAX_BYTES);
    ret->queued_kbytes =
        (uint32_t)smaller((share - ret->fetch_bytes) / 1024, QUEUED_MAX_KBYTES);
    ret->fetch_max_bytes = (uint32_t)smaller(
        (uint64_t)ret->fetch_bytes * partitions, ANSWER_MAX_BYTES);
    return 0;
}

/* ---- setting ------------------------------------------------------------- */

/* Ours: a value that librdkafka refuses is our bug or another librdkafka. */
static int set(rd_kafka_conf_t *conf, const char *name, const char *value,
               struct bf_err *err)
{
    char why[160];

    if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) ==
        RD_KAFKA_CONF_OK)
        return 0;
    return bf_err_set(err, BF_ERR_FATAL, "kafka_conf",
                      "librdkafka %s refuses %s: %s", rd_kafka_version_str(),
                      name, why);
}

static int set_num(rd_kafka_conf_t *conf, const char *name, int64_t value,
                   struct bf_err *err)
{
    char text[24];

    snprintf(text, sizeof(text), "%lld", (long long)value);
    return set(conf, name, text, err);
}

static int set_fixed(rd_kafka_conf_t *conf, enum bf_kafka_role role,
                     struct bf_err *err)
{
    for (size_t i = 0; i < bf_countof(fixed); i++) {
        if ((fixed[i].roles & BIT(role)) &&
            set(conf, fixed[i].name, fixed[i].value, err))
            return -1;
    }
    return 0;
}

static int set_common(rd_kafka_conf_t *conf, const struct bf_settings *s,
                      enum bf_kafka_role role, struct bf_err *err)
{
    char client[128];

    snprintf(client, sizeof(client), "blockfleet-%s-%s", role_names[role],
             s->instance);
    if (set(conf, "client.id", client, err))
        return -1;
    return set(conf, "bootstrap.servers", s->kafka.brokers, err);
}

/* Above the broker's limit, or a large record could never be read. */
static int set_answer(rd_kafka_conf_t *conf, uint32_t fetch_max_bytes,
                      struct bf_err *err)
{
    uint32_t answer =
        fetch_max_bytes > BF_MAX_RECORD ? fetch_max_bytes : BF_MAX_RECORD;

    if (set_num(conf, "message.max.bytes", BF_MAX_RECORD, err) ||
        set_num(conf, "fetch.max.bytes", answer, err))
        return -1;
    return set_num(conf, "receive.message.max.bytes",
                   (int64_t)answer + (1 << 20), err);
}

static int set_queues(rd_kafka_conf_t *conf, const struct bf_kafka_want *want,
                      struct bf_err *err)
{
    struct bf_kafka_budget budget = {0};

    if (want->queue_bytes == 0)
        return set_answer(conf, ANSWER_MAX_BYTES, err);
    if (bf_kafka_budget(want->queue_bytes, want->partitions, &budget, err) ||
        set_num(conf, "queued.max.messages.kbytes", budget.queued_kbytes,
                err) ||
        set_num(conf, "fetch.message.max.bytes", budget.fetch_bytes, err))
        return -1;
    return set_answer(conf, budget.fetch_max_bytes, err);
}

static int set_consumer(rd_kafka_conf_t *conf, const struct bf_settings *s,
                        const struct bf_kafka_want *want, struct bf_err *err)
{
    /* Draining may hold back a poll; twice that and it is a hang. */
    int64_t poll_ms = s->worker.drain_ms * 4 + s->worker.session_timeout_ms;

    if (poll_ms < POLL_INTERVAL_MIN_MS)
        poll_ms = POLL_INTERVAL_MIN_MS;
    /* Readers ask for the group's offsets, so they need its name too. */
    if (set(conf, "group.id", s->kafka.group, err) ||
        set_num(conf, "session.timeout.ms", s->worker.session_timeout_ms,
                err) ||
        set_num(conf, "heartbeat.interval.ms", s->worker.heartbeat_ms, err) ||
        set_num(conf, "max.poll.interval.ms", poll_ms, err))
        return -1;
    return set_queues(conf, want, err);
}

static void ignore_report(rd_kafka_t *rk, const rd_kafka_message_t *message,
                          void *opaque)
{
    (void)rk;
    (void)message;
    (void)opaque;
}

static int set_producer(rd_kafka_conf_t *conf, const struct bf_settings *s,
                        const struct bf_kafka_want *want, struct bf_err *err)
{
    uint32_t max_bytes =
        want->max_message_bytes ? want->max_message_bytes : BF_MAX_RECORD;

    /* Without any, flush() looks only every 10 ms. */
    rd_kafka_conf_set_dr_msg_cb(conf, want->dr_msg_cb ? want->dr_msg_cb
                                                      : ignore_report);
    if (set_num(conf, "message.max.bytes", max_bytes, err))
        return -1;
    if (want->batch_bytes && want->batch_bytes < BATCH_BYTES &&
        set_num(conf, "batch.size", want->batch_bytes, err))
        return -1;
    if (want->queue_bytes &&
        set_num(conf, "queue.buffering.max.kbytes",
                (int64_t)smaller((want->queue_bytes + 1023) / 1024, INT32_MAX),
                err))
        return -1;
    if (want->role != BF_KAFKA_TXN_PRODUCER)
        return 0;
    bf_assert(want->transactional_id && want->transactional_id[0]);
    if (set(conf, "transactional.id", want->transactional_id, err))
        return -1;
    return set_num(conf, "transaction.timeout.ms",
                   s->worker.transaction_timeout_ms, err);
}

/* The operator's, of one scope, in the order in which they were given. */
static int set_props(rd_kafka_conf_t *conf, const struct bf_settings *s,
                     enum bf_kafka_scope scope, struct bf_err *err)
{
    for (size_t i = 0; i < s->prop_count; i++) {
        const struct bf_kafka_prop *prop = &s->props[i];
        const char *value = prop->value;

        if (prop->scope != scope)
            continue;
        if (!value)
            value = bf_secret_reveal(prop->secret, "librdkafka").ptr;
        /* librdkafka's own words might quote a secret: none are used. */
        if (rd_kafka_conf_set(conf, prop->name, value, NULL, 0))
            return bf_err_set(err, BF_ERR_REJECT, "bad_value",
                              "librdkafka refuses the value of %s", prop->name);
    }
    return 0;
}

/* ---- callbacks ----------------------------------------------------------- */

/* syslog's levels, as librdkafka uses them. */
static enum bf_log_level level_of(int level)
{
    return level <= 3   ? BF_LOG_ERROR
           : level == 4 ? BF_LOG_WARN
           : level <= 6 ? BF_LOG_INFO
                        : BF_LOG_DEBUG;
}

/* Any of librdkafka's threads. An outage brings 20 lines a second. */
static void on_log(const rd_kafka_t *rk, int level, const char *fac,
                   const char *text)
{
    char event[EVENT_BYTES] = "kafka_";
    size_t len = strlen(event);

    for (; *fac && len < sizeof(event) - 1; fac++)
        event[len++] = (char)tolower((unsigned char)*fac);
    event[len] = '\0';
    bf_log_(level_of(level), event,
            bf_kv_str("handle", rk ? rd_kafka_name(rk) : NULL),
            bf_kv_str("text", text), BF_KV_LAST_);
}

/* The thread that polls the handle. */
static void on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    (void)opaque;
    bf_log_warn("kafka_error", bf_kv_str("handle", rd_kafka_name(rk)),
                bf_kv_str("code", rd_kafka_err2name((rd_kafka_resp_err_t)code)),
                bf_kv_str("text", reason));
}

static int fill(rd_kafka_conf_t *conf, const struct bf_settings *s,
                const struct bf_kafka_want *want, struct bf_err *err)
{
    unsigned role = BIT(want->role);

    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_opaque(conf, want->opaque);
    if (set_fixed(conf, want->role, err) ||
        set_common(conf, s, want->role, err))
        return -1;
    if ((role & CONSUMERS) && set_consumer(conf, s, want, err))
        return -1;
    if ((role & PRODUCERS) && set_producer(conf, s, want, err))
        return -1;
    if (set_props(conf, s, BF_KAFKA_ALL, err))
        return -1;
    if (role & CONSUMERS)
        return set_props(conf, s, BF_KAFKA_CONSUMERS, err);
    return role & PRODUCERS ? set_props(conf, s, BF_KAFKA_PRODUCERS, err) : 0;
}

rd_kafka_conf_t *bf_kafka_conf_new(const struct bf_settings *settings,
                                   const struct bf_kafka_want *want,
                                   struct bf_err *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    if (fill(conf, settings, want, err) == 0)
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}

uint32_t bf_kafka_conf_max_message(const rd_kafka_conf_t *conf)
{
    char text[24] = "";
    size_t size = sizeof(text);

    if (rd_kafka_conf_get(conf, "message.max.bytes", text, &size))
        return BF_MAX_RECORD;
    return (uint32_t)strtoul(text, NULL, 10);
}
