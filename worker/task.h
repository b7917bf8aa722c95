#ifndef BF_WORKER_TASK_H
#define BF_WORKER_TASK_H

/*
 * One record of a jobs topic on its way through this worker, from the log to
 * the transaction that ends it. Loop thread, except while its item is with the
 * committer.
 */

#include "worker/admit.h"
#include "worker/backend.h"
#include "worker/item.h"
#include "worker/order.h"
#include "worker/timers.h"

enum bf_task_phase {
    BF_TASK_WAITING,  /* for its time, or its next try */
    BF_TASK_STARTING, /* its started entry is being committed */
    BF_TASK_RUNNING,  /* with a backend */
    BF_TASK_ENDING,   /* its outputs are being committed */
};

/* An attempt that may have run, and was followed by another. */
struct bf_lost_run {
    uint32_t attempt;
    char run_id[BF_HEX128_SIZE];
    const char *backend, *isolation; /* literals */
    int64_t started_at_ms, ended_at_ms, duration_us;
};

struct bf_task {
    struct bf_item item; /* first */
    struct bf_task *prev, *next;
    struct bf_timer timer;
    struct bf_order_node turn; /* in its order key's queue, if it has one */
    enum bf_task_phase phase;
    bool begun;   /* a run was begun: run_id and started_at_ms are set */
    bool minimal; /* its outputs are already the smallest there are */
    int tries;    /* that came to nothing */
    uint32_t attempt;
    struct bf_record source;
    struct bf_err flaw; /* kind REJECT: source is less than what was read */
    const char *stage;  /* its dead letter's; NULL: there is none */
    struct bf_err why;  /* of the dead letter */
    bool unanswered;    /* the dead letter is all: there is no result */
    bool trusted;       /* an unanswered one whose signature is good */
    bool claims;        /* its id, against copies: in the runs' tree */
    bool has_started;   /* a started entry at its place: its end ends that */
    struct bf_job job;
    struct bf_block *block; /* NULL: not to be run */
    struct bf_run_input input;
    struct bf_run *run;
    struct bf_runner_call *runner_call; /* under way; the pool's */
    struct bf_http_call *http_call;     /* the same */
    char run_id[BF_HEX128_SIZE];
    int64_t started_at_ms, started_us;
    /* of a RUNNING one, mono_ms */
    int64_t deadline_ms;      /* 0: its time does not count yet */
    int64_t step_due_ms;      /* the time of the step under way is over */
    bool waits;               /* that step is to wait for just that */
    struct bf_lost_run *lost; /* owned */
    size_t nlost;
    struct bf_end end;
    size_t bytes;    /* what it holds of the memory budget */
    size_t reserved; /* the same, of its run that is being built, or sent */
};

/*
 * Copies msg and destroys it, in any case. What no record may be, the task has
 * a flaw for.
 */
struct bf_task *bf_task_new(rd_kafka_message_t *msg, const char *topic,
                            struct bf_err *err);

/* For offsets that are not in the log: nothing was read. */
struct bf_task *bf_task_new_gap(const char *topic, uint32_t shard, int64_t from,
                                struct bf_err *err);
void bf_task_free(struct bf_task *task);

/* A new run id, of 16 random bytes; the run begins now. */
void bf_task_begin(struct bf_task *task, const unsigned char random[16]);

/*
 * Nobody knows whether the run under way ran: the next one begun is another
 * attempt. RETRY on no memory.
 */
int bf_task_lost(struct bf_task *task, const char *isolation,
                 struct bf_err *err);

/* Its time runs from now: every try has its own. */
void bf_task_start_clock(struct bf_task *task);

/* Its item completes its offset. */
void bf_task_complete(struct bf_task *task);

/* The state entry "started", or its end; borrows from the task. */
void bf_task_entry(struct bf_task *task, bool tombstone);

/* Names of what outputs are written to. */
struct bf_task_names {
    const struct bf_topics *topics;
    const char *fleet;
    const char *worker;
};

/*
 * Fill the item with the outputs of task->end: a result, and what goes with
 * it. Earlier ones are dropped.
 */
int bf_task_outputs(struct bf_task *task, const struct bf_task_names *names,
                    const struct bf_death *death, struct bf_err *err);

/* A dead letter alone: nobody vouches for the record, or can be answered. */
int bf_task_letter(struct bf_task *task, const struct bf_task_names *names,
                   const struct bf_death *death, struct bf_err *err);

#endif
