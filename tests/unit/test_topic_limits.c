#include "tests/unit/support.h"

#include "config/topic_limits.h"

static struct bf_topics topics;

static int setup(void **state)
{
    (void)state;
    return bf_topics_init(&topics, "bf.", NULL);
}

static void test_as_created(void **state)
{
    struct bf_topic_limits limits;

    (void)state;
    bf_topic_limits_init(&limits);
    assert_int_equal(limits.max_bytes[BF_TOPIC_RESULTS], 16777216);
    assert_int_equal(limits.max_bytes[BF_TOPIC_USAGE], 1048576);
    assert_int_equal(bf_topic_limits_least(&limits), 1048576);
    assert_int_equal(bf_topic_limits_check(&limits, &topics, NULL), 0);
}

/* A worker's results, not a dispatcher's jobs. */
static void test_least_of_what_is_written(void **state)
{
    struct bf_topic_limits limits;

    (void)state;
    bf_topic_limits_init(&limits);
    limits.max_bytes[BF_TOPIC_JOBS] = 1000;
    limits.max_bytes[BF_TOPIC_RESULTS] = 500000;
    assert_int_equal(bf_topic_limits_least(&limits), 500000);
    assert_int_equal(bf_topic_limits_check(&limits, &topics, NULL), 0);
    bf_topic_limits_clamp(&limits, 400000);
    assert_int_equal(limits.max_bytes[BF_TOPIC_JOBS], 1000);
    assert_int_equal(limits.max_bytes[BF_TOPIC_RESULTS], 400000);
    assert_int_equal(bf_topic_limits_check(&limits, &topics, NULL), 0);
}

static void test_too_little(void **state)
{
    static const enum bf_topic written[] = {BF_TOPIC_STATE, BF_TOPIC_RESULTS,
                                            BF_TOPIC_USAGE, BF_TOPIC_DEADLETTER,
                                            BF_TOPIC_CALLBACKS};

    (void)state;
    for (size_t i = 0; i < bf_countof(written); i++) {
        struct bf_topic_limits limits;
        struct bf_err err = {0};

        bf_topic_limits_init(&limits);
        limits.max_bytes[written[i]] = 10000;
        assert_int_equal(bf_topic_limits_check(&limits, &topics, &err), -1);
        assert_int_equal(err.kind, BF_ERR_FATAL);
        assert_non_null(strstr(err.msg, bf_topic_name(&topics, written[i])));
    }
}

/* The broker counts a batch's overhead and the signature, too. */
static void test_over(void **state)
{
    bf_autorecord struct bf_record rec;
    struct bf_topic_limits limits;

    (void)state;
    bf_topic_limits_init(&limits);
    limits.max_bytes[BF_TOPIC_RESULTS] = 100000;
    bf_record_init(&rec, "bf.results", 0);
    rec.value = (struct bf_slice){"", 90000};
    assert_int_equal(bf_topic_limits_over(&limits, &topics, &rec), 0);
    rec.value.len = 99990;
    assert_in_range(bf_topic_limits_over(&limits, &topics, &rec), 400, 1000);
    rec.topic = "bf.usage";
    assert_int_equal(bf_topic_limits_over(&limits, &topics, &rec), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_created),
        cmocka_unit_test(test_least_of_what_is_written),
        cmocka_unit_test(test_too_little),
        cmocka_unit_test(test_over),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
