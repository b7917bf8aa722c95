#include "dispatcher/http.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>

#include <microhttpd.h>

#include "config/clock.h"
#include "dispatcher/guard.h"
#include "dispatcher/listen.h"
#include "dispatcher/problem.h"
#include "dispatcher/tls.h"

#define REQUEST_MAGIC 0x4e90573aU

/*
 * An answer that comes early ends a connection, and the client that is still
 * sending sees a reset instead of it: rather read on, up to a point.
 */
#define DISCARD_BYTES (8U << 20)

#define STREAM_BYTES (64U << 10) /* of a streamed body, at a time */

/*
 * libmicrohttpd knows one certificate from start to end: another one means
 * another daemon on the same socket. The one before it takes no connections
 * any more, closes each of its own with the next answer and goes with the last.
 */
struct daemon {
    struct MHD_Daemon *mhd;
    struct bf_tls *tls; /* NULL: without TLS */
    int epoll_fd;       /* libmicrohttpd's */
    struct daemon *before;
};

struct bf_http {
    struct bf_http_conf conf;
    struct daemon *daemon; /* the one that takes connections */
    struct bf_tls_files *tls_files;
    struct bf_http_ops ops;
    void *arg;
    int epoll_fd; /* of all daemons' */
    size_t max_body_bytes;
    int64_t header_timeout_ms;
    int64_t bytes_per_s; /* the least; 0: as slow as they like */
    struct bf_guard guard;
    size_t active;
    size_t held_bytes; /* of answers */
    struct bf_listener listener;
    struct bf_request *first; /* all that are not gone */
    bool due;                 /* a request was resumed since the last run */
    char said[160];           /* what libmicrohttpd complained of first */
};

struct bf_request {
    unsigned magic;
    struct bf_http *http;
    struct MHD_Connection *connection;
    const char *method;
    char *path;
    void *state;
    const void *mark;
    int64_t began_us;
    unsigned status;            /* once it is sent */
    struct bf_guarded *guarded; /* the connection; NULL: no memory for it */
    int64_t moving_since_ms;    /* a body, since it last was let go on */
    size_t moving_bytes;
    struct bf_answer answer;
    struct bf_request *next, *prev;
    size_t body_bytes;
    size_t discarded_bytes;
    size_t held_bytes; /* of the answer */
    bool answered;
    bool queued; /* libmicrohttpd has the answer */
    bool ended;  /* the whole body was taken */
    bool suspended;
    bool unlimited; /* the application looks after the body's length */
    bool plain;     /* refused in plain text */
};

static struct bf_request *request_from(void *ptr)
{
    struct bf_request *req = ptr;

    bf_assert(req && req->magic == REQUEST_MAGIC);
    return req;
}

/* ---- requests -------------------------------------------------------------*/

const char *bf_request_method(const struct bf_request *req)
{
    return req->method;
}

const char *bf_request_path(const struct bf_request *req)
{
    return req->path;
}

const char *bf_request_query(const struct bf_request *req, const char *name)
{
    return MHD_lookup_connection_value(req->connection, MHD_GET_ARGUMENT_KIND,
                                       name);
}

struct nth {
    size_t left;
    const char *name;
};

static enum MHD_Result on_parameter(void *cls, enum MHD_ValueKind kind,
                                    const char *name, const char *value)
{
    struct nth *nth = cls;

    (void)kind;
    (void)value;
    if (nth->left-- > 0)
        return MHD_YES;
    nth->name = name;
    return MHD_NO;
}

const char *bf_request_query_name(const struct bf_request *req, size_t i)
{
    struct nth nth = {i, NULL};

    MHD_get_connection_values(req->connection, MHD_GET_ARGUMENT_KIND,
                              on_parameter, &nth);
    return nth.name;
}

const char *bf_request_header(const struct bf_request *req, const char *name)
{
    return MHD_lookup_connection_value(req->connection, MHD_HEADER_KIND, name);
}

int64_t bf_request_age_us(const struct bf_request *req)
{
    return bf_mono_us() - req->began_us;
}

unsigned bf_request_status(const struct bf_request *req)
{
    return req->status;
}

void bf_request_set_mark(struct bf_request *req, const void *mark)
{
    req->mark = mark;
}

const void *bf_request_mark(const struct bf_request *req)
{
    return req->mark;
}

void bf_request_set_state(struct bf_request *req, void *state)
{
    req->state = state;
}

void *bf_request_state(const struct bf_request *req)
{
    return req->state;
}

void bf_answer_header(struct bf_answer *answer, const char *name,
                      const char *value)
{
    size_t i = answer->nheaders;

    bf_assert(i < BF_ANSWER_HEADERS);
    if (strlen(value) >= sizeof(answer->headers[i].value) ||
        strpbrk(value, "\r\n"))
        return;
    answer->headers[i].name = name;
    snprintf(answer->headers[i].value, sizeof(answer->headers[i].value), "%s",
             value);
    answer->nheaders++;
}

/* How long this many bytes may take. */
static int64_t patience_ms(const struct bf_http *http, uint64_t bytes)
{
    return http->header_timeout_ms +
           (int64_t)(bytes * 1000 / (uint64_t)http->bytes_per_s);
}

/* A body, or the rest of it, has to move from now on. */
static void expect_moves(struct bf_request *req)
{
    req->moving_since_ms = bf_mono_ms();
    req->moving_bytes = 0;
    bf_guard_until(req->guarded,
                   req->http->bytes_per_s > 0
                       ? req->moving_since_ms + patience_ms(req->http, 0)
                       : BF_GUARD_NEVER);
}

static void note_moved(struct bf_request *req, size_t bytes)
{
    req->moving_bytes += bytes;
    if (req->http->bytes_per_s > 0)
        bf_guard_until(req->guarded,
                       req->moving_since_ms +
                           patience_ms(req->http, req->moving_bytes));
}

void bf_request_resume(struct bf_request *req)
{
    if (!req->suspended)
        return;
    req->suspended = false;
    req->http->due = true;
    expect_moves(req);
    MHD_resume_connection(req->connection);
}

bool bf_request_answered(const struct bf_request *req)
{
    return req->answered;
}

static void release_body(struct bf_answer *answer)
{
    bf_buf_release(&answer->body);
    if (answer->stream.free)
        answer->stream.free(answer->stream.arg);
    answer->stream = (struct bf_answer_stream){0};
}

void bf_request_unlimit(struct bf_request *req)
{
    req->unlimited = true;
}

void bf_request_set_plain(struct bf_request *req)
{
    req->plain = true;
}

void bf_request_answer(struct bf_request *req, struct bf_answer *answer)
{
    if (req->answered) {
        release_body(answer);
        return;
    }
    req->answer = *answer;
    req->held_bytes = answer->body.cap;
    req->http->held_bytes += req->held_bytes;
    answer->body = (struct bf_buf){0};
    answer->stream = (struct bf_answer_stream){0};
    req->answered = true;
    bf_request_resume(req);
}

static int write_refusal(const struct bf_request *req,
                         const struct bf_problem *problem,
                         struct bf_answer *answer)
{
    if (!req->plain)
        return bf_problem_json(problem, req->path, &answer->body, NULL);
    answer->content_type = "text/plain; charset=utf-8";
    return bf_buf_adds(&answer->body, problem->detail, NULL);
}

void bf_request_refuse(struct bf_request *req, const struct bf_problem *problem)
{
    struct bf_answer answer = {
        .status = bf_problem_status(problem->code),
        .content_type = "application/problem+json",
        .body = BF_BUF_INIT(16U << 10),
    };
    unsigned retry_after_s = bf_problem_retry_after(problem);
    char seconds[16];

    if (retry_after_s > 0) {
        snprintf(seconds, sizeof(seconds), "%u", retry_after_s);
        bf_answer_header(&answer, "Retry-After", seconds);
    }
    if (problem->code == BF_PROBLEM_UNAUTHORIZED)
        bf_answer_header(&answer, "WWW-Authenticate",
                         "Bearer realm=\"blockfleet\"");
    /* Without memory for the words, the status has to do. */
    if (write_refusal(req, problem, &answer)) {
        bf_buf_release(&answer.body);
        answer.content_type = NULL;
    }
    bf_request_answer(req, &answer);
}

static void add_headers(struct MHD_Response *response,
                        const struct bf_answer *answer)
{
    if (answer->content_type)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                                answer->content_type);
    for (size_t i = 0; i < answer->nheaders; i++)
        MHD_add_response_header(response, answer->headers[i].name,
                                answer->headers[i].value);
}

/* What libmicrohttpd streams; outlives the request, which is asked no more. */
struct streaming {
    struct bf_answer_stream stream;
    struct bf_request *req;
};

static void suspend(struct bf_request *req)
{
    req->suspended = true;
    bf_guard_until(req->guarded, BF_GUARD_NEVER);
    MHD_suspend_connection(req->connection);
}

static ssize_t on_stream(void *cls, uint64_t pos, char *out, size_t size)
{
    const struct streaming *streaming = cls;
    const struct bf_answer_stream *stream = &streaming->stream;
    ssize_t n = stream->read(stream->arg, pos, out, size);

    if (stream->bytes != BF_ANSWER_OPEN)
        return n > 0 ? n : MHD_CONTENT_READER_END_WITH_ERROR;
    if (n == BF_ANSWER_END)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (n < 0)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (n == 0)
        suspend(streaming->req);
    else
        note_moved(streaming->req, (size_t)n);
    return n;
}

static void on_stream_end(void *cls)
{
    struct streaming *streaming = cls;

    streaming->stream.free(streaming->stream.arg);
    free(streaming);
}

static struct MHD_Response *stream_response(struct bf_request *req)
{
    struct streaming *streaming = calloc(1, sizeof(*streaming));
    struct MHD_Response *response;

    _Static_assert(BF_ANSWER_OPEN == MHD_SIZE_UNKNOWN, "as they say it");
    if (!streaming)
        return NULL;
    *streaming = (struct streaming){req->answer.stream, req};
    response = MHD_create_response_from_callback(req->answer.stream.bytes,
                                                 STREAM_BYTES, on_stream,
                                                 streaming, on_stream_end);
    if (!response) {
        free(streaming);
        return NULL;
    }
    req->answer.stream = (struct bf_answer_stream){0}; /* the response's now */
    return response;
}

static struct MHD_Response *response_of(struct bf_request *req)
{
    struct bf_answer *answer = &req->answer;
    struct MHD_Response *response;

    if (answer->stream.read)
        return stream_response(req);
    response = MHD_create_response_from_buffer(
        answer->body.len, answer->body.data, MHD_RESPMEM_MUST_FREE);
    if (response)
        answer->body = (struct bf_buf){0}; /* the response's now */
    return response;
}

/* Its daemon takes no new connections: this one is to come again elsewhere. */
static bool is_last_answer(const struct bf_request *req)
{
    const struct bf_http *http = req->http;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(req->connection, MHD_CONNECTION_INFO_DAEMON);

    return http->listener.fd < 0 || (info && info->daemon != http->daemon->mhd);
}

/* As far as is known now. */
static uint64_t answer_bytes(const struct bf_answer *answer)
{
    if (!answer->stream.read)
        return answer->body.len;
    return answer->stream.bytes == BF_ANSWER_OPEN ? 0 : answer->stream.bytes;
}

static enum MHD_Result queue_answer(struct bf_request *req)
{
    const struct bf_answer *answer = &req->answer;
    uint64_t bytes = answer_bytes(answer);
    struct MHD_Response *response = response_of(req);
    enum MHD_Result result;

    if (!response)
        return MHD_NO;
    add_headers(response, answer);
    if (is_last_answer(req))
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    req->queued = true;
    if (req->http->bytes_per_s > 0)
        bf_guard_until(req->guarded,
                       bf_mono_ms() + patience_ms(req->http, bytes));
    result = MHD_queue_response(req->connection, answer->status, response);
    MHD_destroy_response(response);
    return result;
}

static struct bf_guarded *guarded_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

/*
 * libmicrohttpd's own limit is each daemon's. Over it, whoever comes waits; who
 * comes while connections of the daemon before take up the rest does not.
 */
static enum MHD_Result on_accept(void *cls, const struct sockaddr *address,
                                 socklen_t len)
{
    const struct bf_http *http = cls;

    (void)address;
    (void)len;
    return http->guard.count < http->conf.max_connections ? MHD_YES : MHD_NO;
}

/* The next request has to be there, with its headers, before that. */
static void expect_headers(struct bf_http *http, struct bf_guarded *guarded)
{
    bf_guard_until(guarded, bf_mono_ms() + http->header_timeout_ms);
}

static void on_connection(void *cls, struct MHD_Connection *connection,
                          void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    const union MHD_ConnectionInfo *info;
    struct bf_http *http = cls;

    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        bf_guard_remove(&http->guard, *context);
        *context = NULL;
        return;
    }
    info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (!info)
        return;
    *context = bf_guard_add(&http->guard, info->connect_fd);
    expect_headers(http, *context);
}

static struct bf_request *request_new(struct bf_http *http,
                                      struct MHD_Connection *connection,
                                      const char *url, const char *method)
{
    struct bf_request *req = calloc(1, sizeof(*req));

    if (!req)
        return NULL;
    req->path = strdup(url);
    if (!req->path) {
        free(req);
        return NULL;
    }
    req->magic = REQUEST_MAGIC;
    req->http = http;
    req->connection = connection;
    req->method = method;
    req->next = http->first;
    if (http->first)
        http->first->prev = req;
    http->first = req;
    http->active++;
    req->began_us = bf_mono_us();
    req->guarded = guarded_of(connection);
    expect_moves(req);
    return req;
}

static void request_free(struct bf_request *req)
{
    struct bf_http *http = req->http;

    if (req->next)
        req->next->prev = req->prev;
    if (req->prev)
        req->prev->next = req->next;
    else
        http->first = req->next;
    http->active--;
    http->held_bytes -= req->held_bytes;
    release_body(&req->answer);
    free(req->path);
    req->magic = 0;
    free(req);
}

static void answer_too_large(struct bf_request *req)
{
    struct bf_problem problem;

    bf_problem_set(&problem, BF_PROBLEM_TOO_LARGE, NULL,
                   "the body is over dispatcher.max_body, %zu bytes",
                   req->http->max_body_bytes);
    bf_request_refuse(req, &problem);
}

/* A length that is over the ceiling is known before the first byte. */
static bool declares_too_much(const struct bf_request *req)
{
    const char *text = bf_request_header(req, MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t length;

    if (!text)
        return false;
    return bf_slice_u64(bf_slice_str(text), req->http->max_body_bytes,
                        &length) != 0;
}

static enum MHD_Result on_headers(struct bf_http *http, struct bf_request *req)
{
    http->ops.begin(http->arg, req);
    if (!req->answered && !req->unlimited && declares_too_much(req))
        answer_too_large(req);
    /*
     * What is answered now ends the connection, for libmicrohttpd: a body that
     * may follow is read away first, unless it is large.
     */
    return req->answered && declares_too_much(req) ? queue_answer(req)
                                                   : MHD_YES;
}

static enum MHD_Result on_piece(struct bf_http *http, struct bf_request *req,
                                const char *data, size_t *size)
{
    size_t taken;

    note_moved(req, *size);
    if (!req->answered && !req->unlimited &&
        req->body_bytes + *size > http->max_body_bytes)
        answer_too_large(req);
    if (req->answered) {
        req->discarded_bytes += *size;
        *size = 0;
        return req->discarded_bytes > DISCARD_BYTES ? MHD_NO : MHD_YES;
    }
    taken = http->ops.body(http->arg, req, (struct bf_slice){data, *size});
    bf_assert(taken <= *size);
    req->body_bytes += taken;
    if (req->answered)
        taken = *size;
    *size -= taken;
    if (*size > 0)
        suspend(req);
    return MHD_YES;
}

static enum MHD_Result on_end(struct bf_http *http, struct bf_request *req)
{
    if (!req->answered && !req->ended) {
        req->ended = true;
        http->ops.end(http->arg, req);
    }
    if (req->answered)
        return queue_answer(req);
    suspend(req);
    return MHD_YES;
}

/* NOLINTNEXTLINE(readability-function-size): libmicrohttpd wants eight */
static enum MHD_Result on_access(void *cls, struct MHD_Connection *connection,
                                 const char *url, const char *method,
                                 const char *version, const char *data,
                                 size_t *size, void **state)
{
    struct bf_http *http = cls;
    struct bf_request *req;

    (void)version;
    if (!*state) {
        req = request_new(http, connection, url, method);
        *state = req;
        return req ? on_headers(http, req) : MHD_NO;
    }
    req = request_from(*state);
    if (req->queued)
        return MHD_YES;
    return *size > 0 ? on_piece(http, req, data, size) : on_end(http, req);
}

static void on_completed(void *cls, struct MHD_Connection *connection,
                         void **state, enum MHD_RequestTerminationCode why)
{
    struct bf_http *http = cls;
    struct bf_request *req;

    expect_headers(http, guarded_of(connection));
    if (!*state)
        return;
    req = request_from(*state);
    *state = NULL;
    if (why == MHD_REQUEST_TERMINATED_COMPLETED_OK && req->queued)
        req->status = req->answer.status;
    http->ops.gone(http->arg, req);
    request_free(req);
}

/* ---- the daemon -----------------------------------------------------------*/

/* GnuTLS' own defaults would still take TLS 1.0. */
#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

__attribute__((format(printf, 2, 0))) static void
on_complaint(void *cls, const char *format, va_list ap)
{
    struct bf_http *http = cls;

    if (http->said[0]) /* the first one tells most */
        return;
    vsnprintf(http->said, sizeof(http->said), format, ap);
    http->said[strcspn(http->said, "\r\n")] = '\0';
}

#define MAX_ITEMS 16
struct items {
    struct MHD_OptionItem list[MAX_ITEMS];
    size_t count;
};

static void add_item(struct items *items, enum MHD_OPTION option,
                     intptr_t value, const void *ptr)
{
    bf_assert(items->count < MAX_ITEMS);
    items->list[items->count++] =
        (struct MHD_OptionItem){option, value, (void *)(uintptr_t)ptr};
}

static void make_items(struct bf_http *http, const struct bf_tls *tls,
                       int listen_fd, struct items *items)
{
    const struct bf_http_conf *conf = &http->conf;

    add_item(items, MHD_OPTION_LISTEN_SOCKET, listen_fd, NULL);
    add_item(items, MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, http);
    add_item(items, MHD_OPTION_CONNECTION_LIMIT, conf->max_connections, NULL);
    add_item(items, MHD_OPTION_CONNECTION_TIMEOUT, conf->timeout_s, NULL);
    if (conf->connections_per_ip > 0)
        add_item(items, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
                 conf->connections_per_ip, NULL);
    add_item(items, MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection,
             http);
    add_item(items, MHD_OPTION_CONNECTION_MEMORY_LIMIT, BF_HTTP_HEAD_BYTES,
             NULL);
    if (tls) {
        add_item(items, MHD_OPTION_HTTPS_MEM_KEY, 0, bf_tls_key(tls));
        add_item(items, MHD_OPTION_HTTPS_MEM_CERT, 0, bf_tls_cert(tls));
        add_item(items, MHD_OPTION_HTTPS_PRIORITIES, 0, TLS_PRIORITIES);
    }
    add_item(items, MHD_OPTION_END, 0, NULL);
}

static struct bf_tls *read_tls(const struct bf_http_conf *conf,
                               struct bf_err *err)
{
    if (MHD_is_feature_supported(MHD_FEATURE_TLS) == MHD_YES)
        return bf_tls_read(conf->tls_cert, conf->tls_key, err);
    bf_err_set(err, BF_ERR_FATAL, "tls",
               "dispatcher.tls_cert: this libmicrohttpd was built without TLS");
    return NULL;
}

/* Stops it, if it runs. */
static void daemon_free(struct daemon *daemon)
{
    if (!daemon)
        return;
    if (daemon->mhd)
        MHD_stop_daemon(daemon->mhd); /* closes its epoll_fd */
    bf_tls_free(daemon->tls);
    free(daemon);
}
BF_DEFINE_CLEANUP(daemon_freep, struct daemon *, daemon_free)

/*
 * Its own descriptor of the socket is libmicrohttpd's from the call on: most of
 * its failures close it and a few early ones do not, and one that is left open
 * is better than a stranger's that is closed.
 */
static int run_mhd(struct bf_http *http, struct daemon *daemon,
                   struct bf_err *err)
{
    unsigned flags =
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    int fd = fcntl(http->listener.fd, F_DUPFD_CLOEXEC, 0);
    const union MHD_DaemonInfo *info = NULL;
    struct items items = {.count = 0};

    if (fd < 0)
        return bf_err_set(err, BF_ERR_FATAL, "http", "listen: errno %d", errno);
    http->said[0] = '\0';
    make_items(http, daemon->tls, fd, &items);
    daemon->mhd = MHD_start_daemon(
        flags | (daemon->tls ? MHD_USE_TLS : 0), 0, on_accept, http, on_access,
        http, MHD_OPTION_EXTERNAL_LOGGER, on_complaint, http, MHD_OPTION_ARRAY,
        items.list, MHD_OPTION_END);
    if (daemon->mhd)
        info = MHD_get_daemon_info(daemon->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info)
        return bf_err_set(err, BF_ERR_FATAL, "http",
                          "libmicrohttpd does not start: %s%s", http->said,
                          daemon->tls ? " Are dispatcher.tls_cert and "
                                        "dispatcher.tls_key a certificate "
                                        "and its key in PEM?"
                                      : "");
    daemon->epoll_fd = info->epoll_fd;
    return 0;
}

/* It is the one that takes connections, if there is no error. */
static int start_daemon(struct bf_http *http, struct bf_err *err)
{
    bf_cleanup(daemon_freep) struct daemon *daemon = calloc(1, sizeof(*daemon));
    struct epoll_event event = {.events = EPOLLIN};

    if (!daemon)
        return bf_err_oom(err);
    if (http->conf.tls_cert) {
        daemon->tls = read_tls(&http->conf, err);
        if (!daemon->tls)
            return -1;
    }
    if (run_mhd(http, daemon, err))
        return -1;
    if (epoll_ctl(http->epoll_fd, EPOLL_CTL_ADD, daemon->epoll_fd, &event))
        return bf_err_set(err, BF_ERR_FATAL, "http", "epoll: errno %d", errno);
    daemon->before = http->daemon;
    http->daemon = bf_take(daemon);
    return 0;
}

static void quiesce(struct daemon *daemon)
{
    MHD_socket fd = MHD_quiesce_daemon(daemon->mhd);

    if (fd != MHD_INVALID_SOCKET)
        close(fd);
}

static bool is_idle(const struct daemon *daemon)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(daemon->mhd, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

    return info && info->num_connections == 0;
}

/* Those before the one that takes connections, once they have none. */
static void end_idle_daemons(struct bf_http *http)
{
    struct daemon **at;

    bf_assert(http->daemon);
    at = &http->daemon->before;
    while (*at) {
        struct daemon *daemon = *at;

        if (is_idle(daemon)) {
            *at = daemon->before;
            daemon_free(daemon);
        } else {
            at = &daemon->before;
        }
    }
}

int bf_http_renew(struct bf_http *http, struct bf_err *err)
{
    if (!http->tls_files ||
        !bf_tls_files_changed(http->tls_files, bf_mono_ms()))
        return 0;
    if (start_daemon(http, err))
        return -1;
    bf_tls_files_taken(http->tls_files);
    quiesce(http->daemon->before);
    return 1;
}

/* ---- life -----------------------------------------------------------------*/

static int open_tls_files(struct bf_http *http, struct bf_err *err)
{
    const struct bf_http_conf *conf = &http->conf;

    if (!conf->tls_cert)
        return 0;
    http->tls_files = bf_tls_files_new(conf->tls_cert, conf->tls_key, err);
    return http->tls_files ? 0 : -1;
}

static int open_epoll(struct bf_http *http, struct bf_err *err)
{
    http->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return http->epoll_fd >= 0 ? 0
                               : bf_err_set(err, BF_ERR_FATAL, "http",
                                            "epoll: errno %d", errno);
}

struct bf_http *bf_http_new(const struct bf_http_conf *conf, struct bf_err *err)
{
    bf_autohttp struct bf_http *http = calloc(1, sizeof(*http));

    if (!http) {
        bf_err_oom(err);
        return NULL;
    }
    http->conf = *conf;
    http->conf.listen = NULL;
    http->ops = *conf->ops;
    http->arg = conf->arg;
    http->max_body_bytes = conf->max_body_bytes;
    http->header_timeout_ms = conf->header_timeout_ms;
    http->bytes_per_s = (int64_t)conf->least_bytes_per_s;
    http->epoll_fd = http->listener.fd = -1;
    if (open_tls_files(http, err) || open_epoll(http, err) ||
        bf_listen(conf->listen, &http->listener, err) ||
        start_daemon(http, err))
        return NULL;
    return bf_take(http);
}

void bf_http_free(struct bf_http *http)
{
    if (!http)
        return;
    /* libmicrohttpd aborts when it is stopped with suspended connections. */
    for (struct bf_request *req = http->first; req; req = req->next)
        bf_request_resume(req);
    while (http->daemon) {
        struct daemon *before = http->daemon->before;

        daemon_free(http->daemon);
        http->daemon = before;
    }
    bf_assert(!http->first);
    bf_tls_files_free(http->tls_files);
    bf_closep_(&http->listener.fd);
    bf_closep_(&http->epoll_fd);
    free(http);
}

const char *bf_http_address(const struct bf_http *http)
{
    return http->listener.address;
}

bool bf_http_is_loopback(const struct bf_http *http)
{
    return http->listener.loopback;
}

int bf_http_fd(const struct bf_http *http)
{
    return http->epoll_fd;
}

int bf_http_timeout_ms(struct bf_http *http)
{
    MHD_UNSIGNED_LONG_LONG timeout, least = UINT64_MAX;

    /* libmicrohttpd 0.9.75 does not count what it was told to resume. */
    if (http->due)
        return 0;
    for (struct daemon *at = http->daemon; at; at = at->before) {
        if (MHD_get_timeout(at->mhd, &timeout) == MHD_YES && timeout < least)
            least = timeout;
    }
    if (least == UINT64_MAX)
        return -1;
    return least > 60000 ? 60000 : (int)least;
}

void bf_http_run(struct bf_http *http)
{
    bf_guard_tick(&http->guard, bf_mono_ms());
    http->due = false; /* what is resumed meanwhile is for the next run */
    for (struct daemon *at = http->daemon; at; at = at->before)
        MHD_run(at->mhd);
    end_idle_daemons(http);
}

void bf_http_quiesce(struct bf_http *http)
{
    quiesce(http->daemon);
    bf_closep_(&http->listener.fd);
    http->listener.fd = -1;
}

size_t bf_http_connections(const struct bf_http *http)
{
    return http->guard.count;
}

uint64_t bf_http_expired(const struct bf_http *http)
{
    return http->guard.expired;
}

size_t bf_http_active(const struct bf_http *http)
{
    return http->active;
}

size_t bf_http_held_bytes(const struct bf_http *http)
{
    return http->held_bytes;
}
