#ifndef BF_DISPATCHER_CLI_JOB_BODY_H
#define BF_DISPATCHER_CLI_JOB_BODY_H

/* A job's JSON from the options of `submit`, `video` and `batch`. */

#include <jansson.h>

#include "dispatcher/cli/cli.h"

/*
 * The block: --code FILE, --init FILE, --import, --function, --init-function,
 * --block-type. code: an initialised buffer that keeps the file's text, for
 * showing the line that raised. New reference, NULL on failure.
 */
json_t *bf_job_body_block(struct bf_cli *cli, struct bf_buf *code,
                          struct bf_err *err);

/* Everything but the block and inputs. NULL on failure. */
json_t *bf_job_body_options(struct bf_cli *cli, struct bf_err *err);

/* Everything but inputs. NULL on failure. */
json_t *bf_job_body_members(struct bf_cli *cli, struct bf_buf *code,
                            struct bf_err *err);

/* --inputs FILE, or --set NAME=VALUE..., or {}: the bytes of one object. */
int bf_job_body_inputs(struct bf_cli *cli, struct bf_buf *out,
                       struct bf_err *err);

/*
 * Inputs made piece by piece. begin: a copy of given, "{...}" of --set, without
 * its end and with a comma where one is due. image: an open object of kind
 * workflow_image, to be closed with "}". bytes: a whole one of kind bytes.
 */
int bf_job_body_begin(struct bf_slice given, struct bf_buf *out,
                      struct bf_err *err);
int bf_job_body_image(struct bf_slice image, struct bf_buf *out,
                      struct bf_err *err);
int bf_job_body_bytes(struct bf_slice bytes, struct bf_buf *out,
                      struct bf_err *err);

#endif
