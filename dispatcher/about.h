#ifndef BF_DISPATCHER_ABOUT_H
#define BF_DISPATCHER_ABOUT_H

/* What the dispatcher tells of itself. Loop thread. */

#include "dispatcher/handler.h"

bf_begin_fn bf_about_health;  /* /healthz */
bf_begin_fn bf_about_ready;   /* /readyz */
bf_begin_fn bf_about_version; /* /version */
bf_begin_fn bf_about_metrics; /* /metrics */
bf_begin_fn bf_about_openapi; /* /openapi.yaml */

/* schemas/openapi.yaml as it was when this was built. */
struct bf_slice bf_openapi(void);

#endif
