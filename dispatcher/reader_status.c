/* What is told of a job, wherever it is told. */

#include "dispatcher/reader_private.h"

void bf_status_put_text(struct bf_json_out *out, const char *name,
                        sqlite3_stmt *stmt, int column)
{
    bf_json_text(out, name, bf_sql_get(stmt, column));
}

static void put_time(struct bf_json_out *out, const char *name,
                     sqlite3_stmt *stmt, enum bf_status_column column)
{
    int64_t ms = bf_sql_get_int(stmt, (int)column);

    if (ms > 0)
        bf_json_time(out, name, ms);
    else
        bf_json_null(out, name);
}

static void put_int(struct bf_json_out *out, const char *name,
                    sqlite3_stmt *stmt, enum bf_status_column column)
{
    if (sqlite3_column_type(stmt, (int)column) == SQLITE_NULL)
        bf_json_null(out, name);
    else
        bf_json_int(out, name, bf_sql_get_int(stmt, (int)column));
}

static void put_raw(struct bf_json_out *out, const char *name,
                    sqlite3_stmt *stmt, enum bf_status_column column)
{
    struct bf_slice text = bf_sql_get(stmt, (int)column);

    if (text.len > 0)
        bf_json_raw(out, name, text);
    else
        bf_json_null(out, name);
}

static void put_identity(struct bf_json_out *out, sqlite3_stmt *stmt)
{
    enum bf_row_rank rank = (enum bf_row_rank)bf_sql_get_int(stmt, J_RANK);
    enum bf_outcome outcome = (enum bf_outcome)bf_sql_get_int(stmt, J_OUTCOME);
    bool ended = rank == BF_ROW_ENDED;

    bf_status_put_text(out, "workspace", stmt, J_WORKSPACE);
    bf_status_put_text(out, "job", stmt, J_JOB);
    put_int(out, "generation", stmt, J_GENERATION);
    if (bf_sql_get_int(stmt, J_ATTEMPT) > 0)
        put_int(out, "attempt", stmt, J_ATTEMPT);
    else
        bf_json_null(out, "attempt");
    bf_json_str(out, "status", bf_row_status(rank, outcome));
    bf_json_str(out, "outcome", ended ? bf_outcome_name(outcome) : NULL);
}

static void put_run(struct bf_json_out *out, sqlite3_stmt *stmt)
{
    bf_status_put_text(out, "reason", stmt, R_REASON);
    bf_status_put_text(out, "delivery", stmt, R_DELIVERY);
    bf_json_str(out, "execution",
                bf_execution_name(
                    (enum bf_execution)bf_sql_get_int(stmt, J_EXECUTION)));
    bf_status_put_text(out, "run_id", stmt, J_RUN_ID);
    bf_status_put_text(out, "usage_id", stmt, R_USAGE_ID);
    bf_status_put_text(out, "backend", stmt, R_BACKEND);
    bf_status_put_text(out, "isolation", stmt, R_ISOLATION);
    bf_status_put_text(out, "worker", stmt, R_WORKER);
    put_time(out, "started_at", stmt, R_STARTED_MS);
    put_time(out, "ended_at", stmt, R_ENDED_MS);
    put_time(out, "accepted_at", stmt, J_ACCEPTED_MS);
}

static void put_submitters(struct bf_json_out *out, sqlite3_stmt *stmt)
{
    bf_status_put_text(out, "order_key", stmt, J_ORDER_KEY);
    bf_status_put_text(out, "batch", stmt, J_BATCH);
    if (sqlite3_column_type(stmt, J_BATCH) == SQLITE_NULL)
        bf_json_null(out, "batch_index");
    else
        put_int(out, "batch_index", stmt, J_BATCH_INDEX);
    put_raw(out, "labels", stmt, J_LABELS);
    bf_status_put_text(out, "correlation_id", stmt, R_CORRELATION);
    bf_status_put_text(out, "dead_letter", stmt, R_DEAD_LETTER);
    put_raw(out, "report", stmt, R_REPORT);
    put_int(out, "result_bytes", stmt, R_VALUE_BYTES);
}

/* The result names the record that ran; until then it is the first one. */
static void put_source(const struct bf_reader_db *reader,
                       struct bf_json_out *out, sqlite3_stmt *stmt)
{
    bool batch = bf_sql_get_int(stmt, J_LANE) == BF_LANE_BATCH;

    if (sqlite3_column_type(stmt, R_SOURCE_TOPIC) != SQLITE_NULL) {
        bf_json_open(out, "source", '{');
        bf_status_put_text(out, "topic", stmt, R_SOURCE_TOPIC);
        put_int(out, "partition", stmt, R_SOURCE_PARTITION);
        put_int(out, "offset", stmt, R_SOURCE_OFFSET);
        bf_json_close(out, '}');
    } else if (bf_sql_get_int(stmt, J_HAS_JOB)) {
        bf_json_open(out, "source", '{');
        bf_json_str(out, "topic",
                    bf_topic_name(reader->topics,
                                  batch ? BF_TOPIC_BATCH : BF_TOPIC_JOBS));
        put_int(out, "partition", stmt, J_PARTITION);
        put_int(out, "offset", stmt, J_OFFSET);
        bf_json_close(out, '}');
    } else {
        bf_json_null(out, "source");
    }
}

void bf_status_put(const struct bf_reader_db *reader, struct bf_json_out *out,
                   sqlite3_stmt *stmt)
{
    put_identity(out, stmt);
    put_run(out, stmt);
    put_submitters(out, stmt);
    put_source(reader, out, stmt);
    bf_json_time(out, "as_of", reader->as_of_ms);
}
