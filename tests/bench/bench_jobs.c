#include "tests/bench/bench_jobs.h"

#include <inttypes.h>
#include <sodium.h>

#include "config/clock.h"
#include "config/keys.h"
#include "schemas/job.h"
#include "tests/bench/bench.h"

#define NOISE 8192 /* inputs begin somewhere in it, so that all differ */
#define SPREAD 4
#define HEAD "{\"frame\":\""
#define TAIL "\"}"
#define EXPIRY_MS 3600000
#define ID "bench-"

static const char block[] =
    "{\"run_function_code\":\"def run(self, frame):\\n    return {'frame': "
    "frame}\\n\",\"run_function_name\":\"run\",\"imports\":[],"
    "\"init_function_code\":null,\"init_function_name\":\"init\","
    "\"block_type\":\"echo\"}";

struct one {
    struct bf_record rec;
    char id[32];
    char workspace[32];
    char *inputs;
};

struct bench_jobs {
    struct bench_jobs_want want;
    struct bf_keyring *keys;
    char *noise;
    int64_t next;
    size_t max; /* of one tree */
    struct one tree[BF_MAX_TREE];
};

static void make_noise(struct bench_jobs *jobs)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = jobs->want.bytes + NOISE;

    jobs->noise = malloc(len);
    if (!jobs->noise)
        bench_die("no memory");
    randombytes_buf(jobs->noise, len);
    for (size_t i = 0; i < len; i++)
        jobs->noise[i] = digits[(unsigned char)jobs->noise[i] % 64];
}

struct bench_jobs *bench_jobs_new(const struct bench_jobs_want *want)
{
    struct bench_jobs *jobs = calloc(1, sizeof(*jobs));
    struct bf_err err = {0};

    if (!jobs || sodium_init() < 0)
        bench_die("no memory");
    jobs->want = *want;
    jobs->next = want->first;
    jobs->max = want->bytes > 65536 ? 4 : BF_MAX_TREE;
    jobs->keys = bf_keyring_load(want->keys, &err);
    if (!jobs->keys)
        bench_die("%s", err.msg);
    if (want->bytes < strlen(HEAD TAIL))
        bench_die("inputs of at least %zu bytes", strlen(HEAD TAIL));
    make_noise(jobs);
    for (size_t i = 0; i < jobs->max; i++) {
        jobs->tree[i].inputs = malloc(want->bytes);
        if (!jobs->tree[i].inputs)
            bench_die("no memory");
    }
    return jobs;
}

void bench_jobs_free(struct bench_jobs *jobs)
{
    for (size_t i = 0; i < jobs->max; i++) {
        bf_record_release(&jobs->tree[i].rec);
        free(jobs->tree[i].inputs);
    }
    bf_keyring_free(jobs->keys);
    free(jobs->noise);
    free(jobs);
}

static void fill_inputs(const struct bench_jobs *jobs, struct one *one,
                        int64_t number)
{
    size_t head = strlen(HEAD), tail = strlen(TAIL);
    size_t len = jobs->want.bytes - head - tail;

    memcpy(one->inputs, HEAD, head);
    memcpy(one->inputs + head, jobs->noise + number * 37 % NOISE, len);
    memcpy(one->inputs + head + len, TAIL, tail);
}

static void build(struct bench_jobs *jobs, struct one *one)
{
    int64_t number = jobs->next++, now_ms = bf_now_ms();
    struct bf_err err = {0};

    snprintf(one->id, sizeof(one->id), ID "%010" PRId64, number);
    snprintf(one->workspace, sizeof(one->workspace), "ws-%" PRId64,
             number % jobs->want.workspaces);
    fill_inputs(jobs, one, number);
    struct bf_job job = {
        .kind = BF_SLICE_LIT("block"),
        .workspace = bf_slice_str(one->workspace),
        .id = bf_slice_str(one->id),
        .id_origin = jobs->want.client_ids ? BF_ID_CLIENT : BF_ID_SERVER,
        .spread = SPREAD,
        .execution = BF_AT_LEAST_ONCE,
        .accepted_at_ms = now_ms,
        .expires_at_ms = now_ms + EXPIRY_MS,
        .timeout_ms = 20000,
        .max_attempts = 3,
        .block = BF_SLICE_LIT(block),
        .inputs = {one->inputs, jobs->want.bytes},
    };

    bf_record_init(&one->rec, jobs->want.topic,
                   bf_partition(job.workspace, job.order_key, job.id, SPREAD,
                                jobs->want.shards));
    if (bf_job_build(&job, "main", &one->rec, &err))
        bench_die("%s", err.msg);
}

static void produce(const struct bf_record *rec, rd_kafka_t *rk)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(rec->nheaders);
    rd_kafka_resp_err_t code;

    for (size_t i = 0; i < rec->nheaders; i++)
        rd_kafka_header_add(headers, rec->headers[i].name.ptr,
                            (ssize_t)rec->headers[i].name.len,
                            rec->headers[i].value.ptr,
                            (ssize_t)rec->headers[i].value.len);
    do {
        code = rd_kafka_producev(
            rk, RD_KAFKA_V_TOPIC(rec->topic),
            RD_KAFKA_V_PARTITION(rec->partition),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_KEY((void *)(uintptr_t)rec->key.ptr, rec->key.len),
            RD_KAFKA_V_VALUE((void *)(uintptr_t)rec->value.ptr, rec->value.len),
            RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
        rd_kafka_poll(rk, code ? 10 : 0);
    } while (code == RD_KAFKA_RESP_ERR__QUEUE_FULL);
    if (code)
        bench_die("produce: %s", rd_kafka_err2str(code));
}

size_t bench_jobs_build(struct bench_jobs *jobs, size_t n,
                        struct bf_record *ret[BF_MAX_TREE])
{
    const struct bf_signer *signer =
        bf_keyring_signer(jobs->keys, BF_PURPOSE_JOB);
    struct bf_err err = {0};

    n = n < jobs->max ? n : jobs->max;
    for (size_t i = 0; i < n; i++) {
        bf_record_release(&jobs->tree[i].rec);
        build(jobs, &jobs->tree[i]);
        ret[i] = &jobs->tree[i].rec;
    }
    if (!signer || bf_sign_tree(signer, bf_now_ms(), ret, n, &err))
        bench_die("%s", signer ? err.msg : "no job key");
    return n;
}

size_t bench_jobs_produce(struct bench_jobs *jobs, rd_kafka_t *rk, size_t n)
{
    struct bf_record *records[BF_MAX_TREE];

    n = bench_jobs_build(jobs, n, records);
    for (size_t i = 0; i < n; i++)
        produce(records[i], rk);
    return n;
}

int64_t bench_jobs_number(const void *id, size_t len)
{
    struct bf_slice digits = {(const char *)id + strlen(ID), len - strlen(ID)};
    uint64_t number;

    if (len <= strlen(ID) || memcmp(id, ID, strlen(ID)) != 0)
        return -1;
    while (digits.len > 1 && digits.ptr[0] == '0') {
        digits.ptr++;
        digits.len--;
    }
    return bf_slice_u64(digits, INT64_MAX, &number) ? -1 : (int64_t)number;
}
