#include "worker/ending.h"

#include "config/clock.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "worker/shard.h"

/* ---- what a topic takes ---- */

static void replace_result(struct bf_end *end)
{
    end->outcome = BF_OUTCOME_FAILED;
    end->reason = BF_REASON_OUTPUT_TOO_LARGE;
    end->result = (struct bf_slice){NULL, 0};
    end->report.message =
        BF_SLICE_LIT("the result is larger than a result record may be");
}

static bool drop_streams(struct bf_report *report)
{
    if (!report->standard_output.ptr && !report->standard_error.ptr)
        return false;
    report->standard_output_truncated |= report->standard_output.ptr != NULL;
    report->standard_error_truncated |= report->standard_error.ptr != NULL;
    report->standard_output = (struct bf_slice){NULL, 0};
    report->standard_error = (struct bf_slice){NULL, 0};
    return true;
}

/* Streams are for people; they go when that is enough, or the last thing. */
static bool lighten_result(struct bf_end *end, const struct bf_record *rec,
                           size_t over)
{
    if (bf_record_get(rec, "bf_report").len > over &&
        drop_streams(&end->report))
        return true;
    if (rec->value.len > 0) {
        replace_result(end);
        return true;
    }
    if (drop_streams(&end->report))
        return true;
    if (!end->report.error.ptr)
        return false;
    end->report.error = (struct bf_slice){NULL, 0};
    return true;
}

static bool lighten_letter(struct bf_death *death)
{
    if (death->bare)
        return false;
    death->bare = death->truncated;
    death->truncated = true;
    return true;
}

/* False: they fit, or there is nothing left to leave out. */
static bool lighten(const struct bf_ending *ending, struct bf_task *task,
                    struct bf_death *death)
{
    for (size_t i = 0; i < task->item.nout; i++) {
        const struct bf_record *rec = task->item.out[i];
        size_t over =
            bf_topic_limits_over(&ending->limits, ending->names.topics, rec);
        int which =
            over > 0 ? bf_topic_of(ending->names.topics, rec->topic) : -1;

        if (which == BF_TOPIC_RESULTS && lighten_result(&task->end, rec, over))
            return true;
        if (which == BF_TOPIC_DEADLETTER && lighten_letter(death))
            return true;
    }
    return false;
}

/* ---- outputs ---- */

static int fatal(struct bf_err *err)
{
    err->kind = BF_ERR_FATAL;
    return -1;
}

/* death: NULL, or of a dead letter that goes with it. */
static int finish(const struct bf_ending *ending, struct bf_task *task,
                  struct bf_death *death, struct bf_err *err)
{
    struct bf_end *end = &task->end;

    /* The first time: a refusal does not make the run longer. */
    if (end->ended_at_ms == 0)
        end->ended_at_ms = bf_now_ms();
    if (task->begun) {
        end->run_id = task->run_id;
        end->started_at_ms = task->started_at_ms;
        end->has_usage = true;
        end->billable = end->delivery == BF_DELIVERY_RAN;
    }
    if (task->has_started ||
        (task->begun && task->job.execution == BF_AT_MOST_ONCE))
        bf_task_entry(task, true);
    if (task->nlost > 0 && end->delivery == BF_DELIVERY_DID_NOT_RUN)
        end->delivery = BF_DELIVERY_UNKNOWN;
    if (task->block) {
        end->fingerprint = bf_block_fingerprint(task->block);
        end->block_type = bf_block_type(task->block);
    }
    bf_task_complete(task);
    do {
        if (bf_task_outputs(task, &ending->names, death, err))
            return fatal(err);
    } while (lighten(ending, task, death));
    return 0;
}

/* What the task knows of its end, as a dead letter. */
static struct bf_death death_of(const struct bf_task *task)
{
    return (struct bf_death){.source = &task->source,
                             .job = &task->job,
                             .stage = task->stage,
                             .message = task->why.msg,
                             .at_ms = bf_now_ms(),
                             .bare = task->minimal,
                             .cut = task->flaw.kind != BF_ERR_NONE};
}

/* With a dead letter; the outcome is set. */
static int finish_dead(const struct bf_ending *ending, struct bf_task *task,
                       const char *stage, enum bf_reason reason,
                       const struct bf_err *why, struct bf_err *err)
{
    struct bf_death death;

    task->why = *why;
    task->stage = stage;
    death = death_of(task);
    death.reason = bf_reason_name(reason);
    task->end.reason = reason;
    task->end.report.message = bf_slice_str(task->why.msg);
    return finish(ending, task, &death, err);
}

/*
 * An attempt before may have run: the job cannot end any more as one that did
 * not, whatever became of the attempt after it.
 */
static int finish_lost(const struct bf_ending *ending, struct bf_task *task,
                       const char *stage, const struct bf_err *why,
                       struct bf_err *err)
{
    task->end.outcome = BF_OUTCOME_DEAD;
    task->end.delivery = BF_DELIVERY_UNKNOWN;
    return finish_dead(ending, task, stage, BF_REASON_ATTEMPTS, why, err);
}

int bf_ending_run(const struct bf_ending *ending, struct bf_task *task,
                  const struct bf_run_end *run_end, struct bf_err *err)
{
    struct bf_end *end = &task->end;
    struct bf_err why = {0};

    end->outcome = run_end->outcome;
    end->reason = run_end->reason;
    end->delivery = run_end->delivery;
    end->result = run_end->result;
    end->report = run_end->report;
    end->isolation = run_end->isolation;
    end->provider = run_end->provider;
    end->vcpu_us = run_end->vcpu_us;
    end->memory_gib_us = run_end->memory_gib_us;
    end->backend = task->run->backend->name;
    end->duration_us = run_end->duration_us >= 0
                           ? run_end->duration_us
                           : bf_mono_us() - task->started_us;
    if (end->result.len > BF_MAX_RESULT)
        replace_result(end);
    bf_err_set(&why, BF_ERR_REJECT, "dead", "%.*s",
               BF_SLICE_ARG(end->report.message));
    if (end->outcome == BF_OUTCOME_EXPIRED && task->nlost > 0)
        return finish_lost(ending, task, "run", &why, err);
    if (end->outcome != BF_OUTCOME_DEAD)
        return finish(ending, task, NULL, err);
    return finish_dead(ending, task, "run", end->reason, &why, err);
}

int bf_ending_rejected(const struct bf_ending *ending, struct bf_task *task,
                       const char *stage, const struct bf_err *why,
                       struct bf_err *err)
{
    int reason = bf_reason_parse(bf_slice_str(why->code));

    if (task->nlost > 0)
        return finish_lost(ending, task, stage, why, err);
    task->end.outcome = BF_OUTCOME_REJECTED;
    task->end.delivery = BF_DELIVERY_DID_NOT_RUN;
    return finish_dead(
        ending, task, stage,
        reason < 0 ? BF_REASON_BAD_RECORD : (enum bf_reason)reason, why, err);
}

int bf_ending_expired(const struct bf_ending *ending, struct bf_task *task,
                      const struct bf_err *why, struct bf_err *err)
{
    if (task->nlost > 0)
        return finish_lost(ending, task, "run", why, err);
    task->end.outcome = BF_OUTCOME_EXPIRED;
    task->end.delivery = BF_DELIVERY_DID_NOT_RUN;
    task->end.report.message = bf_slice_str(why->msg);
    return finish(ending, task, NULL, err);
}

int bf_ending_unknown(const struct bf_ending *ending, struct bf_task *task,
                      const struct bf_started *started, const char *backend,
                      struct bf_err *err)
{
    task->attempt = started->attempt;
    memcpy(task->run_id, started->run_id, sizeof(task->run_id));
    task->begun = started->run_id[0];
    task->end.outcome = BF_OUTCOME_UNKNOWN;
    task->end.reason = BF_REASON_WORKER_LOST;
    task->end.delivery = BF_DELIVERY_UNKNOWN;
    task->end.report.message =
        BF_SLICE_LIT("the worker died in the middle of this at_most_once run");
    task->end.backend = backend;
    bf_task_entry(task, true);
    return finish(ending, task, NULL, err);
}

int bf_ending_unanswered(const struct bf_ending *ending, struct bf_task *task,
                         const char *stage, bool trusted,
                         const struct bf_err *why, struct bf_err *err)
{
    struct bf_death death;

    task->why = *why;
    task->stage = stage;
    task->unanswered = true;
    task->trusted = trusted;
    death = death_of(task);
    death.reason = task->why.code;
    if (!trusted)
        death.job = NULL;
    /* A gap has its own. */
    if (task->item.from == task->item.to)
        bf_task_complete(task);
    do {
        if (bf_task_letter(task, &ending->names, &death, err))
            return fatal(err);
    } while (lighten(ending, task, &death));
    return 0;
}

int bf_ending_smaller(const struct bf_ending *ending, struct bf_task *task,
                      const struct bf_err *why, struct bf_err *err)
{
    struct bf_err first = task->why;
    int reason = bf_reason_parse(bf_slice_str(why->code));

    if (task->minimal) {
        *err = *why;
        err->kind = BF_ERR_FATAL;
        return bf_err_prefix(err, "even the smallest output is refused");
    }
    bf_assert(reason >= 0);
    task->minimal = true;
    /* It was the copy of the record in the letter: the verdict stands. */
    if (task->unanswered)
        return bf_ending_unanswered(ending, task, task->stage, task->trusted,
                                    &first, err);
    if (task->end.outcome == BF_OUTCOME_REJECTED)
        return bf_ending_rejected(ending, task, task->stage, &first, err);
    task->end.outcome = BF_OUTCOME_DEAD;
    task->end.result = (struct bf_slice){NULL, 0};
    task->end.report = (struct bf_report){.line_number = 0};
    return finish_dead(ending, task, "produce", (enum bf_reason)reason, why,
                       err);
}
