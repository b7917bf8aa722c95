/* How a job ended, for whoever answers with it. */

#include "dispatcher/reader_private.h"
#include "schemas/limits.h"

static void read_words(sqlite3_stmt *stmt, struct bf_reader_end *ret)
{
    int reason = bf_reason_parse(bf_sql_get(stmt, R_REASON));
    int delivery = bf_delivery_parse(bf_sql_get(stmt, R_DELIVERY));

    ret->rank = (enum bf_row_rank)bf_sql_get_int(stmt, J_RANK);
    ret->outcome = (enum bf_outcome)bf_sql_get_int(stmt, J_OUTCOME);
    ret->reason = reason < 0 ? BF_REASON_NONE : (enum bf_reason)reason;
    /* Nobody told: nobody knows. */
    ret->delivery =
        delivery < 0 ? BF_DELIVERY_UNKNOWN : (enum bf_delivery)delivery;
}

int bf_reader_end(struct bf_reader_db *reader, const char *workspace,
                  const char *job, struct bf_reader_end *ret,
                  struct bf_problem *problem)
{
    struct bf_slice report;
    sqlite3_stmt *stmt = NULL;
    int rc = bf_reader_find_job(reader, bf_slice_str(workspace),
                                bf_slice_str(job), &stmt, problem);

    if (rc <= 0)
        return rc;
    read_words(stmt, ret);
    report = bf_sql_get(stmt, R_REPORT);
    bf_buf_clear(&ret->report);
    rc = bf_buf_add(&ret->report, report.ptr ? report.ptr : "", report.len,
                    NULL);
    sqlite3_reset(stmt);
    if (rc)
        return bf_reader_out_of_memory(problem);
    return ret->rank == BF_ROW_ENDED;
}
