/* Batches: how far they are. */

#include "dispatcher/reader_private.h"

#define BATCH                                                                  \
    "SELECT rank, outcome, count(*) FROM jobs"                                 \
    " WHERE workspace = ?1 AND batch = ?2 GROUP BY 1, 2"

struct counts {
    int64_t total, waiting, running;
    int64_t ended[BF_OUTCOMES];
};

static void count_one(struct counts *counts, sqlite3_stmt *stmt)
{
    int64_t outcome = bf_sql_get_int(stmt, 1), number = bf_sql_get_int(stmt, 2);

    counts->total += number;
    switch ((enum bf_row_rank)bf_sql_get_int(stmt, 0)) {
    case BF_ROW_WAITING:
    case BF_ROW_PARKED:
        counts->waiting += number;
        break;
    case BF_ROW_STARTED:
        counts->running += number;
        break;
    case BF_ROW_ENDED:
        if (outcome >= 0 && outcome < BF_OUTCOMES)
            counts->ended[outcome] += number;
        break;
    }
}

static int put_counts(const struct counts *counts, const char *workspace,
                      const char *batch, int64_t as_of_ms, struct bf_buf *out)
{
    struct bf_json_out json;

    bf_json_start(&json, out, NULL);
    bf_json_open(&json, NULL, '{');
    bf_json_str(&json, "workspace", workspace);
    bf_json_str(&json, "batch", batch);
    bf_json_int(&json, "total", counts->total);
    bf_json_int(&json, "waiting", counts->waiting);
    bf_json_int(&json, "running", counts->running);
    for (int i = 0; i < BF_OUTCOMES; i++)
        bf_json_int(&json, bf_outcome_name((enum bf_outcome)i),
                    counts->ended[i]);
    bf_json_time(&json, "as_of", as_of_ms);
    bf_json_close(&json, '}');
    return bf_json_done(&json);
}

int bf_reader_batch(struct bf_reader_db *reader, const char *workspace,
                    const char *batch, struct bf_buf *out,
                    struct bf_problem *problem)
{
    sqlite3_stmt *stmt =
        bf_reader_stmt(reader, BF_READER_BATCH, BATCH, problem);
    struct counts counts = {0};
    struct bf_err err;
    int rc;

    if (!stmt)
        return -1;
    bf_sql_str(stmt, 1, workspace);
    bf_sql_str(stmt, 2, batch);
    for (rc = bf_sql_step(stmt, &err); rc > 0; rc = bf_sql_step(stmt, &err))
        count_one(&counts, stmt);
    if (rc < 0)
        return bf_reader_failed(problem, &err);
    if (counts.total == 0)
        return bf_problem_set(problem, BF_PROBLEM_NOT_FOUND, NULL,
                              "the workspace has no such batch");
    return put_counts(&counts, workspace, batch, reader->as_of_ms, out)
               ? bf_reader_out_of_memory(problem)
               : 0;
}
