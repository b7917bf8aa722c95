#include "tests/unit/support.h"

#include "worker/verdict.h"

/* One row a case: what a try says, and what must follow. */
static const struct {
    enum bf_try what;
    enum bf_reason said;
    enum bf_execution execution;
    uint32_t attempt, max_attempts;
    enum bf_outcome outcome;
    enum bf_reason reason;
    enum bf_delivery delivery;
    bool again, more;
} rows[] = {
    {BF_TRY_SUCCEEDED, BF_REASON_NONE, BF_AT_LEAST_ONCE, 1, 3,
     BF_OUTCOME_SUCCEEDED, BF_REASON_NONE, BF_DELIVERY_RAN, false, false},
    {BF_TRY_FAILED, BF_REASON_NONE, BF_AT_LEAST_ONCE, 1, 3, BF_OUTCOME_FAILED,
     BF_REASON_USER_ERROR, BF_DELIVERY_RAN, false, false},
    {BF_TRY_FAILED, BF_REASON_OOM, BF_AT_LEAST_ONCE, 1, 3, BF_OUTCOME_FAILED,
     BF_REASON_OOM, BF_DELIVERY_RAN, false, false},
    {BF_TRY_CRASHED, BF_REASON_NONE, BF_AT_LEAST_ONCE, 1, 3, BF_OUTCOME_FAILED,
     BF_REASON_CRASHED, BF_DELIVERY_RAN, false, false},
    {BF_TRY_CREDENTIAL, BF_REASON_NONE, BF_AT_MOST_ONCE, 1, 1,
     BF_OUTCOME_EXPIRED, BF_REASON_NONE, BF_DELIVERY_DID_NOT_RUN, true, false},
    {BF_TRY_TOO_LARGE, BF_REASON_NONE, BF_AT_LEAST_ONCE, 1, 3,
     BF_OUTCOME_FAILED, BF_REASON_OUTPUT_TOO_LARGE, BF_DELIVERY_RAN, false,
     false},
    {BF_TRY_TIMED_OUT, BF_REASON_NONE, BF_AT_LEAST_ONCE, 1, 3,
     BF_OUTCOME_TIMED_OUT, BF_REASON_DEADLINE, BF_DELIVERY_RAN, false, false},
    {BF_TRY_NEVER_LEFT, BF_REASON_NONE, BF_AT_LEAST_ONCE, 1, 3,
     BF_OUTCOME_TIMED_OUT, BF_REASON_DEADLINE, BF_DELIVERY_DID_NOT_RUN, false,
     false},
    {BF_TRY_NOT_STARTED, BF_REASON_NONE, BF_AT_LEAST_ONCE, 1, 1,
     BF_OUTCOME_EXPIRED, BF_REASON_NONE, BF_DELIVERY_DID_NOT_RUN, true, false},
    {BF_TRY_NOT_STARTED, BF_REASON_NONE, BF_AT_MOST_ONCE, 1, 1,
     BF_OUTCOME_EXPIRED, BF_REASON_NONE, BF_DELIVERY_DID_NOT_RUN, true, false},
    {BF_TRY_REFUSED, BF_REASON_NONE, BF_AT_LEAST_ONCE, 1, 3, BF_OUTCOME_DEAD,
     BF_REASON_BACKEND_REFUSED, BF_DELIVERY_DID_NOT_RUN, false, false},
    {BF_TRY_NOBODY_KNOWS, BF_REASON_NONE, BF_AT_LEAST_ONCE, 1, 1,
     BF_OUTCOME_DEAD, BF_REASON_ATTEMPTS, BF_DELIVERY_UNKNOWN, false, false},
    {BF_TRY_NOBODY_KNOWS, BF_REASON_NONE, BF_AT_LEAST_ONCE, 1, 2,
     BF_OUTCOME_DEAD, BF_REASON_ATTEMPTS, BF_DELIVERY_UNKNOWN, false, true},
    {BF_TRY_NOBODY_KNOWS, BF_REASON_NONE, BF_AT_LEAST_ONCE, 2, 2,
     BF_OUTCOME_DEAD, BF_REASON_ATTEMPTS, BF_DELIVERY_UNKNOWN, false, false},
    /* whatever the job allows: at most once is at most once */
    {BF_TRY_NOBODY_KNOWS, BF_REASON_NONE, BF_AT_MOST_ONCE, 1, 5,
     BF_OUTCOME_DEAD, BF_REASON_ATTEMPTS, BF_DELIVERY_UNKNOWN, false, false},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        struct bf_verdict_case which = {.what = rows[i].what,
                                        .reason = rows[i].said,
                                        .execution = rows[i].execution,
                                        .attempt = rows[i].attempt,
                                        .max_attempts = rows[i].max_attempts};
        struct bf_run_end end = {.duration_us = 7};

        bf_verdict(&which, &end);
        assert_int_equal(end.outcome, rows[i].outcome);
        assert_int_equal(end.reason, rows[i].reason);
        assert_int_equal(end.delivery, rows[i].delivery);
        assert_int_equal(end.again, rows[i].again);
        assert_int_equal(end.more, rows[i].more);
        assert_int_equal(end.duration_us, 7);
    }
}

/* Never twice unless it is certain or the job allows it. */
static void test_invariants(void **state)
{
    (void)state;
    for (int what = 0; what < BF_TRIES; what++) {
        struct bf_verdict_case which = {.what = (enum bf_try)what,
                                        .execution = BF_AT_MOST_ONCE,
                                        .attempt = 1,
                                        .max_attempts = 100};
        struct bf_run_end end = {0};

        bf_verdict(&which, &end);
        assert_false(end.more);
        if (end.again)
            assert_int_equal(end.delivery, BF_DELIVERY_DID_NOT_RUN);
        which.execution = BF_AT_LEAST_ONCE;
        bf_verdict(&which, &end);
        assert_false(end.again && end.more);
        assert_int_equal(end.more, end.delivery == BF_DELIVERY_UNKNOWN);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_invariants),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
