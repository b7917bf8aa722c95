#include "worker/task.h"

#include "config/clock.h"
#include "config/fleet_topics.h"
#include "config/kafka_record.h"
#include "schemas/check.h"
#include "schemas/err.h"

static struct bf_task *task_alloc(struct bf_err *err)
{
    struct bf_task *task = calloc(1, sizeof(*task));

    if (!task) {
        bf_err_oom(err);
        return NULL;
    }
    task->item.msg.kind = BF_MSG_ITEM;
    task->attempt = 1;
    return task;
}

struct bf_task *bf_task_new(rd_kafka_message_t *msg, const char *topic,
                            struct bf_err *err)
{
    struct bf_task *task = task_alloc(err);

    if (task && bf_kafka_record_copy(msg, topic, &task->source, &task->flaw) &&
        task->flaw.kind != BF_ERR_REJECT) {
        *err = task->flaw;
        bf_task_free(task);
        task = NULL;
    }
    rd_kafka_message_destroy(msg);
    if (task)
        task->bytes = sizeof(*task) + bf_record_bytes(&task->source);
    return task;
}

struct bf_task *bf_task_new_gap(const char *topic, uint32_t shard, int64_t from,
                                struct bf_err *err)
{
    struct bf_task *task = task_alloc(err);

    if (!task)
        return NULL;
    bf_record_init(&task->source, topic, (int32_t)shard);
    task->source.offset = from;
    task->bytes = sizeof(*task);
    return task;
}

void bf_task_free(struct bf_task *task)
{
    if (!task)
        return;
    bf_assert(task->timer.slot == 0 && !task->runner_call && !task->http_call);
    bf_item_drop(&task->item);
    if (task->run)
        task->run->backend->free(task->run);
    bf_block_free(task->block);
    free(task->lost);
    bf_record_release(&task->source);
    free(task);
}

void bf_task_begin(struct bf_task *task, const unsigned char random[16])
{
    struct bf_subject subject = {.workspace = task->job.workspace,
                                 .job = task->job.id,
                                 .generation = task->job.generation,
                                 .attempt = task->attempt};

    bf_run_id_with(&subject, random, task->run_id);
    task->begun = true;
    bf_task_start_clock(task);
}

void bf_task_start_clock(struct bf_task *task)
{
    task->started_at_ms = bf_now_ms();
    task->started_us = bf_mono_us();
}

int bf_task_lost(struct bf_task *task, const char *isolation,
                 struct bf_err *err)
{
    struct bf_lost_run *lost =
        realloc(task->lost, (task->nlost + 1) * sizeof(*lost));

    bf_assert(task->begun && task->attempt < BF_MAX_ATTEMPTS);
    if (!lost)
        return bf_err_oom(err);
    task->lost = lost;
    lost += task->nlost++;
    *lost = (struct bf_lost_run){
        .attempt = task->attempt++,
        .backend = task->run->backend->name,
        .isolation = isolation,
        .started_at_ms = task->started_at_ms,
        .ended_at_ms = bf_now_ms(),
        .duration_us = bf_mono_us() - task->started_us,
    };
    memcpy(lost->run_id, task->run_id, sizeof(lost->run_id));
    task->begun = false;
    return 0;
}

void bf_task_complete(struct bf_task *task)
{
    task->item.from = task->source.offset;
    task->item.to = task->source.offset + 1;
}

void bf_task_entry(struct bf_task *task, bool tombstone)
{
    struct bf_entry *entry = &task->item.entry;

    task->item.has_entry = true;
    *entry = (struct bf_entry){.kind = BF_ENTRY_RUN,
                               .lane = task->item.lane,
                               .tombstone = tombstone,
                               .offset = task->source.offset};
    if (tombstone)
        return;
    entry->workspace = task->job.workspace;
    entry->job = task->job.id;
    entry->r.state = BF_RUN_STARTED;
    entry->r.generation = task->job.generation;
    entry->r.attempt = task->attempt;
    entry->r.expires_ms = task->job.expires_at_ms;
    entry->r.order_key = task->job.order_key;
    entry->r.run_id = bf_slice_str(task->run_id);
    entry->r.id_origin = task->job.id_origin;
}

static void weigh(struct bf_item *item)
{
    for (size_t i = 0; i < item->nout; i++)
        item->bytes += bf_record_bytes(item->out[i]);
}

/* One event per run: those that no result tells of, too. */
static int add_lost(struct bf_task *task, const struct bf_task_names *names,
                    const struct bf_lost_run *lost, struct bf_err *err)
{
    struct bf_record *rec = bf_item_add(
        &task->item, bf_topic_name(names->topics, BF_TOPIC_USAGE), err);
    struct bf_end end = {
        .job = &task->job,
        .source = &task->source,
        .worker = names->worker,
        .fingerprint = task->end.fingerprint,
        .block_type = task->end.block_type,
        .attempt = lost->attempt,
        .run_id = lost->run_id,
        .backend = lost->backend,
        .isolation = lost->isolation,
        .outcome = BF_OUTCOME_UNKNOWN,
        .delivery = BF_DELIVERY_UNKNOWN,
        .started_at_ms = lost->started_at_ms,
        .ended_at_ms = lost->ended_at_ms,
        .duration_us = lost->duration_us,
    };

    return rec ? bf_usage_build(&end, names->fleet, rec, err) : -1;
}

typedef int build_fn(const struct bf_end *end, const char *fleet,
                     struct bf_record *rec, struct bf_err *err);

static int add_built(struct bf_task *task, const struct bf_task_names *names,
                     enum bf_topic topic, build_fn *build, struct bf_err *err)
{
    struct bf_record *rec =
        bf_item_add(&task->item, bf_topic_name(names->topics, topic), err);

    return rec ? build(&task->end, names->fleet, rec, err) : -1;
}

static int add_dead(struct bf_task *task, const struct bf_task_names *names,
                    const struct bf_death *death, struct bf_err *err)
{
    struct bf_record *rec = bf_item_add(
        &task->item, bf_topic_name(names->topics, BF_TOPIC_DEADLETTER), err);

    return rec ? bf_dead_build(death, names->fleet, rec, err) : -1;
}

int bf_task_outputs(struct bf_task *task, const struct bf_task_names *names,
                    const struct bf_death *death, struct bf_err *err)
{
    struct bf_end *end = &task->end;

    bf_item_drop(&task->item);
    end->job = &task->job;
    end->source = &task->source;
    end->attempt = task->attempt;
    end->worker = names->worker;
    end->has_dead_letter = death;
    if (add_built(task, names, BF_TOPIC_RESULTS, bf_result_build, err))
        return -1;
    if (end->has_usage &&
        add_built(task, names, BF_TOPIC_USAGE, bf_usage_build, err))
        return -1;
    for (size_t i = 0; i < task->nlost; i++) {
        if (add_lost(task, names, &task->lost[i], err))
            return -1;
    }
    if (task->job.callback_url.ptr &&
        add_built(task, names, BF_TOPIC_CALLBACKS, bf_callback_build, err))
        return -1;
    if (death && add_dead(task, names, death, err))
        return -1;
    weigh(&task->item);
    return 0;
}

int bf_task_letter(struct bf_task *task, const struct bf_task_names *names,
                   const struct bf_death *death, struct bf_err *err)
{
    bf_item_drop(&task->item);
    if (add_dead(task, names, death, err))
        return -1;
    weigh(&task->item);
    return 0;
}
