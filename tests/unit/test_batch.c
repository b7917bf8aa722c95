#include "support.h"

#include "dispatcher/batch.h"

#define NOW 1763730000000LL
#define NO_LIMIT (-1)

static struct bf_batch batch_of(int64_t waiting, int64_t succeeded,
                                int64_t failed)
{
    struct bf_batch batch = {
        .opened = true, .until_ms = NOW + 1, .max_failure_ppm = NO_LIMIT};

    batch.jobs[bf_batch_status(BF_ROW_PARKED, BF_OUTCOME_DEAD)] = waiting;
    batch.jobs[bf_batch_status(BF_ROW_ENDED, BF_OUTCOME_SUCCEEDED)] = succeeded;
    batch.jobs[bf_batch_status(BF_ROW_ENDED, BF_OUTCOME_FAILED)] = failed;
    return batch;
}

static struct bf_batch sealed(struct bf_batch batch, int64_t count)
{
    batch.sealed = true;
    batch.count = count;
    return batch;
}

static struct bf_batch limited(struct bf_batch batch, int64_t ppm)
{
    batch.max_failure_ppm = ppm;
    return batch;
}

static void a_state_follows_from_the_facts(void **unused)
{
    const struct {
        struct bf_batch batch;
        enum bf_batch_state want;
        bool closed;
    } cases[] = {
        {batch_of(0, 0, 0), BF_BATCH_OPEN, false},
        {batch_of(0, 5, 5), BF_BATCH_OPEN, false},
        {sealed(batch_of(0, 4, 1), 5), BF_BATCH_COMPLETE, true},
        {sealed(batch_of(0, 0, 0), 0), BF_BATCH_COMPLETE, true},
        {sealed(batch_of(1, 4, 0), 5), BF_BATCH_SEALED, true},
        /* Two are not there yet: they may still be added. */
        {sealed(batch_of(0, 3, 0), 5), BF_BATCH_SEALED, false},
        /* One too many: five have ended, and it is not complete. */
        {sealed(batch_of(1, 5, 0), 5), BF_BATCH_SEALED, true},
        {sealed(batch_of(0, 6, 0), 5), BF_BATCH_SEALED, true},
        /* A tenth may fail, of all that are there or of the count. */
        {limited(batch_of(10, 9, 2), 100000), BF_BATCH_OPEN, false},
        {limited(batch_of(9, 8, 2), 100000), BF_BATCH_FAILED, true},
        {sealed(limited(batch_of(9, 8, 2), 100000), 20), BF_BATCH_SEALED,
         false},
        {sealed(limited(batch_of(0, 18, 2), 100000), 20), BF_BATCH_COMPLETE,
         true},
        {sealed(limited(batch_of(0, 17, 3), 100000), 20), BF_BATCH_FAILED,
         true},
        /* Before it is sealed, not by the first few that have ended... */
        {limited(batch_of(0, 0, 9), 100000), BF_BATCH_OPEN, false},
        {limited(batch_of(0, 0, 10), 100000), BF_BATCH_FAILED, true},
        {sealed(limited(batch_of(0, 0, 2), 100000), 5), BF_BATCH_FAILED, true},
        /* ...but none may fail of one that may have no failure. */
        {limited(batch_of(9, 9, 1), 0), BF_BATCH_FAILED, true},
        {limited(batch_of(0, 0, 1), 0), BF_BATCH_FAILED, true},
        {limited(batch_of(0, 0, 9), 1000000), BF_BATCH_OPEN, false},
        {sealed(limited(batch_of(0, 0, 9), 1000000), INT64_MAX),
         BF_BATCH_SEALED, false},
    };

    (void)unused;
    for (size_t i = 0; i < bf_countof(cases); i++) {
        assert_string_equal(
            bf_batch_state_name(bf_batch_state(&cases[i].batch, NOW)),
            bf_batch_state_name(cases[i].want));
        assert_int_equal(bf_batch_closed(&cases[i].batch) != NULL,
                         cases[i].closed);
    }
}

static void an_open_one_ends_with_its_time(void **unused)
{
    struct bf_batch batch = batch_of(1, 0, 0);

    (void)unused;
    assert_int_equal(bf_batch_state(&batch, NOW), BF_BATCH_OPEN);
    assert_int_equal(bf_batch_state(&batch, NOW + 1), BF_BATCH_EXPIRED);
    batch.opened = false; /* its jobs alone tell of it */
    assert_int_equal(bf_batch_state(&batch, NOW + 1), BF_BATCH_OPEN);
    batch = sealed(batch_of(1, 0, 0), 1);
    assert_int_equal(bf_batch_state(&batch, NOW + 1), BF_BATCH_SEALED);
}

static void what_was_cancelled_is_no_failure(void **unused)
{
    struct bf_batch batch = limited(batch_of(0, 1, 0), 0);

    (void)unused;
    batch.jobs[bf_batch_status(BF_ROW_ENDED, BF_OUTCOME_CANCELLED)] = 3;
    assert_int_equal(bf_batch_ended(&batch), 4);
    assert_int_equal(bf_batch_failures(&batch), 0);
    batch.jobs[bf_batch_status(BF_ROW_ENDED, BF_OUTCOME_UNKNOWN)] = 1;
    assert_int_equal(bf_batch_failures(&batch), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_follows_from_the_facts),
        cmocka_unit_test(an_open_one_ends_with_its_time),
        cmocka_unit_test(what_was_cancelled_is_no_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
