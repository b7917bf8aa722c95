#ifndef BF_WORKER_MAILBOX_H
#define BF_WORKER_MAILBOX_H

/*
 * A queue of messages from one thread to another: what is put into it changes
 * owner. Any thread puts, one thread takes.
 */

#include <stddef.h>

struct bf_err;
struct bf_mailbox;

/* First member of every message. */
struct bf_msg {
    struct bf_msg *next;
    int kind;
};

struct bf_mailbox *bf_mailbox_new(struct bf_err *err);

/* Take the messages first: what is still in it is freed by nobody. */
void bf_mailbox_free(struct bf_mailbox *box);

/* Readable while there may be messages: for epoll. Borrowed. */
int bf_mailbox_fd(const struct bf_mailbox *box);

void bf_mailbox_put(struct bf_mailbox *box, struct bf_msg *msg);

/* Everything in it, oldest first, linked by next; NULL when empty. */
struct bf_msg *bf_mailbox_take(struct bf_mailbox *box);

/* Until something may be there, or timeout_ms (-1: for ever) has passed. */
void bf_mailbox_wait(struct bf_mailbox *box, int timeout_ms);

#endif
