#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/kafka_conf.h"
#include "config/log.h"
#include "config/secret.h"
#include "config/settings.h"
#include "schemas/err.h"

#define ROLES (BF_KAFKA_ADMIN + 1)
#define WORD "hunter2-correct-horse"

static struct bf_settings *settings_for_test(void)
{
    struct bf_settings *s = bf_settings_new(NULL);

    assert_non_null(s);
    assert_int_equal(bf_settings_set(s, "instance", "host1", NULL), 0);
    /* Nobody listens there; nothing must be reached. */
    assert_int_equal(bf_settings_set(s, "kafka.brokers", "127.0.0.1:1", NULL),
                     0);
    return s;
}

static struct bf_kafka_want want_of(enum bf_kafka_role role)
{
    return (struct bf_kafka_want){
        .role = role,
        .transactional_id = "blockfleet-host1-0",
        .queue_bytes = 48U << 20,
        .partitions = 48,
    };
}

static const char *get(const rd_kafka_conf_t *conf, const char *name)
{
    static char value[256];
    size_t size = sizeof(value);

    if (rd_kafka_conf_get(conf, name, value, &size))
        return "(none)";
    return value;
}

#define C (1U << BF_KAFKA_CONSUMER)
#define RC (1U << BF_KAFKA_READER_COMMITTED)
#define RU (1U << BF_KAFKA_READER_UNCOMMITTED)
#define T (1U << BF_KAFKA_TXN_PRODUCER)
#define P (1U << BF_KAFKA_PRODUCER)
#define A (1U << BF_KAFKA_ADMIN)

static const struct {
    unsigned roles;
    const char *name;
    const char *value;
} wanted[] = {
    {C | RC | RU | T | P | A, "bootstrap.servers", "127.0.0.1:1"},
    {C | RC | RU | T | P | A, "socket.nagle.disable", "true"},
    {C | RC | RU | T | P | A, "reconnect.backoff.ms", "50"},
    {C | RC | RU | T | P | A, "reconnect.backoff.max.ms", "500"},
    {C | RC | RU | T | P | A, "statistics.interval.ms", "0"},
    {C | RC | RU, "group.id", "blockfleet"},
    {C | RC | RU, "enable.auto.commit", "false"},
    {C | RC | RU, "enable.auto.offset.store", "false"},
    {C | RC | RU, "auto.offset.reset", "error"},
    {C | RC | RU, "enable.partition.eof", "true"},
    {C | RC | RU, "queued.min.messages", "1000"},
    {C | RC | RU, "queued.max.messages.kbytes", "512"},
    {C | RC | RU, "fetch.message.max.bytes", "524288"},
    {C | RC | RU, "fetch.max.bytes", "25165824"},
    {C | RC | RU, "receive.message.max.bytes", "26214400"},
    {C | RC, "isolation.level", "read_committed"},
    {RU, "isolation.level", "read_uncommitted"},
    {C, "partition.assignment.strategy", "cooperative-sticky"},
    {C, "session.timeout.ms", "15000"},
    {C, "heartbeat.interval.ms", "500"},
    {C, "max.poll.interval.ms", "300000"},
    {C, "client.id", "blockfleet-consumer-host1"},
    {T, "client.id", "blockfleet-committer-host1"},
    {T | P, "enable.idempotence", "true"},
    {T | P, "acks", "-1"},
    {T | P, "linger.ms", "5"},
    {T | P, "compression.codec", "lz4"},
    {T | P, "retry.backoff.ms", "10"},
    {T | P, "message.max.bytes", "16777216"},
    {T | P, "queue.buffering.max.kbytes", "49152"},
    {T, "transactional.id", "blockfleet-host1-0"},
    {T, "transaction.timeout.ms", "15000"},
    {P, "transactional.id", "(none)"},
};

static void test_values(void **state)
{
    bf_autosettings struct bf_settings *s = settings_for_test();

    (void)state;
    for (unsigned role = 0; role < ROLES; role++) {
        struct bf_kafka_want want = want_of((enum bf_kafka_role)role);
        rd_kafka_conf_t *conf = bf_kafka_conf_new(s, &want, NULL);

        assert_non_null(conf);
        for (size_t i = 0; i < bf_countof(wanted); i++) {
            if (!(wanted[i].roles & (1U << role)))
                continue;
            if (strcmp(get(conf, wanted[i].name), wanted[i].value) != 0)
                fail_msg("role %u: %s is %s", role, wanted[i].name,
                         get(conf, wanted[i].name));
        }
        rd_kafka_conf_destroy(conf);
    }
}

/* rd_kafka_new() checks values against each other. */
static void test_librdkafka_takes_them(void **state)
{
    struct bf_log_conf quiet = {BF_LOG_ERROR, BF_LOG_JSON, STDERR_FILENO, 1};
    bf_autosettings struct bf_settings *s = settings_for_test();

    (void)state;
    bf_log_init(&quiet);
    for (unsigned i = 0; i < 2 * ROLES; i++) {
        enum bf_kafka_role role = (enum bf_kafka_role)(i % ROLES);
        struct bf_kafka_want want = want_of(role);
        char why[256] = "";
        rd_kafka_conf_t *conf;
        rd_kafka_t *rk;

        /* Also without a budget, and with the least one. */
        want.queue_bytes = i < ROLES ? 0 : UINT64_C(48) * 16384;
        conf = bf_kafka_conf_new(s, &want, NULL);
        assert_non_null(conf);
        rk = rd_kafka_new(bf_kafka_role_type(role), conf, why, sizeof(why));
        if (!rk)
            fail_msg("role %u: %s", i, why);
        rd_kafka_destroy(rk);
    }
}

static void test_operator_comes_last(void **state)
{
    bf_autosettings struct bf_settings *s = settings_for_test();
    const char *const ini = "[librdkafka]\nlinger.ms = 7\n"
                            "sasl.password = " WORD "\n"
                            "[librdkafka.consumer]\nfetch.wait.max.ms = 9\n"
                            "[librdkafka.producer]\nlinger.ms = 8\n";
    struct bf_kafka_want want = want_of(BF_KAFKA_TXN_PRODUCER);
    rd_kafka_conf_t *conf;

    (void)state;
    assert_int_equal(bf_settings_read_ini(s, bf_slice_str(ini), "f", NULL), 0);
    conf = bf_kafka_conf_new(s, &want, NULL);
    assert_string_equal(get(conf, "linger.ms"), "8");
    assert_string_equal(get(conf, "fetch.wait.max.ms"), "500");
    assert_string_equal(get(conf, "sasl.password"), WORD);
    rd_kafka_conf_destroy(conf);
    want.role = BF_KAFKA_READER_UNCOMMITTED;
    conf = bf_kafka_conf_new(s, &want, NULL);
    assert_string_equal(get(conf, "linger.ms"), "7");
    assert_string_equal(get(conf, "fetch.wait.max.ms"), "9");
    rd_kafka_conf_destroy(conf);
}

/* A batch is no larger than the smallest topic takes, nor than usual. */
static void test_batches_fit_their_topics(void **state)
{
    static const struct {
        uint32_t batch_bytes;
        const char *size;
    } rows[] = {{0, "1000000"}, {100000, "100000"}, {16U << 20, "1000000"}};
    bf_autosettings struct bf_settings *s = settings_for_test();
    struct bf_kafka_want want = want_of(BF_KAFKA_TXN_PRODUCER);

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        rd_kafka_conf_t *conf;

        want.batch_bytes = rows[i].batch_bytes;
        conf = bf_kafka_conf_new(s, &want, NULL);
        assert_string_equal(get(conf, "batch.size"), rows[i].size);
        assert_int_equal(bf_kafka_conf_max_message(conf), 16777216);
        rd_kafka_conf_destroy(conf);
    }
}

static void test_largest_message_is_the_operators(void **state)
{
    bf_autosettings struct bf_settings *s = settings_for_test();
    struct bf_kafka_want want = want_of(BF_KAFKA_TXN_PRODUCER);
    const char *const ini = "[librdkafka]\nmessage.max.bytes = 500000\n";
    rd_kafka_conf_t *conf;

    (void)state;
    assert_int_equal(bf_settings_read_ini(s, bf_slice_str(ini), "f", NULL), 0);
    conf = bf_kafka_conf_new(s, &want, NULL);
    assert_int_equal(bf_kafka_conf_max_message(conf), 500000);
    rd_kafka_conf_destroy(conf);
}

static void test_budget_holds(void **state)
{
    struct bf_kafka_budget got;
    struct bf_err err;

    (void)state;
    for (uint64_t budget = 1 << 20; budget < UINT64_C(1) << 42; budget *= 3) {
        for (uint32_t parts = 1; parts <= 65536; parts *= 4) {
            int res = bf_kafka_budget(budget, parts, &got, &err);

            assert_int_equal(res == 0,
                             budget / parts >= BF_KAFKA_PARTITION_MIN_BYTES);
            if (res) {
                assert_string_equal(err.code, "memory");
                continue;
            }
            assert_true(got.queued_kbytes >= 8 && got.fetch_bytes >= 8192);
            assert_true((uint64_t)parts * (got.queued_kbytes * UINT64_C(1024) +
                                           got.fetch_bytes) <=
                        budget);
        }
    }
    assert_int_equal(bf_kafka_budget(1 << 20, 0, &got, &err), -1);
}

static void test_too_little_memory(void **state)
{
    bf_autosettings struct bf_settings *s = settings_for_test();
    struct bf_kafka_want want = want_of(BF_KAFKA_CONSUMER);
    struct bf_err err;

    (void)state;
    want.queue_bytes = UINT64_C(48) * 16384 - 1;
    assert_null(bf_kafka_conf_new(s, &want, &err));
    assert_string_equal(err.code, "memory");
    assert_non_null(strstr(err.msg, "48 partitions"));
    assert_non_null(strstr(err.msg, "raise worker.memory"));
}

/* librdkafka's own lines arrive in our log, and a password never does. */
static void test_log_and_secrets(void **state)
{
    static char text[1 << 20];
    FILE *file = tmpfile();
    struct bf_log_conf conf = {BF_LOG_DEBUG, BF_LOG_JSON, fileno(file), 0};
    bf_autosettings struct bf_settings *s = settings_for_test();
    const char *const ini =
        "[librdkafka]\nsasl.password = " WORD "\nsasl.username = u\n"
        "sasl.mechanism = PLAIN\nsecurity.protocol = sasl_plaintext\n"
        "debug = conf,security,broker\n";
    struct bf_kafka_want want = want_of(BF_KAFKA_CONSUMER);
    rd_kafka_t *rk;

    (void)state;
    bf_log_init(&conf);
    assert_int_equal(bf_settings_read_ini(s, bf_slice_str(ini), "f", NULL), 0);
    rk = rd_kafka_new(RD_KAFKA_CONSUMER, bf_kafka_conf_new(s, &want, NULL),
                      NULL, 0);
    assert_non_null(rk);
    rd_kafka_destroy(rk);
    rewind(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    assert_non_null(strstr(text, "\"event\":\"kafka_conf\""));
    assert_non_null(strstr(text, "blockfleet-consumer-host1"));
    assert_non_null(strstr(text, "\"level\":\"debug\""));
    assert_null(strstr(text, WORD));
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_librdkafka_takes_them),
        cmocka_unit_test(test_operator_comes_last),
        cmocka_unit_test(test_batches_fit_their_topics),
        cmocka_unit_test(test_largest_message_is_the_operators),
        cmocka_unit_test(test_budget_holds),
        cmocka_unit_test(test_too_little_memory),
        cmocka_unit_test(test_log_and_secrets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
