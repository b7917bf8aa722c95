#ifndef BF_DISPATCHER_CLI_LOGS_H
#define BF_DISPATCHER_CLI_LOGS_H

/* What commands share that read a fleet's topics themselves. One thread. */

#include "dispatcher/cli/cli.h"
#include "dispatcher/cli/log_read.h"

/* topics must not move; kafka is owned. */
struct bf_logs {
    struct bf_topics topics;
    struct bf_kafka *kafka;
    uint32_t shards;
};

/* Connects, and asks how many shards there are. Released after a failure, too.
 */
int bf_logs_open(struct bf_logs *logs, struct bf_cli *cli, struct bf_err *err);
void bf_logs_release(struct bf_logs *logs);
#define bf_autologs bf_cleanup(bf_logs_release)

/* All partitions of a topic, from option --since or from the beginning. */
int bf_logs_since(const struct bf_logs *logs, struct bf_cli *cli,
                  enum bf_topic which, struct bf_log_range *ret,
                  struct bf_err *err);

/* The one record that two words name: its partition and its offset. */
int bf_logs_single(const struct bf_logs *logs, enum bf_topic which,
                   const char *const words[2], struct bf_log_range *ret,
                   struct bf_err *err);

/* A header as JSON text, other bytes than UTF-8 as \xNN; null when absent. */
json_t *bf_logs_header(const struct bf_record *rec, const char *name);

#endif
