#ifndef BF_DISPATCHER_READER_PRIVATE_H
#define BF_DISPATCHER_READER_PRIVATE_H

/* What the files behind reader.h share. */

#include "config/fleet_topics.h"
#include "dispatcher/reader.h"
#include "dispatcher/row.h"
#include "dispatcher/sql.h"
#include "schemas/json.h"

enum bf_reader_stmt {
    BF_READER_JOB,
    BF_READER_RESULT,
    BF_READER_RESULTS,
    BF_READER_BATCH_RESULTS,
    BF_READER_JOBS,
    BF_READER_BATCH_JOBS,
    BF_READER_BATCH,
    BF_READER_BATCHES,
    BF_READER_POSITION,
    BF_READER_STMTS,
};

struct bf_reader_db {
    sqlite3 *db;
    sqlite3_stmt *stmts[BF_READER_STMTS];
    const struct bf_topics *topics;
    int64_t as_of_ms;
};

/* Prepared when it is first asked for; NULL with *problem set. */
sqlite3_stmt *bf_reader_stmt(struct bf_reader_db *reader,
                             enum bf_reader_stmt which, const char *text,
                             struct bf_problem *problem);

/* Each sets *problem and returns -1. */
int bf_reader_failed(struct bf_problem *problem, const struct bf_err *err);
int bf_reader_out_of_memory(struct bf_problem *problem);

/* ---- what is told of a job ------------------------------------------------*/

/* Columns of every answer about a job; bf_status_put() knows the order. */
#define BF_STATUS                                                              \
    "j.workspace, j.job, j.generation, j.rank, j.outcome, j.attempt,"          \
    " j.run_id, j.execution, j.has_job, j.lane, j.partition, j.\"offset\","    \
    " j.accepted_ms, j.order_key, j.batch, j.batch_index, j.labels,"           \
    " r.reason, r.delivery, r.usage_id, r.backend, r.isolation,"               \
    " r.worker, r.started_ms, r.ended_ms, r.source_topic, r.source_partition," \
    " r.source_offset, r.report, r.value_bytes, r.correlation,"                \
    " r.dead_letter"
enum bf_status_column {
    J_WORKSPACE,
    J_JOB,
    J_GENERATION,
    J_RANK,
    J_OUTCOME,
    J_ATTEMPT,
    J_RUN_ID,
    J_EXECUTION,
    J_HAS_JOB,
    J_LANE,
    J_PARTITION,
    J_OFFSET,
    J_ACCEPTED_MS,
    J_ORDER_KEY,
    J_BATCH,
    J_BATCH_INDEX,
    J_LABELS,
    R_REASON,
    R_DELIVERY,
    R_USAGE_ID,
    R_BACKEND,
    R_ISOLATION,
    R_WORKER,
    R_STARTED_MS,
    R_ENDED_MS,
    R_SOURCE_TOPIC,
    R_SOURCE_PARTITION,
    R_SOURCE_OFFSET,
    R_REPORT,
    R_VALUE_BYTES,
    R_CORRELATION,
    R_DEAD_LETTER,
    STATUS_COLUMNS,
};

/* The row of a statement: members of an object. */
void bf_status_put(const struct bf_reader_db *reader, struct bf_json_out *out,
                   sqlite3_stmt *stmt);
/* One column that is text. */
void bf_status_put_text(struct bf_json_out *out, const char *name,
                        sqlite3_stmt *stmt, int column);

/* The job's row into stmts[BF_READER_JOB], to be reset: 1; 0: no such job. */
int bf_reader_find_job(struct bf_reader_db *reader, struct bf_slice workspace,
                       struct bf_slice job, sqlite3_stmt **ret,
                       struct bf_problem *problem);

/*
 * Bind ?1 to ?3 of a list that goes back in time: the workspace, and after
 * which (time, name) it begins: where an earlier page ended, "<time>.<name>",
 * or before_ms. cursor, NULL for none, is borrowed until the reset.
 */
int bf_reader_start(sqlite3_stmt *stmt, const char *workspace,
                    const char *cursor, int64_t before_ms,
                    struct bf_problem *problem);
/* Of a resource that has none such. Returns -1. */
int bf_reader_bad_cursor(struct bf_problem *problem);

/* ---- pages ----------------------------------------------------------------*/

/*
 * Objects as lines, or in a document {"<name>": [...], "cursor": ...,
 * "as_of": ...}.
 */
struct bf_page_out {
    struct bf_json_out json;
    struct bf_buf *buf;
    bool lines;
};
void bf_page_begin(struct bf_page_out *page, struct bf_buf *buf, bool lines,
                   const char *name);
struct bf_json_out *bf_page_item(struct bf_page_out *page);
/* -1: no memory, or too large. */
int bf_page_item_end(struct bf_page_out *page);
/*
 * After a statement. rc 1: there is a next page, from the cursor on; 0: there
 * is none, and the cursor becomes ""; -1: it failed.
 */
int bf_page_finish(const struct bf_reader_db *reader, struct bf_page_out *page,
                   int rc, char cursor[BF_CURSOR_SIZE],
                   struct bf_problem *problem);

#endif
