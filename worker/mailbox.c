#include "worker/mailbox.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>

#include "schemas/check.h"
#include "schemas/err.h"

struct bf_mailbox {
    pthread_mutex_t lock; /* guards head and tail */
    struct bf_msg *head;
    struct bf_msg **tail;
    int fd;
};

struct bf_mailbox *bf_mailbox_new(struct bf_err *err)
{
    struct bf_mailbox *box = calloc(1, sizeof(*box));

    if (!box) {
        bf_err_oom(err);
        return NULL;
    }
    box->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (box->fd < 0) {
        bf_err_set(err, BF_ERR_FATAL, "eventfd", "eventfd: %s",
                   strerrorname_np(errno));
        free(box);
        return NULL;
    }
    pthread_mutex_init(&box->lock, NULL);
    box->tail = &box->head;
    return box;
}

void bf_mailbox_free(struct bf_mailbox *box)
{
    if (!box)
        return;
    /* Empty, unless the process ends in disorder: then all goes with it. */
    pthread_mutex_destroy(&box->lock);
    close(box->fd);
    free(box);
}

int bf_mailbox_fd(const struct bf_mailbox *box)
{
    return box->fd;
}

void bf_mailbox_put(struct bf_mailbox *box, struct bf_msg *msg)
{
    const uint64_t one = 1;
    bool was_empty;

    msg->next = NULL;
    pthread_mutex_lock(&box->lock);
    was_empty = !box->head;
    *box->tail = msg;
    box->tail = &msg->next;
    pthread_mutex_unlock(&box->lock);
    /* The counter cannot overflow: one write per taken batch. */
    if (was_empty)
        bf_assert(write(box->fd, &one, sizeof(one)) == sizeof(one));
}

struct bf_msg *bf_mailbox_take(struct bf_mailbox *box)
{
    struct bf_msg *head;
    uint64_t count;

    /* Before the list: a put in between leaves the descriptor readable. */
    if (read(box->fd, &count, sizeof(count)) < 0)
        bf_assert(errno == EAGAIN || errno == EINTR);
    pthread_mutex_lock(&box->lock);
    head = box->head;
    box->head = NULL;
    box->tail = &box->head;
    pthread_mutex_unlock(&box->lock);
    return head;
}

void bf_mailbox_wait(struct bf_mailbox *box, int timeout_ms)
{
    struct pollfd fd = {.fd = box->fd, .events = POLLIN};

    poll(&fd, 1, timeout_ms);
}
