#include "support.h"

#include <poll.h>
#include <sys/socket.h>

#include <arpa/inet.h>

#include "dispatcher/http.h"

#define HANG_MS 60000 /* ends a hang; no bound of the server's */

/* An application that takes nothing of a body until it is told to. */
struct app {
    struct bf_http *http;
    struct bf_request *req;
    bool takes;
    size_t pieces, bytes;
    bool gone;
};

static void on_begin(void *arg, struct bf_request *req)
{
    struct app *app = arg;

    app->req = req;
}

static size_t on_body(void *arg, struct bf_request *req, struct bf_slice piece)
{
    struct app *app = arg;

    (void)req;
    app->pieces++;
    if (!app->takes)
        return 0;
    app->bytes += piece.len;
    return piece.len;
}

static void on_end(void *arg, struct bf_request *req)
{
    struct bf_answer answer = {.status = 204};

    (void)arg;
    bf_request_answer(req, &answer);
}

static void on_gone(void *arg, struct bf_request *req)
{
    struct app *app = arg;

    (void)req;
    app->gone = true;
}

static void start(struct app *app)
{
    static const struct bf_http_ops ops = {
        .begin = on_begin, .body = on_body, .end = on_end, .gone = on_gone};
    const struct bf_http_conf conf = {.listen = "127.0.0.1:0",
                                      .max_connections = 4,
                                      .header_timeout_ms = HANG_MS,
                                      .timeout_s = HANG_MS / 1000,
                                      .max_body_bytes = 1024,
                                      .ops = &ops,
                                      .arg = app};
    struct bf_err err;

    *app = (struct app){.http = bf_http_new(&conf, &err)};
    assert_non_null(app->http);
}

static int connected(const struct app *app)
{
    const char *port = strrchr(bf_http_address(app->http), ':');
    struct sockaddr_in to = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)strtoul(port + 1, NULL, 10)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_return_code(fd, 0);
    assert_return_code(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), 0), strlen(text));
}

/* As a loop does, until something that has to come is there. */
#define run_until(app, condition)                                              \
    while (!(condition)) {                                                     \
        struct pollfd fd_ = {bf_http_fd((app)->http), POLLIN, 0};              \
        int timeout_ms_ = bf_http_timeout_ms((app)->http);                     \
                                                                               \
        if (timeout_ms_ != 0)                                                  \
            assert_int_equal(poll(&fd_, 1, HANG_MS), 1);                       \
        bf_http_run((app)->http);                                              \
    }

static void test_resumed_is_due_at_once(void **state)
{
    struct app app;
    int fd;

    (void)state;
    start(&app);
    fd = connected(&app);
    send_text(fd, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab");
    run_until(&app, app.pieces > 0);
    assert_int_not_equal(bf_http_timeout_ms(app.http), 0);

    app.takes = true;
    bf_request_resume(app.req);
    /* Nothing more comes from the client: nobody else wakes the loop. */
    assert_int_equal(bf_http_timeout_ms(app.http), 0);
    bf_http_run(app.http);
    assert_int_equal(app.bytes, 2);

    send_text(fd, "cd");
    run_until(&app, app.gone);
    assert_int_equal(app.bytes, 4);
    close(fd);
    bf_http_free(app.http);
}

static void test_answered_later_is_due_at_once(void **state)
{
    struct bf_answer answer = {.status = 204};
    struct app app;
    char text[64] = "";
    int fd;

    (void)state;
    start(&app);
    fd = connected(&app);
    send_text(fd, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab");
    run_until(&app, app.pieces > 0);
    bf_request_answer(app.req, &answer);
    assert_int_equal(bf_http_timeout_ms(app.http), 0);
    run_until(&app, app.gone);
    assert_true(recv(fd, text, sizeof(text) - 1, 0) > 0);
    assert_memory_equal(text, "HTTP/1.1 204", 12);
    close(fd);
    bf_http_free(app.http);
}

/* The answer to a GET on a connection that was open before. */
static void ask(struct app *app, int fd, char *out, size_t size)
{
    ssize_t n;

    app->gone = false;
    send_text(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    run_until(app, app->gone);
    n = recv(fd, out, size - 1, 0);
    assert_true(n > 0);
    out[n] = '\0';
}

static void test_who_is_to_go_is_told(void **state)
{
    char text[256];
    struct app app;
    int fd;

    (void)state;
    start(&app);
    fd = connected(&app);
    ask(&app, fd, text, sizeof(text));
    assert_null(strcasestr(text, "Connection: close"));
    bf_http_quiesce(app.http);
    ask(&app, fd, text, sizeof(text));
    assert_non_null(strcasestr(text, "Connection: close"));
    run_until(&app, bf_http_connections(app.http) == 0);
    assert_int_equal(recv(fd, text, sizeof(text), 0), 0);
    close(fd);
    bf_http_free(app.http);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resumed_is_due_at_once),
        cmocka_unit_test(test_answered_later_is_due_at_once),
        cmocka_unit_test(test_who_is_to_go_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
