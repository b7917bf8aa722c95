#ifndef BF_DISPATCHER_LISTEN_H
#define BF_DISPATCHER_LISTEN_H

/* A socket that listens where an option says. Any thread. */

#include <netdb.h>
#include <stdbool.h>

struct bf_err;

struct bf_listener {
    int fd; /* non-blocking; the caller's */
    bool loopback;
    char address[NI_MAXHOST + NI_MAXSERV + 8]; /* [host]:port, as bound */
};

/*
 * listen: host:port or [IPv6]:port, port 0 for any free one. FATAL "listen";
 * *ret is only to be used after 0.
 */
int bf_listen(const char *listen, struct bf_listener *ret, struct bf_err *err);

#endif
