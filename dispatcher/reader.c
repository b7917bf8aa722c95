#include "dispatcher/reader.h"

#include <inttypes.h>

#include "config/clock.h"
#include "config/fleet_topics.h"
#include "dispatcher/row.h"
#include "dispatcher/sql.h"
#include "dispatcher/view.h"
#include "dispatcher/view_usage.h"
#include "schemas/json.h"

/* Columns of every answer about a job; get_status() knows the order. */
#define STATUS                                                                 \
    "j.workspace, j.job, j.generation, j.rank, j.outcome, j.attempt,"          \
    " j.run_id, j.execution, j.has_job, j.lane, j.partition, j.\"offset\","    \
    " j.accepted_ms, j.batch, j.batch_index, j.labels,"                        \
    " r.reason, r.delivery, r.usage_id, r.backend, r.isolation,"               \
    " r.worker, r.started_ms, r.ended_ms, r.source_topic, r.source_partition," \
    " r.source_offset, r.report, r.value_bytes, r.correlation,"                \
    " r.dead_letter"
enum column {
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
    /* besides, in pages */
    P_VALUE = STATUS_COLUMNS,
    P_AT_MS,
    P_PARTITION,
    P_OFFSET,
};

enum stmt {
    STMT_JOB,
    STMT_RESULT,
    STMT_PAGE,
    STMT_BATCH_PAGE,
    STMT_BATCH,
    STMT_USAGE,
    STMTS
};

#define PAGE(where)                                                            \
    "SELECT " STATUS ", r.value, r.at_ms, r.partition, r.\"offset\""           \
    " FROM results r JOIN jobs j ON j.workspace = r.workspace"                 \
    " AND j.job = r.job AND j.rank = 3 WHERE r.workspace = ?1 AND " where      \
    " (r.at_ms, r.partition, r.\"offset\") > (?2, ?3, ?4)"                     \
    " ORDER BY r.at_ms, r.partition, r.\"offset\" LIMIT ?5"

static const char *const texts[] = {
    [STMT_JOB] = "SELECT " STATUS
                 " FROM jobs j LEFT JOIN results r ON r.workspace = j.workspace"
                 " AND r.job = j.job AND j.rank = 3"
                 " WHERE j.workspace = ?1 AND j.job = ?2",
    [STMT_RESULT] =
        "SELECT j.rank, j.outcome, r.partition, r.\"offset\", r.value_bytes,"
        " r.value FROM jobs j LEFT JOIN results r ON r.workspace = j.workspace"
        " AND r.job = j.job AND j.rank = 3"
        " WHERE j.workspace = ?1 AND j.job = ?2",
    [STMT_PAGE] = PAGE(""),
    [STMT_BATCH_PAGE] = PAGE("r.batch = ?6 AND "),
    [STMT_BATCH] = "SELECT rank, outcome, count(*) FROM jobs"
                   " WHERE workspace = ?1 AND batch = ?2 GROUP BY 1, 2",
    [STMT_USAGE] = "SELECT sum(rows), sum(runs), sum(duration_us),"
                   " sum(input_bytes), sum(output_bytes) FROM usage_totals"
                   " WHERE workspace = ?1 AND day >= ?2",
};
_Static_assert(bf_countof(texts) == STMTS, "a text each");
_Static_assert(BF_ROW_ENDED == 3, "in the texts above");

struct bf_reader_db {
    sqlite3 *db;
    sqlite3_stmt *stmts[STMTS];
    const struct bf_topics *topics;
    int64_t as_of_ms;
};

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
    for (size_t i = 0; i < STMTS; i++) {
        reader->stmts[i] = bf_sql_prepare(reader->db, texts[i], err);
        if (!reader->stmts[i])
            return NULL;
    }
    return bf_take(reader);
}

void bf_reader_close(struct bf_reader_db *reader)
{
    if (!reader)
        return;
    for (size_t i = 0; i < STMTS; i++)
        sqlite3_finalize(reader->stmts[i]);
    sqlite3_close(reader->db);
    free(reader);
}

void bf_reader_as_of(struct bf_reader_db *reader, int64_t as_of_ms)
{
    reader->as_of_ms = as_of_ms;
}

static int failed(struct bf_problem *problem, const struct bf_err *err)
{
    return bf_problem_err(problem, BF_PROBLEM_UNAVAILABLE, NULL, err);
}

static int out_of_memory(struct bf_problem *problem)
{
    return bf_problem_set(problem, BF_PROBLEM_UNAVAILABLE, NULL,
                          "the answer is too large or memory is out");
}

/* ---- one job --------------------------------------------------------------*/

static void put_text(struct bf_json_out *out, const char *name,
                     sqlite3_stmt *stmt, enum column column)
{
    bf_json_text(out, name, bf_sql_get(stmt, (int)column));
}

static void put_time(struct bf_json_out *out, const char *name,
                     sqlite3_stmt *stmt, enum column column)
{
    int64_t ms = bf_sql_get_int(stmt, (int)column);

    if (ms > 0)
        bf_json_time(out, name, ms);
    else
        bf_json_null(out, name);
}

static void put_int(struct bf_json_out *out, const char *name,
                    sqlite3_stmt *stmt, enum column column)
{
    if (sqlite3_column_type(stmt, (int)column) == SQLITE_NULL)
        bf_json_null(out, name);
    else
        bf_json_int(out, name, bf_sql_get_int(stmt, (int)column));
}

static void put_raw(struct bf_json_out *out, const char *name,
                    sqlite3_stmt *stmt, enum column column)
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

    put_text(out, "workspace", stmt, J_WORKSPACE);
    put_text(out, "job", stmt, J_JOB);
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
    put_text(out, "reason", stmt, R_REASON);
    put_text(out, "delivery", stmt, R_DELIVERY);
    bf_json_str(out, "execution",
                bf_execution_name(
                    (enum bf_execution)bf_sql_get_int(stmt, J_EXECUTION)));
    put_text(out, "run_id", stmt, J_RUN_ID);
    put_text(out, "usage_id", stmt, R_USAGE_ID);
    put_text(out, "backend", stmt, R_BACKEND);
    put_text(out, "isolation", stmt, R_ISOLATION);
    put_text(out, "worker", stmt, R_WORKER);
    put_time(out, "started_at", stmt, R_STARTED_MS);
    put_time(out, "ended_at", stmt, R_ENDED_MS);
    put_time(out, "accepted_at", stmt, J_ACCEPTED_MS);
}

static void put_submitters(struct bf_json_out *out, sqlite3_stmt *stmt)
{
    put_text(out, "batch", stmt, J_BATCH);
    if (sqlite3_column_type(stmt, J_BATCH) == SQLITE_NULL)
        bf_json_null(out, "batch_index");
    else
        put_int(out, "batch_index", stmt, J_BATCH_INDEX);
    put_raw(out, "labels", stmt, J_LABELS);
    put_text(out, "correlation_id", stmt, R_CORRELATION);
    put_text(out, "dead_letter", stmt, R_DEAD_LETTER);
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
        put_text(out, "topic", stmt, R_SOURCE_TOPIC);
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

static void put_status(const struct bf_reader_db *reader,
                       struct bf_json_out *out, sqlite3_stmt *stmt)
{
    put_identity(out, stmt);
    put_run(out, stmt);
    put_submitters(out, stmt);
    put_source(reader, out, stmt);
    bf_json_time(out, "as_of", reader->as_of_ms);
}

static int no_such_job(struct bf_problem *problem)
{
    return bf_problem_set(problem, BF_PROBLEM_NOT_FOUND, NULL,
                          "the workspace has no such job");
}

int bf_reader_job(struct bf_reader_db *reader, const char *workspace,
                  const char *job, struct bf_buf *out, bool *ret_ended,
                  struct bf_problem *problem)
{
    sqlite3_stmt *stmt = reader->stmts[STMT_JOB];
    struct bf_json_out json;
    struct bf_err err;
    int rc;

    bf_sql_str(stmt, 1, workspace);
    bf_sql_str(stmt, 2, job);
    rc = bf_sql_step(stmt, &err);
    if (rc < 0)
        return failed(problem, &err);
    if (rc == 0)
        return no_such_job(problem);
    bf_json_start(&json, out, NULL);
    bf_json_open(&json, NULL, '{');
    put_status(reader, &json, stmt);
    bf_json_close(&json, '}');
    *ret_ended = bf_sql_get_int(stmt, J_RANK) == BF_ROW_ENDED;
    sqlite3_reset(stmt);
    return bf_json_done(&json) ? out_of_memory(problem) : 0;
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
        return out_of_memory(problem);
    return 0;
}

int bf_reader_result(struct bf_reader_db *reader, const char *workspace,
                     const char *job, struct bf_buf *out,
                     struct bf_result_place *ret, struct bf_problem *problem)
{
    sqlite3_stmt *stmt = reader->stmts[STMT_RESULT];
    struct bf_err err;
    int rc;

    bf_sql_str(stmt, 1, workspace);
    bf_sql_str(stmt, 2, job);
    rc = bf_sql_step(stmt, &err);
    if (rc < 0)
        return failed(problem, &err);
    if (rc == 0)
        return no_such_job(problem);
    rc = get_result(stmt, out, ret, problem);
    sqlite3_reset(stmt);
    return rc;
}

/* ---- pages ----------------------------------------------------------------*/

struct place {
    int64_t at_ms;
    int64_t partition;
    int64_t offset;
};

/* Three numbers with points between: what a page's last line says. */
static int parse_cursor(const char *cursor, struct place *ret)
{
    int64_t *const parts[] = {&ret->at_ms, &ret->partition, &ret->offset};

    *ret = (struct place){-1, -1, -1};
    if (!cursor)
        return 0;
    for (size_t i = 0; i < 3; i++) {
        size_t len = strcspn(cursor, ".");
        uint64_t value;

        if (bf_slice_u64((struct bf_slice){cursor, len}, INT64_MAX, &value) ||
            cursor[len] != (i < 2 ? '.' : '\0'))
            return -1;
        *parts[i] = (int64_t)value;
        cursor += len + 1;
    }
    return 0;
}

/* As the bytes would break other lines' JSON, they come as a string. */
static void put_value(struct bf_json_out *out, sqlite3_stmt *stmt)
{
    char url[256];

    put_text(out, "result", stmt, P_VALUE);
    if (bf_sql_get_int(stmt, R_VALUE_BYTES) == 0 ||
        sqlite3_column_type(stmt, P_VALUE) != SQLITE_NULL)
        return;
    snprintf(url, sizeof(url), "/v1/jobs/%.*s/result?workspace=%.*s",
             BF_SLICE_ARG(bf_sql_get(stmt, J_JOB)),
             BF_SLICE_ARG(bf_sql_get(stmt, J_WORKSPACE)));
    bf_json_str(out, "result_url", url);
}

static int put_line(const struct bf_reader_db *reader, struct bf_buf *out,
                    sqlite3_stmt *stmt)
{
    struct bf_json_out json;

    bf_json_start(&json, out, NULL);
    bf_json_open(&json, NULL, '{');
    put_status(reader, &json, stmt);
    put_value(&json, stmt);
    bf_json_close(&json, '}');
    return bf_json_done(&json) || bf_buf_adds(out, "\n", NULL) ? -1 : 0;
}

static void put_cursor(sqlite3_stmt *stmt, char out[BF_CURSOR_SIZE])
{
    snprintf(out, BF_CURSOR_SIZE, "%" PRId64 ".%" PRId64 ".%" PRId64,
             bf_sql_get_int(stmt, P_AT_MS), bf_sql_get_int(stmt, P_PARTITION),
             bf_sql_get_int(stmt, P_OFFSET));
}

static int put_page(const struct bf_reader_db *reader, sqlite3_stmt *stmt,
                    int limit, struct bf_buf *out, char cursor[BF_CURSOR_SIZE])
{
    char last[BF_CURSOR_SIZE] = "";
    struct bf_err err;
    int rc, count = 0;

    /* One more than asked for: it tells that there is a next page. */
    for (rc = bf_sql_step(stmt, &err); rc > 0; rc = bf_sql_step(stmt, &err)) {
        if (count == limit || out->len >= BF_PAGE_BYTES) {
            memcpy(cursor, last, sizeof(last));
            sqlite3_reset(stmt);
            return 0;
        }
        if (put_line(reader, out, stmt))
            return -1;
        put_cursor(stmt, last);
        count++;
    }
    cursor[0] = '\0';
    return rc;
}

int bf_reader_page(struct bf_reader_db *reader, const struct bf_page *page,
                   struct bf_buf *out, char ret_cursor[BF_CURSOR_SIZE],
                   struct bf_problem *problem)
{
    sqlite3_stmt *stmt =
        reader->stmts[page->batch ? STMT_BATCH_PAGE : STMT_PAGE];
    struct place after;

    if (parse_cursor(page->cursor, &after))
        return bf_problem_set(problem, BF_PROBLEM_BAD_REQUEST, "cursor",
                              "cursor: is none that this resource gave");
    bf_sql_str(stmt, 1, page->workspace);
    bf_sql_int(stmt, 2, after.at_ms);
    bf_sql_int(stmt, 3, after.partition);
    bf_sql_int(stmt, 4, after.offset);
    bf_sql_int(stmt, 5, page->limit + 1);
    if (page->batch)
        bf_sql_str(stmt, 6, page->batch);
    if (put_page(reader, stmt, page->limit, out, ret_cursor)) {
        sqlite3_reset(stmt);
        return out_of_memory(problem);
    }
    return 0;
}

/* ---- sums -----------------------------------------------------------------*/

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
    sqlite3_stmt *stmt = reader->stmts[STMT_BATCH];
    struct counts counts = {0};
    struct bf_err err;
    int rc;

    bf_sql_str(stmt, 1, workspace);
    bf_sql_str(stmt, 2, batch);
    for (rc = bf_sql_step(stmt, &err); rc > 0; rc = bf_sql_step(stmt, &err))
        count_one(&counts, stmt);
    if (rc < 0)
        return failed(problem, &err);
    if (counts.total == 0)
        return bf_problem_set(problem, BF_PROBLEM_NOT_FOUND, NULL,
                              "the workspace has no such batch");
    return put_counts(&counts, workspace, batch, reader->as_of_ms, out)
               ? out_of_memory(problem)
               : 0;
}

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
    sqlite3_stmt *stmt = reader->stmts[STMT_USAGE];
    struct bf_err err;
    int rc, put;

    bf_sql_str(stmt, 1, workspace);
    bf_sql_int(stmt, 2, bf_view_usage_since(reader->as_of_ms));
    rc = bf_sql_step(stmt, &err);
    if (rc < 0)
        return failed(problem, &err);
    put = put_usage(stmt, workspace, reader->as_of_ms, out);
    sqlite3_reset(stmt);
    return put ? out_of_memory(problem) : 0;
}
