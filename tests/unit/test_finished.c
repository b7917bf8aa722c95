#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "schemas/err.h"
#include "worker/finished.h"

static void make_id(uint32_t n, unsigned char id[BF_FINISHED_ID_SIZE])
{
    char job[16];

    snprintf(job, sizeof(job), "j-%u", n);
    bf_finished_id(BF_SLICE_LIT("w"), bf_slice_str(job), 0, id);
}

static void add(struct bf_finished *finished, uint64_t segment, uint32_t n,
                int64_t at_ms)
{
    unsigned char id[BF_FINISHED_ID_SIZE];
    struct bf_err err = {0};

    make_id(n, id);
    assert_int_equal(bf_finished_add(finished, segment, id, at_ms, &err), 0);
}

static bool has(const struct bf_finished *finished, uint32_t n)
{
    unsigned char id[BF_FINISHED_ID_SIZE];

    make_id(n, id);
    return bf_finished_has(finished, id);
}

static void what_was_added_is_known_and_nothing_else(void **unused)
{
    struct bf_err err = {0};
    bf_autofinished struct bf_finished *finished = bf_finished_new(&err);

    (void)unused;
    assert_false(has(finished, 1));
    for (uint32_t n = 0; n < 5000; n++)
        add(finished, n / 7, n, 1);
    assert_int_equal(bf_finished_count(finished), 5000);
    for (uint32_t n = 0; n < 5000; n++)
        assert_true(has(finished, n));
    for (uint32_t n = 5000; n < 10000; n++)
        assert_false(has(finished, n));
}

/* Fold until there is nothing to fold; what is known stays known. */
static size_t fold_all(struct bf_finished *finished, int64_t now_ms)
{
    struct bf_err err = {0};
    struct bf_fold fold;
    size_t rounds = 0;

    while (bf_finished_fold(finished, now_ms, &fold)) {
        assert_true(fold.nids <= BF_MAX_SEGMENT);
        assert_int_equal(bf_finished_folded(finished, &fold, &err), 0);
        bf_fold_release(&fold);
        assert_true(++rounds < 100);
    }
    return rounds;
}

static void folding_loses_nothing(void **unused)
{
    struct bf_err err = {0};
    bf_autofinished struct bf_finished *finished = bf_finished_new(&err);

    (void)unused;
    for (uint32_t n = 0; n < 40000; n++)
        add(finished, 1 + n / 100, n, 1000);
    assert_true(fold_all(finished, 2000) >= 2);
    assert_int_equal(bf_finished_count(finished), 40000);
    for (uint32_t n = 0; n < 40000; n++)
        assert_true(has(finished, n));
}

/* Its ids come one by one; the first of them may set off a fold. */
static void a_segment_that_grows_is_not_folded(void **unused)
{
    struct bf_err err = {0};
    bf_autofinished struct bf_finished *finished = bf_finished_new(&err);
    struct bf_fold fold;

    (void)unused;
    for (uint32_t n = 0; n < 2 * BF_FINISHED_SMALL; n++)
        add(finished, n, n, 1000);
    add(finished, 1000, 1000, 1000);
    assert_true(bf_finished_fold(finished, 2000, &fold));
    for (size_t i = 0; i < fold.nends; i++)
        assert_int_not_equal(fold.ends[i], 1000);
    assert_int_not_equal(fold.segment, 1000);
    add(finished, 1000, 1001, 1000);
    assert_int_equal(bf_finished_folded(finished, &fold, &err), 0);
    bf_fold_release(&fold);
    assert_true(has(finished, 1000));
    assert_true(has(finished, 1001));
    assert_true(has(finished, 5));
}

static void a_few_small_segments_are_left_alone(void **unused)
{
    struct bf_err err = {0};
    bf_autofinished struct bf_finished *finished = bf_finished_new(&err);
    struct bf_fold fold;

    (void)unused;
    for (uint32_t n = 0; n < BF_FINISHED_SMALL - 1; n++)
        add(finished, n, n, 1000);
    assert_false(bf_finished_fold(finished, 2000, &fold));
}

static void the_old_are_forgotten(void **unused)
{
    struct bf_err err = {0};
    bf_autofinished struct bf_finished *finished = bf_finished_new(&err);

    (void)unused;
    add(finished, 1, 1, 1000);
    add(finished, 2, 2, 1000 + BF_FINISHED_MS);
    assert_int_equal(fold_all(finished, 1001 + BF_FINISHED_MS), 1);
    assert_false(has(finished, 1));
    assert_true(has(finished, 2));
}

static void there_are_never_more_than_promised(void **unused)
{
    struct bf_err err = {0};
    bf_autofinished struct bf_finished *finished = bf_finished_new(&err);
    uint32_t n;

    (void)unused;
    for (n = 0; n < BF_FINISHED_MAX + 9000; n++)
        add(finished, 1 + n / 9000, n, 1000);
    fold_all(finished, 2000);
    assert_true(bf_finished_count(finished) <= BF_FINISHED_MAX);
    assert_true(bf_finished_count(finished) > BF_FINISHED_MAX - 9001);
    assert_false(has(finished, 0));
    assert_true(has(finished, n - 1));
}

static void a_segment_written_again_replaces_the_old(void **unused)
{
    struct bf_err err = {0};
    bf_autofinished struct bf_finished *finished = bf_finished_new(&err);
    unsigned char id[BF_FINISHED_ID_SIZE];

    (void)unused;
    add(finished, 5, 1, 1000);
    make_id(2, id);
    assert_int_equal(bf_finished_put(finished, 5, id, 1, 2000, &err), 0);
    assert_int_equal(bf_finished_count(finished), 1);
    assert_true(has(finished, 2));
    bf_finished_end(finished, 5);
    bf_finished_end(finished, 5);
    assert_int_equal(bf_finished_count(finished), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_known_and_nothing_else),
        cmocka_unit_test(folding_loses_nothing),
        cmocka_unit_test(a_segment_that_grows_is_not_folded),
        cmocka_unit_test(a_few_small_segments_are_left_alone),
        cmocka_unit_test(the_old_are_forgotten),
        cmocka_unit_test(there_are_never_more_than_promised),
        cmocka_unit_test(a_segment_written_again_replaces_the_old),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
