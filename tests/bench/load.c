/*
 * Jobs over HTTP, over connections that stay: a dispatcher's clients.
 *   bench-load url=HOST:PORT mode=single|lines jobs=N [bytes=1024]
 *              [connections=32] [lines=1000]
 * single: a job a POST. lines: NDJSON uploads. Counts what was acknowledged,
 * job by job; anything else ends it. One thread.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "config/clock.h"
#include "schemas/buf.h"
#include "schemas/check.h"
#include "tests/bench/bench.h"

#define MAX_CONNECTIONS 512
#define MAX_ANSWER (64U << 20)
#define WORKSPACES 50

struct connection {
    int fd;
    const struct bf_buf *request; /* NULL: idle */
    size_t sent;
    struct bf_buf answer;
};

struct load {
    struct sockaddr_in address;
    struct bf_buf *requests; /* whole ones, taken in turn */
    size_t nrequests, next;
    int64_t jobs_each, asked, acked, want;
    struct connection connections[MAX_CONNECTIONS];
    int64_t nconnections;
    int epoll_fd;
};

/* ---- what is sent
 * ----------------------------------------------------------*/

static void must(int rc)
{
    if (rc)
        bench_die("a buffer is too small, or there is no memory");
}

static void add_job(struct bf_buf *out, int64_t number, size_t bytes)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    must(bf_buf_addf(out, NULL,
                     "{\"workspace\":\"ws-%" PRId64 "\",\"block\":{"
                     "\"run_function_code\":\"def run(self, frame):\\n    "
                     "return {'frame': frame}\\n\",\"block_type\":\"echo\"},"
                     "\"inputs\":{\"frame\":\"",
                     number % WORKSPACES));
    must(bf_buf_reserve(out, bytes, NULL));
    bytes -= strlen("{\"frame\":\"\"}");
    randombytes_buf(out->data + out->len, bytes);
    for (size_t i = 0; i < bytes; i++, out->len++)
        out->data[out->len] = letters[(unsigned char)out->data[out->len] % 64];
    must(bf_buf_adds(out, "\"}}\n", NULL));
}

static void make_request(struct load *load, struct bf_buf *ret, int64_t lines,
                         size_t bytes, int64_t first)
{
    bf_autobuf struct bf_buf body = BF_BUF_INIT(256U << 20);
    const char *type = lines > 1 ? "application/x-ndjson" : "application/json";

    for (int64_t i = 0; i < lines; i++)
        add_job(&body, first + i, bytes);
    *ret = (struct bf_buf)BF_BUF_INIT(256U << 20);
    must(bf_buf_addf(ret, NULL,
                     "POST /v1/jobs HTTP/1.1\r\nHost: bench\r\n"
                     "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n",
                     type, body.len));
    must(bf_buf_add(ret, body.data, body.len, NULL));
    load->jobs_each = lines;
}

/* ---- what comes back
 * -------------------------------------------------------*/

/* Where the answer's head ends; 0: not all of it is here. */
static size_t head_of(const struct bf_buf *answer)
{
    const char *end =
        answer->len ? memmem(answer->data, answer->len, "\r\n\r\n", 4) : NULL;

    return end ? (size_t)(end - answer->data) + 4 : 0;
}

static bool is_whole(const struct bf_buf *answer)
{
    static const char length[] = "\r\nContent-Length: ";
    size_t head = head_of(answer), digits = 0;
    const char *at =
        head ? memmem(answer->data, head, length, strlen(length)) : NULL;
    uint64_t bytes;

    if (!head)
        return false;
    if (!at) /* chunked */
        return answer->len >= head + 5 &&
               memcmp(answer->data + answer->len - 5, "0\r\n\r\n", 5) == 0;
    at += strlen(length);
    while (at[digits] >= '0' && at[digits] <= '9')
        digits++;
    if (bf_slice_u64((struct bf_slice){at, digits}, MAX_ANSWER, &bytes))
        bench_die("no length in the answer");
    return answer->len >= head + bytes;
}

/* Jobs that this answer acknowledges: all that were asked for, or the end. */
static int64_t acknowledged(const struct load *load,
                            const struct bf_buf *answer)
{
    static const char accepted[] = "\"status\":202";
    const char *at = answer->data, *end = answer->data + answer->len;
    int64_t count = 0;

    if (load->jobs_each == 1)
        count = strncmp(at, "HTTP/1.1 202", 12) == 0;
    for (; load->jobs_each > 1; count++) {
        at = memmem(at, (size_t)(end - at), accepted, strlen(accepted));
        if (!at)
            break;
        at += strlen(accepted);
    }
    if (count != load->jobs_each)
        bench_die("%" PRId64 " of %" PRId64 " jobs were accepted:\n%.2000s",
                  count, load->jobs_each, answer->data);
    return count;
}

/* ---- connections
 * -----------------------------------------------------------*/

static void watch(const struct load *load, struct connection *c, int how,
                  uint32_t events)
{
    struct epoll_event event = {.events = events, .data = {.ptr = c}};

    if (epoll_ctl(load->epoll_fd, how, c->fd, &event))
        bench_die("epoll: %s", strerrorname_np(errno));
}

static void send_on(const struct load *load, struct connection *c)
{
    size_t left = c->request->len - c->sent;
    ssize_t n = send(c->fd, c->request->data + c->sent, left, MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN)
        bench_die("send: %s", strerrorname_np(errno));
    c->sent += n > 0 ? (size_t)n : 0;
    if (c->sent == c->request->len)
        watch(load, c, EPOLL_CTL_MOD, EPOLLIN);
}

static void next_request(struct load *load, struct connection *c)
{
    c->request = NULL;
    bf_buf_clear(&c->answer);
    if (load->asked >= load->want)
        return;
    load->asked += load->jobs_each;
    c->request = &load->requests[load->next++ % load->nrequests];
    c->sent = 0;
    watch(load, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    send_on(load, c);
}

static void receive(struct load *load, struct connection *c)
{
    ssize_t n;

    must(bf_buf_reserve(&c->answer, 65536, NULL));
    n = recv(c->fd, c->answer.data + c->answer.len, 65536, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        bench_die("a connection was closed: %.1000s", c->answer.data);
    c->answer.len += n > 0 ? (size_t)n : 0;
    c->answer.data[c->answer.len] = '\0';
    if (!c->request || c->sent < c->request->len || !is_whole(&c->answer))
        return;
    load->acked += acknowledged(load, &c->answer);
    next_request(load, c);
}

static void connect_all(struct load *load)
{
    const int on = 1;

    load->epoll_fd = epoll_create1(0);
    for (int64_t i = 0; i < load->nconnections; i++) {
        struct connection *c = &load->connections[i];

        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        c->answer = (struct bf_buf)BF_BUF_INIT(MAX_ANSWER);
        if (connect(c->fd, (struct sockaddr *)&load->address,
                    sizeof(load->address)))
            bench_die("connect: %s", strerrorname_np(errno));
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        watch(load, c, EPOLL_CTL_ADD, 0);
    }
}

static void run(struct load *load)
{
    struct epoll_event events[64];

    for (int64_t i = 0; i < load->nconnections; i++)
        next_request(load, &load->connections[i]);
    while (load->acked < load->want) {
        int n = epoll_wait(load->epoll_fd, events, bf_countof(events), 30000);

        if (n <= 0)
            bench_die("nothing came for 30 s");
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;

            if (c->request && (events[i].events & EPOLLOUT))
                send_on(load, c);
            if (events[i].events & ~(uint32_t)EPOLLOUT)
                receive(load, c);
        }
    }
}

/* ---- main
 * ------------------------------------------------------------------*/

static void read_address(struct load *load, const char *url)
{
    const char *colon = strrchr(url, ':');
    char host[64];
    uint64_t port;

    if (!colon || colon - url >= (ptrdiff_t)sizeof(host) ||
        bf_slice_u64(bf_slice_str(colon + 1), 65535, &port))
        bench_die("url=%s is not host:port", url);
    snprintf(host, sizeof(host), "%.*s", (int)(colon - url), url);
    load->address.sin_family = AF_INET;
    load->address.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &load->address.sin_addr) != 1)
        bench_die("%s is no address", host);
}

static void make_requests(struct load *load, char **argv)
{
    bool lines = strcmp(bench_text(argv, "mode", NULL), "lines") == 0;
    size_t bytes = (size_t)bench_number(argv, "bytes", 1024);
    int64_t each = lines ? bench_number(argv, "lines", 1000) : 1;

    load->nrequests = lines ? 4 : 256;
    load->requests = calloc(load->nrequests, sizeof(struct bf_buf));
    must(!load->requests);
    for (size_t i = 0; i < load->nrequests; i++)
        make_request(load, &load->requests[i], each, bytes, (int64_t)i * each);
}

int main(int argc, char **argv)
{
    struct load load = {.want = bench_number(argv, "jobs", 0)};
    int64_t begin;

    (void)argc;
    read_address(&load, bench_text(argv, "url", NULL));
    load.nconnections = bench_number(argv, "connections", 32);
    if (load.nconnections < 1 || load.nconnections > MAX_CONNECTIONS)
        bench_die("connections= is 1 to %d", MAX_CONNECTIONS);
    make_requests(&load, argv);
    connect_all(&load);
    begin = bf_mono_us();
    run(&load);
    begin = bf_mono_us() - begin;
    printf("{\"jobs\":%" PRId64 ",\"seconds\":%.3f,\"jobs_per_s\":%.0f,"
           "\"own_cpu_us\":%.2f}\n",
           load.acked, (double)begin / 1e6,
           (double)load.acked * 1e6 / (double)begin,
           (double)bench_cpu_us() / (double)load.acked);
    return 0;
}
