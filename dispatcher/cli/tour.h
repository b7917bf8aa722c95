#ifndef BF_DISPATCHER_CLI_TOUR_H
#define BF_DISPATCHER_CLI_TOUR_H

/*
 * What a command asks that goes round the shards: keys, state, group, committed
 * offsets. Blocking, one thread.
 */

#include "dispatcher/cli/cli.h"
#include "dispatcher/cli/look.h"

struct bf_err;
struct bf_keyring;

/* Lanes that have a reader, from the first. */
#define BF_TOUR_LANES 2

struct bf_tour {
    struct bf_cli *cli;
    struct bf_topics topics;
    struct bf_kafka *kafka;
    struct bf_keyring *ring;
    struct bf_fleet_state state;
    struct bf_look look;
    json_t *group;
    bool *wanted; /* [shard]: the command's words name it, or it has none */
};

/* cli is borrowed. Released after a failure, too. */
int bf_tour_init(struct bf_tour *tour, struct bf_cli *cli, struct bf_err *err);
void bf_tour_release(struct bf_tour *tour);

/* Who has the shard assigned, as its client is called; NULL: nobody. */
const char *bf_tour_owner(const struct bf_tour *tour, uint32_t shard);

/* One word for what a worker would do. */
const char *bf_tour_verdict(const struct bf_lane_seen *seen);

#endif
