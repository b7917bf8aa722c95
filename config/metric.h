#ifndef BF_CONFIG_METRIC_H
#define BF_CONFIG_METRIC_H

/*
 * A program's table of metrics, in Prometheus' text format and as a document.
 * Pure.
 */

#include "schemas/buf.h"

struct bf_err;
struct bf_writing; /* each table's file defines its own */

struct bf_metric {
    const char *name;
    const char *type;   /* counter, gauge or histogram */
    const char *labels; /* for the document; "" for none */
    const char *help;   /* one line */
    void (*write)(struct bf_writing *w);
};

/* The lines # HELP and # TYPE. */
int bf_metric_head(const struct bf_metric *metric, struct bf_buf *out,
                   struct bf_err *err);

/* intro, and a table in Markdown. */
int bf_metrics_document(const char *intro, const struct bf_metric *metrics,
                        size_t count, struct bf_buf *out, struct bf_err *err);

#endif
