#ifndef BF_WORKER_RUNNER_FILES_H
#define BF_WORKER_RUNNER_FILES_H

/*
 * What a runner is started with: which Python, which package, which arguments,
 * and an environment that holds nothing of ours. Looks at files, when made.
 */

#include "worker/child.h"

struct bf_err;
struct bf_runner_files;
struct bf_runner_pool_config;

/* FATAL "runner": something is not there, and its name. */
struct bf_runner_files *
bf_runner_files_new(const struct bf_runner_pool_config *config,
                    struct bf_err *err);
void bf_runner_files_free(struct bf_runner_files *files);

/* Borrows. */
struct bf_child_want bf_runner_files_want(const struct bf_runner_files *files);

#endif
