#ifndef BF_DISPATCHER_CLI_JOB_BODY_H
#define BF_DISPATCHER_CLI_JOB_BODY_H

/* A job's JSON from the options of `submit`, and later of `video`. */

#include <jansson.h>

#include "dispatcher/cli/cli.h"

/*
 * The block: --code FILE, --init FILE, --import, --function, --init-function,
 * --block-type. code: an initialised buffer that keeps the file's text, for
 * showing the line that raised. New reference, NULL on failure.
 */
json_t *bf_job_body_block(struct bf_cli *cli, struct bf_buf *code,
                          struct bf_err *err);

/* Everything but inputs, from the other options too. NULL on failure. */
json_t *bf_job_body_members(struct bf_cli *cli, struct bf_buf *code,
                            struct bf_err *err);

/* --inputs FILE, or --set NAME=VALUE..., or {}: the bytes of one object. */
int bf_job_body_inputs(struct bf_cli *cli, struct bf_buf *out,
                       struct bf_err *err);

#endif
