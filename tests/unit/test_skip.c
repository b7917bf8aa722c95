#include "tests/unit/support.h"

#include "worker/skip.h"

#define LOG_END 20000

/* A log of batches, each good or bad: bad[o] is where o's batch begins. */
struct log {
    int64_t bad[LOG_END]; /* -1: good */
};

static void make_log(struct log *log, unsigned int seed, int64_t longest)
{
    int64_t at = 0;

    srandom(seed);
    while (at < LOG_END) {
        int64_t len = 1 + random() % longest;
        int64_t bad = random() % 3 == 0 ? at : -1;

        for (int64_t o = at; o < at + len && o < LOG_END; o++)
            log->bad[o] = bad;
        at += len;
    }
}

/* Reads the log as a lane does; counts what was given up. */
static int64_t read_log(const struct log *log, int64_t *ret_looks)
{
    struct bf_skip skip;
    int64_t next = 0, at = 0, lost = 0;

    bf_skip_init(&skip);
    *ret_looks = 0;
    while (next < LOG_END) {
        bool bad = at < LOG_END && log->bad[at] >= 0;
        int64_t to = bad ? bf_skip_unreadable(&skip, next, log->bad[at])
                         : bf_skip_readable(&skip);

        (*ret_looks)++;
        assert_true(*ret_looks < 20L * LOG_END);
        if (to >= 0) {
            at = to;
        } else if (!bad) {
            for (; next < at; next++) {
                assert_true(log->bad[next] >= 0);
                lost++;
            }
            at = ++next;
        }
    }
    return lost;
}

static int64_t count_bad(const struct log *log)
{
    int64_t n = 0;

    for (int64_t o = 0; o < LOG_END; o++)
        n += log->bad[o] >= 0;
    return n;
}

static void test_just_the_bad_ones_are_lost(void **state)
{
    static const int64_t longest[] = {1, 2, 3, 50, 5000, LOG_END};
    bf_autofree struct log *log = calloc(1, sizeof(*log));
    int64_t looks;

    (void)state;
    for (unsigned int i = 0; i < 60; i++) {
        make_log(log, i, longest[i % bf_countof(longest)]);
        assert_int_equal(read_log(log, &looks), count_bad(log));
    }
}

static void test_a_long_batch_takes_few_looks(void **state)
{
    bf_autofree struct log *log = calloc(1, sizeof(*log));
    int64_t looks;

    (void)state;
    for (int64_t o = 0; o < LOG_END; o++)
        log->bad[o] = o >= 100 && o < 10100 ? 100 : -1;
    assert_int_equal(read_log(log, &looks), 10000);
    assert_in_range(looks - (LOG_END - 10000), 1, 40);
}

static void test_it_may_have_been_the_network(void **state)
{
    struct bf_skip skip;

    (void)state;
    bf_skip_init(&skip);
    assert_int_equal(bf_skip_unreadable(&skip, 7, 5), -1);
    assert_int_equal(bf_skip_unreadable(&skip, 7, 5), -1);
    assert_int_equal(bf_skip_unreadable(&skip, 9, 9), -1);
    assert_int_equal(bf_skip_unreadable(&skip, 9, 9), -1);
    assert_int_equal(bf_skip_readable(&skip), -1);
    assert_int_equal(bf_skip_unreadable(&skip, 9, 9), -1);
    assert_int_equal(bf_skip_unreadable(&skip, 9, 9), -1);
    assert_int_equal(bf_skip_unreadable(&skip, 9, 9), 10);
    assert_int_equal(bf_skip_readable(&skip), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_just_the_bad_ones_are_lost),
        cmocka_unit_test(test_a_long_batch_takes_few_looks),
        cmocka_unit_test(test_it_may_have_been_the_network),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
