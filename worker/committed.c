#include "worker/committed.h"

#include <sodium.h>

#include "config/log.h"
#include "schemas/check.h"

void bf_committed_new_mark(char ret_mark[BF_MARK_SIZE])
{
    unsigned char bytes[16];

    randombytes_buf(bytes, sizeof(bytes));
    sodium_bin2hex(ret_mark, BF_MARK_SIZE, bytes, sizeof(bytes));
}

void bf_committed_mark(rd_kafka_topic_partition_list_t *offsets,
                       const struct bf_topics *topics, uint32_t shard,
                       int64_t end, const char *mark)
{
    rd_kafka_topic_partition_t *part = rd_kafka_topic_partition_list_add(
        offsets, bf_topic_name(topics, BF_TOPIC_STATE), (int32_t)shard);

    part->offset = end;
    part->metadata = bf_must(strdup(mark));
    part->metadata_size = strlen(mark);
}

static struct bf_slice metadata_of(const rd_kafka_topic_partition_t *part)
{
    return (struct bf_slice){part->metadata, part->metadata_size};
}

/* In one request, so that the mark says something of the lanes. */
static int ask(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *parts,
               int timeout_ms)
{
    if (rd_kafka_committed(rk, parts, timeout_ms))
        return -1;
    for (int i = 0; i < parts->cnt; i++) {
        if (parts->elems[i].err)
            return -1;
    }
    return 0;
}

int bf_committed_ask(rd_kafka_t *rk, const struct bf_topics *topics,
                     uint32_t shard, const char *mark, int timeout_ms,
                     struct bf_resume_facts ret[BF_INPUT_LANES])
{
    rd_kafka_topic_partition_list_t *parts =
        rd_kafka_topic_partition_list_new(BF_INPUT_LANES + 1);
    int rc;

    for (size_t i = 0; i < BF_INPUT_LANES; i++)
        rd_kafka_topic_partition_list_add(
            parts, bf_topic_name(topics, bf_lane_topic((enum bf_lane)i)),
            (int32_t)shard);
    rd_kafka_topic_partition_list_add(
        parts, bf_topic_name(topics, BF_TOPIC_STATE), (int32_t)shard);
    rc = ask(rk, parts, timeout_ms);
    if (rc == 0 && mark &&
        !bf_slice_is(metadata_of(&parts->elems[BF_INPUT_LANES]), mark)) {
        bf_log_warn("stale_offsets", bf_kv_int("shard", shard));
        rc = 1;
    }
    for (int i = 0; rc == 0 && i < BF_INPUT_LANES; i++)
        bf_resume_facts_take(&ret[i], parts->elems[i].offset,
                             metadata_of(&parts->elems[i]));
    rd_kafka_topic_partition_list_destroy(parts);
    return rc;
}

/* ---- what is still open ---- */

const enum bf_topic bf_outputs[BF_OUTPUTS] = {
    BF_TOPIC_RESULTS, BF_TOPIC_USAGE, BF_TOPIC_DEADLETTER, BF_TOPIC_CALLBACKS,
    BF_TOPIC_STATE};

/* In one request a broker: rd_kafka_query_watermark_offsets() asks for one. */
static int ask_ends(rd_kafka_t *rk, const struct bf_topics *topics,
                    uint32_t shard, int timeout_ms, int64_t ret[BF_OUTPUTS])
{
    rd_kafka_topic_partition_list_t *parts =
        rd_kafka_topic_partition_list_new(BF_OUTPUTS);
    int rc;

    for (size_t i = 0; i < BF_OUTPUTS; i++)
        rd_kafka_topic_partition_list_add(
            parts, bf_topic_name(topics, bf_outputs[i]), (int32_t)shard)
            ->offset = RD_KAFKA_OFFSET_END;
    rc = rd_kafka_offsets_for_times(rk, parts, timeout_ms) ? -1 : 0;
    for (int i = 0; i < BF_OUTPUTS; i++) {
        rc = parts->elems[i].err || parts->elems[i].offset < 0 ? -1 : rc;
        ret[i] = parts->elems[i].offset;
    }
    rd_kafka_topic_partition_list_destroy(parts);
    if (rc)
        bf_topics_look_again(rk, timeout_ms);
    return rc;
}

int bf_committed_settled(rd_kafka_t *consumer, rd_kafka_t *reader,
                         const struct bf_topics *topics, uint32_t shard,
                         int timeout_ms)
{
    int64_t stable[BF_OUTPUTS], high[BF_OUTPUTS];

    if (ask_ends(consumer, topics, shard, timeout_ms, stable) ||
        ask_ends(reader, topics, shard, timeout_ms, high))
        return -1;
    return memcmp(stable, high, sizeof(high)) == 0;
}
