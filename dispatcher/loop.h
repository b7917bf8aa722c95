#ifndef BF_DISPATCHER_LOOP_H
#define BF_DISPATCHER_LOOP_H

/*
 * One thread's epoll: descriptors that become readable, each with a function.
 * Descriptors are borrowed.
 */

#include "schemas/check.h"

struct bf_err;
struct bf_loop;

typedef void bf_loop_fn(void *arg);

struct bf_loop *bf_loop_new(struct bf_err *err);
void bf_loop_free(struct bf_loop *loop);
BF_DEFINE_CLEANUP(bf_loop_freep_, struct bf_loop *, bf_loop_free)
#define bf_autoloop bf_cleanup(bf_loop_freep_)

/* At most 8 descriptors. */
int bf_loop_add(struct bf_loop *loop, int fd, bf_loop_fn *fn, void *arg,
                struct bf_err *err);

/* Wait up to timeout_ms (-1: for ever) and call what is ready. */
void bf_loop_wait(struct bf_loop *loop, int timeout_ms);

/* The sooner of two timeouts; -1 is none. */
int bf_sooner_ms(int a_ms, int b_ms);

/* An eventfd, non-blocking, to wake a loop with. -1 on failure. */
int bf_wake_new(struct bf_err *err);
/* Any thread. */
void bf_wake(int fd);
/* On the loop, when it is readable. */
void bf_wake_clear(int fd);

#endif
