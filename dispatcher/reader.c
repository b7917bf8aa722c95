#include "dispatcher/reader_private.h"

#define JOB                                                                    \
    "SELECT " BF_STATUS                                                        \
    " FROM jobs j LEFT JOIN results r ON r.workspace = j.workspace"            \
    " AND r.job = j.job AND j.rank = 3"                                        \
    " WHERE j.workspace = ?1 AND j.job = ?2"
#define RESULT                                                                 \
    "SELECT j.rank, j.outcome, r.partition, r.\"offset\", r.value_bytes,"      \
    " r.value FROM jobs j LEFT JOIN results r ON r.workspace = j.workspace"    \
    " AND r.job = j.job AND j.rank = 3"                                        \
    " WHERE j.workspace = ?1 AND j.job = ?2"
_Static_assert(BF_ROW_ENDED == 3, "in the texts above");

/* ---- life -----------------------------------------------------------------*/

struct bf_reader_db *bf_reader_open(const char *path,
                                    const struct bf_topics *topics,
                                    struct bf_err *err)
{
    bf_autoreader struct bf_reader_db *reader = calloc(1, sizeof(*reader));

    if (!reader) {
        bf_err_oom(err);
        return NULL;
    }
    reader->topics = topics;
    if (sqlite3_open_v2(path, &reader->db,
                        SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK) {
        bf_err_set(err, BF_ERR_FATAL, "view_file", "cannot read %s", path);
        return NULL;
    }
    sqlite3_busy_timeout(reader->db, 1000);
    return bf_take(reader);
}

void bf_reader_close(struct bf_reader_db *reader)
{
    if (!reader)
        return;
    for (size_t i = 0; i < BF_READER_STMTS; i++)
        sqlite3_finalize(reader->stmts[i]);
    sqlite3_close(reader->db);
    free(reader);
}

void bf_reader_as_of(struct bf_reader_db *reader, int64_t as_of_ms)
{
    reader->as_of_ms = as_of_ms;
}

sqlite3_stmt *bf_reader_stmt(struct bf_reader_db *reader,
                             enum bf_reader_stmt which, const char *text,
                             struct bf_problem *problem)
{
    struct bf_err err;

    if (!reader->stmts[which])
        reader->stmts[which] = bf_sql_prepare(reader->db, text, &err);
    if (!reader->stmts[which])
        bf_reader_failed(problem, &err);
    return reader->stmts[which];
}

int bf_reader_failed(struct bf_problem *problem, const struct bf_err *err)
{
    return bf_problem_err(problem, BF_PROBLEM_UNAVAILABLE, NULL, err);
}

int bf_reader_out_of_memory(struct bf_problem *problem)
{
    return bf_problem_set(problem, BF_PROBLEM_UNAVAILABLE, NULL,
                          "the answer is too large or memory is out");
}

/* ---- one job --------------------------------------------------------------*/

static int no_such_job(struct bf_problem *problem)
{
    return bf_problem_set(problem, BF_PROBLEM_NOT_FOUND, NULL,
                          "the workspace has no such job");
}

int bf_reader_find_job(struct bf_reader_db *reader, struct bf_slice workspace,
                       struct bf_slice job, sqlite3_stmt **ret,
                       struct bf_problem *problem)
{
    sqlite3_stmt *stmt = bf_reader_stmt(reader, BF_READER_JOB, JOB, problem);
    struct bf_err err;
    int rc;

    if (!stmt)
        return -1;
    bf_sql_text(stmt, 1, workspace);
    bf_sql_text(stmt, 2, job);
    rc = bf_sql_step(stmt, &err);
    if (rc < 0)
        return bf_reader_failed(problem, &err);
    *ret = stmt;
    return rc;
}

int bf_reader_job(struct bf_reader_db *reader, const char *workspace,
                  const char *job, struct bf_buf *out, bool *ret_ended,
                  struct bf_problem *problem)
{
    struct bf_json_out json;
    sqlite3_stmt *stmt = NULL;
    int rc = bf_reader_find_job(reader, bf_slice_str(workspace),
                                bf_slice_str(job), &stmt, problem);

    if (rc <= 0)
        return rc < 0 ? -1 : no_such_job(problem);
    bf_json_start(&json, out, NULL);
    bf_json_open(&json, NULL, '{');
    bf_status_put(reader, &json, stmt);
    bf_json_close(&json, '}');
    *ret_ended = bf_sql_get_int(stmt, J_RANK) == BF_ROW_ENDED;
    sqlite3_reset(stmt);
    return bf_json_done(&json) ? bf_reader_out_of_memory(problem) : 0;
}

/* ---- one result -----------------------------------------------------------*/

static int no_result(sqlite3_stmt *stmt, struct bf_problem *problem)
{
    enum bf_row_rank rank = (enum bf_row_rank)bf_sql_get_int(stmt, 0);
    enum bf_outcome outcome = (enum bf_outcome)bf_sql_get_int(stmt, 1);

    return bf_problem_set(problem, BF_PROBLEM_NO_RESULT, NULL,
                          rank == BF_ROW_ENDED
                              ? "the job ended %s, which has no result bytes"
                              : "the job is %s: it has no result yet",
                          bf_row_status(rank, outcome));
}

static int get_result(sqlite3_stmt *stmt, struct bf_buf *out,
                      struct bf_result_place *ret, struct bf_problem *problem)
{
    struct bf_slice value = bf_sql_get(stmt, 5);

    *ret = (struct bf_result_place){
        .partition = (int32_t)bf_sql_get_int(stmt, 2),
        .offset = bf_sql_get_int(stmt, 3),
        .bytes = bf_sql_get_int(stmt, 4),
    };
    if (ret->bytes == 0)
        return no_result(stmt, problem);
    ret->elsewhere = !value.ptr;
    if (value.ptr && bf_buf_add(out, value.ptr, value.len, NULL))
        return bf_reader_out_of_memory(problem);
    return 0;
}

int bf_reader_result(struct bf_reader_db *reader, const char *workspace,
                     const char *job, struct bf_buf *out,
                     struct bf_result_place *ret, struct bf_problem *problem)
{
    sqlite3_stmt *stmt =
        bf_reader_stmt(reader, BF_READER_RESULT, RESULT, problem);
    struct bf_err err;
    int rc;

    if (!stmt)
        return -1;
    bf_sql_str(stmt, 1, workspace);
    bf_sql_str(stmt, 2, job);
    rc = bf_sql_step(stmt, &err);
    if (rc < 0)
        return bf_reader_failed(problem, &err);
    if (rc == 0)
        return no_such_job(problem);
    rc = get_result(stmt, out, ret, problem);
    sqlite3_reset(stmt);
    return rc;
}
