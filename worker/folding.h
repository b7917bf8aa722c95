#ifndef BF_WORKER_FOLDING_H
#define BF_WORKER_FOLDING_H

/*
 * A fold of a shard's finished ids on its way through the committer: an item
 * of the shard's own whose entries write the folded segment and end those that
 * went into it. Loop thread, except while it is with the committer.
 */

#include "worker/finished.h"
#include "worker/item.h"

/*
 * NULL when nothing is worth a fold now, or there is no memory for one: it can
 * wait. Shard and epoch of the item are the caller's to set.
 */
struct bf_item *bf_folding_new(const struct bf_finished *finished,
                               int64_t now_ms);
void bf_folding_free(struct bf_item *item);

/* It is committed: fold here, too. */
int bf_folding_done(const struct bf_item *item, struct bf_finished *finished,
                    struct bf_err *err);

#endif
