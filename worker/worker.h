#ifndef BF_WORKER_WORKER_H
#define BF_WORKER_WORKER_H

/*
 * One worker process: a loop that never blocks and a committer thread. It
 * knows no state that Kafka does not: killed at any point, another one goes
 * on from what is committed.
 */

#include "config/settings.h"

struct bf_err;
struct bf_shift;
struct bf_worker;

/*
 * Takes a slot, loads keys, checks topics, joins the group. settings outlives
 * the worker. RETRY: Kafka is not there. FATAL: something is configured wrong.
 */
struct bf_worker *bf_worker_new(const struct bf_settings *settings,
                                struct bf_err *err);
void bf_worker_free(struct bf_worker *worker);

/*
 * Works until SIGTERM or SIGINT, then drains, commits and leaves the group.
 * shift is told while its loop turns. -1: FATAL, nothing more can be done here;
 * what was not committed is another worker's.
 */
int bf_worker_run(struct bf_worker *worker, struct bf_shift *shift,
                  struct bf_err *err);

#endif
