/* Batches: what was said of them, and how far they are. */

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
    bf_json_str(&json, "workspace", workspace);
    bf_json_str(&json, "batch", batch);
    bf_json_str(&json, "state",
                bf_batch_state_name(bf_batch_state(&facts, bf_now_ms())));
    put_order(&json, &facts);
    put_counts(&json, &facts);
    bf_json_time(&json, "as_of", reader->as_of_ms);
    bf_json_close(&json, '}');
    return bf_json_done(&json) ? bf_reader_out_of_memory(problem) : 0;
}
