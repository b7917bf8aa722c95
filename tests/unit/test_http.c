/*
 * The HTTP client against a server of our own on a free port, which does what
 * the path says. Real sockets, because delivery is about nothing else.
 */

#include "tests/unit/support.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>

#include "config/clock.h"
#include "config/secret.h"
#include "schemas/err.h"
#include "worker/http.h"

#define MAX_REPLY 65536
#define PATIENCE_MS 60000
#define MAX_CONNECTIONS 200

/* ---- the server ---- */

static struct {
    int listen_fd;
    char url[64];
    pthread_t acceptor;
    pthread_t threads[MAX_CONNECTIONS];
    atomic_int connections;
    atomic_int requests; /* whole ones, with their body */
    atomic_int closed;   /* connections that are over, whoever ended them */
    atomic_int body_ok;  /* of those, as pattern() has it */
    pthread_mutex_t head_lock;
    char head[4096]; /* the last one */
} server = {.head_lock = PTHREAD_MUTEX_INITIALIZER};

struct request {
    char head[4096];
    size_t head_len;
    size_t body_len;
    char path[64];
};

static char pattern(size_t i)
{
    return (char)('a' + i % 23);
}

/* Up to and with the empty line; false: the peer is gone. */
static bool read_head(int fd, struct request *ret)
{
    const char *length;

    *ret = (struct request){0};
    while (!strstr(ret->head, "\r\n\r\n")) {
        if (ret->head_len == sizeof(ret->head) - 1 ||
            read(fd, ret->head + ret->head_len, 1) != 1)
            return false;
        ret->head_len++;
    }
    length = strcasestr(ret->head, "content-length: ");
    ret->body_len = length ? strtoul(length + 16, NULL, 10) : 0;
    pthread_mutex_lock(&server.head_lock);
    memcpy(server.head, ret->head, sizeof(server.head));
    pthread_mutex_unlock(&server.head_lock);
    return sscanf(ret->head, "%*s %63s", ret->path) == 1;
}

static void last_head(char ret[sizeof(server.head)])
{
    pthread_mutex_lock(&server.head_lock);
    memcpy(ret, server.head, sizeof(server.head));
    pthread_mutex_unlock(&server.head_lock);
}

static bool read_body(int fd, const struct request *request)
{
    bool ok = true;

    for (size_t i = 0; i < request->body_len;) {
        char bytes[4096];
        size_t want = request->body_len - i;
        ssize_t n = read(fd, bytes, want < sizeof(bytes) ? want : 4096);

        if (n <= 0)
            return false;
        for (ssize_t k = 0; k < n; k++)
            ok = ok && bytes[k] == pattern(i + (size_t)k);
        i += (size_t)n;
    }
    server.body_ok += ok;
    server.requests++;
    return true;
}

static void say(int fd, const char *text)
{
    /* A peer that went away is some tests' point. */
    (void)!write(fd, text, strlen(text));
}

static void say_much(int fd, size_t bytes, const char *head)
{
    char chunk[1024];

    memset(chunk, 'x', sizeof(chunk));
    say(fd, head);
    for (size_t i = 0; i < bytes; i += sizeof(chunk)) {
        if (write(fd, chunk, sizeof(chunk)) < 0)
            return;
    }
}

static void say_headers(int fd, int lines)
{
    char line[1024];

    memset(line, 'x', sizeof(line));
    memcpy(line, "X-Long: ", 8);
    memcpy(line + sizeof(line) - 2, "\r\n", 2);
    say(fd, "HTTP/1.1 200 OK\r\nX-First: 1\r\nConnection: close\r\n");
    for (int i = 0; i < lines; i++) {
        if (write(fd, line, sizeof(line)) < 0)
            return;
    }
    say(fd, "Content-Length: 2\r\n\r\n{}");
}

static const struct {
    const char *path;
    const char *reply;
} replies[] = {
    {"/ok", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
            "Content-Type: application/json\r\n\r\n{}"},
    {"/ok_then_die", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"},
    {"/ok_and_close", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"},
    {"/cut", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"succ"},
    {"/busy", "HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\n"
              "Content-Length: 0\r\n\r\n"},
    {"/busy_for_ever", "HTTP/1.1 429 Too Many\r\nRetry-After: 2000000000\r\n"
                       "Content-Length: 0\r\n\r\n"},
    {"/moved", "HTTP/1.1 307 Moved\r\nLocation: /ok\r\n"
               "Content-Length: 0\r\n\r\n"},
    {"/early", "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"},
    {"/trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                  "X-Twice: a\r\nTrailer: grpc-status\r\n"
                  "X-Twice:   b \r\n\r\n"
                  "2\r\n{}\r\n0\r\nGrpc-Status: 5\r\n\r\n"},
    {"/continue", "HTTP/1.1 100 Continue\r\n\r\n"
                  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"},
};

/* One request; false: the connection is over. */
static bool answer(int fd, const struct request *request, bool *doomed)
{
    char byte;

    if (strcmp(request->path, "/early") != 0 && !read_body(fd, request))
        return false;
    if (*doomed)
        return false;
    *doomed = strcmp(request->path, "/ok_then_die") == 0;
    if (strcmp(request->path, "/unfinished") == 0)
        say_much(fd, 32768, "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n");
    if (strcmp(request->path, "/hang") == 0 ||
        strcmp(request->path, "/unfinished") == 0)
        return read(fd, &byte, 1) == 1; /* until the peer closes */
    if (strcmp(request->path, "/big") == 0)
        say_much(fd, MAX_REPLY + 4096,
                 "HTTP/1.1 200 OK\r\nContent-Length: 69632\r\n\r\n");
    if (strcmp(request->path, "/headers") == 0)
        say_headers(fd, 40);
    if (strcmp(request->path, "/endless_headers") == 0)
        say_headers(fd, 100000);
    if (strcmp(request->path, "/endless") == 0)
        say_much(fd, 1 << 20, "HTTP/1.1 200 OK\r\n\r\n");
    for (size_t i = 0; i < bf_countof(replies); i++) {
        if (strcmp(request->path, replies[i].path) == 0)
            say(fd, replies[i].reply);
    }
    return strcmp(request->path, "/ok") == 0 || *doomed ||
           strcmp(request->path, "/busy") == 0 ||
           strcmp(request->path, "/continue") == 0;
}

static void *serve_connection(void *arg)
{
    int fd = (int)(intptr_t)arg;
    struct request request;
    bool doomed = false;

    while (read_head(fd, &request) && answer(fd, &request, &doomed))
        ;
    close(fd);
    server.closed++;
    return NULL;
}

static void *serve(void *arg)
{
    int fd;

    (void)arg;
    while ((fd = accept(server.listen_fd, NULL, NULL)) >= 0) {
        /* Counted before it can answer: tests look once they are answered. */
        int i = server.connections++;

        bf_assert(i < MAX_CONNECTIONS);
        bf_assert(!pthread_create(&server.threads[i], NULL, serve_connection,
                                  (void *)(intptr_t)fd));
    }
    return NULL;
}

static int listen_anywhere(struct sockaddr_in *ret)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t len = sizeof(*ret);

    *ret = (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)ret, sizeof(*ret)), 0);
    assert_int_equal(listen(fd, 256), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &len), 0);
    return fd;
}

static int start_server(void **state)
{
    struct sockaddr_in address;

    (void)state;
    memset(&server, 0, sizeof(server));
    server.listen_fd = listen_anywhere(&address);
    snprintf(server.url, sizeof(server.url), "http://127.0.0.1:%d",
             ntohs(address.sin_port));
    assert_int_equal(pthread_create(&server.acceptor, NULL, serve, NULL), 0);
    return 0;
}

/* After the pool is gone, so that every connection ends. */
static int stop_server(void **state)
{
    (void)state;
    shutdown(server.listen_fd, SHUT_RDWR);
    pthread_join(server.acceptor, NULL);
    close(server.listen_fd);
    for (int i = 0; i < server.connections; i++)
        pthread_join(server.threads[i], NULL);
    return 0;
}

/* ---- the client's side ---- */

static struct bf_http_pool *new_pool_that_holds(size_t connections,
                                                size_t max_held_bytes)
{
    struct bf_http_config config = {.max_connections = connections,
                                    .max_reply_bytes = MAX_REPLY,
                                    .max_held_bytes = max_held_bytes,
                                    .connect_timeout_ms = 5000};
    struct bf_err err = {0};
    struct bf_http_pool *pool = bf_http_pool_new(&config, &err);

    assert_non_null(pool);
    return pool;
}

static struct bf_http_pool *new_pool(size_t connections)
{
    return new_pool_that_holds(connections, 0);
}

static struct bf_http_call *post(struct bf_http_pool *pool, const char *url,
                                 const struct bf_slice *body, size_t nbody)
{
    static const char *const headers[] = {"content-type: application/json"};
    struct bf_http_send what = {.url = url,
                                .headers = headers,
                                .nheaders = 1,
                                .body = body,
                                .nbody = nbody};
    struct bf_err err = {0};
    struct bf_http_call *call = bf_http_pool_send(pool, &what, pool, &err);

    if (!call)
        fail_msg("%s", err.msg);
    return call;
}

static const struct bf_slice little = LIT("abcdef");

static struct bf_http_call *post_path(struct bf_http_pool *pool,
                                      const char *path)
{
    char url[128];

    snprintf(url, sizeof(url), "%s%s", server.url, path);
    return post(pool, url, &little, 1);
}

/* One round of the loop; false when time is up. */
static bool turn(struct bf_http_pool *pool, int64_t until_ms)
{
    struct pollfd fd = {.fd = bf_http_pool_fd(pool), .events = POLLIN};
    struct bf_err err = {0};

    poll(&fd, 1, bf_http_pool_wait(pool, 20));
    assert_int_equal(bf_http_pool_serve(pool, &err), 0);
    return bf_mono_ms() < until_ms;
}

static struct bf_http_call *wait_done(struct bf_http_pool *pool,
                                      struct bf_http_done *ret)
{
    int64_t until = bf_mono_ms() + PATIENCE_MS;
    struct bf_http_call *call = NULL;

    while (!call && turn(pool, until))
        call = bf_http_pool_take(pool, ret);
    assert_non_null(call);
    assert_ptr_equal(ret->opaque, pool);
    return call;
}

static void wait_count(struct bf_http_pool *pool, atomic_int *count, int want)
{
    int64_t until = bf_mono_ms() + PATIENCE_MS;

    while (*count < want && turn(pool, until))
        ;
    assert_int_equal(*count, want);
}

/* One call from start to end. */
static void expect(struct bf_http_pool *pool, const char *path,
                   enum bf_http_end end, int status)
{
    struct bf_http_done done;
    struct bf_http_call *call;

    post_path(pool, path);
    call = wait_done(pool, &done);
    assert_int_equal(done.end, end);
    assert_int_equal(done.status, status);
    assert_int_equal(end == BF_HTTP_ANSWERED, done.error[0] == '\0');
    bf_http_call_free(call);
    assert_int_equal(bf_http_pool_active(pool), 0);
    assert_int_equal(bf_http_pool_bytes(pool), 0);
}

/* ---- tests ---- */

static void test_kept_alive(void **state)
{
    struct bf_http_pool *pool = new_pool(4);

    (void)state;
    for (int i = 0; i < 5; i++)
        expect(pool, "/ok", BF_HTTP_ANSWERED, 200);
    assert_int_equal(server.connections, 1);
    assert_int_equal(server.requests, 5);
    bf_http_pool_free(pool);
}

static void test_answer_is_told(void **state)
{
    struct bf_http_pool *pool = new_pool(4);
    struct bf_http_done done;
    struct bf_http_call *call;

    (void)state;
    post_path(pool, "/ok");
    call = wait_done(pool, &done);
    assert_slice(done.body, "{}");
    assert_slice(bf_http_header(done.headers, "content-type"),
                 "application/json");
    assert_null(bf_http_header(done.headers, "location").ptr);
    assert_int_equal(done.retry_after_ms, 0);
    bf_http_call_free(call);

    post_path(pool, "/busy");
    call = wait_done(pool, &done);
    assert_int_equal(done.status, 429);
    assert_int_equal(done.retry_after_ms, 7000);
    bf_http_call_free(call);

    post_path(pool, "/busy_for_ever");
    call = wait_done(pool, &done);
    assert_int_equal(done.retry_after_ms, BF_HTTP_RETRY_AFTER_MAX_MS);
    bf_http_call_free(call);
    bf_http_pool_free(pool);
}

static void test_redirect_is_not_followed(void **state)
{
    struct bf_http_pool *pool = new_pool(4);
    struct bf_http_done done;
    struct bf_http_call *call;

    (void)state;
    post_path(pool, "/moved");
    call = wait_done(pool, &done);
    assert_int_equal(done.status, 307);
    assert_slice(bf_http_header(done.headers, "location"), "/ok");
    assert_int_equal(server.requests, 1);
    bf_http_call_free(call);
    bf_http_pool_free(pool);
}

static void test_slices_are_one_body(void **state)
{
    enum { BYTES = 300000 };
    struct bf_http_pool *pool = new_pool(4);
    char *bytes = malloc(BYTES);
    struct bf_http_done done;
    struct bf_http_call *call;
    char url[128];

    (void)state;
    assert_non_null(bytes);
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = pattern(i);
    snprintf(url, sizeof(url), "%s/ok", server.url);
    post(pool, url,
         (const struct bf_slice[]){{bytes, 5},
                                   {NULL, 0},
                                   {bytes + 5, 200000},
                                   {bytes + 200005, BYTES - 200005}},
         4);
    call = wait_done(pool, &done);
    assert_int_equal(done.status, 200);
    assert_int_equal(server.body_ok, 1);
    bf_http_call_free(call);
    free(bytes);
    bf_http_pool_free(pool);
}

static void test_empty_body(void **state)
{
    struct bf_http_pool *pool = new_pool(4);
    struct bf_http_done done;
    struct bf_http_call *call;
    char url[128];

    (void)state;
    snprintf(url, sizeof(url), "%s/die", server.url);
    post(pool, url, NULL, 0);
    call = wait_done(pool, &done);
    /* There was no body to hold back: the request itself was all. */
    assert_int_equal(done.end, BF_HTTP_LOST);
    bf_http_call_free(call);
    bf_http_pool_free(pool);
}

/* The crucial one: a POST whose reused connection dies is not sent again. */
static void test_dead_connection_is_not_used_twice(void **state)
{
    struct bf_http_pool *pool = new_pool(4);

    (void)state;
    expect(pool, "/ok_then_die", BF_HTTP_ANSWERED, 200);
    expect(pool, "/ok", BF_HTTP_LOST, 0);
    /* libcurl may have connected anew by then, but nothing went there */
    assert_int_equal(server.requests, 2);
    /* and the next one finds a new connection */
    expect(pool, "/ok", BF_HTTP_ANSWERED, 200);
    assert_int_equal(server.requests, 3);
    bf_http_pool_free(pool);
}

static void test_connection_closed_while_idle(void **state)
{
    struct bf_http_pool *pool = new_pool(4);

    (void)state;
    expect(pool, "/ok_and_close", BF_HTTP_ANSWERED, 200);
    wait_count(pool, &server.closed, 1);
    expect(pool, "/ok", BF_HTTP_ANSWERED, 200);
    assert_int_equal(server.connections, 2);
    assert_int_equal(server.requests, 2);
    bf_http_pool_free(pool);
}

static void test_lost(void **state)
{
    struct bf_http_pool *pool = new_pool(4);

    (void)state;
    expect(pool, "/die", BF_HTTP_LOST, 0);
    assert_int_equal(server.requests, 1);
    expect(pool, "/cut", BF_HTTP_LOST, 200);
    bf_http_pool_free(pool);
}

static void test_unsent(void **state)
{
    struct bf_http_pool *pool = new_pool(4);
    struct sockaddr_in nobody;
    struct bf_http_done done;
    struct bf_http_call *call;
    char url[128];

    (void)state;
    close(listen_anywhere(&nobody));
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/", ntohs(nobody.sin_port));
    post(pool, url, &little, 1);
    call = wait_done(pool, &done);
    assert_int_equal(done.end, BF_HTTP_UNSENT);
    assert_true(done.error[0]);
    bf_http_call_free(call);
    bf_http_pool_free(pool);
}

static void test_tls_failure_is_unsent(void **state)
{
    struct bf_http_pool *pool = new_pool(4);
    struct sockaddr_in address;
    int fd = listen_anywhere(&address), peer;
    struct bf_http_done done;
    struct bf_http_call *call;
    char url[128];

    (void)state;
    snprintf(url, sizeof(url), "https://127.0.0.1:%d/",
             ntohs(address.sin_port));
    post(pool, url, &little, 1);
    assert_true(turn(pool, INT64_MAX));
    peer = accept(fd, NULL, NULL);
    say(peer, "HTTP/1.1 400 Bad Request\r\n\r\n");
    call = wait_done(pool, &done);
    assert_int_equal(done.end, BF_HTTP_UNSENT);
    bf_http_call_free(call);
    close(peer);
    close(fd);
    bf_http_pool_free(pool);
}

/* Who waits for somebody else's connection does not wait for its own turn. */
static void test_tls_fails_for_all_at_once(void **state)
{
    struct bf_http_pool *pool = new_pool(64);
    struct sockaddr_in address;
    int fd = listen_anywhere(&address), peer;
    struct bf_http_done done;
    struct bf_http_call *call;
    char url[128];

    (void)state;
    snprintf(url, sizeof(url), "https://127.0.0.1:%d/",
             ntohs(address.sin_port));
    for (int i = 0; i < 3; i++)
        post(pool, url, &little, 1);
    assert_true(turn(pool, INT64_MAX));
    peer = accept(fd, NULL, NULL);
    say(peer, "HTTP/1.1 400 Bad Request\r\n\r\n");
    call = wait_done(pool, &done);
    for (int i = 0; i < 3; i++) {
        assert_non_null(call);
        assert_int_equal(done.end, BF_HTTP_UNSENT);
        bf_http_call_free(call);
        call = bf_http_pool_take(pool, &done);
    }
    assert_null(call);
    assert_int_equal(bf_http_pool_active(pool), 0);
    close(peer);
    close(fd);
    bf_http_pool_free(pool);
}

/* Each of these is small enough; together they are not. */
static void test_ceiling_of_all(void **state)
{
    const size_t max = 100000;
    struct bf_http_pool *pool = new_pool_that_holds(64, max);
    struct bf_http_done done;
    struct bf_http_call *call;

    (void)state;
    for (int i = 0; i < 5; i++)
        post_path(pool, "/unfinished");
    for (int i = 0; i < 3; i++) {
        call = wait_done(pool, &done);
        assert_int_equal(done.end, BF_HTTP_TOO_LARGE);
        assert_int_equal(done.status, 200);
        assert_int_equal(done.body.len, 0);
        bf_http_call_free(call);
        assert_true(bf_http_pool_bytes(pool) <= max);
    }
    assert_int_equal(bf_http_pool_active(pool), 2);
    post_path(pool, "/ok");
    call = wait_done(pool, &done);
    assert_int_equal(done.end, BF_HTTP_ANSWERED);
    bf_http_call_free(call);
    bf_http_pool_free(pool);
}

static void test_ceiling(void **state)
{
    struct bf_http_pool *pool = new_pool(4);

    (void)state;
    expect(pool, "/big", BF_HTTP_TOO_LARGE, 200);
    expect(pool, "/endless", BF_HTTP_TOO_LARGE, 200);
    bf_http_pool_free(pool);
}

static void test_early_answer(void **state)
{
    struct bf_http_pool *pool = new_pool(4);

    (void)state;
    expect(pool, "/early", BF_HTTP_ANSWERED, 413);
    bf_http_pool_free(pool);
}

static void test_interim_answer(void **state)
{
    struct bf_http_pool *pool = new_pool(4);

    (void)state;
    expect(pool, "/continue", BF_HTTP_ANSWERED, 200);
    bf_http_pool_free(pool);
}

static void test_cancel_aborts(void **state)
{
    struct bf_http_pool *pool = new_pool(1);
    struct bf_http_call *hanging = post_path(pool, "/hang"), *waiting;

    (void)state;
    wait_count(pool, &server.requests, 1);
    /* There is one connection, and it is taken. */
    waiting = post_path(pool, "/ok");
    assert_true(turn(pool, INT64_MAX));
    assert_int_equal(bf_http_pool_active(pool), 2);
    assert_int_equal(bf_http_call_cancel(waiting), BF_HTTP_UNSENT);
    assert_int_equal(bf_http_call_cancel(hanging), BF_HTTP_LOST);
    wait_count(pool, &server.closed, 1);
    assert_int_equal(bf_http_pool_active(pool), 0);
    expect(pool, "/ok", BF_HTTP_ANSWERED, 200);
    assert_int_equal(server.requests, 2);
    bf_http_pool_free(pool);
}

/* Finished and not yet taken: calls that a shard took with it. */
static void test_cancel_finished(void **state)
{
    struct bf_http_pool *pool = new_pool(2);
    struct bf_http_call *calls[] = {
        post_path(pool, "/ok"), post_path(pool, "/ok"), post_path(pool, "/ok")};
    int64_t until = bf_mono_ms() + PATIENCE_MS;
    struct bf_http_done done;

    (void)state;
    while (bf_http_pool_active(pool) > 0 && turn(pool, until))
        ;
    assert_true(bf_http_pool_bytes(pool) > 0);
    assert_int_equal(bf_http_pool_wait(pool, 1000), 0);
    assert_int_equal(bf_http_call_cancel(calls[1]), BF_HTTP_LOST);
    for (int i = 0; i < 2; i++) {
        struct bf_http_call *call = bf_http_pool_take(pool, &done);

        assert_true(call == calls[0] || call == calls[2]);
        bf_http_call_free(call);
    }
    assert_null(bf_http_pool_take(pool, &done));
    assert_int_equal(bf_http_pool_bytes(pool), 0);
    bf_http_pool_free(pool);
}

static void test_connections_are_bounded(void **state)
{
    struct bf_http_pool *pool = new_pool(3);
    struct bf_http_done done;

    (void)state;
    for (int i = 0; i < 20; i++)
        post_path(pool, "/ok");
    for (int i = 0; i < 20; i++) {
        struct bf_http_call *call = wait_done(pool, &done);

        assert_int_equal(done.status, 200);
        bf_http_call_free(call);
    }
    assert_in_range(server.connections, 1, 3);
    assert_int_equal(server.requests, 20);
    bf_http_pool_free(pool);
}

/* More than one of curl's handles takes: the rest goes to the next one. */
static void test_many_at_once(void **state)
{
    enum { CALLS = 150 };
    struct bf_http_pool *pool = new_pool(192);
    struct bf_http_call *calls[CALLS];

    (void)state;
    for (int i = 0; i < CALLS; i++)
        calls[i] = post_path(pool, "/hang");
    wait_count(pool, &server.requests, CALLS);
    assert_int_equal(bf_http_pool_active(pool), CALLS);
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(bf_http_call_cancel(calls[i]), BF_HTTP_LOST);
    assert_int_equal(bf_http_pool_active(pool), 0);
    for (int i = 0; i < 5; i++)
        expect(pool, "/ok", BF_HTTP_ANSWERED, 200);
    /* one connection for all of these */
    assert_int_equal(server.connections, CALLS + 1);
    bf_http_pool_free(pool);
}

static void test_many_are_bounded(void **state)
{
    enum { CALLS = 300 };
    struct bf_http_pool *pool = new_pool(130);
    struct bf_http_done done;

    (void)state;
    for (int i = 0; i < CALLS; i++)
        post_path(pool, "/ok");
    for (int i = 0; i < CALLS; i++) {
        struct bf_http_call *call = wait_done(pool, &done);

        assert_int_equal(done.status, 200);
        bf_http_call_free(call);
    }
    assert_in_range(server.connections, 1, 130);
    assert_int_equal(server.requests, CALLS);
    bf_http_pool_free(pool);
}

/* To a TLS server that never answers: the first sets up, the others wait. */
static void test_waiting_for_a_connection(void **state)
{
    enum { CALLS = 20 };
    struct bf_http_pool *pool = new_pool(64);
    struct bf_http_call *calls[CALLS];
    struct sockaddr_in address;
    int fd = listen_anywhere(&address), peer;
    struct bf_http_done done;
    char url[128];

    (void)state;
    snprintf(url, sizeof(url), "https://127.0.0.1:%d/",
             ntohs(address.sin_port));
    for (int i = 0; i < CALLS; i++)
        calls[i] = post(pool, url, &little, 1);
    assert_int_equal(bf_http_pool_active(pool), CALLS);
    assert_true(turn(pool, INT64_MAX));
    peer = accept(fd, NULL, NULL);
    assert_true(peer >= 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 5; i++)
        assert_true(turn(pool, INT64_MAX));
    assert_int_equal(accept(fd, NULL, NULL), -1);
    /* one that waits, and the one that they wait for */
    assert_int_equal(bf_http_call_cancel(calls[7]), BF_HTTP_UNSENT);
    assert_int_equal(bf_http_call_cancel(calls[0]), BF_HTTP_UNSENT);
    close(peer);
    close(fd);
    for (int i = 0; i < CALLS - 2; i++) {
        struct bf_http_call *call = wait_done(pool, &done);

        assert_int_equal(done.end, BF_HTTP_UNSENT);
        bf_http_call_free(call);
    }
    assert_int_equal(bf_http_pool_active(pool), 0);
    bf_http_pool_free(pool);
}

static void test_free_aborts(void **state)
{
    struct bf_http_pool *pool = new_pool(4);

    (void)state;
    post_path(pool, "/hang");
    wait_count(pool, &server.requests, 1);
    bf_http_pool_free(pool); /* stop_server() waits for the connection */
}

static void test_refused_at_once(void **state)
{
    struct bf_http_pool *pool = new_pool(4);
    static const char *const split[] = {"a: b\r\nc: d"};
    struct bf_http_send bad_url = {.url = "ftp://127.0.0.1/"};
    struct bf_http_send no_url = {.url = "http://"};
    struct bf_http_send bad_header = {
        .url = server.url, .headers = split, .nheaders = 1};
    struct bf_err err = {0};

    (void)state;
    assert_null(bf_http_pool_send(pool, &bad_url, NULL, &err));
    assert_string_equal(err.code, "bad_url");
    assert_null(bf_http_pool_send(pool, &no_url, NULL, &err));
    assert_string_equal(err.code, "bad_url");
    assert_null(bf_http_pool_send(pool, &bad_header, NULL, &err));
    assert_string_equal(err.code, "bad_header");
    bf_http_pool_free(pool);
}

/* ---- requests that are no plain POST ---- */

static void ask(struct bf_http_pool *pool, const char *path,
                struct bf_http_send *what, struct bf_http_done *ret)
{
    char url[128];
    struct bf_err err = {0};

    snprintf(url, sizeof(url), "%s%s", server.url, path);
    what->url = url;
    if (!bf_http_pool_send(pool, what, pool, &err))
        fail_msg("%s", err.msg);
    bf_http_call_free(wait_done(pool, ret));
}

static const struct {
    enum bf_method method;
    const char *line;
    bool body;
} methods[] = {
    {BF_GET, "GET /ok HTTP/1.1", false},
    {BF_DELETE, "DELETE /ok HTTP/1.1", false},
    {BF_PUT, "PUT /ok HTTP/1.1", true},
    {BF_PATCH, "PATCH /ok HTTP/1.1", true},
    {BF_POST, "POST /ok HTTP/1.1", true},
};

static void test_methods(void **state)
{
    struct bf_http_pool *pool = new_pool(4);

    (void)state;
    for (size_t i = 0; i < bf_countof(methods); i++) {
        struct bf_http_send what = {.method = methods[i].method,
                                    .body = &little,
                                    .nbody = methods[i].body ? 1 : 0};
        struct bf_http_done done;
        char head[sizeof(server.head)];

        ask(pool, "/ok", &what, &done);
        last_head(head);
        assert_int_equal(done.end, BF_HTTP_ANSWERED);
        assert_memory_equal(head, methods[i].line, strlen(methods[i].line));
        assert_int_equal(strcasestr(head, "content-length: 6") != NULL,
                         methods[i].body);
        assert_null(strcasestr(head, "content-type:"));
    }
    assert_int_equal(server.connections, 1);
    bf_http_pool_free(pool);
}

/* Of several, the last one; trailers are headers that come late. */
static void test_headers_and_trailers(void **state)
{
    struct bf_http_pool *pool = new_pool(4);
    struct bf_http_done done;
    struct bf_http_call *call;

    (void)state;
    post_path(pool, "/trailers");
    call = wait_done(pool, &done);
    assert_slice(done.body, "{}");
    assert_slice(bf_http_header(done.headers, "x-twice"), "b");
    assert_slice(bf_http_header(done.headers, "grpc-status"), "5");
    assert_null(bf_http_header(done.headers, "grpc").ptr);
    bf_http_call_free(call);
    bf_http_pool_free(pool);
}

static void test_many_headers(void **state)
{
    struct bf_http_pool *pool = new_pool(4);
    struct bf_http_done done;
    struct bf_http_call *call;

    (void)state;
    post_path(pool, "/headers");
    call = wait_done(pool, &done);
    assert_int_equal(done.end, BF_HTTP_ANSWERED);
    assert_slice(bf_http_header(done.headers, "x-first"), "1");
    assert_in_range(done.headers.len, 1, BF_HTTP_HEADER_BYTES);
    bf_http_call_free(call);
    expect(pool, "/endless_headers", BF_HTTP_TOO_LARGE, 200);
    bf_http_pool_free(pool);
}

static void test_ceiling_of_one_call(void **state)
{
    struct bf_http_pool *pool = new_pool(4);
    struct bf_http_send what = {.method = BF_GET, .max_reply_bytes = 1};
    struct bf_http_done done;

    (void)state;
    ask(pool, "/ok", &what, &done);
    assert_int_equal(done.end, BF_HTTP_TOO_LARGE);
    bf_http_pool_free(pool);
}

static void test_secrets(void **state)
{
    struct bf_http_pool *pool = new_pool(4);
    struct bf_err err = {0};
    bf_autosecret struct bf_secret *here =
        bf_secret_new(S("s3cr3t"), server.url, &err);
    bf_autosecret struct bf_secret *elsewhere =
        bf_secret_new(S("0ther"), "https://api.example", &err);
    struct bf_secret_header header = {"authorization", "Bearer ", here};
    struct bf_http_send what = {
        .method = BF_GET, .secrets = &header, .nsecrets = 1};
    struct bf_http_done done;
    char head[sizeof(server.head)];

    (void)state;
    ask(pool, "/ok", &what, &done);
    last_head(head);
    assert_non_null(strstr(head, "authorization: Bearer s3cr3t\r\n"));
    header.secret = elsewhere;
    what.url = server.url;
    assert_null(bf_http_pool_send(pool, &what, NULL, &err));
    assert_string_equal(err.code, "bad_origin");
    assert_null(strstr(err.msg, "0ther"));
    bf_http_pool_free(pool);
}

/* It says itself that it may be sent twice. */
static void test_idempotent_is_sent_again(void **state)
{
    struct bf_http_pool *pool = new_pool(4);
    struct bf_http_send what = {
        .body = &little, .nbody = 1, .idempotent = true};
    struct bf_http_done done;

    (void)state;
    expect(pool, "/ok_then_die", BF_HTTP_ANSWERED, 200);
    ask(pool, "/ok", &what, &done);
    assert_int_equal(done.end, BF_HTTP_ANSWERED);
    assert_int_equal(server.requests, 3);
    bf_http_pool_free(pool);
}

#define T(f) cmocka_unit_test_setup_teardown(f, start_server, stop_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_kept_alive),
        T(test_answer_is_told),
        T(test_redirect_is_not_followed),
        T(test_slices_are_one_body),
        T(test_empty_body),
        T(test_dead_connection_is_not_used_twice),
        T(test_connection_closed_while_idle),
        T(test_lost),
        T(test_unsent),
        T(test_tls_failure_is_unsent),
        T(test_ceiling),
        T(test_tls_fails_for_all_at_once),
        T(test_ceiling_of_all),
        T(test_early_answer),
        T(test_interim_answer),
        T(test_cancel_aborts),
        T(test_cancel_finished),
        T(test_connections_are_bounded),
        T(test_many_at_once),
        T(test_many_are_bounded),
        T(test_waiting_for_a_connection),
        T(test_free_aborts),
        T(test_refused_at_once),
        T(test_methods),
        T(test_headers_and_trailers),
        T(test_many_headers),
        T(test_ceiling_of_one_call),
        T(test_secrets),
        T(test_idempotent_is_sent_again),
    };

    signal(SIGPIPE, SIG_IGN);
    /* The environment's proxies are not ours. */
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
