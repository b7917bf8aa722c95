#include "dispatcher/cli/look.h"

#include "schemas/err.h"

const char *bf_look_topic(const struct bf_topics *topics, enum bf_lane lane)
{
    return bf_topic_name(topics, bf_lane_topic(lane));
}

int bf_look_init(struct bf_look *look, struct bf_kafka *kafka,
                 const struct bf_topics *topics,
                 const struct bf_fleet_state *state, const char *group,
                 struct bf_err *err)
{
    const char *names[BF_LANES];

    *look = (struct bf_look){kafka, topics, state, NULL};
    for (int lane = 0; lane < BF_LANES; lane++)
        names[lane] = bf_look_topic(look->topics, (enum bf_lane)lane);
    look->committed =
        bf_kafka_committed(kafka, group, names, BF_LANES, state->shards, err);
    return look->committed ? 0 : -1;
}

void bf_look_release(struct bf_look *look)
{
    if (look->committed)
        rd_kafka_topic_partition_list_destroy(look->committed);
    look->committed = NULL;
}

void bf_look_judge(struct bf_lane_seen *seen, const char *odd)
{
    const struct bf_resume *resume = &seen->resume;

    if (odd[0])
        seen->stopped =
            bf_err_set(&seen->why, BF_ERR_REJECT, "bad_state", "%s", odd);
    else
        seen->stopped = bf_resume(&seen->facts, &seen->base->base, seen->lane,
                                  &seen->resume, &seen->why);
    if (!seen->stopped)
        seen->lag =
            bf_meta_incomplete(&resume->meta, resume->start, seen->facts.high);
}

int bf_look_at(const struct bf_look *look, uint32_t shard, enum bf_lane lane,
               struct bf_lane_seen *ret, struct bf_err *err)
{
    const char *topic = bf_look_topic(look->topics, lane);
    const rd_kafka_topic_partition_t *part = rd_kafka_topic_partition_list_find(
        look->committed, topic, (int32_t)shard);
    struct bf_slice text = {NULL, 0};

    memset(ret, 0, sizeof(*ret));
    ret->shard = shard;
    ret->lane = lane;
    ret->base = bf_fleet_state_base(look->state, shard, lane);
    if (part && part->metadata)
        text = (struct bf_slice){part->metadata, part->metadata_size};
    bf_resume_facts_take(&ret->facts, part ? part->offset : -1, text);
    if (bf_kafka_watermarks(look->kafka, topic, (int32_t)shard, &ret->facts.low,
                            &ret->facts.high, err))
        return -1;
    bf_look_judge(ret, look->state->each[shard].odd);
    return 0;
}
