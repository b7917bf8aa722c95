#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "config/topic_limits.h"
#include "schemas/err.h"

static rd_kafka_t *make(const char *brokers)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char reason[200];
    rd_kafka_t *rk;

    rd_kafka_conf_set(conf, "bootstrap.servers", brokers, NULL, 0);
    rd_kafka_conf_set(conf, "group.id", "g", NULL, 0);
    rd_kafka_conf_set(conf, "log_level", "0", NULL, 0);
    rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof(reason));
    assert_non_null(rk);
    rd_kafka_poll_set_consumer(rk);
    return rk;
}

static void assert_unknown(rd_kafka_t *rk, int timeout_ms)
{
    struct bf_topic_limits limits = {.max_bytes = {7}};
    struct bf_topics topics;
    struct bf_err err = {0};

    assert_int_equal(bf_topics_init(&topics, "bf.", NULL), 0);
    assert_int_equal(
        bf_topic_limits_read(rk, &topics, timeout_ms, &limits, &err), -1);
    assert_int_equal(err.kind, BF_ERR_RETRY);
    assert_string_equal(err.code, "limits");
    assert_int_equal(limits.max_bytes[0], 7);
}

/* The mock does not know the request, as a broker that refuses it. */
static void test_a_broker_that_does_not_tell(void **state)
{
    rd_kafka_t *owner = make("127.0.0.1:1");
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(owner, 1);
    rd_kafka_t *rk = make(rd_kafka_mock_cluster_bootstraps(cluster));

    (void)state;
    assert_unknown(rk, 1000);
    rd_kafka_destroy(rk);
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(owner);
}

static void test_no_broker(void **state)
{
    rd_kafka_t *rk = make("127.0.0.1:1");

    (void)state;
    assert_unknown(rk, 200);
    rd_kafka_destroy(rk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_broker_that_does_not_tell),
        cmocka_unit_test(test_no_broker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
