#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "config/fleet_topics.h"
#include "schemas/err.h"

static void test_names(void **state)
{
    struct bf_topics topics;
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(bf_topics_init(&topics, "bf.", &err), 0);
    assert_string_equal(bf_topic_name(&topics, BF_TOPIC_BATCH),
                        "bf.jobs.batch");
    assert_int_equal(bf_topic_of(&topics, "bf.usage"), BF_TOPIC_USAGE);
    assert_int_equal(bf_topic_of(&topics, "usage"), -1);
    assert_int_equal(bf_topics_init(&topics, "", &err), 0);
    assert_string_equal(bf_topic_name(&topics, BF_TOPIC_JOBS), "jobs");
}

static void test_bad_prefix(void **state)
{
    struct bf_topics topics;
    struct bf_err err = {0};
    char prefix[102];

    (void)state;
    memset(prefix, 'a', sizeof(prefix));
    prefix[101] = '\0';
    assert_int_equal(bf_topics_init(&topics, prefix, &err), -1);
    assert_string_equal(err.code, "bad_prefix");
    assert_int_equal(bf_topics_init(&topics, "b/", &err), -1);
    prefix[100] = '\0';
    assert_int_equal(bf_topics_init(&topics, prefix, &err), 0);
}

static const char *value_of(enum bf_topic which, int replication,
                            const char *name, char *room)
{
    struct bf_topic_setting settings[BF_TOPIC_SETTINGS];
    size_t n = bf_topic_settings(which, replication, settings);

    for (size_t i = 0; i < n; i++) {
        if (strcmp(settings[i].name, name) == 0)
            return memcpy(room, settings[i].value, sizeof(settings[i].value));
    }
    return NULL;
}

static void test_settings(void **state)
{
    char room[24];

    (void)state;
    assert_string_equal(value_of(BF_TOPIC_STATE, 1, "cleanup.policy", room),
                        "compact");
    assert_null(value_of(BF_TOPIC_STATE, 1, "retention.ms", room));
    assert_string_equal(
        value_of(BF_TOPIC_STATE, 1, "max.compaction.lag.ms", room), "600000");
    assert_string_equal(value_of(BF_TOPIC_USAGE, 1, "retention.ms", room),
                        "3024000000");
    assert_string_equal(value_of(BF_TOPIC_JOBS, 1, "max.message.bytes", room),
                        "16777216");
    assert_string_equal(value_of(BF_TOPIC_JOBS, 2, "min.insync.replicas", room),
                        "1");
    assert_string_equal(value_of(BF_TOPIC_JOBS, 3, "min.insync.replicas", room),
                        "2");
}

/* An answer in which every topic of the fleet has this many partitions. */
struct answer {
    struct rd_kafka_metadata_topic topics[BF_TOPICS];
    struct rd_kafka_metadata metadata;
};

static void answer_init(struct answer *answer, struct bf_topics *topics,
                        int partitions)
{
    memset(answer, 0, sizeof(*answer));
    assert_int_equal(bf_topics_init(topics, "bf.", NULL), 0);
    for (int i = 0; i < BF_TOPICS; i++) {
        answer->topics[i].topic = topics->names[i];
        answer->topics[i].partition_cnt = partitions;
    }
    answer->metadata.topics = answer->topics;
    answer->metadata.topic_cnt = BF_TOPICS;
}

static void test_check(void **state)
{
    struct answer answer;
    struct bf_topics topics;
    struct bf_err err = {0};
    uint32_t shards = 77;

    (void)state;
    answer_init(&answer, &topics, 12);
    answer.topics[BF_TOPIC_USAGE].partition_cnt = 6;
    assert_int_equal(
        bf_topics_check_in(&answer.metadata, &topics, &shards, &err), -1);
    assert_string_equal(err.code, "unequal_shards");
    assert_non_null(strstr(err.msg, "bf.usage has 6"));
    answer.metadata.topic_cnt = BF_TOPIC_EVENTS;
    answer.topics[BF_TOPIC_USAGE].partition_cnt = 12;
    assert_int_equal(
        bf_topics_check_in(&answer.metadata, &topics, &shards, &err), -1);
    assert_string_equal(err.code, "no_topic");
    assert_non_null(strstr(err.msg, "bf.events"));
    assert_int_equal(shards, 77);
    answer.metadata.topic_cnt = BF_TOPICS;
    assert_int_equal(
        bf_topics_check_in(&answer.metadata, &topics, &shards, &err), 0);
    assert_int_equal(shards, 12);
}

static void test_too_many(void **state)
{
    struct answer answer;
    struct bf_topics topics;
    struct bf_err err = {0};
    uint32_t shards = 77;

    (void)state;
    answer_init(&answer, &topics, BF_MAX_SHARDS + 1);
    assert_int_equal(
        bf_topics_check_in(&answer.metadata, &topics, &shards, &err), -1);
    assert_string_equal(err.code, "too_many_shards");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),    cmocka_unit_test(test_bad_prefix),
        cmocka_unit_test(test_settings), cmocka_unit_test(test_check),
        cmocka_unit_test(test_too_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
