#ifndef BF_CONFIG_LOG_H
#define BF_CONFIG_LOG_H

/*
 * One line per event, for people or as JSON, with typed fields:
 *
 *     bf_log_warn("commit_slow", bf_kv_int("took_ms", took),
 *                 bf_kv_str("topic", topic));
 *     bf_log_err(BF_LOG_ERROR, "commit_failed", &err, bf_kv_int("shard", p));
 *
 * Any thread. A level that is off costs one relaxed load: its fields are not
 * even evaluated. Lines of one (level, event) over the rate are dropped and
 * counted as suppressed=N on the next one that passes. A line is one write()
 * of at most 4096 bytes (PIPE_BUF), so processes that share a pipe do not
 * interleave; what does not fit is cut and marked truncated=true. Bytes that
 * are not UTF-8 or would disturb a terminal are escaped. Nothing here fails:
 * a log line that cannot be written is lost.
 *
 * Loops log, libraries return errors. A struct bf_secret has no way in.
 */

#include <stdbool.h>
#include <stdint.h>

#include "schemas/buf.h"

struct bf_err;

enum bf_log_level {
    BF_LOG_ERROR,
    BF_LOG_WARN,
    BF_LOG_INFO,
    BF_LOG_DEBUG,
};

enum bf_log_format {
    BF_LOG_AUTO, /* people on a terminal, JSON anywhere else */
    BF_LOG_HUMAN,
    BF_LOG_JSON,
};

struct bf_log_conf {
    enum bf_log_level level;
    enum bf_log_format format;
    int fd;             /* borrowed; 2 for a program */
    int64_t per_second; /* lines of one (level, event) a second; 0: no limit */
};

/* Until the first call: info, auto, 2, 20. Forgets what was suppressed. */
void bf_log_init(const struct bf_log_conf *conf);

bool bf_log_on(enum bf_log_level level);

enum bf_kv_type {
    BF_KV_END,
    BF_KV_STR,
    BF_KV_INT,
    BF_KV_BOOL,
    BF_KV_ERR,
};

/* Borrows everything until the call that takes it returns. */
struct bf_kv {
    enum bf_kv_type type;
    const char *key;
    struct bf_slice str;
    int64_t num;
    const struct bf_err *err;
};

/* A NULL str is written as null. */
static inline struct bf_kv bf_kv_str(const char *key, const char *str)
{
    return (struct bf_kv){BF_KV_STR, key, bf_slice_str(str), 0, NULL};
}

static inline struct bf_kv bf_kv_slice(const char *key, struct bf_slice str)
{
    return (struct bf_kv){BF_KV_STR, key, str, 0, NULL};
}

static inline struct bf_kv bf_kv_int(const char *key, int64_t num)
{
    return (struct bf_kv){BF_KV_INT, key, {NULL, 0}, num, NULL};
}

static inline struct bf_kv bf_kv_bool(const char *key, bool on)
{
    return (struct bf_kv){BF_KV_BOOL, key, {NULL, 0}, on, NULL};
}

/* Three fields: kind, code and message. */
static inline struct bf_kv bf_kv_err(const struct bf_err *err)
{
    return (struct bf_kv){BF_KV_ERR, "err", {NULL, 0}, 0, err};
}

/* fields end with one of type BF_KV_END. Prefer the macros below. */
void bf_log_write(enum bf_log_level level, const char *event,
                  const struct bf_kv *fields);

#define bf_log_(level_, event_, ...)                                           \
    do {                                                                       \
        if (bf_log_on(level_))                                                 \
            bf_log_write(level_, event_, (const struct bf_kv[]){__VA_ARGS__}); \
    } while (0)
#define BF_KV_LAST_ ((struct bf_kv){.type = BF_KV_END})

/* (event, fields...) with an event named like an identifier. */
#define bf_log_error(...) bf_log_(BF_LOG_ERROR, __VA_ARGS__, BF_KV_LAST_)
#define bf_log_warn(...) bf_log_(BF_LOG_WARN, __VA_ARGS__, BF_KV_LAST_)
#define bf_log_info(...) bf_log_(BF_LOG_INFO, __VA_ARGS__, BF_KV_LAST_)
#define bf_log_debug(...) bf_log_(BF_LOG_DEBUG, __VA_ARGS__, BF_KV_LAST_)

/* (level, event, err, fields...) */
#define bf_log_err(level_, event_, ...)                                        \
    bf_log_(level_, event_, bf_log_err_first_(__VA_ARGS__, BF_KV_LAST_))
#define bf_log_err_first_(err_, ...) bf_kv_err(err_), __VA_ARGS__

#endif
