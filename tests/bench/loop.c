/*
 * What librdkafka alone costs on the same records: consume, produce, commit
 * the offsets, in transactions, and nothing else.
 *   bench-loop brokers=... jobs=N [shape=plain|ours] [interval=20]
 *              [topic=bf.jobs] [out=bench.out]
 *              [out2=bench.out2]
 * plain writes the value and the key; ours writes as many headers and records
 * as a worker: all headers of the job with its value, and eleven of them with
 * 700 bytes. Both read_committed, lz4, acks=all, one consumer, one producer,
 * one thread.
 */
#include <inttypes.h>

#include "config/clock.h"
#include "schemas/buf.h"
#include "tests/bench/bench.h"

#define BATCH 1000
#define CALL_MS 30000
#define SKIP 5 /* the first fifth is not measured */

struct loop {
    rd_kafka_t *in;
    rd_kafka_t *out;
    rd_kafka_queue_t *queue;
    rd_kafka_topic_t *to;
    rd_kafka_topic_t *usage;
    bool ours;
    int64_t interval_ms;
    int64_t next[4096]; /* offsets to commit */
    uint32_t partitions;
    const char *from;
};

static void open_consumer(struct loop *loop, char **argv)
{
    const struct bench_set sets[] = {
        {"group.id", bench_text(argv, "group", "bench-loop")},
        {"isolation.level", "read_committed"},
        {"auto.offset.reset", "earliest"},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"queued.min.messages", "1000"},
    };
    rd_kafka_topic_partition_list_t *topics =
        rd_kafka_topic_partition_list_new(1);

    loop->in = bench_kafka(RD_KAFKA_CONSUMER, bench_text(argv, "brokers", NULL),
                           sets, bf_countof(sets));
    rd_kafka_poll_set_consumer(loop->in);
    loop->partitions = bench_partitions(loop->in, loop->from);
    if (loop->partitions > bf_countof(loop->next))
        bench_die("too many partitions");
    rd_kafka_topic_partition_list_add(topics, loop->from,
                                      RD_KAFKA_PARTITION_UA);
    if (rd_kafka_subscribe(loop->in, topics))
        bench_die("subscribe failed");
    rd_kafka_topic_partition_list_destroy(topics);
    loop->queue = rd_kafka_queue_get_consumer(loop->in);
    for (uint32_t i = 0; i < loop->partitions; i++)
        loop->next[i] = -1;
}

static void check(rd_kafka_error_t *error, const char *what)
{
    if (error)
        bench_die("%s: %s", what, rd_kafka_error_string(error));
}

static void open_producer(struct loop *loop, char **argv)
{
    static const struct bench_set sets[] = {
        {"transactional.id", "bench-loop"},
        {"linger.ms", "5"},
        {"compression.codec", "lz4"},
        {"retry.backoff.ms", "10"},
        {"acks", "all"},
    };

    loop->out =
        bench_kafka(RD_KAFKA_PRODUCER, bench_text(argv, "brokers", NULL), sets,
                    bf_countof(sets));
    loop->to = rd_kafka_topic_new(loop->out,
                                  bench_text(argv, "out", "bench.out"), NULL);
    loop->usage = rd_kafka_topic_new(
        loop->out, bench_text(argv, "out2", "bench.out2"), NULL);
    check(rd_kafka_init_transactions(loop->out, CALL_MS), "init_transactions");
}

/* The first of the message's headers, at most that many. */
static rd_kafka_headers_t *headers_of(const rd_kafka_message_t *msg, size_t max)
{
    rd_kafka_headers_t *from = NULL, *to = rd_kafka_headers_new(max);
    const char *name;
    const void *value;
    size_t len;

    if (rd_kafka_message_headers(msg, &from))
        return to;
    for (size_t i = 0;
         i < max && rd_kafka_header_get_all(from, i, &name, &value, &len) == 0;
         i++)
        rd_kafka_header_add(to, name, -1, value, (ssize_t)len);
    return to;
}

static void produce(struct loop *loop, rd_kafka_topic_t *to,
                    const rd_kafka_message_t *msg, const void *value,
                    size_t len, rd_kafka_headers_t *headers)
{
    rd_kafka_resp_err_t code;

    do {
        code = rd_kafka_producev(
            loop->out, RD_KAFKA_V_RKT(to), RD_KAFKA_V_PARTITION(msg->partition),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_KEY(msg->key, msg->key_len),
            RD_KAFKA_V_VALUE((void *)(uintptr_t)value, len),
            RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
        rd_kafka_poll(loop->out, code ? 10 : 0);
    } while (code == RD_KAFKA_RESP_ERR__QUEUE_FULL);
    if (code)
        bench_die("produce: %s", rd_kafka_err2str(code));
}

static void forward(struct loop *loop, const rd_kafka_message_t *msg)
{
    static const char row[700] = "a metering event";

    if (loop->ours) {
        produce(loop, loop->to, msg, msg->payload, msg->len,
                headers_of(msg, 48));
        produce(loop, loop->usage, msg, row, sizeof(row), headers_of(msg, 11));
    } else {
        produce(loop, loop->to, msg, msg->payload, msg->len, NULL);
    }
    loop->next[msg->partition] = msg->offset + 1;
}

static void send_offsets(struct loop *loop)
{
    rd_kafka_topic_partition_list_t *parts =
        rd_kafka_topic_partition_list_new((int)loop->partitions);
    rd_kafka_consumer_group_metadata_t *group =
        rd_kafka_consumer_group_metadata(loop->in);

    for (uint32_t i = 0; i < loop->partitions; i++) {
        if (loop->next[i] >= 0)
            rd_kafka_topic_partition_list_add(parts, loop->from, (int32_t)i)
                ->offset = loop->next[i];
        loop->next[i] = -1;
    }
    check(
        rd_kafka_send_offsets_to_transaction(loop->out, parts, group, CALL_MS),
        "send_offsets");
    rd_kafka_consumer_group_metadata_destroy(group);
    rd_kafka_topic_partition_list_destroy(parts);
}

/* One transaction of what comes in its time. */
static int64_t transact(struct loop *loop)
{
    rd_kafka_message_t *messages[BATCH];
    int64_t until = bf_mono_ms() + loop->interval_ms, left, done = 0;

    check(rd_kafka_begin_transaction(loop->out), "begin");
    while ((left = until - bf_mono_ms()) > 0) {
        ssize_t n = rd_kafka_consume_batch_queue(loop->queue, (int)left,
                                                 messages, BATCH);

        for (ssize_t i = 0; i < n; i++) {
            if (!messages[i]->err) {
                forward(loop, messages[i]);
                done++;
            }
            rd_kafka_message_destroy(messages[i]);
        }
    }
    if (done > 0)
        send_offsets(loop);
    check(rd_kafka_commit_transaction(loop->out, CALL_MS), "commit");
    return done;
}

static void measure(struct loop *loop, int64_t jobs)
{
    int64_t done = 0, cpu = 0, begin = 0, skipped = 0, transactions = 0;

    while (done < jobs) {
        done += transact(loop);
        transactions += begin > 0;
        if (begin == 0 && done >= jobs / SKIP) {
            begin = bf_mono_us();
            cpu = bench_cpu_us();
            skipped = done;
        }
    }
    cpu = bench_cpu_us() - cpu;
    begin = bf_mono_us() - begin;
    done -= skipped;
    printf("{\"jobs\":%" PRId64 ",\"cpu_us\":%.2f,\"jobs_per_s\":%.0f,"
           "\"transactions\":%" PRId64 "}\n",
           done, (double)cpu / (double)done, (double)done * 1e6 / (double)begin,
           transactions);
}

int main(int argc, char **argv)
{
    struct loop loop = {
        .ours = strcmp(bench_text(argv, "shape", "plain"), "ours") == 0,
        .interval_ms = bench_number(argv, "interval", 20),
        .from = bench_text(argv, "topic", "bf.jobs"),
    };

    (void)argc;
    open_consumer(&loop, argv);
    open_producer(&loop, argv);
    measure(&loop, bench_number(argv, "jobs", 0));
    rd_kafka_topic_destroy(loop.to);
    rd_kafka_topic_destroy(loop.usage);
    rd_kafka_destroy(loop.out);
    rd_kafka_consumer_close(loop.in);
    rd_kafka_queue_destroy(loop.queue);
    rd_kafka_destroy(loop.in);
    return 0;
}
