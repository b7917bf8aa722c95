#ifndef BF_DISPATCHER_VIEW_H
#define BF_DISPATCHER_VIEW_H

/*
 * The view: what the topics say about all jobs, in one SQLite file. It can be
 * deleted at any time; Kafka has it all. This is its writer: one thread, one
 * process (a lock keeps others out); readers have their own connections
 * (reader.h). Applying records commutes inside a topic's retention, see row.h.
 */

#include <sqlite3.h>

#include "config/fleet_topics.h"
#include "dispatcher/row.h"
#include "dispatcher/view_batch.h"
#include "schemas/record.h"
#include "schemas/result.h"

struct bf_view;

/* Results up to this size stand in the view, larger ones only in Kafka. */
#define BF_VIEW_INLINE_BYTES (64U << 10)

/*
 * Open or make the file. One of another format or identity (cluster and topic
 * prefix: whatever positions are worth nothing without) is thrown away first.
 * FATAL "view_locked" when another process has it.
 */
struct bf_view *bf_view_open(const char *path, const char *identity,
                             struct bf_err *err);
/* Throw everything away and begin anew: no reader may be there. */
int bf_view_reset(struct bf_view *view, struct bf_err *err);
void bf_view_close(struct bf_view *view);
BF_DEFINE_CLEANUP(bf_view_closep_, struct bf_view *, bf_view_close)
#define bf_autoview bf_cleanup(bf_view_closep_)

/* All changes are made between these two; a failed one is rolled back. */
int bf_view_begin(struct bf_view *view, struct bf_err *err);
int bf_view_commit(struct bf_view *view, struct bf_err *err);
void bf_view_rollback(struct bf_view *view);

/* The next offset to read; -1: from the beginning. */
int bf_view_position(struct bf_view *view, enum bf_topic topic,
                     int32_t partition, int64_t *ret, struct bf_err *err);
int bf_view_set_position(struct bf_view *view, enum bf_topic topic,
                         int32_t partition, int64_t next, struct bf_err *err);

/*
 * What is known of a job and what is new are merged; *ret_news is an enum
 * bf_row_news.
 */
int bf_view_merge(struct bf_view *view, struct bf_slice workspace,
                  struct bf_slice job, const struct bf_row *news,
                  unsigned *ret_news, struct bf_err *err);

/* What a record changed. Slices borrow from the record. */
struct bf_view_change {
    struct bf_slice workspace;
    struct bf_slice job;
    bool ended; /* this job has a result now */
};

/*
 * Apply one record of jobs, batch, state, results, usage or control. A record
 * that breaks its rules is REJECT and changes nothing.
 */
int bf_view_apply(struct bf_view *view, enum bf_topic topic,
                  const struct bf_record *rec, struct bf_view_change *ret,
                  struct bf_err *err);

/* Batches that changed since the last call; see view_batch.h. */
int bf_view_batches(struct bf_view *view, bool all, bf_view_batch_fn *fn,
                    void *arg, struct bf_err *err);

/* How long a job that has ended, or must have, is remembered. */
#define BF_VIEW_KEEP_MS (8 * BF_DAY_MS)

/* Forget what is older, at most limit rows of a kind; *ret_count how many. */
int bf_view_forget(struct bf_view *view, int64_t now_ms, int limit,
                   int *ret_count, struct bf_err *err);

#endif
