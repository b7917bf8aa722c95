#ifndef BF_SCHEMAS_FLEET_H
#define BF_SCHEMAS_FLEET_H

/*
 * What was decided for a whole fleet when its topics were made: entry "m" of
 * bf.state, partition 0, signed like every state entry. Whoever restores a
 * shard passes over it. Source: PROTOCOL.md §8. Pure.
 */

#include <stdint.h>

#include "schemas/record.h"

struct bf_err;

#define BF_FLEET_KEY "m"
#define BF_FLEET_NAME_MAX 32

struct bf_fleet {
    char name[BF_FLEET_NAME_MAX + 1];
    uint32_t shards; /* partitions of every topic */
    uint32_t spread; /* consecutive shards of one workspace */
    int64_t created_ms;
};

/* Is it this entry? By its key. */
bool bf_fleet_is(const struct bf_record *rec);

/* Fill an initialised record of partition 0, all but the signature. */
int bf_fleet_build(const struct bf_fleet *fleet, struct bf_record *rec,
                   struct bf_err *err);

/* REJECT "bad_state" names the member. Whoever signed it is not looked at. */
int bf_fleet_parse(const struct bf_record *rec, struct bf_fleet *ret,
                   struct bf_err *err);

#endif
