#ifndef BF_DISPATCHER_METRICS_H
#define BF_DISPATCHER_METRICS_H

/*
 * What GET /metrics tells, in Prometheus' text format 0.0.4: one table of
 * metrics, from which METRICS.md is made. Names are OpenTelemetry's semantic
 * conventions (1.44) as its Prometheus exporters spell them, where they have
 * one, else blockfleet_*. No label holds a workspace or anything else that a
 * client chooses. Loop thread.
 */

#include <stdint.h>

#include "schemas/buf.h"

struct bf_api;
struct bf_err;
struct bf_http_stats;
struct bf_route;

struct bf_http_stats *bf_http_stats_new(struct bf_err *err);
void bf_http_stats_free(struct bf_http_stats *stats);

/* A request is over. route NULL: no such resource. status 0: no answer. */
void bf_http_stats_add(struct bf_http_stats *stats,
                       const struct bf_route *route, unsigned status,
                       int64_t took_us);

/* All of it now. */
int bf_metrics_text(struct bf_api *api, struct bf_buf *out, struct bf_err *err);

/* dispatcher/METRICS.md; a test compares. */
int bf_metrics_markdown(struct bf_buf *out, struct bf_err *err);

#endif
