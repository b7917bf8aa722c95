#ifndef BF_CONFIG_SETTINGS_H
#define BF_CONFIG_SETTINGS_H

/*
 * What an operator can choose: one plain struct, filled from, later ones
 * winning: the defaults of config/option_table.c, an INI file, the environment
 * (BLOCKFLEET_ and the option's name in upper case with _ for .) and flags
 * (--name value, --name=value). Field a.b_ms is the option "a.b".
 *
 * The INI file is the one of --config or BLOCKFLEET_CONFIG (empty: none), else
 * ./blockfleet.ini, else /etc/blockfleet/blockfleet.ini if there is one.
 * Options of other programs are checked too, so that all can share one file;
 * as flags they are refused.
 *
 * Loaded once by main() before other threads start; read-only then.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "config/log.h"
#include "schemas/buf.h"
#include "schemas/check.h"

struct bf_err;
struct bf_secret;

/* Bits: an option concerns several. */
enum bf_program {
    BF_PROGRAM_WORKER = 1,
    BF_PROGRAM_DISPATCHER = 2,
    BF_PROGRAM_CLI = 4,
};

enum bf_backend_kind {
    BF_BACKEND_NOOP,
    BF_BACKEND_HTTP,
    BF_BACKEND_LOCAL,
    BF_BACKEND_MODAL,
    BF_BACKEND_E2B,
};

enum bf_modal_dialect {
    BF_MODAL_BLOCKFLEET,
    BF_MODAL_WEBEXEC,
};

enum bf_modal_transport {
    BF_MODAL_WEB,
    BF_MODAL_GRPC,
};

enum bf_modal_gzip {
    BF_MODAL_GZIP_OFF,
    BF_MODAL_GZIP_AUTO,
    BF_MODAL_GZIP_ON,
};

enum bf_e2b_way {
    BF_E2B_EXECUTE,
    BF_E2B_ENVD,
    BF_E2B_SERVER,
};

/* NULL-terminated. */
struct bf_list {
    char **items;
    size_t count;
};

enum bf_kafka_scope {
    BF_KAFKA_ALL,
    BF_KAFKA_CONSUMERS,
    BF_KAFKA_PRODUCERS,
};

/* A property of librdkafka, already tried on this librdkafka. */
struct bf_kafka_prop {
    enum bf_kafka_scope scope;
    char *name;
    char *value;              /* NULL when it is secret */
    struct bf_secret *secret; /* origin "librdkafka"; NULL when it is not */
    unsigned line;            /* in the INI file; 0: from elsewhere */
};

/* No string is NULL; "" where one may be missing. Sizes in bytes. */
struct bf_settings {
    char *fleet;
    char *instance;
    char *run_dir;

    struct {
        char *brokers;
        char *group;
    } kafka;

    struct {
        char *prefix;
        int64_t replication; /* -1: the broker's default */
        int64_t shards;
        int64_t spread;
    } topics;

    struct {
        char *dir;
    } keys;

    struct {
        enum bf_log_level level;
        enum bf_log_format format;
        int64_t rate; /* lines of one event a second; 0: no limit */
    } log;

    struct {
        enum bf_backend_kind backend;
        int64_t processes;   /* of this worker, each with all below */
        int64_t concurrency; /* runs at once */
        int64_t window;      /* offsets above a partition's base */
        int64_t commit_interval_ms;
        uint64_t commit_bytes;
        uint64_t memory_bytes;
        int64_t drain_ms;
        int64_t session_timeout_ms;
        int64_t heartbeat_ms;
        int64_t transaction_timeout_ms;
        int64_t slots; /* processes that may share one instance name */
        int64_t default_timeout_ms; /* of a run whose job names none */
        char *log_runs;             /* path, or "" */
        char *metrics_dir;          /* or "" */
        char *ca_file;              /* path, or "" */
    } worker;

    struct {
        int64_t delay_ms; /* a run takes up to this long */
    } noop;

    struct {
        char *url; /* or "" */
        int64_t max_connections;
    } http;

    struct {
        char *url; /* or "" */
        enum bf_modal_transport transport;
        char *api_url;     /* grpc */
        char *app;         /* grpc */
        char *environment; /* grpc: or "" */
        enum bf_modal_dialect dialect;
        enum bf_modal_gzip gzip;
        char *token_id_file;     /* path, or "" */
        char *token_secret_file; /* path, or "" */
        int64_t startup_ms;
        int64_t rate, burst; /* of calls; rate 0: no limit */
        int64_t new_workspaces, new_workspaces_burst; /* the same */
    } modal;

    struct {
        char *api_url;     /* or "": of the domain */
        char *sandbox_url; /* the same */
        char *domain;
        bool subdomain;
        char *template_id;
        enum bf_e2b_way path;
        int64_t port;
        char *key_file; /* or "" */
        int64_t timeout_ms;
        int64_t idle_timeout_ms;
        int64_t sandboxes; /* of one process */
        int64_t creates;   /* a second */
        bool strict;
        bool adopt;
        bool internet;
        int64_t vcpu;
        uint64_t memory_bytes;
    } e2b;

    struct {
        char *python;
        char *runner_path; /* or "" */
        int64_t runners;
        int64_t slots;
        char *preload;
        uint64_t memory_bytes; /* of one run; 0: no limit */
        struct bf_list trusted_workspaces;
        uint64_t stdout_bytes;
    } local;

    struct {
        char *listen; /* host:port, [v6]:port */
        char *view;   /* path */
        bool keep_view;
        uint64_t inputs_bytes;
        uint64_t block_bytes;
        bool anonymous;
        char *api_keys; /* path */
        int64_t connections;
        int64_t connections_per_ip; /* 0: no limit */
        int64_t header_timeout_ms;
        uint64_t least_bytes_per_s;     /* of one body; 0: no limit */
        int64_t workspace_jobs_per_s;   /* 0: no limit */
        uint64_t workspace_bytes_per_s; /* 0: no limit */
        char *tls_cert;                 /* path, or "" */
        char *tls_key;                  /* path, or "" */
        char *ca_file;                  /* path, or ""; of the command line */
        char *key_file; /* of the command line's own key; or "" */
        uint64_t max_body_bytes;
        uint64_t max_upload_bytes;
        uint64_t max_answers_bytes;
        uint64_t inflight_bytes;
        int64_t block_timeout_ms; /* of calls to execute_block */
        int64_t block_expiry_ms;
        int64_t block_keepalive_ms;
        char *port_file; /* path, or "" */
        char *url;       /* where clients find the dispatcher */
    } dispatcher;

    struct bf_kafka_prop *props; /* in the order of their sources */
    size_t prop_count;

    /* What was on the command line besides options; borrowed from argv. */
    char **args;
    int arg_count;

    char **where; /* see bf_settings_where() */
};

#define BF_SETTINGS_ANSWERED 1

/*
 * 0; or BF_SETTINGS_ANSWERED after --help, --help-markdown, --help-ini or
 * --version were answered on stdout: exit 0. On -1, err says where (file:line,
 * environment or flag), which option, the rule and what was meant perhaps.
 *
 * The CLI has flags of its own: there, flags without a dot that are no option
 * are left in args with what follows them, as is everything after "--"; so are
 * --help and --version. Elsewhere an unknown flag is an error.
 *
 * Secret properties are wiped from the environment, and refused as flags
 * (everyone may read a command line) and from a file that others may read.
 */
int bf_settings_load(struct bf_settings **ret, enum bf_program program,
                     int argc, char **argv, struct bf_err *err);

/* NULL is a no-op. */
void bf_settings_free(struct bf_settings *settings);
BF_DEFINE_CLEANUP(bf_settings_freep, struct bf_settings *, bf_settings_free)
#define bf_autosettings bf_cleanup(bf_settings_freep)

/* The defaults alone: for tests, and to be filled by hand. */
struct bf_settings *bf_settings_new(struct bf_err *err);

/* One option or "librdkafka." property, as from a flag; replaces. */
int bf_settings_set(struct bf_settings *settings, const char *name,
                    const char *value, struct bf_err *err);

/* Everything in the text of an INI file; name is for messages. */
int bf_settings_read_ini(struct bf_settings *settings, struct bf_slice text,
                         const char *name, struct bf_err *err);

/* "default", "blockfleet.ini:7", "environment" or "flag"; NULL: no option. */
const char *bf_settings_where(const struct bf_settings *settings,
                              const char *name);

/* "blockfleet-worker", "blockfleet-dispatcher", "blockfleet". */
const char *bf_program_name(enum bf_program program);

/* The options of one program, for a terminal. */
void bf_settings_help(FILE *out, enum bf_program program);
/* config/CONFIGURATION.md and config/blockfleet.ini; tests compare. */
void bf_settings_markdown(FILE *out);
void bf_settings_ini(FILE *out);

#endif
