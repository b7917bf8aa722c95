#ifndef BF_TESTS_BENCH_H
#define BF_TESTS_BENCH_H

/*
 * What the programs of a measurement share. They run alone, for one figure:
 * whatever goes wrong ends them with a sentence on stderr.
 */

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

#include "schemas/err.h"

_Noreturn void bench_die(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));

/* Arguments are name=value, in any order; a missing one without default ends
 * the program. Borrowed from argv. */
const char *bench_text(char **argv, const char *name, const char *usual);
int64_t bench_number(char **argv, const char *name, int64_t usual);

/* A handle with the worker's settings (kafka_real.md §6 measured them). */
struct bench_set {
    const char *name;
    const char *value;
};
rd_kafka_t *bench_kafka(rd_kafka_type_t type, const char *brokers,
                        const struct bench_set *more, size_t nmore);

/* User and system time of this process, all threads. */
int64_t bench_cpu_us(void);

/* Partitions of a topic that exists. */
uint32_t bench_partitions(rd_kafka_t *rk, const char *name);

#endif
