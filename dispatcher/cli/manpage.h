#ifndef BF_DISPATCHER_CLI_MANPAGE_H
#define BF_DISPATCHER_CLI_MANPAGE_H

/* blockfleet(1) in the man macros, made from the command table. Pure. */

#include "schemas/buf.h"

struct bf_err;

int bf_manpage(struct bf_buf *out, struct bf_err *err);

#endif
