/* What becomes of a job when the broker refuses, or the producer breaks. */

#include "../unit/support.h"

#include <librdkafka/rdkafka.h>
#include <poll.h>

/* after rdkafka.h */
#include <librdkafka/rdkafka_mock.h>

#include "config/clock.h"
#include "dispatcher/outbox.h"

#define SHARDS 4
#define PRODUCE 0 /* Kafka's number of the request */

static struct {
    rd_kafka_t *rk;
    rd_kafka_mock_cluster_t *cluster;
    struct bf_topics topics;
    struct bf_signer signer;
    struct bf_outbox *outbox;
    struct bf_shipment *reported[8];
    size_t nreported;
} rig;

static int sign(void *key, const unsigned char *bytes, size_t len,
                unsigned char ret_signature[BF_SIGNATURE_SIZE],
                struct bf_err *err)
{
    (void)key;
    (void)bytes;
    (void)len;
    (void)err;
    memset(ret_signature, 7, BF_SIGNATURE_SIZE);
    return 0;
}

static rd_kafka_conf_t *conf_of(void *arg, struct bf_err *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    const char *const settings[][2] = {
        {"bootstrap.servers", rd_kafka_mock_cluster_bootstraps(rig.cluster)},
        {"enable.idempotence", "true"},
        {"socket.nagle.disable", "true"},
        {"retry.backoff.ms", "10"},
        {"log_level", "0"},
        {"message.timeout.ms", "20000"},
    };
    char why[160];

    (void)arg;
    (void)err;
    for (size_t i = 0; i < bf_countof(settings); i++)
        assert_int_equal(rd_kafka_conf_set(conf, settings[i][0], settings[i][1],
                                           why, sizeof(why)),
                         RD_KAFKA_CONF_OK);
    return conf;
}

static int set_up(void **unused)
{
    struct bf_outbox_conf conf = {.kafka = conf_of,
                                  .topics = &rig.topics,
                                  .fleet = "main",
                                  .signer = &rig.signer,
                                  .max_inflight_bytes = 1 << 20};
    char why[160];

    (void)unused;
    memset(&rig, 0, sizeof(rig));
    rig.rk =
        rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), why, sizeof(why));
    rig.cluster = rd_kafka_mock_cluster_new(rig.rk, 1);
    if (!rig.cluster || bf_topics_init(&rig.topics, "bf.", NULL))
        return -1;
    for (size_t i = 0; i < 2; i++)
        rd_kafka_mock_topic_create(
            rig.cluster,
            bf_topic_name(&rig.topics, i ? BF_TOPIC_BATCH : BF_TOPIC_JOBS),
            SHARDS, 1);
    rig.signer = (struct bf_signer){
        .purpose = BF_PURPOSE_JOB, .key_id = "0011223344556677", .sign = sign};
    rig.outbox = bf_outbox_new(&conf, NULL);
    return rig.outbox ? 0 : -1;
}

static int tear_down(void **unused)
{
    (void)unused;
    bf_outbox_free(rig.outbox);
    for (size_t i = 0; i < rig.nreported; i++)
        bf_shipment_free(rig.reported[i]);
    rd_kafka_mock_cluster_destroy(rig.cluster);
    rd_kafka_destroy(rig.rk);
    return 0;
}

static void on_report(void *arg, struct bf_shipment *shipment)
{
    assert_ptr_equal(arg, &rig);
    assert_true(rig.nreported < bf_countof(rig.reported));
    rig.reported[rig.nreported++] = shipment;
}

static int check(void *arg, struct bf_slice workspace,
                 struct bf_problem *problem)
{
    (void)arg;
    (void)problem;
    return bf_slice_is(workspace, "w") ? 0 : -1;
}

static void add(const char *id, const char *lane)
{
    bf_autobuf struct bf_buf body = BF_BUF_INIT(4096);
    const struct bf_intake_ctx ctx = {.now_ms = 1763730000000,
                                      .default_timeout_ms = 1000,
                                      .spread = 4,
                                      .max_inputs_bytes = 4096,
                                      .max_block_bytes = 4096,
                                      .line = -1,
                                      .check = check};
    struct bf_shipment *shipment;
    struct bf_problem why;

    bf_buf_addf(&body, NULL,
                "{\"workspace\":\"w\",\"id\":\"%s\",\"lane\":\"%s\","
                "\"block\":{\"run_function_code\":\"x\"},\"inputs\":{}}",
                id, lane);
    shipment = bf_shipment_new(bf_buf_slice(&body), &ctx, &why);
    assert_non_null(shipment);
    bf_outbox_add(rig.outbox, shipment, SHARDS, on_report, &rig);
}

/* As the loop does: nothing but the descriptor says that there is news. */
static void serve_until(size_t reports)
{
    int64_t until = bf_mono_ms() + 60000;

    bf_outbox_flush(rig.outbox);
    while (rig.nreported < reports && bf_mono_ms() < until) {
        struct pollfd fd = {.fd = bf_outbox_fd(rig.outbox), .events = POLLIN};

        if (poll(&fd, 1, 1000) > 0)
            bf_outbox_serve(rig.outbox);
    }
    assert_int_equal(rig.nreported, reports);
}

static void jobs_are_stored_where_they_belong(void **unused)
{
    (void)unused;
    add("a", "jobs");
    add("b", "batch");
    assert_int_equal(rig.nreported, 0);
    assert_false(bf_outbox_has_room(rig.outbox, 1 << 20));
    serve_until(2);
    for (size_t i = 0; i < 2; i++) {
        const struct bf_shipment *shipment = rig.reported[i];

        assert_int_equal(shipment->status, BF_ACK_STORED);
        assert_int_equal(shipment->offset, 0);
        assert_int_equal(
            shipment->partition,
            bf_partition(S("w"), NONE, bf_slice_str(shipment->job), 4, SHARDS));
    }
    assert_true(bf_outbox_has_room(rig.outbox, (1 << 20) - 1024));
}

static void a_refused_size_is_told(void **unused)
{
    (void)unused;
    rd_kafka_mock_push_request_errors(rig.cluster, PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    add("a", "jobs");
    serve_until(1);
    assert_int_equal(rig.reported[0]->status, BF_ACK_TOO_LARGE);
    assert_int_equal(rig.reported[0]->offset, -1);
}

static void a_refused_topic_is_certain(void **unused)
{
    (void)unused;
    rd_kafka_mock_push_request_errors(
        rig.cluster, PRODUCE, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    add("a", "jobs");
    serve_until(1);
    assert_int_equal(rig.reported[0]->status, BF_ACK_NOT_STORED);
    assert_non_null(rig.reported[0]->why);
}

static void a_broken_producer_is_replaced(void **unused)
{
    (void)unused;
    rd_kafka_mock_push_request_errors(
        rig.cluster, PRODUCE, 1,
        RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    add("a", "jobs");
    serve_until(1);
    assert_int_not_equal(rig.reported[0]->status, BF_ACK_STORED);
    add("b", "jobs");
    serve_until(2);
    assert_int_equal(rig.reported[1]->status, BF_ACK_STORED);
}

static void what_is_left_is_reported_in_the_end(void **unused)
{
    (void)unused;
    add("a", "jobs");
    bf_outbox_flush(rig.outbox);
    bf_outbox_free(rig.outbox);
    rig.outbox = NULL;
    assert_int_equal(rig.nreported, 1);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(jobs_are_stored_where_they_belong),
        test(a_refused_size_is_told),
        test(a_refused_topic_is_certain),
        test(a_broken_producer_is_replaced),
        test(what_is_left_is_reported_in_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
