/*
 * From a job's arrival in Kafka to its result in a read_committed reader's
 * hands:
 *   bench-latency brokers=... keys=DIR jobs=N rate=PER_S [bytes=1024]
 *                 [skip=N]
 * Jobs are produced one by one, evenly, linger 0; the clock of one begins when
 * it is handed to the producer. The first skip ones are not measured.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#include "config/clock.h"
#include "schemas/buf.h"
#include "schemas/check.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_jobs.h"

#define RESULTS "bf.results"
#define LATE_US 20000000 /* after the last job */

struct latency {
    rd_kafka_t *reader;
    _Atomic int64_t *sent_us; /* by number; 0: not yet */
    int64_t *took_us;
    int64_t jobs, seen;
    atomic_bool ready; /* the reader has come to the end of all */
    int64_t last_us;   /* when the last job was sent; written before over */
    atomic_bool over;
};

static void open_reader(struct latency *l, const char *brokers)
{
    static const struct bench_set sets[] = {
        {"group.id", "bench-latency"},
        {"isolation.level", "read_committed"},
        {"auto.offset.reset", "earliest"},
        {"enable.auto.commit", "false"},
        {"enable.partition.eof", "true"},
    };
    rd_kafka_topic_partition_list_t *parts =
        rd_kafka_topic_partition_list_new(1);
    uint32_t n;

    l->reader = bench_kafka(RD_KAFKA_CONSUMER, brokers, sets, bf_countof(sets));
    rd_kafka_poll_set_consumer(l->reader);
    n = bench_partitions(l->reader, RESULTS);
    for (uint32_t i = 0; i < n; i++)
        rd_kafka_topic_partition_list_add(parts, RESULTS, (int32_t)i)->offset =
            RD_KAFKA_OFFSET_BEGINNING;
    if (rd_kafka_assign(l->reader, parts))
        bench_die("assign failed");
    rd_kafka_topic_partition_list_destroy(parts);
}

static void take(struct latency *l, const rd_kafka_message_t *msg)
{
    rd_kafka_headers_t *headers = NULL;
    const void *id;
    size_t len;
    int64_t number, now = bf_mono_us();

    if (rd_kafka_message_headers(msg, &headers) ||
        rd_kafka_header_get_last(headers, "bf_job", &id, &len))
        bench_die("a result without bf_job");
    number = bench_jobs_number(id, len);
    if (number < 0 || number >= l->jobs || l->took_us[number])
        bench_die("a result that nobody waits for");
    l->took_us[number] = now - l->sent_us[number];
    l->seen++;
}

static void *read_results(void *arg)
{
    struct latency *l = arg;
    uint32_t ended = 0, partitions = bench_partitions(l->reader, RESULTS);

    while (l->seen < l->jobs) {
        rd_kafka_message_t *msg = rd_kafka_consumer_poll(l->reader, 100);

        if (l->over && bf_mono_us() > l->last_us + LATE_US)
            bench_die("%" PRId64 " of %" PRId64 " results came", l->seen,
                      l->jobs);
        if (!msg)
            continue;
        if (!msg->err)
            take(l, msg);
        else if (msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            l->ready = l->ready || ++ended == partitions;
        else
            bench_die("read: %s", rd_kafka_message_errstr(msg));
        rd_kafka_message_destroy(msg);
    }
    return NULL;
}

static rd_kafka_t *producer(const char *brokers)
{
    static const struct bench_set sets[] = {
        {"enable.idempotence", "true"},
        {"linger.ms", "0"},
        {"compression.codec", "lz4"},
    };

    return bench_kafka(RD_KAFKA_PRODUCER, brokers, sets, bf_countof(sets));
}

static void wait_until_us(rd_kafka_t *rk, int64_t due_us)
{
    while (bf_mono_us() < due_us) {
        int64_t left_ms = (due_us - bf_mono_us()) / 1000;

        rd_kafka_poll(rk, left_ms > 0 ? (int)left_ms : 1);
    }
}

static void send_jobs(struct latency *l, struct bench_jobs *jobs,
                      rd_kafka_t *rk, int64_t rate)
{
    int64_t begin = bf_mono_us();

    for (int64_t i = 0; i < l->jobs; i++) {
        wait_until_us(rk, begin + i * 1000000 / rate);
        l->sent_us[i] = bf_mono_us();
        bench_jobs_produce(jobs, rk, 1);
    }
    if (rd_kafka_flush(rk, 60000))
        bench_die("not all was delivered");
    l->last_us = bf_mono_us();
    l->over = true;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static double percentile_ms(const int64_t *sorted, size_t n, size_t percent)
{
    size_t at = n * percent / 100;

    return (double)sorted[at < n ? at : n - 1] / 1e3;
}

static void report(struct latency *l, int64_t skip)
{
    int64_t *sorted = l->took_us + skip;
    size_t n = (size_t)(l->jobs - skip);

    qsort(sorted, n, sizeof(*sorted), compare);
    printf("{\"jobs\":%zu,\"p50_ms\":%.2f,\"p90_ms\":%.2f,\"p99_ms\":%.2f,"
           "\"max_ms\":%.2f}\n",
           n, percentile_ms(sorted, n, 50), percentile_ms(sorted, n, 90),
           percentile_ms(sorted, n, 99), percentile_ms(sorted, n, 100));
}

int main(int argc, char **argv)
{
    const char *brokers = bench_text(argv, "brokers", NULL);
    rd_kafka_t *rk = producer(brokers);
    struct latency l = {.jobs = bench_number(argv, "jobs", 0)};
    struct bench_jobs_want want = {
        .keys = bench_text(argv, "keys", NULL),
        .topic = "bf.jobs",
        .bytes = (size_t)bench_number(argv, "bytes", 1024),
        .workspaces = 50,
    };
    struct bench_jobs *jobs;
    pthread_t thread;

    (void)argc;
    want.shards = bench_partitions(rk, want.topic);
    jobs = bench_jobs_new(&want);
    l.sent_us = calloc((size_t)l.jobs + 1, sizeof(*l.sent_us));
    l.took_us = calloc((size_t)l.jobs + 1, sizeof(*l.took_us));
    open_reader(&l, brokers);
    if (!l.sent_us || !l.took_us ||
        pthread_create(&thread, NULL, read_results, &l))
        bench_die("no memory");
    while (!l.ready)
        rd_kafka_poll(rk, 10);
    send_jobs(&l, jobs, rk, bench_number(argv, "rate", 500));
    pthread_join(thread, NULL);
    report(&l, bench_number(argv, "skip", 0));
    bench_jobs_free(jobs);
    rd_kafka_destroy(rk);
    rd_kafka_consumer_close(l.reader);
    rd_kafka_destroy(l.reader);
    free((void *)(uintptr_t)l.sent_us);
    free(l.took_us);
    return 0;
}
