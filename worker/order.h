#ifndef BF_WORKER_ORDER_H
#define BF_WORKER_ORDER_H

/*
 * Jobs of one (workspace, lane, order key) run one at a time, in the order in
 * which they were read. Pure. Nodes live inside what is ordered. Loop thread.
 */

#include "schemas/buf.h"
#include "schemas/state.h"

struct bf_err;

struct bf_order_node {
    struct bf_slice workspace, key; /* borrowed while it is in */
    enum bf_lane lane;
    uint32_t epoch; /* of the shard: another life of it is another queue */
    bool in;        /* private, and below */
    struct bf_order_node *next; /* who waits behind it */
};

struct bf_order {
    void *heads; /* tsearch tree of those whose turn it is */
};

/* 1: it is its turn; 0: it waits, and will be what a leave returns. -1: RETRY,
 * no memory. */
int bf_order_enter(struct bf_order *order, struct bf_order_node *node,
                   struct bf_err *err);

/* Out, whether its turn or not. Returns the node whose turn it is now, or
 * NULL. A node that is not in is left alone. */
struct bf_order_node *bf_order_leave(struct bf_order *order,
                                     struct bf_order_node *node);

#endif
