#ifndef BF_DISPATCHER_CLI_FLEET_WRITE_H
#define BF_DISPATCHER_CLI_FLEET_WRITE_H

/*
 * The first records of a fleet's state: its own entry and a beginning (base 0,
 * seq 0) for every shard and lane that has none. Blocking, one thread.
 */

#include "dispatcher/cli/fleet_state.h"

struct bf_err;
struct bf_settings;
struct bf_signer;

struct bf_written {
    bool fleet;
    size_t bases;
};

/* What to write about whom. */
struct bf_fleet_writing {
    const struct bf_settings *settings;
    const char *topic;
    const struct bf_fleet *fleet; /* for the fleet's entry */
    const struct bf_signer *signer;
};

/*
 * Write what seen lacks, signed in trees of 64,
 * and wait until the brokers have all of it. What is there but not trusted
 * counts as lacking.
 */
int bf_fleet_write(const struct bf_fleet_writing *writing,
                   const struct bf_fleet_state *seen, struct bf_written *ret,
                   struct bf_err *err);

#endif
