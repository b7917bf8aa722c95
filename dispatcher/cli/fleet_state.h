#ifndef BF_DISPATCHER_CLI_FLEET_STATE_H
#define BF_DISPATCHER_CLI_FLEET_STATE_H

/*
 * What bf.state says of a fleet as a whole: its own entry, and the beginnings
 * of its shards. Reads every committed record once. Blocking, one thread.
 */

#include "dispatcher/cli/kafka.h"
#include "schemas/fleet.h"
#include "schemas/resume.h"

struct bf_err;
struct bf_keyring;

enum bf_seen { BF_SEEN_NOT, BF_SEEN_UNTRUSTED, BF_SEEN_TRUSTED };

#define BF_WHY_SIZE 200

#define BF_HOST_SIZE 64

/* The latest b entry of one shard and lane. */
struct bf_base_seen {
    enum bf_seen seen;          /* the latest record */
    struct bf_resume_base base; /* the latest trusted one, as workers see it */
    int64_t at_ms;
    char host[BF_HOST_SIZE];
    uint32_t pid;
    char why[BF_WHY_SIZE]; /* not trusted: the reason */
};

/* What a worker would see of a shard's state as a whole. */
struct bf_shard_seen {
    uint64_t seq;          /* the highest of any trusted entry */
    char odd[BF_WHY_SIZE]; /* trusted, but not understood: it stops there */
};

struct bf_fleet_state {
    uint32_t shards;
    enum bf_seen fleet_seen;
    struct bf_fleet fleet; /* when trusted */
    char fleet_why[BF_WHY_SIZE];
    struct bf_base_seen *bases; /* [shard * BF_LANES + lane]; owned */
    struct bf_shard_seen *each; /* [shard]; owned */
    uint64_t records;
    uint64_t untrusted; /* records of any kind that are not */
};

/* topic has that many partitions. ring: who is trusted. */
int bf_fleet_state_read(struct bf_kafka *kafka, const char *topic,
                        uint32_t shards, struct bf_keyring *ring,
                        struct bf_fleet_state *ret, struct bf_err *err);
void bf_fleet_state_release(struct bf_fleet_state *state);
#define bf_autofleetstate bf_cleanup(bf_fleet_state_release)

const struct bf_base_seen *
bf_fleet_state_base(const struct bf_fleet_state *state, uint32_t shard,
                    enum bf_lane lane);

#endif
