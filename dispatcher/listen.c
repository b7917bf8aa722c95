#include "dispatcher/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "schemas/buf.h"
#include "schemas/check.h"
#include "schemas/err.h"

#define BACKLOG 512

static int bad_listen(const char *listen, const char *why, struct bf_err *err)
{
    return bf_err_set(err, BF_ERR_FATAL, "listen", "dispatcher.listen = %s: %s",
                      listen, why);
}

/* "[::1]:80" and "localhost:80" into two strings. */
static int split_listen(const char *listen, char *host, char *port, size_t size)
{
    const char *colon = strrchr(listen, ':');
    size_t len = colon ? (size_t)(colon - listen) : 0;
    bool bracket = len > 1 && listen[0] == '[' && listen[len - 1] == ']';

    if (!colon || len >= size || strlen(colon + 1) >= size)
        return -1;
    snprintf(host, size, "%.*s", (int)(bracket ? len - 2 : len),
             bracket ? listen + 1 : listen);
    snprintf(port, size, "%s", colon + 1);
    return 0;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, address, sizeof(in));
        return (ntohl(in.sin_addr.s_addr) >> 24) == 127;
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;

        memcpy(&in6, address, sizeof(in6));
        return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
    }
    return false;
}

static int listen_on(const struct addrinfo *info)
{
    bf_autoclose int fd =
        socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
        bind(fd, info->ai_addr, info->ai_addrlen) || listen(fd, BACKLOG))
        return -1;
    return bf_take_fd(fd);
}

static int note_address(struct bf_listener *listener, int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);
    char host[NI_MAXHOST], port[NI_MAXSERV];
    bool v6;

    if (getsockname(fd, (struct sockaddr *)&address, &len) ||
        getnameinfo((struct sockaddr *)&address, len, host, sizeof(host), port,
                    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
        return -1;
    v6 = address.ss_family == AF_INET6;
    listener->loopback = is_loopback((struct sockaddr *)&address);
    snprintf(listener->address, sizeof(listener->address), "%s%s%s:%s",
             v6 ? "[" : "", host, v6 ? "]" : "", port);
    return 0;
}

int bf_listen(const char *listen, struct bf_listener *ret, struct bf_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char host[NI_MAXHOST], port[NI_MAXHOST];
    bf_autoclose int fd = -1;
    int rc;

    if (split_listen(listen, host, port, sizeof(host)))
        return bad_listen(listen, "must be host:port", err);
    rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0)
        return bad_listen(listen, gai_strerror(rc), err);
    fd = listen_on(found);
    rc = errno;
    freeaddrinfo(found);
    if (fd < 0 || note_address(ret, fd)) {
        char why[128];

        return bad_listen(listen, strerror_r(rc, why, sizeof(why)), err);
    }
    ret->fd = bf_take_fd(fd);
    return 0;
}
