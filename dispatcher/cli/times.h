#ifndef BF_DISPATCHER_CLI_TIMES_H
#define BF_DISPATCHER_CLI_TIMES_H

/* Times as people give them to commands: options --since, --from and --to. */

#include <stdint.h>

#include "dispatcher/cli/cli.h"

/*
 * "90s", "30m", "12h", "7d" before now_ms, or an RFC 3339 time. REJECT "usage"
 * otherwise. Pure.
 */
int bf_times_parse(const char *text, int64_t now_ms, int64_t *ret_ms,
                   struct bf_err *err);

/* An option's time; *ret_ms stays as it is when there is none. */
int bf_times_option(const struct bf_cli *cli, const char *name, int64_t *ret_ms,
                    struct bf_err *err);

/*
 * An option's time as the parameter of a query with its name, if there is one.
 * What is so long ago is cut to a multiple of unit_ms.
 */
int bf_times_query(const struct bf_cli *cli, const char *name, int64_t unit_ms,
                   struct bf_buf *path, struct bf_err *err);

#endif
