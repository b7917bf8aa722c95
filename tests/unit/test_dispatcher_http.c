#include "support.h"

#include <poll.h>
#include <sys/socket.h>

#include <arpa/inet.h>

#include "dispatcher/http.h"
#include "dispatcher/problem.h"

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

/* An answer that comes bit by bit; outlives its request. */
struct open_answer {
    const char *text; /* what there is of it */
    ssize_t last;     /* what is said when all of that was read */
    unsigned asked;
    bool freed;
};

static ssize_t open_read(void *arg, uint64_t pos, char *out, size_t size)
{
    struct open_answer *open = arg;
    struct bf_slice text = bf_slice_str(open->text + pos);

    open->asked++;
    if (text.len == 0)
        return open->last;
    assert_true(text.len <= size);
    memcpy(out, text.ptr, text.len);
    return (ssize_t)text.len;
}

static void open_free(void *arg)
{
    struct open_answer *open = arg;

    open->freed = true;
}

/* What comes until the server has no more to say for now. */
static void expect_text(struct app *app, int fd, char *text, size_t size,
                        const char *end)
{
    while (!strstr(text, end)) {
        size_t len = strlen(text);
        ssize_t n;

        bf_http_run(app->http);
        n = recv(fd, text + len, size - len - 1, MSG_DONTWAIT);
        assert_true(n != 0);
        if (n > 0)
            text[len + (size_t)n] = '\0';
    }
}

static void begin_open(struct app *app, struct open_answer *open, int *ret_fd)
{
    struct bf_answer answer = {
        .status = 200,
        .content_type = "application/json",
        .stream = {BF_ANSWER_OPEN, open_read, open_free, open},
    };

    start(app);
    *ret_fd = connected(app);
    send_text(*ret_fd,
              "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab");
    run_until(app, app->pieces > 0);
    bf_request_answer(app->req, &answer);
}

static void test_an_open_answer_waits_for_more(void **state)
{
    struct open_answer open = {.text = " "};
    char text[1024] = "";
    struct app app;
    unsigned asked;
    int fd;

    (void)state;
    begin_open(&app, &open, &fd);
    expect_text(&app, fd, text, sizeof(text), "\r\n\r\n1\r\n \r\n");
    assert_memory_equal(text, "HTTP/1.1 200", 12);
    /* Nobody asks again, however often the loop turns. */
    run_until(&app, open.asked >= 2);
    asked = open.asked;
    for (int i = 0; i < 10; i++)
        bf_http_run(app.http);
    assert_int_equal(open.asked, asked);

    open.text = "  ";
    bf_request_resume(app.req);
    assert_int_equal(bf_http_timeout_ms(app.http), 0);
    expect_text(&app, fd, text, sizeof(text), "1\r\n \r\n1\r\n \r\n");
    open.text = "  {}";
    open.last = BF_ANSWER_END;
    run_until(&app, open.asked > asked + 1);
    bf_request_resume(app.req);
    expect_text(&app, fd, text, sizeof(text), "2\r\n{}\r\n0\r\n\r\n");
    run_until(&app, app.gone);
    assert_true(open.freed);
    close(fd);
    bf_http_free(app.http);
}

static void test_an_open_answer_is_cut(void **state)
{
    struct open_answer open = {.text = " "};
    char text[1024] = "";
    struct app app;
    int fd;

    (void)state;
    begin_open(&app, &open, &fd);
    expect_text(&app, fd, text, sizeof(text), "1\r\n \r\n");
    run_until(&app, open.asked >= 2);
    open.last = -1;
    bf_request_resume(app.req);
    run_until(&app, app.gone);
    assert_true(open.freed);
    /* No last chunk: nobody takes it for whole. */
    assert_int_equal(recv(fd, text, sizeof(text), 0), 0);
    close(fd);
    bf_http_free(app.http);
}

static void test_an_open_answer_ends_with_the_server(void **state)
{
    struct open_answer open = {.text = " "};
    char text[1024] = "";
    struct app app;
    int fd;

    (void)state;
    begin_open(&app, &open, &fd);
    expect_text(&app, fd, text, sizeof(text), "1\r\n \r\n");
    run_until(&app, open.asked >= 2);
    bf_http_free(app.http);
    assert_true(app.gone && open.freed);
    close(fd);
}

static void test_a_plain_refusal_is_a_line(void **state)
{
    struct bf_problem problem;
    char text[1024] = "";
    struct app app;
    int fd;

    (void)state;
    start(&app);
    fd = connected(&app);
    send_text(fd, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab");
    run_until(&app, app.pieces > 0);
    bf_request_set_plain(app.req);
    bf_problem_set(&problem, BF_PROBLEM_FORBIDDEN, "x", "not \"yours\"");
    bf_request_refuse(app.req, &problem);
    expect_text(&app, fd, text, sizeof(text), "\r\n\r\nnot \"yours\"");
    assert_memory_equal(text, "HTTP/1.1 403", 12);
    assert_non_null(
        strstr(text, "Content-Type: text/plain; charset=utf-8\r\n"));
    close(fd);
    bf_http_free(app.http);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resumed_is_due_at_once),
        cmocka_unit_test(test_answered_later_is_due_at_once),
        cmocka_unit_test(test_an_open_answer_waits_for_more),
        cmocka_unit_test(test_an_open_answer_is_cut),
        cmocka_unit_test(test_an_open_answer_ends_with_the_server),
        cmocka_unit_test(test_a_plain_refusal_is_a_line),
        cmocka_unit_test(test_who_is_to_go_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
