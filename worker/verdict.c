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
    [BF_TRY_CRASHED] = {BF_OUTCOME_FAILED, BF_REASON_CRASHED, BF_DELIVERY_RAN,
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
    [BF_TRY_CREDENTIAL] = {BF_OUTCOME_EXPIRED, BF_REASON_NONE,
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

static const struct verdict_word {
    const char *word;
    enum bf_try what;
    enum bf_reason reason;
} words[] = {
    {"user_error", BF_TRY_FAILED, BF_REASON_USER_ERROR},
    {"init_error", BF_TRY_FAILED, BF_REASON_INIT_ERROR},
    {"oom", BF_TRY_FAILED, BF_REASON_OOM},
    {"cpu_limit", BF_TRY_FAILED, BF_REASON_CPU_LIMIT},
    {"crashed", BF_TRY_FAILED, BF_REASON_CRASHED},
    {"bad_output", BF_TRY_FAILED, BF_REASON_BAD_OUTPUT},
    {"output_too_large", BF_TRY_TOO_LARGE, BF_REASON_NONE},
    {"deadline", BF_TRY_TIMED_OUT, BF_REASON_NONE},
};

int bf_verdict_word(struct bf_slice word, enum bf_try *ret_what,
                    enum bf_reason *ret_reason)
{
    for (size_t i = 0; i < bf_countof(words); i++) {
        if (word.ptr && bf_slice_is(word, words[i].word)) {
            *ret_what = words[i].what;
            *ret_reason = words[i].reason;
            return 0;
        }
    }
    return -1;
}
