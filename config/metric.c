#include "config/metric.h"

int bf_metric_head(const struct bf_metric *metric, struct bf_buf *out,
                   struct bf_err *err)
{
    return bf_buf_addf(out, err, "# HELP %s %s\n# TYPE %s %s\n", metric->name,
                       metric->help, metric->name, metric->type);
}

int bf_metrics_document(const char *intro, const struct bf_metric *metrics,
                        size_t count, struct bf_buf *out, struct bf_err *err)
{
    if (bf_buf_addf(out, err,
                    "%s\n| metric | type | labels | what |\n"
                    "| --- | --- | --- | --- |\n",
                    intro))
        return -1;
    for (size_t i = 0; i < count; i++) {
        const struct bf_metric *metric = &metrics[i];

        if (bf_buf_addf(out, err, "| `%s` | %s | %s | %s |\n", metric->name,
                        metric->type, metric->labels, metric->help))
            return -1;
    }
    return 0;
}
