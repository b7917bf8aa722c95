#ifndef BF_DISPATCHER_CLI_COMPLETION_H
#define BF_DISPATCHER_CLI_COMPLETION_H

/* Completion scripts for shells, made from the command table. Pure. */

#include "schemas/buf.h"

struct bf_err;

/* shell: bash, zsh or fish; REJECT "usage" names them when it is another. */
int bf_completion(const char *shell, struct bf_buf *out, struct bf_err *err);

#endif
