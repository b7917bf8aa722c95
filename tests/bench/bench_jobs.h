#ifndef BF_TESTS_BENCH_JOBS_H
#define BF_TESTS_BENCH_JOBS_H

/*
 * Signed job records as a dispatcher writes them, fast enough to be no part of
 * what is measured. Inputs are JSON around bytes that do not compress.
 */

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

#include "schemas/record.h"

struct bench_jobs;

struct bench_jobs_want {
    const char *keys; /* a keys.dir */
    const char *topic;
    uint32_t shards;
    size_t bytes; /* of the inputs */
    int64_t workspaces;
    int64_t first; /* the number of the first job; its id is made of it */
    bool client_ids;
};

struct bench_jobs *bench_jobs_new(const struct bench_jobs_want *want);
void bench_jobs_free(struct bench_jobs *jobs);

/*
 * Up to BF_MAX_TREE more, under one signature; how many it were. The records
 * live until the next call.
 */
size_t bench_jobs_build(struct bench_jobs *jobs, size_t n,
                        struct bf_record *ret[BF_MAX_TREE]);

/* The same, and hand them to librdkafka. */
size_t bench_jobs_produce(struct bench_jobs *jobs, rd_kafka_t *rk, size_t n);

/* The number in an id of ours; -1: not one of ours. */
int64_t bench_jobs_number(const void *id, size_t len);

#endif
