#include "support.h"

#include "dispatcher/row.h"

static struct bf_row job(uint32_t generation, int64_t offset, const char *batch)
{
    struct bf_row row = {.generation = generation,
                         .has_job = true,
                         .offset = offset,
                         .accepted_at_ms = 1000 + offset,
                         .batch_index = (uint32_t)offset};

    snprintf(row.batch, sizeof(row.batch), "%s", batch);
    return row;
}

static struct bf_row state(uint32_t generation, enum bf_row_rank rank,
                           uint64_t seq, const char *run_id)
{
    struct bf_row row = {.generation = generation,
                         .rank = rank,
                         .seq = seq,
                         .attempt = (uint32_t)seq};

    snprintf(row.run_id, sizeof(row.run_id), "%s", run_id);
    return row;
}

static struct bf_row result(uint32_t generation, int64_t offset,
                            enum bf_outcome outcome)
{
    struct bf_row row = {.generation = generation,
                         .rank = BF_ROW_ENDED,
                         .attempt = 1,
                         .outcome = outcome,
                         .result_offset = offset};

    snprintf(row.batch, sizeof(row.batch), "of-result");
    return row;
}

/* Two generations, copies of a job, a late parking, a result seen twice. */
#define NEWS 9
static void fill(struct bf_row news[NEWS])
{
    news[0] = job(0, 7, "b");
    news[1] = job(0, 5, "a");
    news[2] = state(0, BF_ROW_STARTED, 3, "r3");
    news[3] = result(0, 40, BF_OUTCOME_DEAD);
    news[4] = job(1, 9, "c");
    news[5] = state(1, BF_ROW_PARKED, 8, "");
    news[6] = state(1, BF_ROW_STARTED, 6, "r6");
    news[7] = state(1, BF_ROW_STARTED, 6, "r7");
    news[8] = result(1, 41, BF_OUTCOME_SUCCEEDED);
}

static void merge_in(const int *order, size_t count, const struct bf_row *news,
                     struct bf_row *ret)
{
    *ret = (struct bf_row){0};
    for (size_t i = 0; i < count; i++)
        bf_row_merge(ret, &news[order[i]]);
}

/* Heap's algorithm: every order of the first count news. */
static size_t permute(int *order, size_t k, size_t count,
                      const struct bf_row *news, const struct bf_row *want)
{
    struct bf_row got;
    size_t seen = 0;

    if (k == 1) {
        merge_in(order, count, news, &got);
        assert_memory_equal(&got, want, sizeof(got));
        return 1;
    }
    for (size_t i = 0; i < k; i++) {
        size_t with = k % 2 == 0 ? i : 0;
        int held;

        seen += permute(order, k - 1, count, news, want);
        held = order[with];
        order[with] = order[k - 1];
        order[k - 1] = held;
    }
    return seen;
}

static void any_order_gives_the_same_row(void **unused)
{
    static struct bf_row news[NEWS];
    int order[NEWS];

    (void)unused;
    fill(news);
    /* Prefixes too: not only where a result ends all doubt. */
    for (size_t count = 1; count <= 8; count++) {
        struct bf_row want;

        for (int i = 0; i < NEWS; i++)
            order[i] = i;
        merge_in(order, count, news, &want);
        assert_true(permute(order, count, count, news, &want) > 0);
    }
    /* Without the first one, so that the last one is in. */
    for (int i = 0; i < NEWS; i++)
        order[i] = i;
    {
        struct bf_row want;

        merge_in(order, 8, news + 1, &want);
        assert_int_equal(want.outcome, BF_OUTCOME_SUCCEEDED);
        assert_int_equal(permute(order, 8, 8, news + 1, &want), 40320);
    }
}

static void news_twice_are_old(void **unused)
{
    static struct bf_row news[NEWS];
    struct bf_row row = {0};

    (void)unused;
    fill(news);
    assert_int_equal(bf_row_merge(&row, &news[0]),
                     BF_ROW_CHANGED | BF_ROW_FACTS);
    assert_int_equal(bf_row_merge(&row, &news[0]), BF_ROW_OLD);
    assert_int_equal(bf_row_merge(&row, &news[3]),
                     BF_ROW_CHANGED | BF_ROW_RESULT);
    assert_int_equal(bf_row_merge(&row, &news[3]), BF_ROW_OLD);
    assert_int_equal(bf_row_merge(&row, &news[8]),
                     BF_ROW_CHANGED | BF_ROW_RESULT | BF_ROW_FACTS);
    assert_int_equal(bf_row_merge(&row, &news[3]), BF_ROW_OLD);
}

static void what_a_row_says_follows_the_rank(void **unused)
{
    static struct bf_row news[NEWS];
    struct bf_row row = {0};

    (void)unused;
    fill(news);
    bf_row_merge(&row, &news[0]);
    assert_string_equal(bf_row_status(row.rank, row.outcome), "waiting");
    bf_row_merge(&row, &news[2]);
    assert_string_equal(bf_row_status(row.rank, row.outcome), "running");
    assert_string_equal(row.run_id, "r3");
    bf_row_merge(&row, &news[1]);
    assert_int_equal(row.offset, 5);
    assert_string_equal(row.batch, "a");
    bf_row_merge(&row, &news[3]);
    assert_string_equal(bf_row_status(row.rank, row.outcome), "dead");
    assert_string_equal(row.batch, "a");
    bf_row_merge(&row, &news[5]);
    assert_string_equal(bf_row_status(row.rank, row.outcome), "waiting");
    assert_false(row.has_job);
    bf_row_merge(&row, &news[8]);
    assert_string_equal(row.batch, "of-result");
    bf_row_merge(&row, &news[4]);
    assert_string_equal(row.batch, "c");
    assert_string_equal(bf_row_status(row.rank, row.outcome), "succeeded");
}

static void statuses_are_bits(void **unused)
{
    static const char *const names[] = {"waiting", "running", "succeeded",
                                        "failed", "dead"};
    unsigned seen = 0;

    (void)unused;
    for (size_t i = 0; i < bf_countof(names); i++) {
        unsigned bit = bf_row_status_parse(bf_slice_str(names[i]));

        assert_int_equal(bit & (bit - 1), 0);
        assert_int_equal(seen & bit, 0);
        assert_int_equal(bit & bf_row_status_parse(S("ended")),
                         i < 2 ? 0 : bit);
        seen |= bit;
    }
    assert_int_equal(bf_row_status_parse(S("waitin")), 0);
    assert_int_equal(bf_row_status_bit(BF_ROW_PARKED, BF_OUTCOME_DEAD),
                     bf_row_status_parse(S("waiting")));
    assert_int_equal(bf_row_status_bit(BF_ROW_ENDED, BF_OUTCOME_DEAD),
                     bf_row_status_parse(S("dead")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_gives_the_same_row),
        cmocka_unit_test(news_twice_are_old),
        cmocka_unit_test(what_a_row_says_follows_the_rank),
        cmocka_unit_test(statuses_are_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
