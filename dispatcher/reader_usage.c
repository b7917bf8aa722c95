/* Sums of metering events. */

#include "dispatcher/reader_private.h"
#include "dispatcher/view_usage.h"

#define USAGE                                                                  \
    "SELECT sum(rows), sum(runs), sum(duration_us), sum(input_bytes),"         \
    " sum(output_bytes) FROM usage_totals WHERE workspace = ?1 AND day >= ?2"

/*
 * A transaction that is open when we look holds records of before that come
 * to light later: for as long as it may live, its producer's death included.
 */
#define TRANSACTION_LIFE_MS 30000

/* Sums of no rows are NULL, which reads as 0. */
static int put_usage(sqlite3_stmt *stmt, const char *workspace,
                     int64_t as_of_ms, struct bf_buf *out)
{
    struct bf_json_out json;

    bf_json_start(&json, out, NULL);
    bf_json_open(&json, NULL, '{');
    bf_json_str(&json, "workspace", workspace);
    bf_json_int(&json, "rows", bf_sql_get_int(stmt, 0));
    bf_json_int(&json, "runs", bf_sql_get_int(stmt, 1));
    bf_json_seconds(&json, "duration_seconds", bf_sql_get_int(stmt, 2));
    bf_json_int(&json, "input_bytes", bf_sql_get_int(stmt, 3));
    bf_json_int(&json, "output_bytes", bf_sql_get_int(stmt, 4));
    bf_json_time(&json, "since", bf_view_usage_since(as_of_ms) * BF_DAY_MS);
    bf_json_time(&json, "complete_until", as_of_ms - TRANSACTION_LIFE_MS);
    bf_json_time(&json, "as_of", as_of_ms);
    bf_json_close(&json, '}');
    return bf_json_done(&json);
}

int bf_reader_usage(struct bf_reader_db *reader, const char *workspace,
                    struct bf_buf *out, struct bf_problem *problem)
{
    sqlite3_stmt *stmt =
        bf_reader_stmt(reader, BF_READER_USAGE, USAGE, problem);
    struct bf_err err;
    int rc, put;

    if (!stmt)
        return -1;
    bf_sql_str(stmt, 1, workspace);
    bf_sql_int(stmt, 2, bf_view_usage_since(reader->as_of_ms));
    rc = bf_sql_step(stmt, &err);
    if (rc < 0)
        return bf_reader_failed(problem, &err);
    put = put_usage(stmt, workspace, reader->as_of_ms, out);
    sqlite3_reset(stmt);
    return put ? bf_reader_out_of_memory(problem) : 0;
}
