#ifndef BF_DISPATCHER_VIEW_BATCH_H
#define BF_DISPATCHER_VIEW_BATCH_H

/*
 * The part of the view that is about batches: what control records say, and
 * how many of their jobs are where. See view.h.
 */

#include <sqlite3.h>

#include "dispatcher/batch.h"
#include "schemas/control.h"
#include "schemas/record.h"

struct bf_err;
struct bf_view_batch;

/* Of jobs and tables below; part of the view's schema. */
extern const char bf_view_batch_schema[];

/* Borrows db, which has the tables. */
struct bf_view_batch *bf_view_batch_new(sqlite3 *db, struct bf_err *err);
void bf_view_batch_free(struct bf_view_batch *batches);

/* A job's row was was (NULL: none) and is is. */
int bf_view_batch_move(struct bf_view_batch *batches, struct bf_slice workspace,
                       const struct bf_row *was, const struct bf_row *is,
                       struct bf_err *err);

/* A record of bf.control; those that are not about batches do nothing. */
int bf_view_batch_apply(struct bf_view_batch *batches,
                        const struct bf_record *rec, struct bf_err *err);

/* Forget batches of before then that have no jobs any more. */
int bf_view_batch_forget(struct bf_view_batch *batches, int64_t before_ms,
                         struct bf_err *err);

/* The same question on any connection. 1: it is known; 0: not; -1. */
#define BF_VIEW_BATCH_TEXT                                                     \
    "SELECT b.opened_ms, b.until_ms, b.max_failure_ppm, b.sealed_ms, b.count," \
    " c.status, c.jobs FROM (SELECT ?1 AS workspace, ?2 AS batch) k"           \
    " LEFT JOIN batches b ON b.workspace = k.workspace AND b.batch = k.batch"  \
    " LEFT JOIN batch_counts c ON c.workspace = k.workspace"                   \
    " AND c.batch = k.batch"
int bf_view_batch_read(sqlite3_stmt *stmt, struct bf_slice workspace,
                       struct bf_slice batch, struct bf_batch *ret,
                       struct bf_err *err);

/*
 * Batches that changed since the last call; all: those that were opened or
 * sealed, too. arg goes to each; strings are borrowed for the call.
 */
typedef void bf_view_batch_fn(void *arg, const char *workspace,
                              const char *batch, const struct bf_batch *facts);
int bf_view_batch_each(struct bf_view_batch *batches, bool all,
                       bf_view_batch_fn *fn, void *arg, struct bf_err *err);

#endif
