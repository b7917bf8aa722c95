#include "worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include "config/clock.h"
#include "config/fleet_topics.h"
#include "config/kafka_conf.h"
#include "config/keys.h"
#include "config/log.h"
#include "config/secret.h"
#include "config/trust.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/sign.h"
#include "worker/answer.h"
#include "worker/backend/e2b.h"
#include "worker/backend/modal.h"
#include "worker/backend/modal_grpc.h"
#include "worker/backend/modal_grpc_open.h"
#include "worker/chores.h"
#include "worker/committer.h"
#include "worker/consumer.h"
#include "worker/e2b_setup.h"
#include "worker/metrics.h"
#include "worker/runner_pool.h"
#include "worker/runs.h"
#include "worker/shards.h"
#include "worker/sign_request.h"
#include "worker/slot.h"
#include "worker/supervise.h"
#include "worker/url.h"

#define REPORT_EVERY_MS BF_SHIFT_MS /* one line that says how it goes */
#define LEAVE_MS 5000               /* for the group to let us go */
#define START_MS 10000              /* for the first answer of a broker */
#define CONNECT_MS 10000            /* to an endpoint, within a run's time */
#define READER_BYTES (1U << 20)
#define MAX_PULLS 256 /* records between two looks at the rest */

struct bf_worker {
    const struct bf_settings *settings;
    struct bf_slot slot;
    struct bf_shift *shift; /* borrowed, while it runs */
    struct bf_topics topics;
    struct bf_topic_limits limits; /* of what we write */
    struct bf_keyring *keys;       /* to sign with */
    struct bf_trust *trust;        /* to verify with */
    struct bf_verifier *job_verifier;
    struct bf_verifier *state_verifier;
    uint32_t nshards;
    rd_kafka_t *reader;
    struct bf_consumer *consumer;
    struct bf_committer *committer;
    struct bf_shards *shards;
    struct bf_runs *runs;
    struct bf_runner_pool *runners;   /* NULL: no local backend */
    struct bf_http_pool *http;        /* NULL: no backend beyond this machine */
    struct bf_chores *chores;         /* NULL: the backend has none */
    struct bf_modal *modal;           /* NULL: another backend */
    struct bf_modal_grpc *modal_grpc; /* NULL: another, or another transport */
    struct bf_e2b *e2b;               /* NULL: another backend */
    int epoll_fd;
    int signal_fd;
    int log_fd;
    bool stopping;
    bool committer_over;
    int64_t leave_by_ms;
    int64_t report_ms;
};

/* ---- building ---- */

static int need_signer(struct bf_worker *w, enum bf_purpose purpose,
                       struct bf_err *err)
{
    if (bf_keyring_signer(w->keys, purpose))
        return 0;
    return bf_err_set(err, BF_ERR_REJECT, "no_key",
                      "keys.dir %s has no %s key to sign with: `blockfleet "
                      "keys new %s`",
                      w->settings->keys.dir, bf_purpose_name(purpose),
                      bf_purpose_name(purpose));
}

static int load_keys(struct bf_worker *w, struct bf_err *err)
{
    w->keys = bf_keyring_load(w->settings->keys.dir, err);
    if (!w->keys || need_signer(w, BF_PURPOSE_RESULT, err) ||
        need_signer(w, BF_PURPOSE_STATE, err))
        return -1;
    w->trust = bf_trust_new(w->settings->keys.dir, err);
    if (!w->trust)
        return -1;
    w->job_verifier = bf_verifier_new(bf_trust_find_key, w->trust, err);
    w->state_verifier = w->job_verifier
                            ? bf_verifier_new(bf_trust_find_key, w->trust, err)
                            : NULL;
    return w->state_verifier ? 0 : -1;
}

static int open_reader(struct bf_worker *w, struct bf_err *err)
{
    char reason[256];
    struct bf_kafka_want want = {.role = BF_KAFKA_READER_UNCOMMITTED,
                                 .queue_bytes = READER_BYTES,
                                 .partitions = 1};
    rd_kafka_conf_t *conf = bf_kafka_conf_new(w->settings, &want, err);

    if (!conf)
        return -1;
    w->reader = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof(reason));
    if (!w->reader) {
        rd_kafka_conf_destroy(conf);
        return bf_err_set(err, BF_ERR_FATAL, "reader", "%s", reason);
    }
    rd_kafka_poll_set_consumer(w->reader);
    return bf_topics_check(w->reader, &w->topics, START_MS, &w->nshards, err);
}

/* Half of the memory is its queues', the other half is the runs'. */
static int open_consumer(struct bf_worker *w, struct bf_err *err)
{
    struct bf_kafka_want want = {.role = BF_KAFKA_CONSUMER,
                                 .queue_bytes =
                                     w->settings->worker.memory_bytes / 2,
                                 .partitions = w->nshards * BF_INPUT_LANES};
    const char *topics[] = {bf_topic_name(&w->topics, BF_TOPIC_JOBS),
                            bf_topic_name(&w->topics, BF_TOPIC_BATCH),
                            bf_topic_name(&w->topics, BF_TOPIC_STATE)};
    rd_kafka_conf_t *conf = bf_kafka_conf_new(w->settings, &want, err);

    w->consumer =
        conf ? bf_consumer_new(conf, topics, bf_countof(topics), err) : NULL;
    return w->consumer ? 0 : -1;
}

static rd_kafka_conf_t *producer_conf(void *arg, const char *txn_id,
                                      struct bf_err *err)
{
    struct bf_worker *w = arg;
    struct bf_kafka_want want = {.role = BF_KAFKA_TXN_PRODUCER,
                                 .transactional_id = txn_id,
                                 .batch_bytes =
                                     bf_topic_limits_least(&w->limits)};

    return bf_kafka_conf_new(w->settings, &want, err);
}

/* By the topics, and by the producer that we are about to make. */
static int read_limits(struct bf_worker *w, struct bf_err *err)
{
    struct bf_err why = {0};
    rd_kafka_conf_t *conf;

    bf_topic_limits_init(&w->limits);
    if (bf_topic_limits_read(w->reader, &w->topics, START_MS, &w->limits, &why))
        bf_log_err(BF_LOG_WARN, "topic_limits_unknown", &why);
    conf = producer_conf(w, w->slot.txn_id, err);
    if (!conf)
        return -1;
    bf_topic_limits_clamp(&w->limits, bf_kafka_conf_max_message(conf));
    rd_kafka_conf_destroy(conf);
    return bf_topic_limits_check(&w->limits, &w->topics, err);
}

static int start_committer(struct bf_worker *w, struct bf_err *err)
{
    const struct bf_settings *s = w->settings;
    struct bf_committer_config config = {
        .topics = &w->topics,
        .fleet = s->fleet,
        .txn_id = w->slot.txn_id,
        .host = s->instance,
        .shards = w->nshards,
        .interval_ms = (int)s->worker.commit_interval_ms,
        .bytes = s->worker.commit_bytes,
        .txn_timeout_ms = (int)s->worker.transaction_timeout_ms,
        .result_signer = bf_keyring_signer(w->keys, BF_PURPOSE_RESULT),
        .state_signer = bf_keyring_signer(w->keys, BF_PURPOSE_STATE),
        .consumer = bf_consumer_handle(w->consumer),
        .reader = w->reader,
        .producer_conf = producer_conf,
        .arg = w,
    };

    w->committer = bf_committer_new(&config, err);
    return w->committer ? 0 : -1;
}

static int create_shards(struct bf_worker *w, struct bf_err *err)
{
    struct bf_shards_config config = {
        .topics = &w->topics,
        .shards = w->nshards,
        .window = w->settings->worker.window,
        .drain_ms = w->settings->worker.drain_ms,
        .consumer = w->consumer,
        .committer = w->committer,
        .verifier = w->state_verifier,
    };

    w->shards = bf_shards_new(&config, err);
    return w->shards ? 0 : -1;
}

static int open_run_log(struct bf_worker *w, struct bf_err *err)
{
    const char *path = w->settings->worker.log_runs;

    if (!path[0])
        return 0;
    w->log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    return w->log_fd < 0 ? bf_err_set(err, BF_ERR_FATAL, "log_runs", "%s: %s",
                                      path, strerrorname_np(errno))
                         : 0;
}

static int watch(struct bf_worker *w, int fd, struct bf_err *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};

    return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &event)
               ? bf_err_set(err, BF_ERR_FATAL, "epoll", "epoll_ctl: %s",
                            strerrorname_np(errno))
               : 0;
}

static int start_runners(struct bf_worker *w, struct bf_err *err)
{
    const struct bf_settings *s = w->settings;
    bf_autofree char *found = NULL;
    char memory[24];
    const char *const args[] = {"--preload", s->local.preload, "--memory-bytes",
                                memory, NULL};
    struct bf_runner_pool_config config = {
        .python = s->local.python,
        .args = args,
        .runners = (size_t)s->local.runners,
        .slots = (size_t)s->local.slots,
        .queue = (size_t)s->worker.concurrency,
    };

    if (s->worker.backend != BF_BACKEND_LOCAL)
        return 0;
    snprintf(memory, sizeof(memory), "%llu",
             (unsigned long long)s->local.memory_bytes);
    if (!s->local.runner_path[0]) {
        found = bf_runner_find(err);
        if (!found)
            return -1;
    }
    config.path = found ? found : s->local.runner_path;
    w->runners = bf_runner_pool_new(&config, err);
    if (!w->runners)
        return -1;
    bf_log_info("runners_up", bf_kv_str("path", config.path),
                bf_kv_int("runners", s->local.runners),
                bf_kv_int("slots", s->local.slots));
    return watch(w, bf_runner_pool_fd(w->runners), err);
}

static struct bf_http_config http_config(const struct bf_settings *s)
{
    size_t memory = (size_t)s->worker.memory_bytes;
    size_t least = 2UL * BF_MAX_ANSWER;

    return (struct bf_http_config){
        .max_connections = (size_t)(s->worker.backend == BF_BACKEND_HTTP
                                        ? s->http.max_connections
                                        : s->worker.concurrency),
        .max_reply_bytes = BF_MAX_ANSWER,
        .max_held_bytes = memory > least ? memory : least,
        .connect_timeout_ms = CONNECT_MS,
        .ca_file = s->worker.ca_file[0] ? s->worker.ca_file : NULL,
    };
}

static int open_http(struct bf_worker *w, struct bf_err *err)
{
    const struct bf_settings *s = w->settings;
    const struct bf_signer *signer = bf_keyring_signer(w->keys, BF_PURPOSE_RUN);
    struct bf_http_config config = http_config(s);

    if (s->worker.backend == BF_BACKEND_NOOP ||
        s->worker.backend == BF_BACKEND_LOCAL)
        return 0;
    if (s->worker.backend == BF_BACKEND_HTTP &&
        bf_sign_request_check(s->http.url, signer, err))
        return -1;
    w->http = bf_http_pool_new(&config, err);
    if (!w->http)
        return -1;
    bf_log_info("http_up",
                bf_kv_int("connections", (int64_t)config.max_connections),
                bf_kv_bool("signed", signer));
    return watch(w, bf_http_pool_fd(w->http), err);
}

static struct bf_modal_config modal_config(const struct bf_settings *s)
{
    static const enum bf_block_wire wires[] = {
        [BF_MODAL_BLOCKFLEET] = BF_WIRE_BLOCKFLEET,
        [BF_MODAL_WEBEXEC] = BF_WIRE_WEBEXEC,
    };
    static const enum bf_gzip_policy policies[] = {
        [BF_MODAL_GZIP_OFF] = BF_GZIP_OFF,
        [BF_MODAL_GZIP_AUTO] = BF_GZIP_AUTO,
        [BF_MODAL_GZIP_ON] = BF_GZIP_ON,
    };

    return (struct bf_modal_config){
        .url = s->modal.url,
        .wire = wires[s->modal.dialect],
        .gzip = policies[s->modal.gzip],
        .startup_ms = s->modal.startup_ms,
        .calls_per_s = s->modal.rate,
        .calls_burst = s->modal.burst,
        .workspaces_per_s = s->modal.new_workspaces,
        .workspaces_burst = s->modal.new_workspaces_burst,
    };
}

/* Nothing that a stranger on the way could read, or write, goes out. */
static int check_modal(const struct bf_worker *w, struct bf_err *err)
{
    const struct bf_settings *s = w->settings;

    if (!s->modal.url[0])
        return bf_err_set(err, BF_ERR_REJECT, "no_url",
                          "worker.backend modal needs modal.url");
    if (strncasecmp(s->modal.url, "https:", 6) != 0 &&
        !bf_url_is_loopback(s->modal.url))
        return bf_err_set(err, BF_ERR_REJECT, "cleartext",
                          "modal.url must be https:// beyond this machine");
    return s->modal.dialect == BF_MODAL_WEBEXEC
               ? 0
               : bf_sign_request_check(
                     s->modal.url, bf_keyring_signer(w->keys, BF_PURPOSE_RUN),
                     err);
}

static int find_modal_secrets(const struct bf_settings *s,
                              struct bf_secret **ret_id,
                              struct bf_secret **ret_secret, struct bf_err *err)
{
    bf_autobuf struct bf_buf origin = BF_BUF_INIT(BF_MAX_URL + 16);

    if (bf_url_origin(s->modal.url, &origin, err) ||
        bf_secret_find(s->modal.token_id_file, "MODAL_TOKEN_ID", origin.data,
                       ret_id, err) ||
        bf_secret_find(s->modal.token_secret_file, "MODAL_TOKEN_SECRET",
                       origin.data, ret_secret, err))
        return -1;
    if (!*ret_id != !*ret_secret)
        return bf_err_set(err, BF_ERR_REJECT, "half_a_token",
                          "of MODAL_TOKEN_ID and MODAL_TOKEN_SECRET one is "
                          "missing");
    return 0;
}

static int create_modal(struct bf_worker *w, struct bf_err *err)
{
    const struct bf_settings *s = w->settings;
    struct bf_modal_config config = modal_config(s);
    struct bf_secret *id = NULL, *secret = NULL;

    if (s->worker.backend != BF_BACKEND_MODAL)
        return 0;
    if (s->modal.transport == BF_MODAL_GRPC) {
        w->modal_grpc = bf_modal_grpc_open(s, err);
        return w->modal_grpc ? 0 : -1;
    }
    if (check_modal(w, err) || find_modal_secrets(s, &id, &secret, err)) {
        bf_secret_free(id);
        bf_secret_free(secret);
        return -1;
    }
    if (!id)
        bf_log_warn("modal_without_token", bf_kv_str("url", s->modal.url));
    w->modal = bf_modal_new(&config, id, secret, err);
    return w->modal ? 0 : -1;
}

static bool owns(const void *arg, uint32_t shard, uint32_t *ret_epoch,
                 int64_t *ret_since_ms)
{
    const struct bf_worker *w = arg;

    return !bf_consumer_is_lost(w->consumer) &&
           bf_shards_since(w->shards, shard, ret_epoch, ret_since_ms);
}

static int create_e2b(struct bf_worker *w, struct bf_err *err)
{
    struct bf_e2b_setup setup = {
        .settings = w->settings,
        .shards = w->nshards,
        .signer = bf_keyring_signer(w->keys, BF_PURPOSE_RUN),
        .owner = owns,
        .owner_arg = w,
    };

    if (w->settings->worker.backend != BF_BACKEND_E2B)
        return 0;
    w->e2b = bf_e2b_open(&setup, err);
    return w->e2b ? 0 : -1;
}

/* As many as the backend has use for: the rest is better left in Kafka. */
static size_t concurrency(const struct bf_settings *s)
{
    int64_t max = s->worker.concurrency;
    int64_t of_use = max;

    if (s->worker.backend == BF_BACKEND_LOCAL)
        of_use = 2 * s->local.runners * s->local.slots;
    /* A run's time passes while it waits for a connection: none waits. */
    if (s->worker.backend == BF_BACKEND_HTTP)
        of_use = s->http.max_connections;
    if (s->worker.backend == BF_BACKEND_E2B)
        of_use = s->e2b.sandboxes;
    return (size_t)(of_use < max ? of_use : max);
}

static const char *backend_name(const struct bf_settings *s)
{
    static const char *const names[] = {[BF_BACKEND_NOOP] = "noop",
                                        [BF_BACKEND_HTTP] = "http",
                                        [BF_BACKEND_LOCAL] = "local",
                                        [BF_BACKEND_MODAL] = "modal",
                                        [BF_BACKEND_E2B] = "e2b"};

    return names[s->worker.backend];
}

static const struct bf_backend *backend(const struct bf_worker *w)
{
    if (w->modal_grpc)
        return &bf_backend_modal_grpc;
    return bf_backend_find(bf_slice_str(backend_name(w->settings)));
}

static struct bf_backend_config backend_config(const struct bf_worker *w)
{
    const struct bf_settings *s = w->settings;

    return (struct bf_backend_config){
        .http_url = s->http.url,
        .noop_delay_ms = s->noop.delay_ms,
        .workspaces = s->local.trusted_workspaces.items,
        .stdout_bytes = s->local.stdout_bytes,
        .modal = w->modal,
        .modal_grpc = w->modal_grpc,
        .e2b = w->e2b,
    };
}

static struct bf_task_names names(const struct bf_worker *w)
{
    return (struct bf_task_names){.topics = &w->topics,
                                  .fleet = w->settings->fleet,
                                  .worker = w->slot.txn_id};
}

static int create_chores(struct bf_worker *w, struct bf_err *err)
{
    struct bf_chores_config config = {
        .backend = backend(w),
        .backend_config = backend_config(w),
        .http = http_config(w->settings),
        .shards = w->shards,
        .committer = w->committer,
        .names = names(w),
    };

    if (!config.backend->chore)
        return 0;
    w->chores = bf_chores_new(&config, err);
    return w->chores ? watch(w, bf_chores_fd(w->chores), err) : -1;
}

static int create_runs(struct bf_worker *w, struct bf_err *err)
{
    const struct bf_settings *s = w->settings;
    const char *name = backend_name(s);
    struct bf_runs_config config = {
        .ending = {.names = names(w), .limits = w->limits},
        .shards = w->shards,
        .committer = w->committer,
        .verifier = w->job_verifier,
        .backend = backend(w),
        .backend_config = backend_config(w),
        .runners = w->runners,
        .forward = {.pool = w->http,
                    .signer = bf_keyring_signer(w->keys, BF_PURPOSE_RUN)},
        .nshards = w->nshards,
        .concurrency = concurrency(s),
        .memory_bytes = s->worker.memory_bytes / 2,
        .log_fd = w->log_fd,
    };

    if (!config.backend)
        return bf_err_set(err, BF_ERR_FATAL, "no_backend",
                          "worker.backend %s is not built in", name);
    w->runs = bf_runs_new(&config, err);
    return w->runs ? 0 : -1;
}

static int open_loop(struct bf_worker *w, struct bf_err *err)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    /* Before any thread exists, so that all of them inherit it. */
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    w->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (w->signal_fd < 0 || w->epoll_fd < 0)
        return bf_err_set(err, BF_ERR_FATAL, "epoll", "%s",
                          strerrorname_np(errno));
    return watch(w, w->signal_fd, err);
}

static int build(struct bf_worker *w, struct bf_err *err)
{
    const struct bf_settings *s = w->settings;

    return open_loop(w, err) ||
                   bf_topics_init(&w->topics, s->topics.prefix, err) ||
                   load_keys(w, err) || open_http(w, err) ||
                   create_modal(w, err) ||
                   bf_slot_take(s->run_dir, s->kafka.group, s->instance,
                                (unsigned int)s->worker.slots, &w->slot, err) ||
                   open_reader(w, err) || read_limits(w, err) ||
                   open_consumer(w, err) || start_committer(w, err) ||
                   create_shards(w, err) || create_e2b(w, err) ||
                   open_run_log(w, err) || start_runners(w, err) ||
                   create_runs(w, err) || create_chores(w, err) ||
                   watch(w, bf_consumer_fd(w->consumer), err) ||
                   watch(w, bf_committer_fd(w->committer), err) ||
                   bf_consumer_subscribe(
                       w->consumer, bf_topic_name(&w->topics, BF_TOPIC_JOBS),
                       err)
               ? -1
               : 0;
}

struct bf_worker *bf_worker_new(const struct bf_settings *settings,
                                struct bf_err *err)
{
    struct bf_worker *w = calloc(1, sizeof(*w));

    if (!w) {
        bf_err_oom(err);
        return NULL;
    }
    w->settings = settings;
    w->slot.fd = -1;
    w->epoll_fd = -1;
    w->signal_fd = -1;
    w->log_fd = -1;
    if (build(w, err)) {
        bf_worker_free(w);
        return NULL;
    }
    bf_log_info("worker_up", bf_kv_str("txn_id", w->slot.txn_id),
                bf_kv_int("shards", w->nshards));
    return w;
}

/* ---- the committer's messages ---- */

static int serve_item(struct bf_worker *w, struct bf_item *item,
                      struct bf_err *err)
{
    bool of_shard = item->of_shard;

    if (item->of_chore) {
        bf_chores_answered(item);
        return 0;
    }
    if (bf_shards_answered(w->shards, item, err))
        return -1;
    return of_shard ? 0 : bf_runs_answered(w->runs, item, err);
}

static int serve_message(struct bf_worker *w, struct bf_msg *msg,
                         struct bf_err *err)
{
    switch ((enum bf_msg_kind)msg->kind) {
    case BF_MSG_ITEM:
        return serve_item(w, (struct bf_item *)msg, err);
    case BF_MSG_QUERY:
    case BF_MSG_BASES:
        bf_shards_take(w->shards, msg);
        return 0;
    case BF_MSG_FATAL:
        bf_err_set(err, BF_ERR_FATAL, "committer", "%s",
                   ((struct bf_fatal *)msg)->text);
        free(msg);
        return -1;
    case BF_MSG_STOPPED:
        w->committer_over = true;
        free(msg);
        return 0;
    case BF_MSG_GROUP:
    case BF_MSG_OPEN:
    case BF_MSG_FENCE:
    case BF_MSG_STOP:
        bf_assert(!"a message that only goes the other way");
    }
    return -1;
}

static int serve_committer(struct bf_worker *w, struct bf_err *err)
{
    struct bf_msg *msg = bf_committer_take(w->committer);
    int rc = 0;

    while (msg) {
        struct bf_msg *next = msg->next;

        /* All of them, even after a failure: they own what they carry. */
        if (serve_message(w, msg, rc ? &(struct bf_err){0} : err))
            rc = -1;
        msg = next;
    }
    return rc;
}

static void stop_committer(struct bf_worker *w)
{
    struct bf_msg *msg = bf_must(calloc(1, sizeof(*msg)));
    struct bf_err ignored = {0};

    msg->kind = BF_MSG_STOP;
    bf_committer_put(w->committer, msg);
    while (!w->committer_over) {
        struct epoll_event event;

        epoll_wait(w->epoll_fd, &event, 1, 100);
        serve_committer(w, &ignored);
    }
}

void bf_worker_free(struct bf_worker *worker)
{
    if (!worker)
        return;
    if (worker->runs)
        bf_runs_kill_all(worker->runs);
    /* Nobody looks after them from here on: they must not keep us awake. */
    if (worker->runners)
        epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL,
                  bf_runner_pool_fd(worker->runners), NULL);
    if (worker->committer)
        stop_committer(worker);
    bf_chores_free(worker->chores);
    bf_runs_free(worker->runs);
    bf_modal_free(worker->modal);
    bf_modal_grpc_free(worker->modal_grpc);
    bf_e2b_free(worker->e2b);
    bf_runner_pool_free(worker->runners);
    bf_http_pool_free(worker->http);
    bf_shards_free(worker->shards);
    bf_committer_free(worker->committer);
    bf_consumer_free(worker->consumer, LEAVE_MS);
    if (worker->reader) {
        rd_kafka_consumer_close(worker->reader);
        rd_kafka_destroy(worker->reader);
    }
    bf_verifier_free(worker->job_verifier);
    bf_verifier_free(worker->state_verifier);
    bf_trust_free(worker->trust);
    bf_keyring_free(worker->keys);
    bf_slot_release(&worker->slot);
    if (worker->log_fd >= 0)
        close(worker->log_fd);
    if (worker->signal_fd >= 0)
        close(worker->signal_fd);
    if (worker->epoll_fd >= 0)
        close(worker->epoll_fd);
    free(worker);
}

/* ---- the loop ---- */

static void serve_signals(struct bf_worker *w)
{
    struct signalfd_siginfo info;

    while (read(w->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (w->stopping)
            continue;
        bf_log_info("stopping", bf_kv_int("signal", info.ssi_signo));
        bf_shift_stopping(w->shift);
        w->stopping = true;
        w->leave_by_ms = bf_mono_ms() + w->settings->worker.drain_ms + LEAVE_MS;
        if (w->chores)
            bf_chores_stop(w->chores);
        bf_consumer_unsubscribe(w->consumer);
    }
}

/* Revoked by an operator: others refuse what we go on to sign with it. */
static void check_signer(struct bf_worker *w, enum bf_purpose purpose)
{
    const struct bf_signer *signer = bf_keyring_signer(w->keys, purpose);

    if (!bf_trust_has(w->trust, signer))
        bf_log_error("signing_key_revoked",
                     bf_kv_str("purpose", bf_purpose_name(purpose)),
                     bf_kv_str("key", signer->key_id));
}

static void look_at_trust(struct bf_worker *w)
{
    struct bf_err err = {0};

    switch (bf_trust_look(w->trust, bf_mono_ms(), &err)) {
    case BF_TRUST_SAME:
        break;
    case BF_TRUST_CHANGED:
        bf_log_info("keys_read",
                    bf_kv_int("trusted", (int64_t)bf_trust_count(w->trust)));
        check_signer(w, BF_PURPOSE_RESULT);
        check_signer(w, BF_PURPOSE_STATE);
        break;
    case BF_TRUST_BAD:
        bf_log_err(BF_LOG_ERROR, "keys_unchanged", &err);
        break;
    }
}

static int pull(struct bf_worker *w, struct bf_err *err)
{
    struct bf_pull got;

    for (int i = 0; i < MAX_PULLS && bf_runs_has_room(w->runs); i++) {
        if (bf_shards_pull(w->shards, &got) == BF_PULL_NONE)
            return 0;
        if (bf_runs_take(w->runs, &got, err))
            return -1;
    }
    return bf_runs_has_room(w->runs) ? 1 : 0;
}

static void write_metrics(struct bf_worker *w,
                          struct bf_worker_figures *figures)
{
    const char *dir = w->settings->worker.metrics_dir;
    struct bf_err err = {0};

    figures->backend = backend_name(w->settings);
    figures->memory_limit_bytes = w->settings->worker.memory_bytes / 2;
    figures->trusted_keys = bf_trust_count(w->trust);
    if (dir[0] && bf_worker_metrics_write(figures, dir, &err))
        bf_log_err(BF_LOG_WARN, "no_metrics", &err);
}

static void report(struct bf_worker *w)
{
    struct bf_worker_figures now = {.txn_id = w->slot.txn_id};

    if (bf_mono_ms() < w->report_ms)
        return;
    w->report_ms = bf_mono_ms() + REPORT_EVERY_MS;
    bf_slot_beat(&w->slot);
    bf_shift_well(w->shift);
    bf_runs_count(w->runs, &now.runs);
    bf_shards_count(w->shards, &now.shards_open, &now.shards_stopped);
    bf_log_info(
        "status", bf_kv_int("shards", (int64_t)now.shards_open),
        bf_kv_int("stopped", (int64_t)now.shards_stopped),
        bf_kv_int("running", (int64_t)now.runs.running),
        bf_kv_int("tasks", (int64_t)now.runs.tasks),
        bf_kv_int("bytes", (int64_t)now.runs.bytes),
        bf_kv_int("succeeded", (int64_t)now.runs.ended[BF_OUTCOME_SUCCEEDED]),
        bf_kv_int("late", (int64_t)now.runs.late));
    write_metrics(w, &now);
}

/* One look at everything; 1: there is more, look again at once. */
static int tick(struct bf_worker *w, struct bf_err *err)
{
    serve_signals(w);
    look_at_trust(w);
    bf_consumer_clear_fd(w->consumer);
    if (serve_committer(w, err) || bf_shards_serve(w->shards, err))
        return -1;
    bf_runs_let_go(w->runs);
    if (bf_runs_serve(w->runs, err) ||
        (w->chores && bf_chores_serve(w->chores, err)))
        return -1;
    report(w);
    return pull(w, err);
}

/*
 * What costs money elsewhere is given back before we go, also what could not be
 * at the first try and is not due again yet.
 */
static bool owes(const struct bf_worker *w)
{
    struct bf_e2b_count n = {0};

    if (w->e2b)
        bf_e2b_count(w->e2b, &n);
    return n.starting + n.busy + n.idle + n.leaving > 0 ||
           (w->chores && bf_chores_busy(w->chores));
}

static bool has_left(const struct bf_worker *w)
{
    if (!w->stopping)
        return false;
    return bf_mono_ms() >= w->leave_by_ms ||
           (!bf_consumer_is_member(w->consumer) && !owes(w));
}

int bf_worker_run(struct bf_worker *worker, struct bf_shift *shift,
                  struct bf_err *err)
{
    struct epoll_event events[8];
    int more = 0;

    worker->shift = shift;
    while (!has_left(worker)) {
        int wait = worker->stopping ? 50 : 1000;

        more = tick(worker, err);
        if (more < 0)
            break;
        wait = bf_shards_wait(worker->shards, wait);
        wait = more ? 0 : bf_runs_wait(worker->runs, wait);
        if (worker->chores)
            wait = bf_chores_wait(worker->chores, wait);
        epoll_wait(worker->epoll_fd, events, (int)bf_countof(events), wait);
    }
    if (worker->settings->worker.metrics_dir[0])
        bf_worker_metrics_remove(worker->slot.txn_id,
                                 worker->settings->worker.metrics_dir);
    if (more < 0)
        return -1;
    bf_log_info("left_group", bf_kv_str("txn_id", worker->slot.txn_id));
    return 0;
}
