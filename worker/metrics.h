#ifndef BF_WORKER_METRICS_H
#define BF_WORKER_METRICS_H

/*
 * Figures of a worker for Prometheus, as a file for node_exporter's textfile
 * collector (https://github.com/prometheus/node_exporter#textfile-collector):
 * a worker listens nowhere. Names begin with blockfleet_worker_, for those of
 * processes belong to node_exporter itself.
 */

#include <stddef.h>
#include <stdint.h>

#include "schemas/buf.h"
#include "worker/runs.h"

struct bf_err;

struct bf_worker_figures {
    const char *txn_id; /* the label worker */
    const char *backend;
    struct bf_runs_count runs;
    size_t shards_open, shards_stopped;
    uint64_t memory_limit_bytes;
    size_t trusted_keys;
};

/* In text format 0.0.4, with what the process uses. Any thread. */
int bf_worker_metrics_text(const struct bf_worker_figures *figures,
                           struct bf_buf *out, struct bf_err *err);

/*
 * The same in <dir>/<txn_id>.prom, whole or not at all. REJECT "metrics_dir"
 * when it cannot be written.
 */
int bf_worker_metrics_write(const struct bf_worker_figures *figures,
                            const char *dir, struct bf_err *err);

/* The file of a worker that has ended; not there is as good. */
void bf_worker_metrics_remove(const char *txn_id, const char *dir);

/* worker/METRICS.md; a test compares. */
int bf_worker_metrics_markdown(struct bf_buf *out, struct bf_err *err);

#endif
