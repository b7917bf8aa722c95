#ifndef BF_DISPATCHER_CLI_ACLS_H
#define BF_DISPATCHER_CLI_ACLS_H

/*
 * Who needs which right on a fleet's topics: signatures do not stop a topic
 * writer from replaying or compacting away, ACLs do. Pure.
 */

#include "config/fleet_topics.h"

struct bf_err;

struct bf_acls {
    const struct bf_topics *topics;
    const char *brokers;
    const char *group;
};

/* Commands for Kafka's kafka-acls.sh, by role, with comments. */
int bf_acls_text(const struct bf_acls *acls, struct bf_buf *out,
                 struct bf_err *err);

#endif
