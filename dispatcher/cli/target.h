#ifndef BF_DISPATCHER_CLI_TARGET_H
#define BF_DISPATCHER_CLI_TARGET_H

/* Where a command's data go: the file of --output, which appears when it is
 * whole, or the program's output. One thread. */

#include "dispatcher/cli/cli.h"

struct bf_target {
    const char *path;
    char *partial;
    FILE *file; /* write here */
};

/* target is zero. Without a bf_target_close() the file does not appear. */
int bf_target_open(struct bf_target *target, struct bf_cli *cli,
                   struct bf_err *err);
int bf_target_close(struct bf_target *target, struct bf_err *err);
void bf_target_release(struct bf_target *target);
#define bf_autotarget bf_cleanup(bf_target_release)

#endif
