#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "dispatcher/cli/acls.h"
#include "dispatcher/cli/doctor.h"
#include "schemas/err.h"
#include "schemas/meta.h"

static int setup(void **state)
{
    struct bf_doctor *doctor = calloc(1, sizeof(*doctor));

    *state = doctor;
    return doctor ? bf_doctor_init(doctor, NULL) : -1;
}

static int teardown(void **state)
{
    bf_doctor_release(*state);
    free(*state);
    return 0;
}

/* Rows of this verdict whose detail has these words. */
static size_t told(const struct bf_doctor *doctor, const char *verdict,
                   const char *words)
{
    size_t count = 0, i;
    json_t *row;

    json_array_foreach(doctor->rows, i, row)
    {
        const char *v = json_string_value(json_object_get(row, "verdict"));
        const char *d = json_string_value(json_object_get(row, "detail"));

        count += strcmp(v, verdict) == 0 && strstr(d, words);
    }
    return count;
}

static json_t *config_of(enum bf_topic which, int replication)
{
    struct bf_topic_setting settings[BF_TOPIC_SETTINGS];
    size_t n = bf_topic_settings(which, replication, settings);
    json_t *config = json_object();

    for (size_t i = 0; i < n; i++)
        json_object_set_new(config, settings[i].name,
                            json_string(settings[i].value));
    return config;
}

static void test_topics_of_our_own_are_fine(void **state)
{
    struct bf_doctor *doctor = *state;

    for (int i = 0; i < BF_TOPICS; i++) {
        for (int replication = 1; replication <= 3; replication++) {
            json_auto_t *config = config_of((enum bf_topic)i, replication);

            bf_doctor_topic(doctor, (enum bf_topic)i, "t", config, replication);
        }
    }
    assert_int_equal(bf_doctor_count(doctor, BF_VERDICT_OK), 3 * BF_TOPICS);
    assert_int_equal(doctor->worst, BF_VERDICT_OK);
}

static void test_topic_faults(void **state)
{
    static const struct {
        enum bf_topic which;
        const char *property, *value, *verdict;
    } rows[] = {
        {BF_TOPIC_STATE, "cleanup.policy", "delete", "FAIL"},
        {BF_TOPIC_STATE, "cleanup.policy", "compact,delete", "FAIL"},
        {BF_TOPIC_RESULTS, "cleanup.policy", "compact", "FAIL"},
        {BF_TOPIC_USAGE, "retention.ms", "3023999999", "FAIL"},
        {BF_TOPIC_RESULTS, "retention.ms", "60000", "warn"},
        {BF_TOPIC_JOBS, "retention.ms", "691200000", "FAIL"},
        {BF_TOPIC_JOBS, "retention.ms", "691200001", "warn"},
        {BF_TOPIC_JOBS, "retention.bytes", "1000", "FAIL"},
        {BF_TOPIC_DEADLETTER, "max.message.bytes", "1048588", "FAIL"},
        {BF_TOPIC_JOBS, "min.insync.replicas", "1", "FAIL"},
        {BF_TOPIC_JOBS, "min.insync.replicas", "4", "FAIL"},
        {BF_TOPIC_JOBS, "unclean.leader.election.enable", "true", "FAIL"},
        {BF_TOPIC_JOBS, "message.timestamp.type", "LogAppendTime", "warn"},
        {BF_TOPIC_STATE, "segment.ms", "604800000", "warn"},
    };
    struct bf_doctor *doctor = *state;

    for (size_t i = 0; i < bf_countof(rows); i++) {
        json_auto_t *config = config_of(rows[i].which, 3);
        size_t before = told(doctor, rows[i].verdict, rows[i].property);

        json_object_set_new(config, rows[i].property,
                            json_string(rows[i].value));
        bf_doctor_topic(doctor, rows[i].which, "t", config, 3);
        assert_int_equal(told(doctor, rows[i].verdict, rows[i].property),
                         before + 1);
    }
    assert_int_equal(bf_doctor_count(doctor, BF_VERDICT_OK), 0);
    assert_int_equal(json_array_size(doctor->rows), bf_countof(rows));
}

static void test_retention_for_ever_is_fine(void **state)
{
    struct bf_doctor *doctor = *state;
    json_auto_t *config = config_of(BF_TOPIC_USAGE, 1);

    json_object_set_new(config, "retention.ms", json_string("-1"));
    bf_doctor_topic(doctor, BF_TOPIC_USAGE, "t", config, 1);
    assert_int_equal(doctor->worst, BF_VERDICT_OK);
}

static void test_state(void **state)
{
    struct bf_doctor *doctor = *state;
    struct bf_base_seen bases[2 * BF_LANES];
    struct bf_fleet_state seen = {.shards = 2, .bases = bases};
    const struct bf_doctor_fleet settings = {.fleet = "main", .spread = 4};

    memset(bases, 0, sizeof(bases));
    for (size_t i = 0; i < bf_countof(bases); i++)
        bases[i].seen = BF_SEEN_TRUSTED;
    seen.fleet_seen = BF_SEEN_TRUSTED;
    seen.fleet = (struct bf_fleet){"main", 2, 4, 0};
    bf_doctor_state(doctor, &seen, &settings);
    assert_int_equal(doctor->worst, BF_VERDICT_OK);
    bases[BF_LANES + BF_LANE_BATCH].seen = BF_SEEN_NOT;
    bases[0].seen = BF_SEEN_UNTRUSTED;
    memcpy(bases[0].why, "unknown key", 12);
    seen.fleet.spread = 5;
    bf_doctor_state(doctor, &seen, &settings);
    assert_int_equal(told(doctor, "FAIL",
                          "1 of 6 are missing, such as "
                          "b/batch of shard 1"),
                     1);
    assert_int_equal(told(doctor, "FAIL",
                          "1 of 6 are not trusted: unknown "
                          "key"),
                     1);
    assert_int_equal(told(doctor, "FAIL", "made with spread 5"), 1);
}

static void test_group(void **state)
{
    struct bf_doctor *doctor = *state;
    json_auto_t *good = json_pack("{s:s,s:s,s:[{s:i},{s:i}]}", "state",
                                  "Stable", "assignor", "cooperative-sticky",
                                  "members", "partitions", 7, "partitions", 5);
    json_auto_t *empty = json_pack("{s:s,s:s,s:[]}", "state", "Empty",
                                   "assignor", "", "members");

    bf_doctor_group(doctor, good, "g", 12);
    assert_int_equal(doctor->worst, BF_VERDICT_OK);
    bf_doctor_group(doctor, empty, "g", 12);
    assert_int_equal(doctor->worst, BF_VERDICT_WARN);
    bf_doctor_group(doctor, good, "g", 13);
    assert_int_equal(told(doctor, "FAIL", "assigned 12 of 13"), 1);
}

/* A partition whose metadata says base, txn_seq and that offset 13 is done. */
static void look(struct bf_doctor_lane *lane, int64_t base, int64_t low,
                 int64_t high, uint64_t state_seq)
{
    struct bf_meta meta = {.base = base, .txn_seq = 5, .writer = "w"};
    const struct bf_base_seen b = {
        .base = {.known = true, .meta = {.txn_seq = state_seq}}};
    struct bf_lane_seen seen = {.shard = 3, .base = &b};
    char text[BF_MAX_METADATA] = "";

    if (base < 13 && base >= 0)
        meta.map[(13 - base) / 8] |= (unsigned char)(1U << (13 - base) % 8);
    if (base >= 0)
        bf_meta_encode(&meta, text);
    bf_resume_facts_take(&seen.facts, base, bf_slice_str(text));
    seen.facts.low = low;
    seen.facts.high = high;
    bf_look_judge(&seen, "");
    bf_doctor_input(lane, &seen);
}

static void test_progress(void **state)
{
    struct bf_doctor *doctor = *state;
    struct bf_doctor_lane lane = {0};

    look(&lane, 10, 0, 20, 5); /* 10 to 19 but 13 */
    assert_int_equal(lane.lag, 9);
    assert_int_equal(lane.lost, 0);
    look(&lane, 10, 15, 20, 5); /* 10, 11, 12, 14 are gone for good */
    assert_int_equal(lane.lost, 4);
    assert_int_equal(lane.lost_in, 1);
    assert_int_equal(lane.lag, 9 + 5);
    look(&lane, -1, 0, 3, 0); /* nothing committed yet */
    assert_int_equal(lane.lag, 9 + 5 + 3);
    assert_int_equal(lane.broken, 0);
    bf_doctor_lane(doctor, "bf.jobs", &lane);
    assert_int_equal(told(doctor, "FAIL", "bf.jobs: 4 offsets of 1"), 1);
}

static void test_shards_that_stop(void **state)
{
    struct bf_doctor *doctor = *state;
    struct bf_lane_seen odd = {.shard = 4};
    struct bf_doctor_lane lane = {0};

    look(&lane, 10, 0, 20, 6);
    assert_int_equal(lane.broken, 1);
    assert_non_null(strstr(lane.why.msg, "older"));
    look(&lane, 21, 0, 20, 5);
    assert_int_equal(lane.broken, 2);
    bf_look_judge(&odd, "entry x/1: its key");
    assert_true(odd.stopped);
    assert_string_equal(odd.why.code, "bad_state");
    bf_doctor_input(&lane, &odd);
    assert_int_equal(lane.broken, 3);
    bf_doctor_lane(doctor, "bf.jobs", &lane);
    assert_int_equal(told(doctor, "FAIL",
                          "3 shards cannot go on, such as 3: lane jobs: "
                          "committed txn_seq 5 is older"),
                     1);
}

static void test_acls_give_each_writer_its_own(void **state)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1 << 20);
    struct bf_topics topics;
    const struct bf_acls acls = {&topics, "b:9092", "blockfleet"};
    const char *worker, *dispatcher;

    (void)state;
    assert_int_equal(bf_topics_init(&topics, "x.", NULL), 0);
    assert_int_equal(bf_acls_text(&acls, &text, NULL), 0);
    worker = strstr(text.data, "User:bf-worker --operation Write");
    dispatcher = strstr(text.data, "User:bf-dispatcher --operation Write");
    assert_non_null(worker);
    assert_non_null(dispatcher);
    assert_null(memmem(worker, strcspn(worker, "\n"), "x.jobs", 6));
    assert_non_null(memmem(worker, strcspn(worker, "\n"), "x.state", 7));
    assert_null(memmem(dispatcher, strcspn(dispatcher, "\n"), "x.state", 7));
    assert_null(memmem(dispatcher, strcspn(dispatcher, "\n"), "x.results", 9));
    assert_non_null(strstr(text.data, "--transactional-id blockfleet-"));
}

#define DOCTOR_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DOCTOR_TEST(test_topics_of_our_own_are_fine),
        DOCTOR_TEST(test_topic_faults),
        DOCTOR_TEST(test_retention_for_ever_is_fine),
        DOCTOR_TEST(test_state),
        DOCTOR_TEST(test_group),
        DOCTOR_TEST(test_progress),
        DOCTOR_TEST(test_shards_that_stop),
        cmocka_unit_test(test_acls_give_each_writer_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
