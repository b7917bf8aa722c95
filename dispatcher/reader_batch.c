/* Batches: what was said of them, and how far they are. */

#include <inttypes.h>

#include "config/clock.h"
#include "dispatcher/reader_private.h"
#include "dispatcher/view_batch.h"

int bf_reader_batch_facts(struct bf_reader_db *reader, const char *workspace,
                          const char *batch, struct bf_batch *ret,
                          struct bf_problem *problem)
{
    sqlite3_stmt *stmt =
        bf_reader_stmt(reader, BF_READER_BATCH, BF_VIEW_BATCH_TEXT, problem);
    struct bf_err err;
    int rc;

    if (!stmt)
        return -1;
    rc = bf_view_batch_read(stmt, bf_slice_str(workspace), bf_slice_str(batch),
                            ret, &err);
    return rc < 0 ? bf_reader_failed(problem, &err) : rc;
}

int bf_reader_has_control(struct bf_reader_db *reader, int32_t partition,
                          int64_t offset, struct bf_problem *problem)
{
    sqlite3_stmt *stmt =
        bf_reader_stmt(reader, BF_READER_POSITION,
                       "SELECT 1 FROM positions WHERE topic = ?1"
                       " AND partition = ?2 AND next > ?3",
                       problem);
    struct bf_err err;
    int rc;

    if (!stmt)
        return -1;
    bf_sql_int(stmt, 1, BF_TOPIC_CONTROL);
    bf_sql_int(stmt, 2, partition);
    bf_sql_int(stmt, 3, offset);
    rc = bf_sql_step(stmt, &err);
    if (rc < 0)
        return bf_reader_failed(problem, &err);
    sqlite3_reset(stmt);
    return rc;
}

static void put_time(struct bf_json_out *json, const char *name, bool known,
                     int64_t ms)
{
    if (known)
        bf_json_time(json, name, ms);
    else
        bf_json_null(json, name);
}

static void put_order(struct bf_json_out *json, const struct bf_batch *batch)
{
    put_time(json, "opened_at", batch->opened, batch->opened_at_ms);
    put_time(json, "until", batch->opened, batch->until_ms);
    if (batch->max_failure_ppm >= 0 && batch->opened)
        bf_json_seconds(json, "max_failure_rate", batch->max_failure_ppm);
    else
        bf_json_null(json, "max_failure_rate");
    put_time(json, "sealed_at", batch->sealed, batch->sealed_at_ms);
    if (batch->sealed)
        bf_json_int(json, "count", batch->count);
    else
        bf_json_null(json, "count");
}

static void put_counts(struct bf_json_out *json, const struct bf_batch *batch)
{
    bf_json_int(json, "total", bf_batch_total(batch));
    bf_json_int(json, "waiting", batch->jobs[0]);
    bf_json_int(json, "running", batch->jobs[1]);
    bf_json_int(json, "ended", bf_batch_ended(batch));
    for (int i = 0; i < BF_OUTCOMES; i++)
        bf_json_int(json, bf_outcome_name((enum bf_outcome)i),
                    batch->jobs[2 + i]);
    bf_json_bool(json, "complete", bf_batch_complete(batch));
}

/* Members of an object. */
static void put_batch(const struct bf_reader_db *reader,
                      struct bf_json_out *json, const char *workspace,
                      const char *name, const struct bf_batch *facts)
{
    bf_json_str(json, "workspace", workspace);
    bf_json_str(json, "batch", name);
    bf_json_str(json, "state",
                bf_batch_state_name(bf_batch_state(facts, bf_now_ms())));
    put_order(json, facts);
    put_counts(json, facts);
    bf_json_time(json, "as_of", reader->as_of_ms);
}

int bf_reader_batch(struct bf_reader_db *reader, const char *workspace,
                    const char *batch, struct bf_buf *out,
                    struct bf_problem *problem)
{
    struct bf_batch facts;
    struct bf_json_out json;
    int rc = bf_reader_batch_facts(reader, workspace, batch, &facts, problem);

    if (rc < 0)
        return -1;
    if (rc == 0)
        return bf_problem_set(problem, BF_PROBLEM_NOT_FOUND, NULL,
                              "the workspace has no such batch");
    bf_json_start(&json, out, NULL);
    bf_json_open(&json, NULL, '{');
    put_batch(reader, &json, workspace, batch, &facts);
    bf_json_close(&json, '}');
    return bf_json_done(&json) ? bf_reader_out_of_memory(problem) : 0;
}

/* ---- all of them ----------------------------------------------------------*/

/* By when they were opened, or sealed, or had their last job. */
#define ALL                                                                    \
    "WITH names AS (SELECT batch FROM batches WHERE workspace = ?1 UNION"      \
    " SELECT batch FROM batch_counts WHERE workspace = ?1 AND jobs > 0),"      \
    " timed AS (SELECT n.batch AS batch, coalesce(b.opened_ms, b.sealed_ms,"   \
    " (SELECT max(j.accepted_ms) FROM jobs j WHERE j.workspace = ?1 AND"       \
    " j.batch = n.batch), 0) AS at_ms FROM names n LEFT JOIN batches b ON"     \
    " b.workspace = ?1 AND b.batch = n.batch)"                                 \
    " SELECT batch, at_ms FROM timed WHERE (at_ms, batch) < (?2, ?3)"          \
    " ORDER BY at_ms DESC, batch DESC LIMIT ?4"

static int put_one(struct bf_reader_db *reader, struct bf_page_out *page,
                   const char *workspace, const char *name)
{
    struct bf_batch facts;
    struct bf_problem problem;
    int rc = bf_reader_batch_facts(reader, workspace, name, &facts, &problem);

    if (rc <= 0)
        return rc; /* forgotten between the two questions */
    put_batch(reader, bf_page_item(page), workspace, name, &facts);
    return bf_page_item_end(page);
}

/* 1: there may be more, after *cursor; 0: there is not; -1. */
static int put_all(struct bf_reader_db *reader, sqlite3_stmt *stmt,
                   const struct bf_batch_list *list, struct bf_page_out *page,
                   char cursor[BF_CURSOR_SIZE])
{
    int rc, count = 0;

    for (rc = bf_sql_step(stmt, NULL); rc > 0; rc = bf_sql_step(stmt, NULL)) {
        char name[BF_MAX_ID + 1];

        if (count++ == list->limit)
            return 1;
        snprintf(name, sizeof(name), "%.*s", BF_SLICE_ARG(bf_sql_get(stmt, 0)));
        if (put_one(reader, page, list->workspace, name))
            return -1;
        snprintf(cursor, BF_CURSOR_SIZE, "%" PRId64 ".%s",
                 bf_sql_get_int(stmt, 1), name);
    }
    return rc;
}

int bf_reader_batches(struct bf_reader_db *reader,
                      const struct bf_batch_list *list, struct bf_buf *out,
                      char ret_cursor[BF_CURSOR_SIZE],
                      struct bf_problem *problem)
{
    sqlite3_stmt *stmt =
        bf_reader_stmt(reader, BF_READER_BATCHES, ALL, problem);
    struct bf_page_out page;
    int rc;

    if (!stmt || bf_reader_start(stmt, list->workspace, list->cursor,
                                 BF_MAX_TIME_MS, problem))
        return -1;
    bf_sql_int(stmt, 4, list->limit + 1);
    bf_page_begin(&page, out, list->lines, "batches");
    rc = put_all(reader, stmt, list, &page, ret_cursor);
    sqlite3_reset(stmt);
    return bf_page_finish(reader, &page, rc, ret_cursor, problem);
}
