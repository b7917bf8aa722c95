#include "config/notify.h"

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "schemas/check.h"
#include "schemas/err.h"

/* A path, or with an @ before it a name without a file. */
static int address(const char *name, struct sockaddr_un *ret,
                   socklen_t *ret_len)
{
    size_t len = strlen(name);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    if ((name[0] != '/' && name[0] != '@') || len < 2 ||
        len >= sizeof(addr.sun_path))
        return -1;
    memcpy(addr.sun_path, name, len);
    if (name[0] == '@')
        addr.sun_path[0] = '\0';
    *ret = addr;
    *ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    return 0;
}

int bf_notify(const char *state, struct bf_err *err)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): nobody writes to it */
    const char *name = getenv("NOTIFY_SOCKET");
    bf_autoclose int fd = -1;
    struct sockaddr_un addr;
    socklen_t len;

    if (!name || !name[0])
        return 0;
    if (address(name, &addr, &len))
        return bf_err_set(err, BF_ERR_REJECT, "notify",
                          "NOTIFY_SOCKET=%.100s is no unix socket", name);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL,
                         (const struct sockaddr *)&addr, len) < 0)
        return bf_err_set(err, BF_ERR_RETRY, "notify", "%.100s: %s", name,
                          strerrorname_np(errno));
    return 0;
}
