#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <arpa/inet.h>

#include "dispatcher/cli/client.h"
#include "dispatcher/cli/upload.h"
#include "schemas/err.h"

/* ---- cutting ------------------------------------------------------------- */

static void test_parts(void **state)
{
    char text[] = "{1}\n\n \r\n{2}\r\n{3}";
    FILE *file = fmemopen(text, sizeof(text) - 1, "r");
    bf_autopart struct bf_part part;
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(bf_part_init(&part, &err), 0);
    assert_int_equal(bf_part_next(&part, file, &err), 1);
    assert_string_equal(part.bytes.data, "{1}\n{2}\r\n{3}\n");
    assert_int_equal(part.nlines, 3);
    assert_int_equal(part.numbers[0], 1);
    assert_int_equal(part.numbers[1], 4);
    assert_int_equal(part.numbers[2], 5);
    assert_int_equal(part.index, 0);
    assert_int_equal(bf_part_next(&part, file, &err), 0);
    fclose(file);
}

static void test_part_has_a_ceiling_of_lines(void **state)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1 << 20);
    bf_autopart struct bf_part part;
    struct bf_err err = {0};
    FILE *file;

    (void)state;
    for (unsigned i = 0; i < BF_PART_LINES + 5; i++)
        assert_int_equal(bf_buf_addf(&text, &err, "%u\n", i), 0);
    file = fmemopen(text.data, text.len, "r");
    assert_int_equal(bf_part_init(&part, &err), 0);
    assert_int_equal(bf_part_next(&part, file, &err), 1);
    assert_int_equal(part.nlines, BF_PART_LINES);
    assert_int_equal(bf_part_next(&part, file, &err), 1);
    assert_int_equal(part.nlines, 5);
    assert_int_equal(part.index, 1);
    assert_int_equal(part.numbers[0], BF_PART_LINES + 1);
    assert_memory_equal(part.bytes.data, "10000\n", 6);
    assert_int_equal(bf_part_next(&part, file, &err), 0);
    fclose(file);
}

/* ---- sending, to a server that follows a script -------------------------- */

struct server {
    pthread_t thread;
    int fd;
    char base[64];
    const char *const *replies; /* one per connection */
    size_t nreplies;
    char keys[8][64]; /* Idempotency-Key of each request */
    size_t served;
};

/* The whole request, as far as Content-Length says. */
static void take_request(struct server *server, int fd)
{
    char text[8192];
    size_t len = 0, want = sizeof(text) - 1;
    const char *at;

    while (len < want) {
        ssize_t got = read(fd, text + len, want - len);

        if (got <= 0)
            break;
        len += (size_t)got;
        text[len] = '\0';
        at = strstr(text, "\r\n\r\n");
        if (at) {
            const char *length = strstr(text, "Content-Length: ");
            size_t body = length ? strtoul(length + 16, NULL, 10) : 0;

            want = (size_t)(at - text) + 4 + body;
        }
    }
    text[len] = '\0';
    at = strstr(text, "Idempotency-Key: ");
    if (at)
        snprintf(server->keys[server->served], sizeof(server->keys[0]), "%.*s",
                 (int)strcspn(at + 17, "\r"), at + 17);
}

static void *serve(void *arg)
{
    struct server *server = arg;

    while (server->served < server->nreplies) {
        int fd = accept(server->fd, NULL, NULL);
        const char *reply = server->replies[server->served];

        if (fd < 0)
            break;
        take_request(server, fd);
        server->served++;
        if (write(fd, reply, strlen(reply)) < 0)
            server->served = server->nreplies;
        close(fd);
    }
    return NULL;
}

static void server_start(struct server *server, const char *const *replies,
                         size_t nreplies)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    memset(server, 0, sizeof(*server));
    server->replies = replies;
    server->nreplies = nreplies;
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(server->fd, 8), 0);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &len),
                     0);
    snprintf(server->base, sizeof(server->base), "http://127.0.0.1:%u/",
             ntohs(address.sin_port));
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_stop(struct server *server)
{
    shutdown(server->fd, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->fd);
}

#define REPLY(status, body)                                                    \
    "HTTP/1.1 " status "\r\nConnection: close\r\n\r\n" body

struct told {
    size_t accepted, refused;
    uint64_t last_refused;
    char problem[200];
};

static int on_answer(void *arg, const struct bf_answer *answer,
                     struct bf_err *err)
{
    struct told *told = arg;

    (void)err;
    if (answer->accepted) {
        told->accepted++;
        return 0;
    }
    told->refused++;
    told->last_refused = answer->number;
    snprintf(told->problem, sizeof(told->problem), "%s", answer->problem);
    return 0;
}

/* Send "{1}", blank, "{2}" to a server with these replies. */
static int send_two(const char *const *replies, size_t n, const char *key,
                    struct server *server, struct told *told,
                    struct bf_err *err)
{
    char text[] = "{1}\n\n{2}\n";
    FILE *file = fmemopen(text, sizeof(text) - 1, "r");
    bf_autoclient struct bf_client *client = NULL;
    bf_autopart struct bf_part part;
    int status;

    memset(told, 0, sizeof(*told));
    server_start(server, replies, n);
    client = bf_client_new(server->base, NULL, err);
    assert_non_null(client);
    assert_int_equal(bf_part_init(&part, err), 0);
    assert_int_equal(bf_part_next(&part, file, err), 1);
    status = bf_part_send(client, &part, key, on_answer, told, err);
    server_stop(server);
    fclose(file);
    return status;
}

#define TAKEN "{\"workspace\":\"w\",\"job\":\"a\",\"status\":\"waiting\"}\n"

static void test_sent_until_answered_for(void **state)
{
    static const char *const replies[] = {
        REPLY("503 No", "{\"title\":\"Not now\"}"),
        REPLY("200 OK", TAKEN), /* cut short */
        REPLY("200 OK", TAKEN "{\"status\":429,\"title\":\"Busy\"}\n"),
        REPLY("200 OK", TAKEN "{\"status\":400,\"title\":\"Bad\",\"detail\":"
                              "\"no block\",\"field\":\"block\"}\n"),
    };
    struct server server;
    struct told told;
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(send_two(replies, 4, NULL, &server, &told, &err), 0);
    assert_int_equal(server.served, 4);
    assert_int_equal(told.accepted, 1);
    assert_int_equal(told.refused, 1);
    assert_int_equal(told.last_refused, 3);
    assert_string_equal(told.problem, "block: no block");
    assert_int_equal(strlen(server.keys[0]), 32);
    for (size_t i = 1; i < 4; i++)
        assert_string_equal(server.keys[i], server.keys[0]);
}

static void test_answers_name_their_lines(void **state)
{
    static const char *const replies[] = {
        REPLY("200 OK",
              "{\"line\":1,\"status\":202,\"workspace\":\"w\",\"job\":\"b\"}\n"
              "{\"line\":0,\"status\":400,\"detail\":\"no block\"}\n"),
        REPLY("200 OK", "{\"line\":2,\"status\":202,\"job\":\"b\"}\n"),
    };
    struct server server;
    struct told told;
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(send_two(replies, 1, NULL, &server, &told, &err), 0);
    assert_int_equal(told.accepted, 1);
    assert_int_equal(told.last_refused, 1);
    assert_string_equal(told.problem, "no block");
    assert_int_equal(send_two(replies + 1, 1, NULL, &server, &told, &err), -1);
    assert_string_equal(err.code, "refused");
}

static void test_key_decides(void **state)
{
    static const char *const replies[] = {REPLY("200 OK", TAKEN TAKEN)};
    struct server one, same, other;
    struct told told;
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(send_two(replies, 1, "k", &one, &told, &err), 0);
    assert_int_equal(send_two(replies, 1, "k", &same, &told, &err), 0);
    assert_int_equal(send_two(replies, 1, "l", &other, &told, &err), 0);
    assert_string_equal(one.keys[0], same.keys[0]);
    assert_string_not_equal(one.keys[0], other.keys[0]);
}

static void test_refusal_of_the_whole(void **state)
{
    static const char *const replies[] = {
        REPLY("413 Large", "{\"title\":\"Too large\"}")};
    struct server server;
    struct told told;
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(send_two(replies, 1, NULL, &server, &told, &err), -1);
    assert_string_equal(err.code, "refused");
    assert_string_equal(err.msg, "HTTP 413: Too large");
}

static void test_paths_are_escaped(void **state)
{
    bf_autobuf struct bf_buf path = BF_BUF_INIT(256);
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(bf_client_segment(&path, "a/b c", &err), 0);
    assert_int_equal(bf_client_query(&path, "x", "1&2", &err), 0);
    assert_int_equal(bf_client_query(&path, "none", NULL, &err), 0);
    assert_int_equal(bf_client_query(&path, "y", "~", &err), 0);
    assert_string_equal(path.data, "/a%2Fb%20c?x=1%262&y=~");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_part_has_a_ceiling_of_lines),
        cmocka_unit_test(test_sent_until_answered_for),
        cmocka_unit_test(test_answers_name_their_lines),
        cmocka_unit_test(test_key_decides),
        cmocka_unit_test(test_refusal_of_the_whole),
        cmocka_unit_test(test_paths_are_escaped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
