#include "dispatcher/metrics.h"

#include <inttypes.h>
#include <stdio.h>

#include "config/clock.h"
#include "config/metric.h"
#include "config/proc.h"
#include "dispatcher/routes.h"
#include "dispatcher/seam.h"
#include "schemas/err.h"

/* ---- requests -------------------------------------------------------------*/

#define ROUTES 32 /* and one for requests that fit none */
#define BUCKETS 14
#define STATUSES 24

/* OpenTelemetry's advice for http.server.request.duration, in seconds. */
static const double bounds[BUCKETS] = {
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10};

struct histogram {
    unsigned status; /* 0 in a row that is free, too */
    uint64_t count;
    uint64_t buckets[BUCKETS];
    double sum_s;
};

struct bf_http_stats {
    struct histogram rows[ROUTES + 1][STATUSES];
};

struct bf_http_stats *bf_http_stats_new(struct bf_err *err)
{
    struct bf_http_stats *stats = calloc(1, sizeof(*stats));

    if (!stats)
        bf_err_oom(err);
    return stats;
}

void bf_http_stats_free(struct bf_http_stats *stats)
{
    free(stats);
}

static size_t row_of(const struct bf_route *route)
{
    size_t i = route ? (size_t)(route - bf_route_at(0)) : ROUTES;

    bf_assert(i <= ROUTES);
    return i;
}

void bf_http_stats_add(struct bf_http_stats *stats,
                       const struct bf_route *route, unsigned status,
                       int64_t took_us)
{
    struct histogram *row = stats->rows[row_of(route)];
    double took_s = (double)took_us / 1e6;
    size_t i = 0;

    while (i < STATUSES - 1 && row[i].count > 0 && row[i].status != status)
        i++;
    row += i;
    row->status = status;
    row->count++;
    row->sum_s += took_s;
    for (i = 0; i < BUCKETS; i++)
        row->buckets[i] += took_s <= bounds[i];
}

/* ---- the text -------------------------------------------------------------*/

struct metric;

struct bf_writing {
    struct bf_api *api;
    const struct bf_metric *metric;
    struct bf_buf *out;
    struct bf_err *err;
    int failed;
    /* asked for once */
    struct bf_feed_state feed;
    struct bf_outbox_stats outbox;
    struct bf_seam_stats seam;
    struct bf_proc process;
};

__attribute__((format(printf, 3, 4))) static void
put(struct bf_writing *w, double value, const char *labels, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, labels);
    vsnprintf(text, sizeof(text), labels, ap);
    va_end(ap);
    w->failed |= bf_buf_addf(w->out, w->err, "%s%s %.17g\n", w->metric->name,
                             text, value);
}

static void put_one(struct bf_writing *w, uint64_t value)
{
    put(w, (double)value, "%s", "");
}

/* ---- what is told ---------------------------------------------------------*/

static void put_histogram(struct bf_writing *w, const char *labels,
                          const struct histogram *row)
{
    for (size_t i = 0; i < BUCKETS; i++)
        put(w, (double)row->buckets[i], "_bucket{%s,le=\"%g\"}", labels,
            bounds[i]);
    put(w, (double)row->count, "_bucket{%s,le=\"+Inf\"}", labels);
    put(w, row->sum_s, "_sum{%s}", labels);
    put(w, (double)row->count, "_count{%s}", labels);
}

static void put_route(struct bf_writing *w, size_t i)
{
    const struct bf_route *route = i < ROUTES ? bf_route_at(i) : NULL;
    const struct histogram *row = w->api->stats->rows[i];
    char labels[256];

    for (size_t k = 0; k < STATUSES && row[k].count > 0; k++) {
        snprintf(labels, sizeof(labels),
                 "http_request_method=\"%s\",http_route=\"%s\","
                 "http_response_status_code=\"%u\"",
                 route ? route->method : "_OTHER", route ? route->path : "",
                 row[k].status);
        put_histogram(w, labels, &row[k]);
    }
}

static void put_requests(struct bf_writing *w)
{
    for (size_t i = 0; i <= ROUTES; i++)
        put_route(w, i);
}

static void put_active(struct bf_writing *w)
{
    put_one(w, w->api->http ? bf_http_active(w->api->http) : 0);
}

static void put_connections(struct bf_writing *w)
{
    put_one(w, w->api->http ? bf_http_connections(w->api->http) : 0);
}

static void put_expired(struct bf_writing *w)
{
    put_one(w, w->api->http ? bf_http_expired(w->api->http) : 0);
}

static void put_sent(struct bf_writing *w)
{
    static const char *const errors[] = {
        [BF_ACK_STORED] = "",
        [BF_ACK_NOT_STORED] = "not_stored",
        [BF_ACK_MAYBE] = "not_confirmed",
        [BF_ACK_TOO_LARGE] = "too_large",
    };

    for (int i = 0; i < BF_LANES; i++) {
        for (size_t k = 0; k < bf_countof(errors); k++)
            put(w, (double)w->outbox.reported[i][k],
                "{messaging_system=\"kafka\",messaging_operation_name=\"send\","
                "messaging_destination_name=\"%s\",error_type=\"%s\"}",
                bf_topic_name(w->api->conf.topics,
                              bf_lane_topic((enum bf_lane)i)),
                errors[k]);
    }
}

static void put_stored_bytes(struct bf_writing *w)
{
    put_one(w, w->outbox.stored_bytes);
}

static void put_inflight(struct bf_writing *w)
{
    put_one(w, w->outbox.inflight);
}

static void put_inflight_bytes(struct bf_writing *w)
{
    put_one(w, w->outbox.inflight_bytes);
}

static void put_inflight_limit(struct bf_writing *w)
{
    put_one(w, w->outbox.max_inflight_bytes);
}

static void put_queue(struct bf_writing *w)
{
    put_one(w, w->outbox.queued);
}

static void put_brokers(struct bf_writing *w)
{
    put_one(w, w->outbox.kafka.brokers_up);
}

static void put_kafka_requests(struct bf_writing *w)
{
    put_one(w, w->outbox.kafka.requests);
}

static void put_kafka_errors(struct bf_writing *w)
{
    put_one(w, w->outbox.kafka.errors);
}

static void put_kafka_retries(struct bf_writing *w)
{
    put_one(w, w->outbox.kafka.retries);
}

static void put_kafka_timeouts(struct bf_writing *w)
{
    put_one(w, w->outbox.kafka.timeouts);
}

static void put_rtt(struct bf_writing *w)
{
    put(w, w->outbox.kafka.rtt_p50_s, "{quantile=\"0.5\"}");
    put(w, w->outbox.kafka.rtt_p99_s, "{quantile=\"0.99\"}");
}

static void put_accepting(struct bf_writing *w)
{
    put_one(w, w->feed.shards > 0 && !w->api->stopping);
}

static void put_caught_up(struct bf_writing *w)
{
    put_one(w, w->feed.caught_up);
}

static void put_age(struct bf_writing *w)
{
    int64_t age_ms = bf_now_ms() - w->feed.as_of_ms;

    if (w->feed.as_of_ms > 0)
        put(w, age_ms > 0 ? (double)age_ms / 1e3 : 0, "%s", "");
}

static void put_shards(struct bf_writing *w)
{
    put_one(w, w->feed.shards);
}

static void put_calls(struct bf_writing *w)
{
    for (int i = 0; i < BF_SEAM_OUTCOMES; i++)
        put(w, (double)w->seam.calls[i], "{outcome=\"%s\"}",
            bf_seam_outcome_name((enum bf_seam_outcome)i));
}

static void put_calls_waiting(struct bf_writing *w)
{
    put_one(w, w->seam.waiting);
}

static void put_code_bytes(struct bf_writing *w)
{
    put_one(w, w->seam.code_bytes);
}

static void put_keys(struct bf_writing *w)
{
    put_one(w, bf_door_keys(w->api->conf.door));
}

static void put_build(struct bf_writing *w)
{
    put(w, 1, "{version=\"%s\",librdkafka=\"%s\"}", BF_VERSION,
        rd_kafka_version_str());
}

static void put_cpu(struct bf_writing *w)
{
    put(w, w->process.cpu_s, "%s", "");
}

static void put_resident(struct bf_writing *w)
{
    put_one(w, w->process.resident_bytes);
}

static void put_virtual(struct bf_writing *w)
{
    put_one(w, w->process.virtual_bytes);
}

static void put_threads(struct bf_writing *w)
{
    put_one(w, w->process.threads);
}

static void put_fds(struct bf_writing *w)
{
    put_one(w, w->process.open_fds);
}

static void put_max_fds(struct bf_writing *w)
{
    put_one(w, w->process.max_fds);
}

static void put_start(struct bf_writing *w)
{
    put(w, w->process.start_s, "%s", "");
}

/* ---- the table ------------------------------------------------------------*/

#define HTTP_LABELS "http_request_method, http_route, http_response_status_code"
#define SENT_LABELS                                                            \
    "messaging_system, messaging_operation_name, "                             \
    "messaging_destination_name, error_type"

static const struct bf_metric metrics[] = {
    {"http_server_request_duration_seconds", "histogram", HTTP_LABELS,
     "Requests, from their headers to the last byte of the answer. Status 0: "
     "they ended without one.",
     put_requests},
    {"http_server_active_requests", "gauge", "",
     "Requests that have begun and not ended.", put_active},
    {"blockfleet_http_connections", "gauge", "", "Connections of clients.",
     put_connections},
    {"blockfleet_http_expired_connections_total", "counter", "",
     "Connections that were closed because their client was too slow.",
     put_expired},
    {"messaging_client_sent_messages_total", "counter", SENT_LABELS,
     "Records that Kafka has reported on: jobs and orders. No error_type: they "
     "are stored.",
     put_sent},
    {"blockfleet_stored_bytes_total", "counter", "",
     "Inputs and blocks of the jobs that Kafka has stored.", put_stored_bytes},
    {"blockfleet_outbox_messages", "gauge", "",
     "Records that Kafka has not reported on yet.", put_inflight},
    {"blockfleet_outbox_bytes", "gauge", "",
     "Bodies that arrive and jobs on their way to Kafka.", put_inflight_bytes},
    {"blockfleet_outbox_limit_bytes", "gauge", "",
     "dispatcher.inflight_bytes: more get 429.", put_inflight_limit},
    {"blockfleet_kafka_queue_messages", "gauge", "",
     "What waits in librdkafka's queues (rd_kafka_outq_len).", put_queue},
    {"blockfleet_kafka_brokers_up", "gauge", "",
     "Brokers that the producer is connected to.", put_brokers},
    {"blockfleet_kafka_requests_total", "counter", "",
     "Requests of the producer to brokers.", put_kafka_requests},
    {"blockfleet_kafka_request_errors_total", "counter", "",
     "Requests of the producer that failed on the way out or back.",
     put_kafka_errors},
    {"blockfleet_kafka_request_retries_total", "counter", "",
     "Requests of the producer that were sent again.", put_kafka_retries},
    {"blockfleet_kafka_request_timeouts_total", "counter", "",
     "Requests of the producer that no broker answered in time.",
     put_kafka_timeouts},
    {"blockfleet_kafka_round_trip_seconds", "gauge", "quantile",
     "Round trip of the producer's requests to the slowest broker, over the "
     "last interval of librdkafka's statistics.",
     put_rtt},
    {"blockfleet_accepting", "gauge", "", "1: jobs are accepted.",
     put_accepting},
    {"blockfleet_shards", "gauge", "",
     "Partitions of every topic; 0: they are missing or not equal.",
     put_shards},
    {"blockfleet_view_caught_up", "gauge", "",
     "1: the view can be asked; 0: it reads what Kafka has.", put_caught_up},
    {"blockfleet_view_age_seconds", "gauge", "",
     "Time since the moment up to which the view is complete; missing before "
     "the first.",
     put_age},
    {"blockfleet_block_calls_total", "counter", "outcome",
     "Calls to execute_block: succeeded, failed in the user's code, broken by "
     "us, gone before their end, unknown_code to be sent again, remembered "
     "validations.",
     put_calls},
    {"blockfleet_block_calls_waiting", "gauge", "",
     "Calls to execute_block that wait for their job's end.",
     put_calls_waiting},
    {"blockfleet_block_code_bytes", "gauge", "",
     "Code that calls may name by its hash.", put_code_bytes},
    {"blockfleet_api_keys", "gauge", "", "API keys that open something now.",
     put_keys},
    {"blockfleet_build_info", "gauge", "version, librdkafka", "Always 1.",
     put_build},
    {"process_cpu_seconds_total", "counter", "",
     "CPU time in user and system mode.", put_cpu},
    {"process_resident_memory_bytes", "gauge", "", "Memory in use.",
     put_resident},
    {"process_virtual_memory_bytes", "gauge", "", "Address space in use.",
     put_virtual},
    {"process_threads", "gauge", "", "Threads.", put_threads},
    {"process_open_fds", "gauge", "", "Open file descriptors.", put_fds},
    {"process_max_fds", "gauge", "", "How many there may be.", put_max_fds},
    {"process_start_time_seconds", "gauge", "",
     "When the process started, in seconds since 1970.", put_start},
};

int bf_metrics_text(struct bf_api *api, struct bf_buf *out, struct bf_err *err)
{
    struct bf_writing w = {.api = api, .out = out, .err = err};

    bf_exchange_state(api->conf.exchange, &w.feed);
    bf_outbox_stats(api->conf.outbox, &w.outbox);
    bf_seam_stats(api->seam, &w.seam);
    bf_proc_read(&w.process);
    for (size_t i = 0; i < bf_countof(metrics); i++) {
        w.metric = &metrics[i];
        w.failed |= bf_metric_head(w.metric, out, err);
        w.metric->write(&w);
    }
    return w.failed ? -1 : 0;
}

static const char intro[] =
    "# Metrics of the dispatcher\n"
    "\n"
    "<!-- Generated from dispatcher/metrics.c; a test compares. -->\n"
    "\n"
    "`GET /metrics`, Prometheus' text format; where API keys are needed, with\n"
    "one of all workspaces. Names without `blockfleet_` are OpenTelemetry's\n"
    "(`http.server.request.duration`, `messaging.client.sent.messages`) or\n"
    "those that every Prometheus client has. Figures of librdkafka are as old\n"
    "as its `statistics.interval.ms`, here 10 s, and of the producer alone.\n";

int bf_metrics_markdown(struct bf_buf *out, struct bf_err *err)
{
    return bf_metrics_document(intro, metrics, bf_countof(metrics), out, err);
}
