#ifndef BF_DISPATCHER_ABOUT_H
#define BF_DISPATCHER_ABOUT_H

/* What the dispatcher tells of itself. Loop thread. */

#include "dispatcher/handler.h"

bf_begin_fn bf_about_health;  /* /healthz */
bf_begin_fn bf_about_ready;   /* /readyz */
bf_begin_fn bf_about_version; /* /version */
bf_begin_fn bf_about_metrics; /* /metrics */

#endif
