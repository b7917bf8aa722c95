#include "config/option.h"

#include <string.h>

#include "config/settings.h"
#include "schemas/ids.h"
#include "schemas/limits.h"

/* ---- forms --------------------------------------------------------------- */

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static bool made_of(const char *value, const char *chars, size_t max)
{
    size_t len = strlen(value);

    return len >= 1 && len <= max && strspn(value, chars) == len;
}

static bool fleet_ok(const char *value)
{
    return made_of(value, LOWER DIGITS "-", 32);
}

static bool name_ok(const char *value)
{
    return made_of(value, LOWER UPPER DIGITS "._-", 64);
}

static bool prefix_ok(const char *value)
{
    return value[0] == '\0' || made_of(value, LOWER UPPER DIGITS "._-", 100);
}

static bool workspace_ok(const char *value)
{
    return made_of(value, LOWER UPPER DIGITS "_-", BF_MAX_ID);
}

static bool text_ok(const char *value)
{
    return value[0] != '\0';
}

static bool port_ok(const char *port)
{
    uint64_t number;

    return bf_slice_u64(bf_slice_str(port), 65535, &number) == 0;
}

static bool listen_ok(const char *value)
{
    const char *colon = strrchr(value, ':');
    size_t host = colon ? (size_t)(colon - value) : 0;

    if (host == 0 || !port_ok(colon + 1))
        return false;
    if (value[0] == '[')
        return host > 2 && value[host - 1] == ']' &&
               strspn(value + 1, DIGITS "abcdefABCDEF:.") == host - 2;
    return strspn(value, LOWER UPPER DIGITS ".-") == host;
}

/* Credentials in a URL end up in logs; they have other places. */
static bool url_ok(const char *value)
{
    const char *host = strncmp(value, "http://", 7) == 0    ? value + 7
                       : strncmp(value, "https://", 8) == 0 ? value + 8
                                                            : "";
    size_t len = strcspn(host, "/?#");

    return len > 0 && !memchr(host, '@', len) && !strpbrk(value, " \"<>\\^`");
}

static bool no_url_ok(const char *value)
{
    return value[0] == '\0' || url_ok(value);
}

static const struct bf_form fleet_form = {
    "1 to 32 of a-z, 0-9 and -",
    fleet_ok,
};
static const struct bf_form name_form = {
    "1 to 64 of A-Z, a-z, 0-9, dot, _ and -",
    name_ok,
};
static const struct bf_form prefix_form = {
    "at most 100 of A-Z, a-z, 0-9, dot, _ and -",
    prefix_ok,
};
static const struct bf_form workspaces_form = {
    "workspaces (1 to 64 of A-Z, a-z, 0-9, _ and -), separated by commas",
    workspace_ok,
};
static const struct bf_form text_form = {
    "some text",
    text_ok,
};
static const struct bf_form listen_form = {
    "host:port or [IPv6]:port, port 0 for any free one",
    listen_ok,
};
static const struct bf_form url_form = {
    "an http:// or https:// URL without user name and password",
    url_ok,
};
static const struct bf_form no_url_form = {
    "empty or an http:// or https:// URL without user name and password",
    no_url_ok,
};

/* In the order of their enums. */
static const char *const level_words[] = {
    [BF_LOG_ERROR] = "error", [BF_LOG_WARN] = "warn",    [BF_LOG_INFO] = "info",
    [BF_LOG_DEBUG] = "debug", [BF_LOG_DEBUG + 1] = NULL,
};
static const char *const format_words[] = {
    [BF_LOG_AUTO] = "auto",
    [BF_LOG_HUMAN] = "human",
    [BF_LOG_JSON] = "json",
    [BF_LOG_JSON + 1] = NULL,
};
static const char *const backend_words[] = {
    [BF_BACKEND_NOOP] = "noop",   [BF_BACKEND_HTTP] = "http",
    [BF_BACKEND_LOCAL] = "local", [BF_BACKEND_MODAL] = "modal",
    [BF_BACKEND_E2B] = "e2b",     [BF_BACKEND_E2B + 1] = NULL,
};
static const char *const e2b_words[] = {
    [BF_E2B_EXECUTE] = "execute",
    [BF_E2B_ENVD] = "envd",
    [BF_E2B_SERVER] = "server",
    [BF_E2B_SERVER + 1] = NULL,
};
static const char *const dialect_words[] = {
    [BF_MODAL_BLOCKFLEET] = "blockfleet",
    [BF_MODAL_WEBEXEC] = "webexec",
    [BF_MODAL_WEBEXEC + 1] = NULL,
};
static const char *const transport_words[] = {
    [BF_MODAL_WEB] = "web",
    [BF_MODAL_GRPC] = "grpc",
    [BF_MODAL_GRPC + 1] = NULL,
};
static const char *const gzip_words[] = {
    [BF_MODAL_GZIP_OFF] = "off",
    [BF_MODAL_GZIP_AUTO] = "auto",
    [BF_MODAL_GZIP_ON] = "on",
    [BF_MODAL_GZIP_ON + 1] = NULL,
};

/* ---- the table ----------------------------------------------------------- */

/* The field's offset; does not compile when the field has another type. */
#define FIELD(f, type)                                                         \
    (offsetof(struct bf_settings, f) +                                         \
     0 * sizeof(char[__builtin_types_compatible_p(                             \
                         __typeof__(((struct bf_settings *)0)->f), type)       \
                         ? 1                                                   \
                         : -1]))
#define STRING(f) .type = BF_OPTION_STRING, .offset = FIELD(f, char *)
#define BOOL(f) .type = BF_OPTION_BOOL, .offset = FIELD(f, bool)
#define INT(f, lo, hi)                                                         \
    .type = BF_OPTION_INT, .offset = FIELD(f, int64_t), .min = (lo), .max = (hi)
#define DURATION(f, lo_ms, hi_ms)                                              \
    .type = BF_OPTION_DURATION, .offset = FIELD(f, int64_t), .min = (lo_ms),   \
    .max = (hi_ms)
#define SIZE(f, lo, hi)                                                        \
    .type = BF_OPTION_SIZE, .offset = FIELD(f, uint64_t), .min = (lo),         \
    .max = (hi)
#define ENUM(f, etype, w)                                                      \
    .type = BF_OPTION_ENUM, .offset = FIELD(f, etype), .words = (w)
#define LIST(f) .type = BF_OPTION_LIST, .offset = FIELD(f, struct bf_list)

#define W BF_PROGRAM_WORKER
#define D BF_PROGRAM_DISPATCHER
#define C BF_PROGRAM_CLI
#define ALL (W | D | C)
#define SECONDS INT64_C(1000)
#define MINUTES (60 * SECONDS)
#define HOURS (60 * MINUTES)
#define K (INT64_C(1) << 10)
#define M (INT64_C(1) << 20)
#define G (INT64_C(1) << 30)

_Static_assert(sizeof(enum bf_log_level) == sizeof(int) &&
                   sizeof(enum bf_log_format) == sizeof(int) &&
                   sizeof(enum bf_backend_kind) == sizeof(int) &&
                   sizeof(enum bf_modal_dialect) == sizeof(int) &&
                   sizeof(enum bf_modal_transport) == sizeof(int) &&
                   sizeof(enum bf_modal_gzip) == sizeof(int) &&
                   sizeof(enum bf_e2b_way) == sizeof(int),
               "enums are stored as int");

const struct bf_option bf_options[] = {
    {STRING(fleet), .name = "fleet", .programs = ALL, .value = "main",
     .form = &fleet_form,
     .help = "Name of the fleet; /blockfleet/<fleet> is the source of every "
             "event that it publishes."},
    {STRING(instance), .name = "instance", .programs = ALL,
     .computed = "the host's name", .form = &name_form,
     .help = "Name of this machine's share of the fleet, part of transactional "
             "and client ids. No two machines may have the same."},
    {STRING(run_dir), .name = "run_dir", .programs = ALL,
     .computed = "/var/run/blockfleet if writable, else "
                 "$XDG_RUNTIME_DIR/blockfleet, else /tmp/blockfleet-<uid>",
     .form = &text_form,
     .help = "Directory of the locks that give each process of this machine "
             "its slot, and of long answers; made when it is missing, refused "
             "when it is another user's."},

    {STRING(kafka.brokers), .name = "kafka.brokers", .programs = ALL,
     .value = "127.0.0.1:9092", .form = &text_form,
     .help = "Brokers to ask first, host:port, separated by commas."},
    {STRING(kafka.group), .name = "kafka.group", .programs = ALL,
     .value = "blockfleet", .form = &name_form,
     .help = "Consumer group of the workers and first part of their "
             "transactional ids."},

    {STRING(topics.prefix), .name = "topics.prefix", .programs = ALL,
     .value = "bf.", .form = &prefix_form,
     .help = "What the names of all topics begin with."},
    {INT(topics.replication, -1, 100), .name = "topics.replication",
     .programs = C, .value = "-1",
     .help = "Copies of each partition that topics init asks for; -1 takes the "
             "broker's default."},
    {INT(topics.shards, 1, BF_MAX_SHARDS), .name = "topics.shards",
     .programs = ALL, .value = "12",
     .help = "Partitions of every topic. Fixed at topics init."},
    {INT(topics.spread, 1, BF_MAX_SHARDS), .name = "topics.spread",
     .programs = ALL, .value = "4",
     .help = "Consecutive shards that one workspace uses, so that several "
             "workers can serve it. Fixed at topics init."},

    {STRING(keys.dir), .name = "keys.dir", .programs = ALL, .value = "keys",
     .form = &text_form,
     .help = "Directory with the file of trusted keys, read again when it "
             "changes, and this program's private keys, read at start. Not "
             "everybody may write there."},

    {ENUM(log.level, enum bf_log_level, level_words), .name = "log.level",
     .programs = ALL, .value = "info", .help = "How much to log on stderr."},
    {ENUM(log.format, enum bf_log_format, format_words), .name = "log.format",
     .programs = ALL, .value = "auto",
     .help = "Lines for people or JSON lines; auto is human on a terminal and "
             "json anywhere else."},
    {INT(log.rate, 0, 1000000), .name = "log.rate", .programs = ALL,
     .value = "20",
     .help = "Lines of one event that are logged in a second; 0 is no limit. "
             "The next line that passes says how many were suppressed."},

    {ENUM(worker.backend, enum bf_backend_kind, backend_words),
     .name = "worker.backend", .programs = W, .value = "noop",
     .help = "Where blocks run: noop answers at once (tests), http is one "
             "plain endpoint, local is this machine, modal is an app on "
             "Modal, e2b is sandboxes of E2B."},
    {INT(worker.processes, 1, 256), .name = "worker.processes", .programs = W,
     .value = "1",
     .help = "Processes of one worker, for more cores; each is a member of the "
             "group and has its own concurrency, memory and runners."},
    {INT(worker.concurrency, 1, 65536), .name = "worker.concurrency",
     .programs = W, .value = "256", .help = "Runs at once in one process."},
    {INT(worker.window, 64, BF_WINDOW), .name = "worker.window", .programs = W,
     .value = "16384",
     .help = "Offsets of one partition that may be under way above its "
             "committed base."},
    {DURATION(worker.commit_interval_ms, 1, 1 * SECONDS),
     .name = "worker.commit_interval", .programs = W, .value = "20ms",
     .help = "Least time between the starts of two transactions."},
    {SIZE(worker.commit_bytes, 64 * K, 1 * G), .name = "worker.commit_bytes",
     .programs = W, .value = "8M",
     .help = "Outputs that start a transaction before its time."},
    {SIZE(worker.memory_bytes, 32 * M, 1024 * G), .name = "worker.memory",
     .programs = W, .value = "256M",
     .help = "One budget for Kafka's queues, runs under way, outputs and "
             "replies."},
    {DURATION(worker.drain_ms, 0, 10 * MINUTES), .name = "worker.drain",
     .programs = W, .value = "20s",
     .help = "Longest wait for runs under way when the worker stops or gives a "
             "shard away."},
    {DURATION(worker.session_timeout_ms, 6 * SECONDS, 30 * MINUTES),
     .name = "worker.session_timeout", .programs = W, .value = "15s",
     .help = "Silence after which the group takes a worker for dead. Longer "
             "than a broker's restart, or every worker re-runs its jobs."},
    {DURATION(worker.heartbeat_ms, 100, 1 * MINUTES),
     .name = "worker.heartbeat", .programs = W, .value = "500ms",
     .help = "Time between heartbeats, which is also how fast a rebalance "
             "spreads. At most a third of worker.session_timeout."},
    {DURATION(worker.transaction_timeout_ms, 1 * SECONDS, 15 * MINUTES),
     .name = "worker.transaction_timeout", .programs = W | D, .value = "15s",
     .help = "Longest life of a transaction; bounds how long a dead worker "
             "holds back the readers of its results."},
    {INT(worker.slots, 1, 4096), .name = "worker.slots", .programs = W,
     .value = "64",
     .help = "Processes that may share one instance name on this machine."},
    {DURATION(worker.default_timeout_ms, 1, BF_MAX_TIMEOUT_MS),
     .name = "worker.default_timeout", .programs = W | D, .value = "20s",
     .help = "Deadline of a run whose job names none."},
    {STRING(worker.log_runs), .name = "worker.log_runs", .programs = W,
     .value = "",
     .help = "File to which the backend appends a line per run it starts, for "
             "tests; empty is none."},
    {STRING(worker.metrics_dir), .name = "worker.metrics_dir", .programs = W,
     .value = "",
     .help = "Directory in which each process writes its figures every ten "
             "seconds, as <transactional id>.prom for node_exporter's textfile "
             "collector: worker/METRICS.md. Empty is none."},

    {STRING(worker.ca_file), .name = "worker.ca_file", .programs = W,
     .value = "",
     .help = "PEM file of the authorities that providers' certificates are "
             "checked by; empty is the system's."},

    {DURATION(noop.delay_ms, 0, 3600000), .name = "noop.delay", .programs = W,
     .value = "0ms",
     .help = "The noop backend answers after up to this long, spread by run."},

    {STRING(http.url), .name = "http.url", .programs = W, .value = "",
     .form = &no_url_form,
     .help = "Endpoint of the http backend; required by it."},
    {INT(http.max_connections, 1, 65536), .name = "http.max_connections",
     .programs = W, .value = "256",
     .help = "Connections that the http backend keeps open at once."},

    {ENUM(modal.transport, enum bf_modal_transport, transport_words),
     .name = "modal.transport", .programs = W, .value = "web",
     .help = "How the app is called: web is its endpoint, with a proxy token; "
             "grpc is its method, through Modal's API and with an API token: "
             "calls are cancelled when nobody waits for them any more."},
    {STRING(modal.url), .name = "modal.url", .programs = W, .value = "",
     .form = &no_url_form,
     .help = "Web endpoint of the app on Modal, as `modal deploy` prints it, "
             "without workspace_id; required by the web transport. Also "
             "MODAL_WEB_ENDPOINT_URL in the environment."},
    {STRING(modal.api_url), .name = "modal.api_url", .programs = W,
     .value = "https://api.modal.com", .form = &url_form,
     .help = "grpc: Modal's API. Also MODAL_SERVER_URL in the environment."},
    {STRING(modal.app), .name = "modal.app", .programs = W,
     .value = "blockfleet", .help = "grpc: name of the deployed app."},
    {STRING(modal.environment), .name = "modal.environment", .programs = W,
     .value = "",
     .help = "grpc: Modal's environment of the app; empty is the default one. "
             "Also MODAL_ENVIRONMENT in the environment."},
    {ENUM(modal.dialect, enum bf_modal_dialect, dialect_words),
     .name = "modal.dialect", .programs = W, .value = "blockfleet",
     .help = "What the app speaks: blockfleet is ours (signed, init code, "
             "timeouts), webexec is Roboflow's."},
    {ENUM(modal.gzip, enum bf_modal_gzip, gzip_words), .name = "modal.gzip",
     .programs = W, .value = "auto",
     .help = "Compression of requests; auto is where a sample says that it "
             "pays, which images do not."},
    {STRING(modal.token_id_file), .name = "modal.token_id_file", .programs = W,
     .value = "",
     .help = "File with the id of the proxy token (wk-...), or for grpc of the "
             "API token (ak-...), readable by its owner alone; empty is "
             "MODAL_TOKEN_ID in the environment."},
    {STRING(modal.token_secret_file), .name = "modal.token_secret_file",
     .programs = W, .value = "",
     .help = "File with its secret (ws-..., as-...), readable by its owner "
             "alone; empty is MODAL_TOKEN_SECRET in the environment."},
    {DURATION(modal.startup_ms, 0, 1 * HOURS), .name = "modal.startup",
     .programs = W, .value = "60s",
     .help = "How long a container may take to start, on top of the job's "
             "timeout, before a run counts as timed out."},
    {INT(modal.rate, 0, 100000), .name = "modal.rate", .programs = W,
     .value = "180",
     .help = "Calls a second of one process; 0 is no limit. Modal allows a new "
             "account 200, of all that use it."},
    {INT(modal.burst, 1, 1000000), .name = "modal.burst", .programs = W,
     .value = "900", .help = "Calls beyond modal.rate that may go at once."},
    {INT(modal.new_workspaces, 0, 100000), .name = "modal.new_workspaces",
     .programs = W, .value = "1",
     .help = "Workspaces a second that were not called lately, of one process; "
             "0 is no limit. Modal sets up one a second."},
    {INT(modal.new_workspaces_burst, 1, 1000000),
     .name = "modal.new_workspaces_burst", .programs = W, .value = "900",
     .help = "Such workspaces beyond modal.new_workspaces that may go at "
             "once."},

    {STRING(e2b.api_url), .name = "e2b.api_url", .programs = W, .value = "",
     .form = &no_url_form,
     .help =
         "E2B's API; empty is https://api.<e2b.domain>. Also E2B_API_URL in "
         "the environment."},
    {STRING(e2b.sandbox_url), .name = "e2b.sandbox_url", .programs = W,
     .value = "", .form = &no_url_form,
     .help = "Where sandboxes are reached, by routing headers; empty is "
             "https://sandbox.<e2b.domain>. Also E2B_SANDBOX_URL in the "
             "environment."},
    {STRING(e2b.domain), .name = "e2b.domain", .programs = W,
     .value = "e2b.app", .form = &text_form,
     .help = "E2B's domain, or a compatible cloud's; sandboxes outside of it "
             "are refused. Also E2B_DOMAIN in the environment."},
    {BOOL(e2b.subdomain), .name = "e2b.subdomain", .programs = W,
     .value = "false",
     .help = "Reach sandboxes as https://<port>-<id>.<e2b.domain>, for clouds "
             "without routing headers: a connection for each."},
    {STRING(e2b.template_id), .name = "e2b.template", .programs = W,
     .value = "code-interpreter-v1", .form = &text_form,
     .help = "Template of the sandboxes. Also E2B_TEMPLATE_ID in the "
             "environment."},
    {ENUM(e2b.path, enum bf_e2b_way, e2b_words), .name = "e2b.path",
     .programs = W, .value = "execute",
     .help = "How runs get into a sandbox: execute through the code "
             "interpreter of the stock template, envd as a process of any "
             "template with Python 3.11, server through our block server in a "
             "template of ours, signed."},
    {INT(e2b.port, 1, 65535), .name = "e2b.port", .programs = W,
     .value = "8000",
     .help = "Port of the block server in a template of ours."},
    {STRING(e2b.key_file), .name = "e2b.key_file", .programs = W, .value = "",
     .help = "File with the API key (e2b_...), readable by its owner alone; "
             "empty is E2B_API_KEY in the environment."},
    {DURATION(e2b.timeout_ms, 30 * SECONDS, 24 * HOURS), .name = "e2b.timeout",
     .programs = W, .value = "300s",
     .help = "How long a sandbox outlives its last renewal when nobody deletes "
             "it. Also E2B_SANDBOX_TIMEOUT, in seconds, in the environment."},
    {DURATION(e2b.idle_timeout_ms, 0, 24 * HOURS), .name = "e2b.idle_timeout",
     .programs = W, .value = "60s",
     .help = "How long a sandbox is kept without a run. Also "
             "E2B_SANDBOX_IDLE_TIMEOUT, in seconds, in the environment."},
    {INT(e2b.sandboxes, 1, 10000), .name = "e2b.sandboxes", .programs = W,
     .value = "18",
     .help = "Sandboxes of one process at once. E2B counts those of all: 20, "
             "or 100 and more, a few of which are best left free."},
    {INT(e2b.creates, 1, 1000), .name = "e2b.creates", .programs = W,
     .value = "1",
     .help = "Sandboxes that one process creates in a second. E2B allows 1, or "
             "5, to all of them."},
    {BOOL(e2b.strict), .name = "e2b.strict", .programs = W, .value = "false",
     .help =
         "A new sandbox for each run. Otherwise runs of one workspace share "
         "them, one at a time."},
    {BOOL(e2b.adopt), .name = "e2b.adopt", .programs = W, .value = "true",
     .help = "Use sandboxes that another worker has left behind, once they are "
             "made new; otherwise they are deleted."},
    {BOOL(e2b.internet), .name = "e2b.internet", .programs = W,
     .value = "false", .help = "May user code reach the network?"},
    {INT(e2b.vcpu, 0, 1024), .name = "e2b.vcpu", .programs = W, .value = "2",
     .help = "vCPUs of the template, for usage, until E2B has said it; 0 is "
             "not known."},
    {SIZE(e2b.memory_bytes, 0, 1024 * G), .name = "e2b.memory", .programs = W,
     .value = "2G", .help = "The same of its memory."},

    {STRING(local.python), .name = "local.python", .programs = W,
     .value = "python3", .form = &text_form,
     .help = "Python interpreter that runs blocks locally."},
    {STRING(local.runner_path), .name = "local.runner_path", .programs = W,
     .value = "",
     .help = "The runner's package, a directory named bfrunner; empty is the "
             "one beside the worker's own program."},
    {INT(local.runners, 1, 1024), .name = "local.runners", .programs = W,
     .value = "2", .help = "Warm runner processes of the local backend."},
    {INT(local.slots, 1, 1024), .name = "local.slots", .programs = W,
     .value = "2", .help = "Runs at once in each runner process."},
    {STRING(local.preload), .name = "local.preload", .programs = W,
     .value = "auto", .form = &text_form,
     .help = "Modules that a runner imports before the first run: auto, none, "
             "or their names, separated by commas."},
    {SIZE(local.memory_bytes, 0, 1024 * G), .name = "local.memory",
     .programs = W, .value = "0",
     .help = "Address space of one local run; 0 is no limit."},
    {LIST(local.trusted_workspaces), .name = "local.trusted_workspaces",
     .programs = W, .value = "", .form = &workspaces_form,
     .help = "The operator's own workspaces: only their blocks run locally, "
             "where isolation is no more than a process."},
    {SIZE(local.stdout_bytes, 0, 64 * K), .name = "local.stdout_bytes",
     .programs = W, .value = "16k",
     .help = "Bytes of stdout, and of stderr, kept of a local run; it keeps no "
             "more than 16,384 characters itself."},

    {STRING(dispatcher.listen), .name = "dispatcher.listen", .programs = D,
     .value = "127.0.0.1:8080", .form = &listen_form,
     .help = "Address of the HTTP API."},
    {STRING(dispatcher.view), .name = "dispatcher.view", .programs = D,
     .computed = "<run_dir>/view.sqlite", .form = &text_form,
     .help = "SQLite file of the view of all jobs; may be deleted, it is "
             "rebuilt from Kafka."},
    {BOOL(dispatcher.keep_view), .name = "dispatcher.keep_view", .programs = D,
     .value = "true",
     .help = "false: only take jobs. Whatever asks about them is answered "
             "503, by another replica it is answered; that a batch is sealed "
             "is not known here."},
    {SIZE(dispatcher.inputs_bytes, 1 * K, BF_MAX_INPUTS),
     .name = "dispatcher.inputs_bytes", .programs = D, .value = "15M",
     .help = "Largest inputs of one job."},
    {SIZE(dispatcher.block_bytes, 1 * K, BF_MAX_BLOCK),
     .name = "dispatcher.block_bytes", .programs = D, .value = "256k",
     .help = "Largest block definition of one job."},
    {BOOL(dispatcher.anonymous), .name = "dispatcher.anonymous", .programs = D,
     .value = "false",
     .help = "Answer requests that carry no API key. Only behind something "
             "that authenticates, or on loopback."},
    {INT(dispatcher.connections, 16, 65536), .name = "dispatcher.connections",
     .programs = D, .value = "1024",
     .help = "Connections of clients at once; more wait until one ends."},
    {INT(dispatcher.connections_per_ip, 0, 65536),
     .name = "dispatcher.connections_per_ip", .programs = D, .value = "512",
     .help = "Connections of one address at once, more are closed; 0 is no "
             "limit. A proxy in front is one address."},
    {DURATION(dispatcher.header_timeout_ms, 1 * SECONDS, 10 * MINUTES),
     .name = "dispatcher.header_timeout", .programs = D, .value = "30s",
     .help = "A connection is closed when a request's headers are not all "
             "there so long after it began or after the last answer."},
    {SIZE(dispatcher.least_bytes_per_s, 0, 1 * G),
     .name = "dispatcher.least_bytes_per_s", .programs = D, .value = "1k",
     .help = "A connection is closed when a body, or the reading of an "
             "answer, is slower than that for longer than "
             "dispatcher.header_timeout; 0 is no limit."},
    {INT(dispatcher.workspace_jobs_per_s, 0, 1000000000),
     .name = "dispatcher.workspace_jobs_per_s", .programs = D, .value = "0",
     .help = "Jobs of one workspace that this dispatcher accepts in a second; "
             "0 is no limit. A job too many gets 429 with Retry-After, an "
             "upload is slowed down."},
    {SIZE(dispatcher.workspace_bytes_per_s, 0, 1024 * G),
     .name = "dispatcher.workspace_bytes_per_s", .programs = D, .value = "0",
     .help = "The same for bytes of inputs and blocks."},
    {STRING(dispatcher.tls_cert), .name = "dispatcher.tls_cert", .programs = D,
     .value = "",
     .help = "PEM file with the certificate and those above it; with it, the "
             "HTTP API speaks TLS 1.2 or 1.3 only. A renewed one is taken "
             "within seconds, for new connections; those that are there end "
             "with their next answer. Empty is HTTP."},
    {STRING(dispatcher.tls_key), .name = "dispatcher.tls_key", .programs = D,
     .value = "",
     .help = "PEM file with the certificate's private key; only its owner may "
             "read it."},
    {STRING(dispatcher.api_keys), .name = "dispatcher.api_keys",
     .programs = D | C, .computed = "<keys.dir>/api_keys", .form = &text_form,
     .help = "File of API keys, as hashes, that blockfleet apikeys writes; "
             "read again when it changes. Not one that others may read, write "
             "or replace."},
    {SIZE(dispatcher.max_body_bytes, 1 * K, 4 * G),
     .name = "dispatcher.max_body", .programs = D, .value = "64M",
     .help = "Largest body of one request that is no NDJSON upload."},
    {SIZE(dispatcher.max_upload_bytes, 1 * K, 1024 * G),
     .name = "dispatcher.max_upload", .programs = D, .value = "64G",
     .help = "Largest NDJSON upload; from the line on that is past it, an "
             "upload is refused."},
    {SIZE(dispatcher.max_answers_bytes, 64 * K, 1024 * G),
     .name = "dispatcher.max_answers", .programs = D, .value = "1G",
     .help = "Answers to the lines of one NDJSON upload, about 200 bytes "
             "each, kept in an unnamed file in run_dir until they are sent; "
             "from the line on that is past it, an upload is refused."},
    {SIZE(dispatcher.inflight_bytes, 1 * M, 1024 * G),
     .name = "dispatcher.inflight_bytes", .programs = D, .value = "256M",
     .help = "Bodies held in memory over all requests: more get 429, uploads "
             "wait. As much again for answers that are being read."},
    {DURATION(dispatcher.block_timeout_ms, 1 * SECONDS, 24 * HOURS),
     .name = "dispatcher.block_timeout", .programs = D, .value = "700s",
     .help = "What one call to execute_block, of a Roboflow inference server, "
             "may run for."},
    {DURATION(dispatcher.block_expiry_ms, 1 * SECONDS, 1 * HOURS),
     .name = "dispatcher.block_expiry", .programs = D, .value = "1m",
     .help = "How long such a call waits for a worker; one that its client "
             "gave up is not begun later than that."},
    {DURATION(dispatcher.block_keepalive_ms, 100, 28 * SECONDS),
     .name = "dispatcher.block_keepalive", .programs = D, .value = "10s",
     .help = "Its client gives up after 30 s of silence: so long after it came "
             "it is answered with 200, and a space each time until its end."},
    {STRING(dispatcher.port_file), .name = "dispatcher.port_file",
     .programs = D, .value = "",
     .help = "File that gets the address really bound, host:port, once it "
             "listens; empty is none."},
    {STRING(dispatcher.url), .name = "dispatcher.url", .programs = C,
     .value = "http://127.0.0.1:8080", .form = &url_form,
     .help = "Where the command line finds the dispatcher."},
    {STRING(dispatcher.ca_file), .name = "dispatcher.ca_file", .programs = C,
     .value = "",
     .help = "PEM file with the certificates that an https:// dispatcher is "
             "trusted by; empty is the system's."},
    {STRING(dispatcher.key_file), .name = "dispatcher.key_file", .programs = C,
     .value = "",
     .help = "File with the API key that the command line shows the "
             "dispatcher; only its owner may read it. Empty: what the "
             "environment variable BLOCKFLEET_SECRET_API_KEY holds, if there "
             "is one."},
};

const size_t bf_option_count = bf_countof(bf_options);
