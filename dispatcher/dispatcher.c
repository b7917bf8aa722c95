#include "dispatcher/dispatcher.h"

#include <errno.h>
#include <fcntl.h>

#include "config/clock.h"
#include "config/kafka_conf.h"
#include "config/keys.h"
#include "config/log.h"
#include "config/notify.h"
#include "config/run_dir.h"
#include "config/settings.h"
#include "config/trust.h"
#include "dispatcher/api.h"
#include "dispatcher/contexts.h"
#include "dispatcher/loop.h"
#include "dispatcher/rate.h"
#include "dispatcher/source.h"

#define STOP_MS 10000
#define ALIVE_EVERY_MS 10000 /* to a service manager */
#define CONNECTION_IDLE_S 120
#define FETCH_QUEUE_BYTES (32U << 20)
/*
 * A ceiling, met while a view is made anew. With 32 MiB a partition's share
 * was as large as one or two results of 350 KB, and the view came to know
 * three of them a second.
 */
#define FEED_QUEUE_BYTES (128U << 20)
#define READERS 2
/*
 * A broker looks every 10 s (transaction.abort.timed.out.transaction.cleanup.
 * interval.ms) for transactions whose time is over; and some to spare.
 */
#define ABORT_LATE_MS 15000

struct bf_dispatcher {
    const struct bf_settings *settings;
    struct bf_topics topics;
    struct bf_keyring *keys; /* to sign with */
    struct bf_trust *trust;  /* to verify with */
    struct bf_loop *loop;
    struct bf_outbox *outbox;
    struct bf_contexts contexts;
    int wake_fd;
    struct bf_exchange *exchange;
    struct bf_feed *feed;
    struct bf_pool *reads;
    struct bf_pool *fetches;
    struct bf_door *door;
    struct bf_rate *rate;
    struct bf_api *api;
    struct bf_http *http;
    int tick_ms; /* the api's wish; -1: none */
    int64_t alive_ms;
    bool stopping;
};

/* ---- Kafka's handles ------------------------------------------------------*/

static rd_kafka_conf_t *producer_conf(void *arg, struct bf_err *err)
{
    const struct bf_settings *settings = arg;
    const struct bf_kafka_want want = {.role = BF_KAFKA_PRODUCER};

    return bf_kafka_conf_new(settings, &want, err);
}

/* Every partition of what the view is made of, at once. */
static rd_kafka_conf_t *consumer_conf(void *arg, struct bf_err *err)
{
    const struct bf_settings *settings = arg;
    struct bf_kafka_want want = {
        .role = BF_KAFKA_READER_COMMITTED,
        .queue_bytes = FEED_QUEUE_BYTES,
        .partitions = BF_SOURCE_TOPICS * (uint32_t)settings->topics.shards,
    };
    uint64_t least =
        (uint64_t)want.partitions * 4 * BF_KAFKA_PARTITION_MIN_BYTES;

    if (want.queue_bytes < least)
        want.queue_bytes = least;
    return bf_kafka_conf_new(settings, &want, err);
}

static int open_outbox(struct bf_dispatcher *d, struct bf_err *err)
{
    const struct bf_signer *signer = bf_keyring_signer(d->keys, BF_PURPOSE_JOB);
    struct bf_outbox_conf conf = {
        .kafka = producer_conf,
        .kafka_arg = (void *)(uintptr_t)d->settings,
        .topics = &d->topics,
        .fleet = d->settings->fleet,
        .signer = signer,
        .control_signer = bf_keyring_signer(d->keys, BF_PURPOSE_CONTROL),
        .max_inflight_bytes = d->settings->dispatcher.inflight_bytes,
    };

    if (!signer)
        return bf_err_set(err, BF_ERR_FATAL, "no_key",
                          "keys.dir = %s has no private key of purpose job: "
                          "make one with blockfleet keys new job",
                          d->settings->keys.dir);
    d->outbox = bf_outbox_new(&conf, err);
    return d->outbox ? 0 : -1;
}

/* One partition at a time, and a record of any size. */
static rd_kafka_conf_t *fetch_conf(void *arg, struct bf_err *err)
{
    const struct bf_settings *settings = arg;
    const struct bf_kafka_want want = {.role = BF_KAFKA_READER_COMMITTED,
                                       .queue_bytes = FETCH_QUEUE_BYTES,
                                       .partitions = 1};

    return bf_kafka_conf_new(settings, &want, err);
}

static int open_feed(struct bf_dispatcher *d, struct bf_err *err)
{
    struct bf_feed_conf conf = {
        .kafka = consumer_conf,
        .kafka_arg = (void *)(uintptr_t)d->settings,
        .topics = &d->topics,
        .trust = d->trust,
        .signer = bf_keyring_signer(d->keys, BF_PURPOSE_JOB),
        .view_path = d->settings->dispatcher.keep_view
                         ? d->settings->dispatcher.view
                         : NULL,
        .spread = (uint32_t)d->settings->topics.spread,
    };

    d->wake_fd = bf_wake_new(err);
    if (d->wake_fd < 0)
        return -1;
    d->exchange = bf_exchange_new(d->wake_fd, err);
    if (!d->exchange)
        return -1;
    conf.exchange = d->exchange;

    d->feed = bf_feed_new(&conf, err);
    return d->feed ? 0 : -1;
}

static int open_pools(struct bf_dispatcher *d, struct bf_err *err)
{
    struct bf_pool_conf conf = {
        .threads = READERS,
        .wake_fd = d->wake_fd,
        .begin = bf_read_begin,
        .end = bf_read_end,
        .arg = &d->contexts,
    };

    d->contexts = (struct bf_contexts){
        .view_path = d->settings->dispatcher.view,
        .topics = &d->topics,
        .kafka = fetch_conf,
        .kafka_arg = (void *)(uintptr_t)d->settings,
    };
    d->reads = bf_pool_new(&conf, err);
    if (!d->reads)
        return -1;
    conf.threads = 1;
    conf.begin = bf_fetch_begin;
    conf.end = bf_fetch_end;
    d->fetches = bf_pool_new(&conf, err);
    return d->fetches ? 0 : -1;
}

/* ---- HTTP -----------------------------------------------------------------*/

static int open_rate(struct bf_dispatcher *d, struct bf_err *err)
{
    const struct bf_rate_conf conf = {
        .jobs_per_s = (uint64_t)d->settings->dispatcher.workspace_jobs_per_s,
        .bytes_per_s = d->settings->dispatcher.workspace_bytes_per_s,
    };

    if (conf.jobs_per_s == 0 && conf.bytes_per_s == 0)
        return 0;
    d->rate = bf_rate_new(&conf, err);
    return d->rate ? 0 : -1;
}

static int open_api(struct bf_dispatcher *d, struct bf_err *err)
{
    const struct bf_settings *settings = d->settings;
    const struct bf_api_conf conf = {
        .door = d->door,
        .rate = d->rate,
        .outbox = d->outbox,
        .feed = d->feed,
        .exchange = d->exchange,
        .reads = d->reads,
        .fetches = d->fetches,
        .topics = &d->topics,
        .default_timeout_ms = (uint32_t)settings->worker.default_timeout_ms,
        .block_timeout_ms = settings->dispatcher.block_timeout_ms,
        .block_expiry_ms = settings->dispatcher.block_expiry_ms,
        .block_keepalive_ms = settings->dispatcher.block_keepalive_ms,
        .spread = (uint32_t)settings->topics.spread,
        .max_inputs_bytes = settings->dispatcher.inputs_bytes,
        .max_inflight_bytes = settings->dispatcher.inflight_bytes,
        .max_block_bytes = settings->dispatcher.block_bytes,
        .max_upload_bytes = settings->dispatcher.max_upload_bytes,
        .max_answers_bytes = settings->dispatcher.max_answers_bytes,
        .run_dir = settings->run_dir,
        .transaction_ms =
            settings->worker.transaction_timeout_ms + ABORT_LATE_MS,
    };

    d->api = bf_api_new(&conf, err);
    return d->api ? 0 : -1;
}

static int open_door(struct bf_dispatcher *d, struct bf_err *err)
{
    const struct bf_door_conf conf = {
        .path = d->settings->dispatcher.api_keys,
        .anonymous = d->settings->dispatcher.anonymous,
    };

    d->door = bf_door_new(&conf, err);
    if (!d->door)
        return -1;
    if (bf_door_keys(d->door) > 0 || conf.anonymous)
        return 0;
    return bf_err_set(err, BF_ERR_FATAL, "no_api_keys",
                      "%.100s has no API key that is valid: make one with "
                      "blockfleet apikeys new, or set dispatcher.anonymous = "
                      "true on loopback",
                      conf.path);
}

/* Whoever reaches the port may submit code. */
static int check_reach(const struct bf_dispatcher *d, struct bf_err *err)
{
    const char *listen = d->settings->dispatcher.listen;

    if (bf_http_is_loopback(d->http))
        return 0;
    if (bf_door_keys(d->door) == 0)
        return bf_err_set(err, BF_ERR_FATAL, "open_door",
                          "dispatcher.listen = %s is no loopback address and "
                          "there are no API keys: make one with blockfleet "
                          "apikeys new, or listen on 127.0.0.1",
                          listen);
    if (d->settings->dispatcher.anonymous)
        bf_log_warn("open_door", bf_kv_str("listen", listen),
                    bf_kv_str("why", "dispatcher.anonymous is true: whoever "
                                     "reaches this may submit code"));
    if (!d->settings->dispatcher.tls_cert[0])
        bf_log_warn("no_tls", bf_kv_str("listen", listen),
                    bf_kv_str("why", "keys and jobs cross the network in the "
                                     "clear, unless something in front has "
                                     "TLS: dispatcher.tls_cert"));
    return 0;
}

/* Whole or not at all: others wait for the file to appear. */
static int write_port_file(const struct bf_dispatcher *d, struct bf_err *err)
{
    const char *path = d->settings->dispatcher.port_file;
    char partial[4096];
    FILE *file;

    if (!path[0])
        return 0;
    snprintf(partial, sizeof(partial), "%s.part", path);
    file = fopen(partial, "we");
    if (!file || fprintf(file, "%s\n", bf_http_address(d->http)) < 0 ||
        fclose(file) || rename(partial, path))
        return bf_err_set(err, BF_ERR_FATAL, "port_file",
                          "dispatcher.port_file = %s: errno %d", path, errno);
    return 0;
}

static int open_http(struct bf_dispatcher *d, struct bf_err *err)
{
    const char *cert = d->settings->dispatcher.tls_cert;
    const struct bf_http_conf conf = {
        .listen = d->settings->dispatcher.listen,
        .max_connections = (unsigned)d->settings->dispatcher.connections,
        .connections_per_ip =
            (unsigned)d->settings->dispatcher.connections_per_ip,
        .header_timeout_ms = d->settings->dispatcher.header_timeout_ms,
        .least_bytes_per_s = d->settings->dispatcher.least_bytes_per_s,
        .timeout_s = CONNECTION_IDLE_S,
        .max_body_bytes = d->settings->dispatcher.max_body_bytes,
        .tls_cert = cert[0] ? cert : NULL,
        .tls_key = d->settings->dispatcher.tls_key,
        .ops = bf_api_http_ops(),
        .arg = d->api,
    };

    d->http = bf_http_new(&conf, err);
    if (!d->http || check_reach(d, err))
        return -1;
    bf_api_set_http(d->api, d->http);
    return write_port_file(d, err);
}

/* ---- the loop -------------------------------------------------------------*/

static void on_http(void *arg)
{
    struct bf_dispatcher *d = arg;

    bf_http_run(d->http);
}

static void on_outbox(void *arg)
{
    struct bf_dispatcher *d = arg;

    bf_outbox_serve(d->outbox);
}

static void on_wake(void *arg)
{
    struct bf_dispatcher *d = arg;

    bf_wake_clear(d->wake_fd);
    bf_api_wake(d->api);
}

static void on_stop(void *arg)
{
    struct bf_dispatcher *d = arg;

    d->stopping = true;
}

static int watch(struct bf_dispatcher *d, int stop_fd, struct bf_err *err)
{
    if (bf_loop_add(d->loop, bf_http_fd(d->http), on_http, d, err) ||
        bf_loop_add(d->loop, bf_outbox_fd(d->outbox), on_outbox, d, err) ||
        bf_loop_add(d->loop, d->wake_fd, on_wake, d, err))
        return -1;
    return bf_loop_add(d->loop, stop_fd, on_stop, d, err);
}

static void turn(struct bf_dispatcher *d, int max_ms)
{
    int timeout_ms = bf_sooner_ms(bf_http_timeout_ms(d->http), d->tick_ms);

    bf_loop_wait(d->loop, bf_sooner_ms(timeout_ms, max_ms));
    /* libmicrohttpd's own timers, and what was resumed meanwhile. */
    bf_http_run(d->http);
    d->tick_ms = bf_api_tick(d->api);
}

static void tell(const char *state)
{
    struct bf_err err = {0};

    if (bf_notify(state, &err))
        bf_log_err(BF_LOG_WARN, "not_notified", &err);
}

static void tell_alive(struct bf_dispatcher *d)
{
    if (bf_mono_ms() < d->alive_ms)
        return;
    d->alive_ms = bf_mono_ms() + ALIVE_EVERY_MS;
    tell(BF_NOTIFY_ALIVE);
}

/* Everything that was accepted gets its answer, up to a point. */
static int finish(struct bf_dispatcher *d, struct bf_err *err)
{
    int64_t until = bf_mono_ms() + STOP_MS;

    tell(BF_NOTIFY_STOPPING);
    bf_log_info("stopping",
                bf_kv_int("requests", (int64_t)bf_http_active(d->http)));
    bf_http_quiesce(d->http);
    bf_api_stop(d->api);
    while (bf_http_active(d->http) > 0 && bf_mono_ms() < until)
        turn(d, 50);
    if (bf_outbox_drain(
            d->outbox,
            (int)(until - bf_mono_ms() > 0 ? until - bf_mono_ms() : 0)))
        return bf_err_set(err, BF_ERR_RETRY, "not_drained",
                          "jobs were not reported within %d ms", STOP_MS);
    return 0;
}

static bool is_broken(struct bf_dispatcher *d, struct bf_err *err)
{
    struct bf_feed_state state;

    bf_exchange_state(d->exchange, &state);
    if (state.broken)
        bf_err_set(err, BF_ERR_FATAL, "view", "%s", state.view_why);
    return state.broken;
}

static void renew_tls(struct bf_dispatcher *d)
{
    struct bf_err err = {0};
    int news = bf_http_renew(d->http, &err);

    if (news < 0)
        bf_log_err(BF_LOG_WARN, "tls_not_renewed", &err);
    else if (news > 0)
        bf_log_info("tls_renewed",
                    bf_kv_str("cert", d->settings->dispatcher.tls_cert));
}

int bf_dispatcher_run(struct bf_dispatcher *d, int stop_fd, struct bf_err *err)
{
    bool broken = false;

    if (watch(d, stop_fd, err))
        return -1;
    bf_log_info("listening", bf_kv_str("address", bf_http_address(d->http)),
                bf_kv_bool("tls", d->settings->dispatcher.tls_cert[0] != 0));
    tell(BF_NOTIFY_READY);
    while (!d->stopping && !broken) {
        turn(d, 1000);
        tell_alive(d);
        renew_tls(d);
        broken = is_broken(d, err);
    }
    if (finish(d, broken ? NULL : err) || broken)
        return -1;
    return 0;
}

/* ---- life -----------------------------------------------------------------*/

struct bf_dispatcher *bf_dispatcher_new(const struct bf_settings *settings,
                                        struct bf_err *err)
{
    bf_autodispatcher struct bf_dispatcher *d = calloc(1, sizeof(*d));

    if (!d) {
        bf_err_oom(err);
        return NULL;
    }
    d->settings = settings;
    d->wake_fd = -1;
    d->tick_ms = -1;
    if (bf_topics_init(&d->topics, settings->topics.prefix, err) ||
        bf_run_dir_make(settings->run_dir, err))
        return NULL;
    d->keys = bf_keyring_load(settings->keys.dir, err);
    d->trust = d->keys ? bf_trust_new(settings->keys.dir, err) : NULL;
    d->loop = d->trust ? bf_loop_new(err) : NULL;
    if (!d->loop || open_door(d, err) || open_outbox(d, err) ||
        open_feed(d, err) || open_pools(d, err) || open_rate(d, err) ||
        open_api(d, err) || open_http(d, err))
        return NULL;
    return bf_take(d);
}

/* Who calls whom goes first. */
void bf_dispatcher_free(struct bf_dispatcher *d)
{
    if (!d)
        return;
    bf_http_free(d->http);
    bf_outbox_free(d->outbox);
    bf_pool_free(d->reads);
    bf_pool_free(d->fetches);
    bf_api_free(d->api);
    bf_door_free(d->door);
    bf_rate_free(d->rate);
    bf_feed_free(d->feed);
    bf_exchange_free(d->exchange);
    bf_closep_(&d->wake_fd);
    bf_loop_free(d->loop);
    bf_trust_free(d->trust);
    bf_keyring_free(d->keys);
    free(d);
}
