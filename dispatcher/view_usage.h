#ifndef BF_DISPATCHER_VIEW_USAGE_H
#define BF_DISPATCHER_VIEW_USAGE_H

/*
 * The metering part of the view: totals by workspace, hour (in which a run has
 * ended), block and whether it is billable, of as many days as Kafka keeps, so
 * that a view that was built anew says the same. A correction counts in the
 * hour of what it corrects. See view.h.
 */

#include <sqlite3.h>

#include "schemas/record.h"

struct bf_err;
struct bf_view_usage;

/* Borrows db, which has the tables. */
struct bf_view_usage *bf_view_usage_new(sqlite3 *db, struct bf_err *err);
void bf_view_usage_free(struct bf_view_usage *usage);

/* The first day (of 24 h since 1970) that totals are made of. */
int64_t bf_view_usage_since(int64_t now_ms);

#define BF_HOUR_MS 3600000LL

/* Count a usage record, unless its id was counted before or it is older. */
int bf_view_usage_apply(struct bf_view_usage *usage,
                        const struct bf_record *rec, struct bf_err *err);

/* Forget days that are not counted any more. */
int bf_view_usage_forget(struct bf_view_usage *usage, int64_t now_ms,
                         struct bf_err *err);

#endif
