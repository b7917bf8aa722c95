#ifndef BF_DISPATCHER_DISPATCHER_H
#define BF_DISPATCHER_DISPATCHER_H

/*
 * The dispatcher program: takes jobs over HTTP, puts them into Kafka, tells
 * what became of them. One loop thread does HTTP and the producer.
 */

#include "schemas/check.h"

struct bf_err;
struct bf_settings;
struct bf_dispatcher;

/* Borrows settings. Listens when it returns; accepts when it runs. */
struct bf_dispatcher *bf_dispatcher_new(const struct bf_settings *settings,
                                        struct bf_err *err);
void bf_dispatcher_free(struct bf_dispatcher *dispatcher);
BF_DEFINE_CLEANUP(bf_dispatcher_freep_, struct bf_dispatcher *,
                  bf_dispatcher_free)
#define bf_autodispatcher bf_cleanup(bf_dispatcher_freep_)

/*
 * Until stop_fd, a signalfd, is readable; then everything accepted is seen
 * through for up to 10 s. Signals of stop_fd are blocked by the caller before
 * bf_dispatcher_new(). 0, or -1 when something broke or was cut off.
 */
int bf_dispatcher_run(struct bf_dispatcher *dispatcher, int stop_fd,
                      struct bf_err *err);

#endif
