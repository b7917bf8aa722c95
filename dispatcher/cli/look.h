#ifndef BF_DISPATCHER_CLI_LOOK_H
#define BF_DISPATCHER_CLI_LOOK_H

/*
 * How far each input partition is, and what a worker that takes its shard over
 * now would do: the facts of Kafka and the judgement of schemas/resume.h.
 * Blocking, one thread.
 */

#include "dispatcher/cli/fleet_state.h"

struct bf_err;

/* All of it is borrowed; committed is the look's own. */
struct bf_look {
    struct bf_kafka *kafka;
    const struct bf_topics *topics;
    const struct bf_fleet_state *state;
    rd_kafka_topic_partition_list_t *committed;
};

/* Asks what the group has committed, once for all. */
int bf_look_init(struct bf_look *look, struct bf_kafka *kafka,
                 const struct bf_topics *topics,
                 const struct bf_fleet_state *state, const char *group,
                 struct bf_err *err);
void bf_look_release(struct bf_look *look);
#define bf_autolook bf_cleanup(bf_look_release)

struct bf_lane_seen {
    uint32_t shard;
    enum bf_lane lane;
    const struct bf_base_seen *base;
    struct bf_resume_facts facts;
    bool stopped;            /* the shard does not start, because of this */
    struct bf_err why;       /* when stopped */
    struct bf_resume resume; /* when not */
    int64_t lag;             /* offsets to do; 0 when stopped */
};

const char *bf_look_topic(const struct bf_topics *topics, enum bf_lane lane);

/* Asks for the partition's watermarks, and judges. */
int bf_look_at(const struct bf_look *look, uint32_t shard, enum bf_lane lane,
               struct bf_lane_seen *ret, struct bf_err *err);

/* The judgement alone: facts, base, shard and lane are filled in. Pure. */
void bf_look_judge(struct bf_lane_seen *seen, const char *odd);

#endif
