#include "tests/unit/generated.h"

#include "config/proc.h"
#include "dispatcher/kafka_stats.h"
#include "dispatcher/metrics.h"

#define PATH BF_SOURCE_DIR "/dispatcher/METRICS.md"

/* The text itself is read by Prometheus' own parser in test_front.py. */
static void the_document_is_generated(void **state)
{
    bf_autobuf struct bf_buf want = BF_BUF_INIT(1U << 20);

    (void)state;
    assert_int_equal(bf_metrics_markdown(&want, NULL), 0);
    check_generated(PATH, want.data);
}

static void statistics_are_added_up_over_brokers(void **state)
{
    static const char text[] =
        "{\"name\":\"p\",\"brokers\":{"
        "\"a:1/1\":{\"state\":\"UP\",\"tx\":10,\"txerrs\":1,\"rxerrs\":2,"
        "\"txretries\":3,\"req_timeouts\":4,\"rtt\":{\"p50\":1000,\"p99\":"
        "9000}},"
        "\"b:1/2\":{\"state\":\"DOWN\",\"tx\":5,\"rtt\":{\"p50\":2000,\"p99\":"
        "3000}},\"c\":{}}}";
    struct bf_kafka_stats stats = {0};
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(bf_kafka_stats_read(S(text), &stats, &err), 0);
    assert_int_equal(stats.brokers_up, 1);
    assert_int_equal(stats.requests, 15);
    assert_int_equal(stats.errors, 3);
    assert_int_equal(stats.retries, 3);
    assert_int_equal(stats.timeouts, 4);
    assert_true(stats.rtt_p50_s > 0.0019 && stats.rtt_p50_s < 0.0021);
    assert_true(stats.rtt_p99_s > 0.0089 && stats.rtt_p99_s < 0.0091);
    assert_refused(bf_kafka_stats_read(S("{}"), &stats, &err), err,
                   "bad_stats");
    assert_refused(bf_kafka_stats_read(S("{\"br"), &stats, &err), err,
                   "bad_stats");
    assert_int_equal(stats.requests, 15);
}

static void a_process_knows_itself(void **state)
{
    struct bf_proc before, after;
    FILE *files[3];

    (void)state;
    assert_int_equal(bf_proc_read(&before), 0);
    assert_true(before.resident_bytes > (1U << 20));
    assert_true(before.virtual_bytes > before.resident_bytes);
    assert_true(before.start_s > 1.5e9);
    assert_true(before.threads >= 1 && before.max_fds > before.open_fds);
    for (size_t i = 0; i < 3; i++)
        files[i] = fopen("/dev/null", "re");
    assert_int_equal(bf_proc_read(&after), 0);
    assert_int_equal(after.open_fds, before.open_fds + 3);
    assert_true(after.cpu_s >= before.cpu_s);
    for (size_t i = 0; i < 3; i++)
        fclose(files[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_document_is_generated),
        cmocka_unit_test(statistics_are_added_up_over_brokers),
        cmocka_unit_test(a_process_knows_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
