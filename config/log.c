#include "config/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/clock.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/utf8.h"

#define LINE_BYTES 4096
#define TAIL_BYTES 24    /* for the truncation mark and a line's end */
#define VALUE_BYTES 1024 /* of one field: the rest needs room too */
#define SLOTS 256        /* distinct events remembered for the rate limit */
#define PROBES 8
#define WINDOW_MS 1000

/* Lines of one (level, event) in the current second. */
struct slot {
    uint64_t hash; /* 0: free */
    int64_t since_ms;
    int64_t lines;
    uint64_t suppressed;
};

/*
 * The other process-wide state of this layer (see clock.c): a log that had to
 * be handed to every function would not be used.
 */
static struct {
    atomic_int level;
    atomic_int format; /* resolved: never BF_LOG_AUTO once ready */
    atomic_bool colour;
    atomic_int fd;
    atomic_int_least64_t per_second;
    pthread_mutex_t lock; /* guards slots */
    struct slot slots[SLOTS];
} log_state = {
    .level = BF_LOG_INFO,
    .format = BF_LOG_AUTO,
    .fd = STDERR_FILENO,
    .per_second = 20,
    .lock = PTHREAD_MUTEX_INITIALIZER,
};

static const char *const level_names[] = {
    [BF_LOG_ERROR] = "error",
    [BF_LOG_WARN] = "warn",
    [BF_LOG_INFO] = "info",
    [BF_LOG_DEBUG] = "debug",
};

static const char *const level_colours[] = {
    [BF_LOG_ERROR] = "\033[31m",
    [BF_LOG_WARN] = "\033[33m",
    [BF_LOG_INFO] = "\033[32m",
    [BF_LOG_DEBUG] = "\033[2m",
};

static void resolve_format(int fd, int format)
{
    bool tty = isatty(fd) == 1;

    if (format == BF_LOG_AUTO)
        format = tty ? BF_LOG_HUMAN : BF_LOG_JSON;
    atomic_store(&log_state.colour, tty && format == BF_LOG_HUMAN);
    atomic_store(&log_state.format, format);
}

void bf_log_init(const struct bf_log_conf *conf)
{
    pthread_mutex_lock(&log_state.lock);
    memset(log_state.slots, 0, sizeof(log_state.slots));
    pthread_mutex_unlock(&log_state.lock);
    atomic_store(&log_state.fd, conf->fd);
    atomic_store(&log_state.per_second, conf->per_second);
    resolve_format(conf->fd, (int)conf->format);
    atomic_store(&log_state.level, (int)conf->level);
}

bool bf_log_on(enum bf_log_level level)
{
    return (int)level <=
           atomic_load_explicit(&log_state.level, memory_order_relaxed);
}

/* ---- rate ---------------------------------------------------------------- */

/* FNV-1a, 64 bits (Fowler, Noll, Vo); never 0. */
static uint64_t hash_event(enum bf_log_level level, const char *event)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ (uint64_t)level;

    for (; *event; event++)
        hash = (hash ^ (unsigned char)*event) * UINT64_C(1099511628211);
    return hash ? hash : 1;
}

/* The event's slot, or the stalest of its neighbours made new. */
static struct slot *slot_of(uint64_t hash)
{
    struct slot *oldest = &log_state.slots[hash % SLOTS];

    for (unsigned i = 0; i < PROBES; i++) {
        struct slot *slot = &log_state.slots[(hash + i) % SLOTS];

        if (slot->hash == hash)
            return slot;
        if (slot->hash == 0 ||
            (oldest->hash != 0 && slot->since_ms < oldest->since_ms))
            oldest = slot;
    }
    *oldest = (struct slot){.hash = hash};
    return oldest;
}

/* False: drop the line. True: *ret_suppressed were dropped before it. */
static bool admit(enum bf_log_level level, const char *event,
                  uint64_t *ret_suppressed)
{
    int64_t per_second = atomic_load(&log_state.per_second);
    int64_t now_ms = bf_mono_ms();
    struct slot *slot;
    bool pass;

    *ret_suppressed = 0;
    if (per_second <= 0)
        return true;
    pthread_mutex_lock(&log_state.lock);
    slot = slot_of(hash_event(level, event));
    if (slot->lines == 0 || now_ms - slot->since_ms >= WINDOW_MS) {
        slot->since_ms = now_ms;
        slot->lines = 0;
    }
    pass = slot->lines < per_second;
    if (pass) {
        slot->lines++;
        *ret_suppressed = slot->suppressed;
        slot->suppressed = 0;
    } else {
        slot->suppressed++;
    }
    pthread_mutex_unlock(&log_state.lock);
    return pass;
}

/* ---- a line -------------------------------------------------------------- */

struct line {
    char data[LINE_BYTES];
    size_t len;
    size_t max; /* below sizeof(data) while the tail is kept free */
    bool full;  /* something did not fit: nothing more goes in */
    bool cut;   /* a value was shortened */
    bool json;
    bool colour;
};

static void put(struct line *line, const char *data, size_t len)
{
    if (line->full || len > line->max - line->len) {
        line->full = true;
        return;
    }
    memcpy(line->data + line->len, data, len);
    line->len += len;
}

static void puts_(struct line *line, const char *str)
{
    put(line, str, strlen(str));
}

/* C0, DEL and C1: what a terminal might obey. */
static bool is_control(const char *at, size_t len)
{
    const unsigned char *c = (const unsigned char *)at;

    return (len == 1 && (c[0] < 0x20 || c[0] == 0x7f)) ||
           (len == 2 && c[0] == 0xc2 && c[1] < 0xa0);
}

/* Bytes that are no UTF-8: one U+FFFD, or as they are in hex. */
static void put_broken(struct line *line, const char *at, size_t len)
{
    char text[8];

    if (line->json)
        puts_(line, "\\ufffd");
    for (size_t i = 0; i < len && !line->json; i++) {
        snprintf(text, sizeof(text), "\\x%02x", (unsigned char)at[i]);
        puts_(line, text);
    }
}

static void put_escape(struct line *line, const char *at, size_t len)
{
    const unsigned char *c = (const unsigned char *)at;
    char text[8];

    if (len == 1 && (*at == '"' || *at == '\\'))
        snprintf(text, sizeof(text), "\\%c", *at);
    else if (len == 1 && *at == '\n')
        snprintf(text, sizeof(text), "\\n");
    else if (len == 1 && *at == '\t')
        snprintf(text, sizeof(text), "\\t");
    else
        snprintf(text, sizeof(text), line->json ? "\\u%04x" : "\\x%02x",
                 c[len - 1]);
    puts_(line, text);
}

/* What stands between quotes; a character fits whole or not at all. */
static void put_escaped(struct line *line, struct bf_slice str)
{
    while (str.len > 0 && !line->full) {
        bool ok;
        size_t len = bf_utf8_next(str, &ok);

        if (!ok)
            put_broken(line, str.ptr, len);
        else if (is_control(str.ptr, len) || *str.ptr == '"' ||
                 *str.ptr == '\\')
            put_escape(line, str.ptr, len);
        else
            put(line, str.ptr, len);
        str.ptr += len;
        str.len -= len;
    }
}

static bool is_plain(struct bf_slice str)
{
    for (size_t i = 0; i < str.len; i++) {
        unsigned char c = (unsigned char)str.ptr[i];

        if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '=')
            return false;
    }
    return str.len > 0;
}

static void put_key(struct line *line, const char *key)
{
    puts_(line, line->json ? ",\"" : " ");
    put_escaped(line, bf_slice_str(key));
    puts_(line, line->json ? "\":" : "=");
}

static struct bf_slice shortened(struct line *line, struct bf_slice str)
{
    line->cut = line->cut || str.len > VALUE_BYTES;
    return bf_utf8_cut(str, VALUE_BYTES);
}

/* A field that is no string: whole or not at all. */
static void put_word(struct line *line, const char *key, struct bf_slice word)
{
    size_t mark = line->len;

    put_key(line, key);
    put(line, word.ptr, word.len);
    if (line->full)
        line->len = mark;
}

static void put_str(struct line *line, const char *key, struct bf_slice str)
{
    size_t mark = line->len;

    if (!str.ptr) {
        put_word(line, key, BF_SLICE_LIT("null"));
        return;
    }
    str = shortened(line, str);
    if (!line->json && is_plain(str)) {
        put_word(line, key, str);
        return;
    }
    put_key(line, key);
    puts_(line, "\"");
    if (line->full || line->len == line->max) {
        line->full = true;
        line->len = mark;
        return;
    }
    line->max--; /* the closing quote's byte */
    put_escaped(line, str);
    line->max++;
    line->data[line->len++] = '"';
}

static void put_err(struct line *line, const struct bf_err *err)
{
    put_str(line, "kind", bf_slice_str(bf_err_kind_name(err->kind)));
    put_str(line, "code", bf_slice_str(err->code));
    put_str(line, "message", bf_slice_str(err->msg));
}

static void put_int(struct line *line, const char *key, int64_t num)
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%lld", (long long)num);

    put_word(line, key, (struct bf_slice){digits, (size_t)len});
}

static void put_field(struct line *line, const struct bf_kv *kv)
{
    switch (kv->type) {
    case BF_KV_STR:
        put_str(line, kv->key, kv->str);
        break;
    case BF_KV_INT:
        put_int(line, kv->key, kv->num);
        break;
    case BF_KV_BOOL:
        put_word(line, kv->key, bf_slice_str(kv->num ? "true" : "false"));
        break;
    case BF_KV_ERR:
        put_err(line, kv->err);
        break;
    case BF_KV_END:
        break;
    }
}

static void put_head(struct line *line, enum bf_log_level level,
                     const char *event)
{
    char now[BF_RFC3339_LEN];

    bf_clock_rfc3339(bf_now_ms(), now);
    if (line->json) {
        puts_(line, "{\"time\":\"");
        puts_(line, now);
        puts_(line, "\"");
        put_str(line, "level", bf_slice_str(level_names[level]));
        put_str(line, "event", bf_slice_str(event));
        put_int(line, "pid", getpid());
        return;
    }
    puts_(line, now);
    puts_(line, line->colour ? level_colours[level] : "");
    puts_(line, " ");
    puts_(line, level_names[level]);
    puts_(line, line->colour ? "\033[0m " : " ");
    put_escaped(line, bf_slice_str(event));
}

static void put_tail(struct line *line)
{
    line->max = sizeof(line->data);
    if (line->full || line->cut) {
        line->full = false;
        put_word(line, "truncated", BF_SLICE_LIT("true"));
    }
    puts_(line, line->json ? "}\n" : "\n");
}

static void send_line(const struct line *line)
{
    int fd = atomic_load(&log_state.fd), saved = errno;
    size_t done = 0;

    while (done < line->len) {
        ssize_t n = write(fd, line->data + done, line->len - done);

        if (n < 0 && errno != EINTR)
            break;
        done += n > 0 ? (size_t)n : 0;
    }
    errno = saved;
}

void bf_log_write(enum bf_log_level level, const char *event,
                  const struct bf_kv *fields)
{
    struct line line;
    uint64_t suppressed;

    if (!bf_log_on(level) || !admit(level, event, &suppressed))
        return;
    if (atomic_load(&log_state.format) == BF_LOG_AUTO)
        resolve_format(atomic_load(&log_state.fd), BF_LOG_AUTO);
    line.len = 0;
    line.max = sizeof(line.data) - TAIL_BYTES;
    line.full = false;
    line.cut = false;
    line.json = atomic_load(&log_state.format) == BF_LOG_JSON;
    line.colour = atomic_load(&log_state.colour);
    put_head(&line, level, event);
    if (suppressed > 0)
        put_int(&line, "suppressed", (int64_t)suppressed);
    for (; fields->type != BF_KV_END; fields++)
        put_field(&line, fields);
    put_tail(&line);
    send_line(&line);
}
