#include "config/fleet_topics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "schemas/check.h"
#include "schemas/err.h"

#define MAX_PREFIX 100

static const struct {
    const char *name;
    int64_t retention_ms;
    uint32_t max_bytes;
    enum bf_purpose purpose;
} specs[] = {
#define X(id, name, retention_ms, max_bytes, purpose)                          \
    [BF_TOPIC_##id] = {name, retention_ms, max_bytes, purpose},
    BF_TOPIC_TABLE(X)
#undef X
};

int bf_topics_init(struct bf_topics *topics, const char *prefix,
                   struct bf_err *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = strlen(prefix);

    if (len > MAX_PREFIX || strspn(prefix, allowed) != len)
        return bf_err_set(err, BF_ERR_REJECT, "bad_prefix",
                          "topics.prefix must be up to %d characters of "
                          "[a-zA-Z0-9._-]",
                          MAX_PREFIX);
    for (int i = 0; i < BF_TOPICS; i++)
        snprintf(topics->names[i], sizeof(topics->names[i]), "%s%s", prefix,
                 specs[i].name);
    return 0;
}

const char *bf_topic_name(const struct bf_topics *topics, enum bf_topic which)
{
    bf_assert(which < BF_TOPICS);
    return topics->names[which];
}

enum bf_topic bf_lane_topic(enum bf_lane lane)
{
    static const enum bf_topic topics[] = {
        [BF_LANE_JOBS] = BF_TOPIC_JOBS,
        [BF_LANE_BATCH] = BF_TOPIC_BATCH,
        [BF_LANE_CONTROL] = BF_TOPIC_CONTROL,
    };
    _Static_assert(bf_countof(topics) == BF_LANES, "a topic each");

    return topics[lane];
}

int bf_topic_of(const struct bf_topics *topics, const char *name)
{
    for (int i = 0; i < BF_TOPICS; i++) {
        if (strcmp(topics->names[i], name) == 0)
            return i;
    }
    return -1;
}

const char *bf_topic_short(enum bf_topic which)
{
    bf_assert(which < BF_TOPICS);
    return specs[which].name;
}

int64_t bf_topic_retention_ms(enum bf_topic which)
{
    bf_assert(which < BF_TOPICS);
    return specs[which].retention_ms;
}

uint32_t bf_topic_max_bytes(enum bf_topic which)
{
    bf_assert(which < BF_TOPICS);
    return specs[which].max_bytes;
}

enum bf_purpose bf_topic_purpose(enum bf_topic which)
{
    bf_assert(which < BF_TOPICS);
    return specs[which].purpose;
}

static void setting(struct bf_topic_setting *ret, size_t *n, const char *name,
                    int64_t value)
{
    bf_assert(*n < BF_TOPIC_SETTINGS);
    ret[*n].name = name;
    snprintf(ret[*n].value, sizeof(ret[*n].value), "%" PRId64, value);
    (*n)++;
}

static void setting_text(struct bf_topic_setting *ret, size_t *n,
                         const char *name, const char *value)
{
    bf_assert(*n < BF_TOPIC_SETTINGS);
    ret[*n].name = name;
    snprintf(ret[*n].value, sizeof(ret[*n].value), "%s", value);
    (*n)++;
}

size_t bf_topic_settings(enum bf_topic which, int replication,
                         struct bf_topic_setting ret[BF_TOPIC_SETTINGS])
{
    bool compact = bf_topic_retention_ms(which) < 0;
    size_t n = 0;

    setting_text(ret, &n, "cleanup.policy", compact ? "compact" : "delete");
    if (compact) {
        /* a shard is restored by reading all of it: keep the tail short */
        setting(ret, &n, "segment.bytes", 16 << 20);
        setting(ret, &n, "segment.ms", 600000);
        setting(ret, &n, "max.compaction.lag.ms", 600000);
    } else {
        setting(ret, &n, "retention.ms", bf_topic_retention_ms(which));
        /* a limit by size would remove jobs that nobody has read */
        setting(ret, &n, "retention.bytes", -1);
    }
    setting(ret, &n, "max.message.bytes", bf_topic_max_bytes(which));
    setting(ret, &n, "min.insync.replicas", replication >= 3 ? 2 : 1);
    setting_text(ret, &n, "compression.type", "producer");
    setting_text(ret, &n, "message.timestamp.type", "CreateTime");
    setting_text(ret, &n, "unclean.leader.election.enable", "false");
    return n;
}

static const struct rd_kafka_metadata_topic *
find_topic(const struct rd_kafka_metadata *metadata, const char *name)
{
    for (int i = 0; i < metadata->topic_cnt; i++) {
        if (strcmp(metadata->topics[i].topic, name) == 0)
            return &metadata->topics[i];
    }
    return NULL;
}

int bf_topic_partitions(const struct rd_kafka_metadata *metadata,
                        const char *name)
{
    const struct rd_kafka_metadata_topic *topic = find_topic(metadata, name);

    if (!topic || topic->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        return -1;
    return topic->partition_cnt > 0 ? topic->partition_cnt : -1;
}

int bf_topics_check_in(const struct rd_kafka_metadata *metadata,
                       const struct bf_topics *topics, uint32_t *ret_shards,
                       struct bf_err *err)
{
    int first = -1;

    for (int i = 0; i < BF_TOPICS; i++) {
        int count = bf_topic_partitions(metadata, topics->names[i]);

        if (count < 0)
            return bf_err_set(err, BF_ERR_FATAL, "no_topic",
                              "topic %s does not exist: run "
                              "'blockfleet topics init'",
                              topics->names[i]);
        if (i == 0)
            first = count;
        if (count != first)
            return bf_err_set(err, BF_ERR_FATAL, "unequal_shards",
                              "%s has %d partitions but %s has %d: all topics "
                              "of a fleet must have the same number",
                              topics->names[0], first, topics->names[i], count);
    }
    if ((uint32_t)first > BF_MAX_SHARDS)
        return bf_err_set(err, BF_ERR_FATAL, "too_many_shards",
                          "%s has %d partitions: at most %u are served",
                          topics->names[0], first, BF_MAX_SHARDS);
    *ret_shards = (uint32_t)first;
    return 0;
}

int bf_topics_check(rd_kafka_t *rk, const struct bf_topics *topics,
                    int timeout_ms, uint32_t *ret_shards, struct bf_err *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code;
    int status;

    /*
     * All topics, because a request that names a missing one may create it,
     * with the broker's defaults instead of ours.
     */
    code = rd_kafka_metadata(rk, 1, NULL, &metadata, timeout_ms);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return bf_err_set(err, BF_ERR_RETRY, "unreachable",
                          "no broker has answered: %s", rd_kafka_err2str(code));
    status = bf_topics_check_in(metadata, topics, ret_shards, err);
    rd_kafka_metadata_destroy(metadata);
    return status;
}

void bf_topics_look_again(rd_kafka_t *rk, int timeout_ms)
{
    const struct rd_kafka_metadata *metadata = NULL;

    if (rd_kafka_metadata(rk, 1, NULL, &metadata, timeout_ms) ==
        RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_metadata_destroy(metadata);
}
