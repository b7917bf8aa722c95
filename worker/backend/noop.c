#include "worker/backend.h"

#include "schemas/check.h"
#include "schemas/err.h"

/*
 * Runs nothing and returns the inputs: what a fleet costs without providers,
 * and what the exactly-once tests drive, with a delay so that runs overlap.
 */

#define NOOP_MAGIC 0x4e4f4f50U

struct noop_run {
    struct bf_run run; /* first, see noop_from() */
    const struct bf_run_input *input;
    int64_t delay_ms;
};

static struct noop_run *noop_from(struct bf_run *run)
{
    bf_assert(run && run->magic == NOOP_MAGIC);
    return (struct noop_run *)run;
}

/* Spread over 0..max by the run id's own randomness. */
static int64_t spread(const char *run_id, int64_t max)
{
    uint64_t hash = 0;

    for (const char *p = run_id; *p; p++)
        hash = hash * 31 + (unsigned char)*p;
    return (int64_t)(hash % (uint64_t)(max + 1));
}

static struct bf_run *noop_begin(const struct bf_backend_config *config,
                                 const struct bf_run_input *input,
                                 struct bf_err *err)
{
    struct noop_run *run = calloc(1, sizeof(*run));

    if (!run) {
        bf_err_oom(err);
        return NULL;
    }
    run->run.magic = NOOP_MAGIC;
    run->run.backend = &bf_backend_noop;
    run->input = input;
    run->delay_ms = spread(input->run_id, config->noop_delay_ms);
    return &run->run;
}

static int noop_step(struct bf_run *run, const struct bf_reply *reply,
                     struct bf_request *ret_request, struct bf_run_end *ret_end,
                     struct bf_err *err)
{
    struct noop_run *noop = noop_from(run);
    bool in_time = reply->kind == BF_REPLY_OK;

    (void)err;
    if (reply->kind == BF_REPLY_NONE) {
        *ret_request = (struct bf_request){
            .by = BF_BY_TIMER, .runs = true, .delay_ms = noop->delay_ms};
        return BF_STEP_SEND;
    }
    *ret_end = (struct bf_run_end){
        .outcome = in_time ? BF_OUTCOME_SUCCEEDED : BF_OUTCOME_TIMED_OUT,
        .reason = in_time ? BF_REASON_NONE : BF_REASON_DEADLINE,
        .delivery = BF_DELIVERY_RAN,
        .isolation = "none",
        .duration_us = -1,
    };
    if (in_time)
        ret_end->result = noop->input->job->inputs;
    return BF_STEP_DONE;
}

static void noop_free(struct bf_run *run)
{
    if (!run)
        return;
    noop_from(run)->run.magic = 0;
    free(run);
}

const struct bf_backend bf_backend_noop = {
    .name = "noop",
    .begin = noop_begin,
    .step = noop_step,
    .free = noop_free,
};
