#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "schemas/err.h"
#include "worker/txn.h"

/* Request types of the Kafka protocol. */
#define PRODUCE 0
#define ADD_PARTITIONS 24
#define ADD_OFFSETS 25
#define END_TXN 26
#define OFFSET_COMMIT 28

#define TOPIC "out"

struct world {
    rd_kafka_t *owner; /* of the mock cluster */
    rd_kafka_mock_cluster_t *cluster;
    struct bf_txn *txn;
};

static rd_kafka_conf_t *new_conf(void *arg, struct bf_err *err)
{
    struct world *world = arg;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    const char *const set[][2] = {
        {"bootstrap.servers", rd_kafka_mock_cluster_bootstraps(world->cluster)},
        {"transactional.id", "test"},
        {"socket.nagle.disable", "true"},
        {"retry.backoff.ms", "10"},
        {"log_level", "0"},
    };
    char reason[200];

    (void)err;
    for (size_t i = 0; i < bf_countof(set); i++)
        assert_int_equal(rd_kafka_conf_set(conf, set[i][0], set[i][1], reason,
                                           sizeof(reason)),
                         RD_KAFKA_CONF_OK);
    return conf;
}

static int set_up(void **state)
{
    static const char *const topics[] = {TOPIC};
    struct world *world = calloc(1, sizeof(*world));
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char reason[200];
    struct bf_err err = {0};

    rd_kafka_conf_set(conf, "bootstrap.servers", "127.0.0.1:1", reason,
                      sizeof(reason));
    rd_kafka_conf_set(conf, "socket.nagle.disable", "true", reason,
                      sizeof(reason));
    rd_kafka_conf_set(conf, "log_level", "0", reason, sizeof(reason));
    world->owner =
        rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof(reason));
    world->cluster = rd_kafka_mock_cluster_new(world->owner, 1);
    rd_kafka_mock_topic_create(world->cluster, TOPIC, 2, 1);
    world->txn = bf_txn_new(
        &(struct bf_txn_config){
            .conf = new_conf, .arg = world, .topics = topics, .ntopics = 1},
        &err);
    assert_non_null(world->txn);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;

    bf_txn_free(world->txn, 1000);
    rd_kafka_mock_cluster_destroy(world->cluster);
    rd_kafka_destroy(world->owner);
    free(world);
    return 0;
}

static void open_txn(struct world *world)
{
    struct bf_err err = {0};

    if (!bf_txn_is_open(world->txn))
        assert_int_equal(bf_txn_open(world->txn, 10000, &err), 0);
}

static enum bf_txn_end run_one(struct world *world, struct bf_outgoing *out,
                               size_t nout)
{
    rd_kafka_topic_partition_list_t *offsets =
        rd_kafka_topic_partition_list_new(1);
    rd_kafka_consumer_group_metadata_t *group =
        rd_kafka_consumer_group_metadata_new("g");
    struct bf_txn_batch batch = {
        .out = out, .nout = nout, .offsets = offsets, .group = group};
    struct bf_err err = {0};
    enum bf_txn_end end;

    rd_kafka_topic_partition_list_add(offsets, TOPIC, 0)->offset = 7;
    end = bf_txn_run(world->txn, &batch, &err);
    if (end != BF_TXN_COMMITTED)
        assert_true(err.msg[0]);
    rd_kafka_topic_partition_list_destroy(offsets);
    rd_kafka_consumer_group_metadata_destroy(group);
    return end;
}

static void make_record(struct bf_record *rec, const char *value)
{
    struct bf_err err = {0};

    bf_record_init(rec, TOPIC, 1);
    rec->key = BF_SLICE_LIT("k");
    rec->value = bf_slice_str(value);
    assert_int_equal(bf_record_puts(rec, "h", "v", &err), 0);
}

/* The table of anchors: request <- error, and what we make of it. */
static const struct {
    int16_t api;
    rd_kafka_resp_err_t error;
    enum bf_txn_end end;
    bool stays_open;
} rows[] = {
    {OFFSET_COMMIT, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, BF_TXN_STALE, true},
    {OFFSET_COMMIT, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, BF_TXN_STALE,
     true},
    {OFFSET_COMMIT, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, BF_TXN_STALE, true},
    {OFFSET_COMMIT, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, BF_TXN_STALE, true},
    {OFFSET_COMMIT, RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE, BF_TXN_REFUSED,
     false},
    {OFFSET_COMMIT, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, BF_TXN_COMMITTED, true},
    {ADD_OFFSETS, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, BF_TXN_COMMITTED,
     true},
    {ADD_PARTITIONS, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
     BF_TXN_COMMITTED, true},
    {ADD_PARTITIONS, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
     BF_TXN_ABORTED, true},
    {ADD_PARTITIONS, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
     BF_TXN_UNSURE, false},
    {END_TXN, RD_KAFKA_RESP_ERR__TRANSPORT, BF_TXN_COMMITTED, true},
    {END_TXN, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, BF_TXN_FENCED, false},
    {END_TXN, RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, BF_TXN_UNSURE, false},
    {PRODUCE, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, BF_TXN_UNSURE,
     false},
    {PRODUCE, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, BF_TXN_COMMITTED, true},
    {PRODUCE, RD_KAFKA_RESP_ERR__TRANSPORT, BF_TXN_COMMITTED, true},
    {PRODUCE, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, BF_TXN_UNSURE,
     false},
    {PRODUCE, RD_KAFKA_RESP_ERR_INVALID_RECORD, BF_TXN_REFUSED, false},
};

/*
 * Of a topic refused at the coordinator, librdkafka tells the reason or, once
 * in twenty times, only that the transaction has to be aborted.
 */
static bool may_abort(size_t i)
{
    return rows[i].api == ADD_PARTITIONS && rows[i].end == BF_TXN_UNSURE;
}

/* Whatever it was, the same bytes are committed afterwards. */
static void assert_goes_through(struct world *world, struct bf_outgoing *out)
{
    enum bf_txn_end end = BF_TXN_ABORTED;

    for (int i = 0; i < 3 && end == BF_TXN_ABORTED; i++) {
        open_txn(world);
        end = run_one(world, out, 1);
    }
    assert_int_equal(end, BF_TXN_COMMITTED);
}

static void each_injected_error_has_its_end(void **state)
{
    struct world *world = *state;

    for (size_t i = 0; i < bf_countof(rows); i++) {
        bf_autorecord struct bf_record rec = {0};
        struct bf_outgoing out = {.rec = &rec};
        enum bf_txn_end end;

        make_record(&rec, "value");
        open_txn(world);
        rd_kafka_mock_push_request_errors(world->cluster, rows[i].api, 1,
                                          rows[i].error);
        end = run_one(world, &out, 1);
        print_message("api %d <- %s: %s\n", rows[i].api,
                      rd_kafka_err2name(rows[i].error), bf_txn_end_name(end));
        if (!may_abort(i) || end != BF_TXN_ABORTED) {
            assert_int_equal(end, rows[i].end);
            assert_int_equal(bf_txn_is_open(world->txn), rows[i].stays_open);
        }
        assert_int_equal(out.refused != 0, end == BF_TXN_REFUSED);
        assert_goes_through(world, &out);
    }
}

static void a_record_above_our_own_limit_is_named(void **state)
{
    struct world *world = *state;
    size_t len = 2 << 20;
    char *large = malloc(len);
    bf_autorecord struct bf_record small = {0}, big = {0};
    struct bf_outgoing out[] = {{.rec = &small}, {.rec = &big}};

    assert_non_null(large);
    memset(large, 'x', len);
    make_record(&small, "value");
    make_record(&big, "");
    big.value = (struct bf_slice){large, len};
    open_txn(world);
    assert_int_equal(run_one(world, out, 2), BF_TXN_REFUSED);
    assert_int_equal(out[0].refused, 0);
    assert_int_equal(out[1].refused, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    assert_int_equal(run_one(world, out, 1), BF_TXN_COMMITTED);
    free(large);
}

/* A topic of the fleet that shrank or went: loud, and no job dies of it. */
static void a_missing_partition_asks_for_a_new_producer(void **state)
{
    struct world *world = *state;
    bf_autorecord struct bf_record rec = {0};
    struct bf_outgoing out = {.rec = &rec};

    make_record(&rec, "value");
    open_txn(world);
    assert_int_equal(run_one(world, &out, 1), BF_TXN_COMMITTED);
    rec.partition = 99;
    assert_int_equal(run_one(world, &out, 1), BF_TXN_UNSURE);
    assert_int_equal(out.refused, 0);
    rec.partition = 0;
    open_txn(world);
    assert_int_equal(run_one(world, &out, 1), BF_TXN_COMMITTED);
}

static void an_unreachable_broker_is_a_retry(void **state)
{
    struct world *world = *state;
    struct bf_err err = {0};

    rd_kafka_mock_broker_set_down(world->cluster, 1);
    assert_int_equal(bf_txn_open(world->txn, 300, &err), -1);
    assert_int_equal(err.kind, BF_ERR_RETRY);
    assert_false(bf_txn_is_open(world->txn));
    rd_kafka_mock_broker_set_up(world->cluster, 1);
    open_txn(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_injected_error_has_its_end, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_record_above_our_own_limit_is_named,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_missing_partition_asks_for_a_new_producer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_unreachable_broker_is_a_retry,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
