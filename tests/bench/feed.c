/*
 * Writes signed jobs and ends when the broker has them:
 *   bench-feed brokers=... keys=DIR jobs=N [bytes=1024] [first=0]
 *              [workspaces=50] [ids=server|client] [topic=bf.jobs]
 */
#include "config/clock.h"
#include "schemas/limits.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_jobs.h"

static rd_kafka_t *producer(const char *brokers)
{
    static const struct bench_set sets[] = {
        {"enable.idempotence", "true"},
        {"linger.ms", "5"},
        {"compression.codec", "lz4"},
        {"queue.buffering.max.kbytes", "65536"},
    };

    return bench_kafka(RD_KAFKA_PRODUCER, brokers, sets, bf_countof(sets));
}

int main(int argc, char **argv)
{
    rd_kafka_t *rk = producer(bench_text(argv, "brokers", NULL));
    struct bench_jobs_want want = {
        .keys = bench_text(argv, "keys", NULL),
        .topic = bench_text(argv, "topic", "bf.jobs"),
        .bytes = (size_t)bench_number(argv, "bytes", 1024),
        .first = bench_number(argv, "first", 0),
        .workspaces = bench_number(argv, "workspaces", 50),
        .client_ids = strcmp(bench_text(argv, "ids", "server"), "client") == 0,
    };
    int64_t left = bench_number(argv, "jobs", 0), begin = bf_mono_us();
    struct bench_jobs *jobs;

    (void)argc;
    want.shards = bench_partitions(rk, want.topic);
    jobs = bench_jobs_new(&want);
    while (left > 0)
        left -= (int64_t)bench_jobs_produce(
            jobs, rk, left < BF_MAX_TREE ? (size_t)left : BF_MAX_TREE);
    if (rd_kafka_flush(rk, 60000))
        bench_die("not all was delivered");
    printf("{\"seconds\":%.3f}\n", (double)(bf_mono_us() - begin) / 1e6);
    bench_jobs_free(jobs);
    rd_kafka_destroy(rk);
    return 0;
}
