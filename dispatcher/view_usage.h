#ifndef BF_DISPATCHER_VIEW_USAGE_H
#define BF_DISPATCHER_VIEW_USAGE_H

/* The metering part of the view: totals by workspace. See view.h. */

#include <sqlite3.h>

#include "schemas/record.h"

struct bf_err;
struct bf_view_usage;

/* Borrows db, which has the tables. */
struct bf_view_usage *bf_view_usage_new(sqlite3 *db, struct bf_err *err);
void bf_view_usage_free(struct bf_view_usage *usage);

/* Count a usage record, unless its id was counted before. */
int bf_view_usage_apply(struct bf_view_usage *usage,
                        const struct bf_record *rec, struct bf_err *err);

/*
 * "12.000250" as microseconds: digits, and a point with up to six more. -1
 * when it is no such number, or NULL.
 */
int bf_view_usage_micros(const char *text, int64_t *ret);

#endif
