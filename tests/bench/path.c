/*
 * What of a job's cost is ours: its way through the worker without Kafka and
 * without threads, stage by stage; also what callgrind counts instructions of.
 *   bench-path keys=DIR [jobs=50000] [bytes=1024] [ids=server|client]
 */
#include <inttypes.h>
#include <sodium.h>

#include "config/clock.h"
#include "config/fleet_topics.h"
#include "config/keys.h"
#include "schemas/check.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_jobs.h"
#include "worker/task.h"

#define SHARDS 12

enum stage { COPY, ADMIT, RUN, OUTPUTS, SIGN, FREE, STAGES };
static const char *const stage_names[] = {"copy",    "admit", "run",
                                          "outputs", "sign",  "free"};

struct path {
    struct bf_topics topics;
    struct bf_keyring *keys;
    struct bf_verifier *verifier;
    struct bf_blocks *blocks;
    struct bench_jobs *jobs;
    struct bf_task *tasks[BF_MAX_TREE];
    struct bf_record *records[BF_MAX_TREE];
    size_t n;
    int64_t us[STAGES];
    int64_t offset;
};

static void must(int rc, const struct bf_err *err)
{
    if (rc)
        bench_die("%s", err->msg);
}

static void own(struct bf_record *rec, struct bf_slice *bytes)
{
    struct bf_err err = {0};

    must(bf_record_own(rec, *bytes, bytes, &err), &err);
}

/* As config/kafka_record.h copies a message. */
static void copy(struct path *path)
{
    for (size_t i = 0; i < path->n; i++) {
        const struct bf_record *from = path->records[i];
        struct bf_err err = {0};
        struct bf_task *task = bf_task_new_gap(
            from->topic, (uint32_t)from->partition, path->offset++, &err);
        struct bf_record *rec;

        must(!task, &err);
        rec = &task->source;
        rec->key = from->key;
        rec->value = from->value;
        own(rec, &rec->key);
        own(rec, &rec->value);
        for (size_t k = 0; k < from->nheaders; k++) {
            must(bf_record_ref(rec, from->headers[k].name,
                               from->headers[k].value, &err),
                 &err);
            own(rec, &rec->headers[k].name);
            own(rec, &rec->headers[k].value);
        }
        path->tasks[i] = task;
    }
}

static void admit(struct path *path)
{
    struct bf_admit_rules rules = {.verifier = path->verifier,
                                   .blocks = path->blocks,
                                   .shards = SHARDS,
                                   .now_ms = bf_now_ms()};

    for (size_t i = 0; i < path->n; i++) {
        struct bf_task *task = path->tasks[i];
        struct bf_err err = {0};

        must(bf_admit(&rules, &task->source, &task->job, &task->block, &err) !=
                 BF_ADMIT_RUN,
             &err);
    }
}

static void run(struct path *path)
{
    const struct bf_backend_config config = {.noop_delay_ms = 0};

    for (size_t i = 0; i < path->n; i++) {
        struct bf_task *task = path->tasks[i];
        struct bf_reply replies[] = {{.kind = BF_REPLY_NONE},
                                     {.kind = BF_REPLY_OK}};
        struct bf_request request = {0};
        struct bf_run_end end = {0};
        unsigned char random[16];
        struct bf_err err = {0};

        randombytes_buf(random, sizeof(random));
        bf_task_begin(task, random);
        task->input = (struct bf_run_input){.job = &task->job,
                                            .block = task->block,
                                            .run_id = task->run_id,
                                            .attempt = task->attempt};
        task->run = bf_backend_noop.begin(&config, &task->input, &err);
        must(!task->run, &err);
        for (size_t k = 0; k < bf_countof(replies); k++)
            must(bf_backend_noop.step(task->run, &replies[k], &request, &end,
                                      &err) < 0,
                 &err);
        task->end = (struct bf_end){
            .outcome = end.outcome,
            .delivery = end.delivery,
            .result = end.result,
            .isolation = end.isolation,
            .backend = "noop",
            .run_id = task->run_id,
            .started_at_ms = task->started_at_ms,
            .ended_at_ms = bf_now_ms(),
            .duration_us = bf_mono_us() - task->started_us,
            .has_usage = true,
            .billable = true,
            .fingerprint = bf_block_fingerprint(task->block),
            .block_type = bf_block_type(task->block),
        };
    }
}

static void outputs(struct path *path)
{
    const struct bf_task_names names = {.topics = &path->topics,
                                        .fleet = "main",
                                        .worker = "blockfleet-bench-0"};

    for (size_t i = 0; i < path->n; i++) {
        struct bf_err err = {0};

        must(bf_task_outputs(path->tasks[i], &names, NULL, &err), &err);
    }
}

static void sign(struct path *path)
{
    struct bf_record *leaves[BF_MAX_TREE];
    struct bf_err err = {0};
    size_t n = 0;

    for (size_t i = 0; i < path->n; i++) {
        const struct bf_item *item = &path->tasks[i]->item;

        for (size_t k = 0; k < item->nout; k++) {
            leaves[n++] = item->out[k];
            if (n < BF_MAX_TREE)
                continue;
            must(bf_sign_tree(bf_keyring_signer(path->keys, BF_PURPOSE_RESULT),
                              bf_now_ms(), leaves, n, &err),
                 &err);
            n = 0;
        }
    }
}

static void release(struct path *path)
{
    for (size_t i = 0; i < path->n; i++)
        bf_task_free(path->tasks[i]);
}

static void go(struct path *path, int64_t jobs)
{
    static void (*const stages[])(struct path *) = {copy,    admit, run,
                                                    outputs, sign,  release};
    _Static_assert(bf_countof(stages) == STAGES, "one each");

    for (int64_t done = 0; done < jobs; done += (int64_t)path->n) {
        path->n = bench_jobs_build(path->jobs, BF_MAX_TREE, path->records);
        for (size_t i = 0; i < STAGES; i++) {
            int64_t begin = bench_cpu_us();

            stages[i](path);
            path->us[i] += bench_cpu_us() - begin;
        }
    }
}

int main(int argc, char **argv)
{
    struct bench_jobs_want want = {
        .keys = bench_text(argv, "keys", NULL),
        .topic = "bf.jobs",
        .shards = SHARDS,
        .bytes = (size_t)bench_number(argv, "bytes", 1024),
        .workspaces = 50,
        .client_ids = strcmp(bench_text(argv, "ids", "server"), "client") == 0,
    };
    int64_t jobs = bench_number(argv, "jobs", 50000);
    struct path path = {.offset = 0};
    struct bf_err err = {0};

    (void)argc;
    path.jobs = bench_jobs_new(&want);
    path.keys = bf_keyring_load(want.keys, &err);
    must(!path.keys || bf_topics_init(&path.topics, "bf.", &err), &err);
    path.verifier = bf_verifier_new(bf_keyring_find_key, path.keys, &err);
    path.blocks = bf_blocks_new(&err);
    must(!path.verifier || !path.blocks, &err);
    go(&path, jobs);
    printf("{");
    for (size_t i = 0; i < STAGES; i++)
        printf("%s\"%s\":%.2f", i ? "," : "", stage_names[i],
               (double)path.us[i] / (double)jobs);
    printf("}\n");
    bf_blocks_free(path.blocks);
    bf_verifier_free(path.verifier);
    bf_keyring_free(path.keys);
    bench_jobs_free(path.jobs);
    return 0;
}
