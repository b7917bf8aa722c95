#ifndef BF_DISPATCHER_RATE_H
#define BF_DISPATCHER_RATE_H

/*
 * How fast a workspace may submit: so many jobs and bytes a second, with what
 * a second brings at once (GCRA, ITU-T I.371). It may go into debt with one
 * job of any size and has to wait until that is paid. One thread.
 */

#include <stdint.h>

#include "schemas/buf.h"

struct bf_err;
struct bf_rate;

/* 0: no limit. */
struct bf_rate_conf {
    uint64_t jobs_per_s;
    uint64_t bytes_per_s;
};

struct bf_rate *bf_rate_new(const struct bf_rate_conf *conf,
                            struct bf_err *err);
void bf_rate_free(struct bf_rate *rate);
BF_DEFINE_CLEANUP(bf_rate_freep_, struct bf_rate *, bf_rate_free)
#define bf_autorate bf_cleanup(bf_rate_freep_)

/* More than that share one allowance, as do all when memory is out. */
#define BF_RATE_WORKSPACES 50000U

/* ms until this workspace may submit again; 0: now. */
int64_t bf_rate_wait_ms(struct bf_rate *rate, struct bf_slice workspace,
                        int64_t mono_us);

/* One job of so many bytes was accepted. */
void bf_rate_charge(struct bf_rate *rate, struct bf_slice workspace,
                    uint64_t bytes, int64_t mono_us);

#endif
