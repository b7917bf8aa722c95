#ifndef BF_DISPATCHER_CLI_COMMANDS_H
#define BF_DISPATCHER_CLI_COMMANDS_H

/* The functions behind the command table; each in its own cmd_*.c. */

#include "dispatcher/cli/cli.h"

typedef enum bf_exit bf_cmd_fn(struct bf_cli *cli);

bf_cmd_fn bf_cmd_apikeys_list;
bf_cmd_fn bf_cmd_apikeys_new;
bf_cmd_fn bf_cmd_apikeys_revoke;
bf_cmd_fn bf_cmd_batch;
bf_cmd_fn bf_cmd_batches;
bf_cmd_fn bf_cmd_completion;
bf_cmd_fn bf_cmd_deadletter_list;
bf_cmd_fn bf_cmd_deadletter_show;
bf_cmd_fn bf_cmd_doctor;
bf_cmd_fn bf_cmd_help;
bf_cmd_fn bf_cmd_jobs;
bf_cmd_fn bf_cmd_keys_list;
bf_cmd_fn bf_cmd_keys_new;
bf_cmd_fn bf_cmd_keys_public;
bf_cmd_fn bf_cmd_keys_revoke;
bf_cmd_fn bf_cmd_keys_trust;
bf_cmd_fn bf_cmd_results;
bf_cmd_fn bf_cmd_shards_confirm;
bf_cmd_fn bf_cmd_shards_list;
bf_cmd_fn bf_cmd_status;
bf_cmd_fn bf_cmd_submit;
bf_cmd_fn bf_cmd_topics_init;
bf_cmd_fn bf_cmd_topics_show;
bf_cmd_fn bf_cmd_usage;
bf_cmd_fn bf_cmd_usage_correct;
bf_cmd_fn bf_cmd_usage_export;
bf_cmd_fn bf_cmd_usage_reconcile;
bf_cmd_fn bf_cmd_verify;
bf_cmd_fn bf_cmd_version;
bf_cmd_fn bf_cmd_video;
bf_cmd_fn bf_cmd_wait;

#endif
