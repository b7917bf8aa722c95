#ifndef BF_DISPATCHER_CLI_DOCTOR_H
#define BF_DISPATCHER_CLI_DOCTOR_H

/*
 * What doctor thinks of what it has been told: facts in, rows out. Pure; the
 * asking is cmd_doctor.c's.
 */

#include <jansson.h>

#include "config/fleet_topics.h"
#include "dispatcher/cli/look.h"

struct bf_err;
struct bf_keyring;

enum bf_verdict { BF_VERDICT_OK, BF_VERDICT_WARN, BF_VERDICT_FAIL };

/* The report as it grows: rows {check, verdict, detail, next}. */
struct bf_doctor {
    json_t *rows; /* owned */
    enum bf_verdict worst;
};

int bf_doctor_init(struct bf_doctor *doctor, struct bf_err *err);
void bf_doctor_release(struct bf_doctor *doctor);

/* next: what to do about it; NULL when nothing is to be done. */
void bf_doctor_add(struct bf_doctor *doctor, enum bf_verdict verdict,
                   const char *check, const char *next, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* How many rows have this verdict. */
size_t bf_doctor_count(const struct bf_doctor *doctor, enum bf_verdict verdict);

/* Which Kafka this is, by what its brokers can be asked about. */
void bf_doctor_version(struct bf_doctor *doctor, const json_t *broker_config);

/* Limits of brokers against what workers ask for. */
struct bf_doctor_limits {
    int64_t session_timeout_ms;
    int64_t transaction_timeout_ms;
};
void bf_doctor_broker(struct bf_doctor *doctor, const json_t *broker_config,
                      const struct bf_doctor_limits *limits);

/* One topic's properties and replication against our table. */
void bf_doctor_topic(struct bf_doctor *doctor, enum bf_topic which,
                     const char *name, const json_t *config, int replication);

/* The fleet's entry and the beginnings. */
struct bf_doctor_fleet {
    const char *fleet;
    uint32_t spread;
    bool spread_is_default;
};
void bf_doctor_state(struct bf_doctor *doctor,
                     const struct bf_fleet_state *state,
                     const struct bf_doctor_fleet *settings);

/* Signers and trust of this machine. */
void bf_doctor_keys(struct bf_doctor *doctor, const struct bf_keyring *ring);

/* {"state", "assignor", "members"} of the workers' group. */
void bf_doctor_group(struct bf_doctor *doctor, const json_t *group,
                     const char *name, uint32_t shards);

/* What one partition adds to its lane. */
struct bf_doctor_lane {
    int64_t lag;       /* offsets not complete */
    int64_t lost;      /* unread and removed from the log */
    size_t lost_in;    /* partitions */
    size_t broken;     /* partitions whose shard will not start */
    uint32_t first;    /* one of them */
    struct bf_err why; /* of the first */
};
void bf_doctor_input(struct bf_doctor_lane *lane,
                     const struct bf_lane_seen *seen);
void bf_doctor_lane(struct bf_doctor *doctor, const char *topic,
                    const struct bf_doctor_lane *lane);

#endif
