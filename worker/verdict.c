#include "worker/verdict.h"

#include "schemas/check.h"

static const struct verdict_row {
    enum bf_outcome outcome;
    enum bf_reason reason;
    enum bf_delivery delivery;
    bool again;
} rows[] = {
    [BF_TRY_SUCCEEDED] = {BF_OUTCOME_SUCCEEDED, BF_REASON_NONE, BF_DELIVERY_RAN,
                          false},
    [BF_TRY_FAILED] = {BF_OUTCOME_FAILED, BF_REASON_USER_ERROR, BF_DELIVERY_RAN,
                       false},
    [BF_TRY_TOO_LARGE] = {BF_OUTCOME_FAILED, BF_REASON_OUTPUT_TOO_LARGE,
                          BF_DELIVERY_RAN, false},
    [BF_TRY_TIMED_OUT] = {BF_OUTCOME_TIMED_OUT, BF_REASON_DEADLINE,
                          BF_DELIVERY_RAN, false},
    [BF_TRY_NEVER_LEFT] = {BF_OUTCOME_TIMED_OUT, BF_REASON_DEADLINE,
                           BF_DELIVERY_DID_NOT_RUN, false},
    /* Tried again until the job expires, which then is how it ends, unless an
     * earlier attempt may have run: ending.c. */
    [BF_TRY_NOT_STARTED] = {BF_OUTCOME_EXPIRED, BF_REASON_NONE,
                            BF_DELIVERY_DID_NOT_RUN, true},
    [BF_TRY_REFUSED] = {BF_OUTCOME_DEAD, BF_REASON_BACKEND_REFUSED,
                        BF_DELIVERY_DID_NOT_RUN, false},
    [BF_TRY_NOBODY_KNOWS] = {BF_OUTCOME_DEAD, BF_REASON_ATTEMPTS,
                             BF_DELIVERY_UNKNOWN, false},
};
_Static_assert(bf_countof(rows) == BF_TRIES, "a row each");

void bf_verdict(const struct bf_verdict_case *which, struct bf_run_end *end)
{
    const struct verdict_row *row;

    bf_assert(which->what < BF_TRIES);
    row = &rows[which->what];
    end->outcome = row->outcome;
    end->reason = row->reason;
    end->delivery = row->delivery;
    end->again = row->again;
    if (which->what == BF_TRY_FAILED && which->reason != BF_REASON_NONE)
        end->reason = which->reason;
    end->more = row->delivery == BF_DELIVERY_UNKNOWN &&
                which->execution == BF_AT_LEAST_ONCE &&
                which->attempt < which->max_attempts;
}

struct bf_verdict_case bf_verdict_of(const struct bf_run_input *input,
                                     enum bf_try what)
{
    return (struct bf_verdict_case){
        .what = what,
        .execution = input->job->execution,
        .attempt = input->attempt,
        .max_attempts = input->job->max_attempts,
    };
}
