#include "dispatcher/view.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#include "config/clock.h"
#include "dispatcher/sql.h"
#include "dispatcher/view_usage.h"
#include "schemas/err.h"

/* A change of the tables or of what a column means is a new number. */
#define FORMAT "5"

static const char schema[] =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"
    "CREATE TABLE positions("
    " topic INTEGER, partition INTEGER, next INTEGER NOT NULL,"
    " PRIMARY KEY(topic, partition)) WITHOUT ROWID;"
    /* struct bf_row */
    "CREATE TABLE jobs("
    " workspace TEXT, job TEXT, generation INTEGER NOT NULL,"
    " has_job INTEGER NOT NULL, lane INTEGER NOT NULL,"
    " partition INTEGER NOT NULL, \"offset\" INTEGER NOT NULL,"
    " accepted_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,"
    " execution INTEGER NOT NULL, rank INTEGER NOT NULL,"
    " seq INTEGER NOT NULL, attempt INTEGER NOT NULL, run_id TEXT,"
    " outcome INTEGER NOT NULL, result_partition INTEGER NOT NULL,"
    " result_offset INTEGER NOT NULL, order_key TEXT, batch TEXT,"
    " batch_index INTEGER NOT NULL, labels TEXT,"
    " PRIMARY KEY(workspace, job)) WITHOUT ROWID;"
    "CREATE INDEX jobs_time ON jobs(workspace, accepted_ms, job);"
    "CREATE INDEX jobs_batch ON jobs(workspace, batch, accepted_ms, job)"
    " WHERE batch IS NOT NULL;"
    "CREATE INDEX jobs_open ON jobs(expires_ms) WHERE rank < 3;"
    /* the result that the row of jobs points at */
    "CREATE TABLE results("
    " id INTEGER PRIMARY KEY, workspace TEXT NOT NULL, job TEXT NOT NULL,"
    " at_ms INTEGER NOT NULL, partition INTEGER NOT NULL,"
    " \"offset\" INTEGER NOT NULL, batch TEXT, attempt INTEGER NOT NULL,"
    " reason TEXT, delivery TEXT NOT NULL, execution TEXT NOT NULL,"
    " run_id TEXT, usage_id TEXT, backend TEXT, isolation TEXT,"
    " worker TEXT, started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL,"
    " source_topic TEXT NOT NULL, source_partition INTEGER NOT NULL,"
    " source_offset INTEGER NOT NULL, correlation TEXT, dead_letter TEXT,"
    " report TEXT NOT NULL, value_bytes INTEGER NOT NULL,"
    " value BLOB, UNIQUE(workspace, job));"
    "CREATE INDEX results_time ON results(workspace, at_ms, partition,"
    " \"offset\");"
    "CREATE INDEX results_batch ON results(workspace, batch, at_ms, partition,"
    " \"offset\") WHERE batch IS NOT NULL;"
    "CREATE INDEX results_age ON results(at_ms);"
    /* each metering event counts once, however often it is there */
    "CREATE TABLE usage_ids(day INTEGER, id TEXT, PRIMARY KEY(day, id))"
    " WITHOUT ROWID;"
    /* whole numbers alone, so that every sum is exact */
    "CREATE TABLE usage_totals("
    " workspace TEXT, hour INTEGER, billable INTEGER, block_type TEXT,"
    " fingerprint TEXT, rows INTEGER NOT NULL, runs INTEGER NOT NULL,"
    " duration_us INTEGER NOT NULL, execution_us INTEGER NOT NULL,"
    " input_bytes INTEGER NOT NULL, output_bytes INTEGER NOT NULL,"
    " vcpu_us INTEGER NOT NULL, memory_gib_us INTEGER NOT NULL,"
    " PRIMARY KEY(workspace, hour, billable, block_type, fingerprint))"
    " WITHOUT ROWID;";

#define JOB_COLUMNS                                                            \
    "generation, has_job, lane, partition, \"offset\", accepted_ms,"           \
    " expires_ms, execution, rank, seq, attempt, run_id, outcome,"             \
    " result_partition, result_offset, order_key, batch, batch_index, labels"

enum stmt {
    STMT_GET_POSITION,
    STMT_SET_POSITION,
    STMT_GET_JOB,
    STMT_PUT_JOB,
    STMT_PUT_PROGRESS,
    STMT_PUT_RESULT,
    STMT_FORGET_OPEN,
    STMT_FORGET_JOBS,
    STMT_FORGET_RESULTS,
    STMTS,
};

static const char *const texts[] = {
    [STMT_GET_POSITION] =
        "SELECT next FROM positions WHERE topic = ?1 AND partition = ?2",
    [STMT_SET_POSITION] = "REPLACE INTO positions VALUES(?1, ?2, ?3)",
    [STMT_GET_JOB] =
        "SELECT " JOB_COLUMNS " FROM jobs WHERE workspace = ?1 AND job = ?2",
    [STMT_PUT_JOB] =
        "REPLACE INTO jobs(workspace, job, " JOB_COLUMNS ") VALUES("
        "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,"
        " ?16, ?17, ?18, ?19, ?20, ?21)",
    /* Not the columns of the indexes, which stay as they are. */
    [STMT_PUT_PROGRESS] =
        "UPDATE jobs SET rank = ?3, seq = ?4, attempt = ?5, run_id = ?6,"
        " outcome = ?7, result_partition = ?8, result_offset = ?9"
        " WHERE workspace = ?1 AND job = ?2",
    [STMT_PUT_RESULT] =
        "REPLACE INTO results(workspace, job, at_ms, partition, \"offset\","
        " batch, attempt, reason, delivery, execution, run_id, usage_id,"
        " backend, isolation, worker, started_ms, ended_ms, source_topic,"
        " source_partition, source_offset, correlation, dead_letter, report,"
        " value_bytes, value) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,"
        " ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,"
        " ?24, ?25)",
    [STMT_FORGET_OPEN] =
        "DELETE FROM jobs WHERE (workspace, job) IN (SELECT workspace, job"
        " FROM jobs WHERE rank < 3 AND has_job AND expires_ms < ?1"
        " ORDER BY expires_ms LIMIT ?2)",
    [STMT_FORGET_JOBS] =
        "DELETE FROM jobs WHERE (workspace, job) IN (SELECT workspace, job"
        " FROM results WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)",
    [STMT_FORGET_RESULTS] =
        "DELETE FROM results WHERE id IN (SELECT id FROM results"
        " WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)",
};
_Static_assert(bf_countof(texts) == STMTS, "a text each");

struct bf_view {
    sqlite3 *db;
    sqlite3_stmt *stmts[STMTS];
    struct bf_view_usage *usage;
    struct bf_view_batch *batches;
    int lock_fd;
    char *path;
    char *identity;
};

/* ---- the file -------------------------------------------------------------*/

static int lock_file(struct bf_view *view, struct bf_err *err)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s.lock", view->path);
    view->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (view->lock_fd < 0)
        return bf_err_set(err, BF_ERR_FATAL, "view_file", "%s: errno %d", path,
                          errno);
    if (flock(view->lock_fd, LOCK_EX | LOCK_NB))
        return bf_err_set(err, BF_ERR_FATAL, "view_locked",
                          "another dispatcher writes %s: give this one its "
                          "own dispatcher.view",
                          view->path);
    return 0;
}

static void close_database(struct bf_view *view)
{
    for (size_t i = 0; i < STMTS; i++)
        sqlite3_finalize(bf_take(view->stmts[i]));
    bf_view_usage_free(bf_take(view->usage));
    bf_view_batch_free(bf_take(view->batches));
    sqlite3_close(bf_take(view->db));
}

static void remove_files(const struct bf_view *view)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char path[4096];

    for (size_t i = 0; i < bf_countof(suffixes); i++) {
        snprintf(path, sizeof(path), "%s%s", view->path, suffixes[i]);
        unlink(path);
    }
}

/*
 * It holds results of every workspace, and SQLite would let everybody read it;
 * what it makes beside it gets the same mode. When this fails, SQLite says why.
 */
static void make_file(const struct bf_view *view)
{
    int fd = open(view->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    bf_closep_(&fd);
}

/* The file is disposable: a power cut may take its last seconds, not more. */
static int open_database(struct bf_view *view, struct bf_err *err)
{
    make_file(view);
    if (sqlite3_open_v2(view->path, &view->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
                            SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK) {
        if (view->db)
            return bf_err_set(err, BF_ERR_FATAL, "view_file", "%s: %s",
                              view->path, sqlite3_errmsg(view->db));
        return bf_err_oom(err);
    }
    sqlite3_busy_timeout(view->db, 5000);
    return bf_sql_exec(view->db,
                       "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                       "PRAGMA cache_size = -8192;"
                       "PRAGMA journal_size_limit = 33554432",
                       err);
}

static bool meta_is(struct bf_view *view, const char *key, const char *want)
{
    sqlite3_stmt *stmt =
        bf_sql_prepare(view->db, "SELECT value FROM meta WHERE key = ?1", NULL);
    bool same = false;

    if (!stmt)
        return false; /* no such table: a new file, or none of ours */
    bf_sql_str(stmt, 1, key);
    if (bf_sql_step(stmt, NULL) > 0)
        same = bf_slice_is(bf_sql_get(stmt, 0), want);
    sqlite3_finalize(stmt);
    return same;
}

static int put_meta(struct bf_view *view, const char *key, const char *value,
                    struct bf_err *err)
{
    sqlite3_stmt *stmt =
        bf_sql_prepare(view->db, "REPLACE INTO meta VALUES(?1, ?2)", err);
    int rc;

    if (!stmt)
        return -1;
    bf_sql_str(stmt, 1, key);
    bf_sql_str(stmt, 2, value);
    rc = bf_sql_run(stmt, err);
    sqlite3_finalize(stmt);
    return rc;
}

static int make_schema(struct bf_view *view, struct bf_err *err)
{
    if (bf_view_begin(view, err))
        return -1;
    if (bf_sql_exec(view->db, schema, err) ||
        bf_sql_exec(view->db, bf_view_batch_schema, err) ||
        put_meta(view, "format", FORMAT, err) ||
        put_meta(view, "identity", view->identity, err))
        return -1;
    return bf_view_commit(view, err);
}

static int prepare_all(struct bf_view *view, struct bf_err *err)
{
    for (size_t i = 0; i < STMTS; i++) {
        view->stmts[i] = bf_sql_prepare(view->db, texts[i], err);
        if (!view->stmts[i])
            return -1;
    }
    view->usage = bf_view_usage_new(view->db, err);
    view->batches = view->usage ? bf_view_batch_new(view->db, err) : NULL;
    return view->batches ? 0 : -1;
}

int bf_view_reset(struct bf_view *view, struct bf_err *err)
{
    close_database(view);
    remove_files(view);
    if (open_database(view, err) || make_schema(view, err))
        return -1;
    return prepare_all(view, err);
}

static int open_existing(struct bf_view *view)
{
    return open_database(view, NULL) || !meta_is(view, "format", FORMAT) ||
                   !meta_is(view, "identity", view->identity)
               ? -1
               : prepare_all(view, NULL);
}

struct bf_view *bf_view_open(const char *path, const char *identity,
                             struct bf_err *err)
{
    bf_autoview struct bf_view *view = calloc(1, sizeof(*view));

    if (!view) {
        bf_err_oom(err);
        return NULL;
    }
    view->lock_fd = -1;
    view->path = strdup(path);
    view->identity = strdup(identity);
    if (!view->path || !view->identity) {
        bf_err_oom(err);
        return NULL;
    }
    if (lock_file(view, err))
        return NULL;
    if (open_existing(view) && bf_view_reset(view, err))
        return NULL;
    return bf_take(view);
}

void bf_view_close(struct bf_view *view)
{
    if (!view)
        return;
    close_database(view);
    bf_closep_(&view->lock_fd);
    free(view->path);
    free(view->identity);
    free(view);
}

int bf_view_begin(struct bf_view *view, struct bf_err *err)
{
    return bf_sql_exec(view->db, "BEGIN IMMEDIATE", err);
}

int bf_view_commit(struct bf_view *view, struct bf_err *err)
{
    return bf_sql_exec(view->db, "COMMIT", err);
}

void bf_view_rollback(struct bf_view *view)
{
    if (!sqlite3_get_autocommit(view->db))
        bf_sql_exec(view->db, "ROLLBACK", NULL);
}

/* ---- positions ------------------------------------------------------------*/

int bf_view_position(struct bf_view *view, enum bf_topic topic,
                     int32_t partition, int64_t *ret, struct bf_err *err)
{
    sqlite3_stmt *stmt = view->stmts[STMT_GET_POSITION];
    int rc;

    bf_sql_int(stmt, 1, topic);
    bf_sql_int(stmt, 2, partition);
    rc = bf_sql_step(stmt, err);
    if (rc < 0)
        return -1;
    *ret = rc > 0 ? bf_sql_get_int(stmt, 0) : -1;
    sqlite3_reset(stmt);
    return 0;
}

int bf_view_set_position(struct bf_view *view, enum bf_topic topic,
                         int32_t partition, int64_t next, struct bf_err *err)
{
    sqlite3_stmt *stmt = view->stmts[STMT_SET_POSITION];

    bf_sql_int(stmt, 1, topic);
    bf_sql_int(stmt, 2, partition);
    bf_sql_int(stmt, 3, next);
    return bf_sql_run(stmt, err);
}

/* ---- rows -----------------------------------------------------------------*/

static void get_text(sqlite3_stmt *stmt, int at, char *out, size_t size)
{
    snprintf(out, size, "%.*s", BF_SLICE_ARG(bf_sql_get(stmt, at)));
}

static void read_row(sqlite3_stmt *stmt, struct bf_row *ret)
{
    ret->generation = (uint32_t)bf_sql_get_int(stmt, 0);
    ret->has_job = bf_sql_get_int(stmt, 1) != 0;
    ret->lane = (enum bf_lane)bf_sql_get_int(stmt, 2);
    ret->partition = (int32_t)bf_sql_get_int(stmt, 3);
    ret->offset = bf_sql_get_int(stmt, 4);
    ret->accepted_at_ms = bf_sql_get_int(stmt, 5);
    ret->expires_at_ms = bf_sql_get_int(stmt, 6);
    ret->execution = (enum bf_execution)bf_sql_get_int(stmt, 7);
    ret->rank = (enum bf_row_rank)bf_sql_get_int(stmt, 8);
    ret->seq = (uint64_t)bf_sql_get_int(stmt, 9);
    ret->attempt = (uint32_t)bf_sql_get_int(stmt, 10);
    get_text(stmt, 11, ret->run_id, sizeof(ret->run_id));
    ret->outcome = (enum bf_outcome)bf_sql_get_int(stmt, 12);
    ret->result_partition = (int32_t)bf_sql_get_int(stmt, 13);
    ret->result_offset = bf_sql_get_int(stmt, 14);
    get_text(stmt, 15, ret->order_key, sizeof(ret->order_key));
    get_text(stmt, 16, ret->batch, sizeof(ret->batch));
    ret->batch_index = (uint32_t)bf_sql_get_int(stmt, 17);
    get_text(stmt, 18, ret->labels, sizeof(ret->labels));
}

/* 1: it is there; 0: it is not, *ret knows nothing. */
static int get_row(struct bf_view *view, struct bf_slice workspace,
                   struct bf_slice job, struct bf_row *ret, struct bf_err *err)
{
    sqlite3_stmt *stmt = view->stmts[STMT_GET_JOB];
    int rc;

    bf_sql_text(stmt, 1, workspace);
    bf_sql_text(stmt, 2, job);
    rc = bf_sql_step(stmt, err);
    if (rc < 0)
        return -1;
    *ret = (struct bf_row){0};
    if (rc > 0)
        read_row(stmt, ret);
    sqlite3_reset(stmt);
    return rc;
}

static int put_row(struct bf_view *view, struct bf_slice workspace,
                   struct bf_slice job, const struct bf_row *row,
                   struct bf_err *err)
{
    sqlite3_stmt *stmt = view->stmts[STMT_PUT_JOB];

    bf_sql_text(stmt, 1, workspace);
    bf_sql_text(stmt, 2, job);
    bf_sql_int(stmt, 3, row->generation);
    bf_sql_int(stmt, 4, row->has_job);
    bf_sql_int(stmt, 5, row->lane);
    bf_sql_int(stmt, 6, row->partition);
    bf_sql_int(stmt, 7, row->offset);
    bf_sql_int(stmt, 8, row->accepted_at_ms);
    bf_sql_int(stmt, 9, row->expires_at_ms);
    bf_sql_int(stmt, 10, row->execution);
    bf_sql_int(stmt, 11, row->rank);
    bf_sql_int(stmt, 12, (int64_t)row->seq);
    bf_sql_int(stmt, 13, row->attempt);
    bf_sql_str(stmt, 14, row->run_id);
    bf_sql_int(stmt, 15, row->outcome);
    bf_sql_int(stmt, 16, row->result_partition);
    bf_sql_int(stmt, 17, row->result_offset);
    bf_sql_str(stmt, 18, row->order_key);
    bf_sql_str(stmt, 19, row->batch);
    bf_sql_int(stmt, 20, row->batch_index);
    bf_sql_str(stmt, 21, row->labels);
    return bf_sql_run(stmt, err);
}

static int put_progress(struct bf_view *view, struct bf_slice workspace,
                        struct bf_slice job, const struct bf_row *row,
                        struct bf_err *err)
{
    sqlite3_stmt *stmt = view->stmts[STMT_PUT_PROGRESS];

    bf_sql_text(stmt, 1, workspace);
    bf_sql_text(stmt, 2, job);
    bf_sql_int(stmt, 3, row->rank);
    bf_sql_int(stmt, 4, (int64_t)row->seq);
    bf_sql_int(stmt, 5, row->attempt);
    bf_sql_str(stmt, 6, row->run_id);
    bf_sql_int(stmt, 7, row->outcome);
    bf_sql_int(stmt, 8, row->result_partition);
    bf_sql_int(stmt, 9, row->result_offset);
    return bf_sql_run(stmt, err);
}

int bf_view_merge(struct bf_view *view, struct bf_slice workspace,
                  struct bf_slice job, const struct bf_row *news,
                  unsigned *ret_news, struct bf_err *err)
{
    struct bf_row row, was;
    unsigned changed;
    int found = get_row(view, workspace, job, &row, err), rc = 0;

    if (found < 0)
        return -1;
    was = row;
    changed = bf_row_merge(&row, news);
    if (changed && (!found || changed & BF_ROW_FACTS))
        rc = put_row(view, workspace, job, &row, err);
    else if (changed)
        rc = put_progress(view, workspace, job, &row, err);
    if (rc == 0 && changed)
        rc = bf_view_batch_move(view->batches, workspace, found ? &was : NULL,
                                &row, err);
    if (rc == 0)
        *ret_news = changed;
    return rc;
}

/* ---- records --------------------------------------------------------------*/

static void set_text(char *out, size_t size, struct bf_slice text)
{
    if (text.len < size)
        snprintf(out, size, "%.*s", BF_SLICE_ARG(text));
}

static void set_submitters(struct bf_row *row, struct bf_slice batch,
                           struct bf_slice index, struct bf_slice labels)
{
    uint64_t number;

    set_text(row->batch, sizeof(row->batch), batch);
    if (bf_slice_u64(index, UINT32_MAX, &number) == 0)
        row->batch_index = (uint32_t)number;
    set_text(row->labels, sizeof(row->labels), labels);
}

/*
 * A job lies in Kafka for twice as long as its result: one that must have
 * ended and whose result may be gone would be waiting for ever.
 */
static bool is_over(const struct bf_job *job, int64_t now_ms)
{
    return job->accepted_at_ms <
               now_ms - bf_topic_retention_ms(BF_TOPIC_RESULTS) &&
           job->expires_at_ms + BF_MAX_TIMEOUT_MS < now_ms;
}

static int apply_job(struct bf_view *view, enum bf_topic topic,
                     const struct bf_record *rec, struct bf_view_change *ret,
                     struct bf_err *err)
{
    struct bf_row news = {.has_job = true};
    struct bf_job job;
    unsigned changed;

    if (bf_job_parse(rec, &job, err))
        return -1;
    if (is_over(&job, bf_now_ms()))
        return 0;
    news.generation = job.generation;
    news.lane = topic == BF_TOPIC_BATCH ? BF_LANE_BATCH : BF_LANE_JOBS;
    news.partition = rec->partition;
    news.offset = rec->offset;
    news.accepted_at_ms = job.accepted_at_ms;
    news.expires_at_ms = job.expires_at_ms;
    news.execution = job.execution;
    set_text(news.order_key, sizeof(news.order_key), job.order_key);
    set_submitters(&news, job.batch, job.batch_index, job.labels);
    *ret = (struct bf_view_change){.workspace = job.workspace, .job = job.id};
    return bf_view_merge(view, job.workspace, job.id, &news, &changed, err);
}

static enum bf_row_rank rank_of(enum bf_run_state state)
{
    return state == BF_RUN_PARKED ? BF_ROW_PARKED : BF_ROW_STARTED;
}

/* Only r/ entries tell of one job. Their ends come with a result. */
static int apply_state(struct bf_view *view, const struct bf_record *rec,
                       struct bf_err *err)
{
    bf_autoentry struct bf_entry entry = {0};
    struct bf_row news = {0};
    unsigned changed;

    if (rec->key.len < 2 || memcmp(rec->key.ptr, "r/", 2) != 0)
        return 0;
    if (bf_entry_parse(rec, &entry, err))
        return -1;
    if (entry.tombstone)
        return 0;
    news.generation = entry.r.generation;
    news.rank = rank_of(entry.r.state);
    news.seq = entry.seq;
    news.attempt = entry.r.attempt;
    set_text(news.run_id, sizeof(news.run_id), entry.r.run_id);
    return bf_view_merge(view, entry.workspace, entry.job, &news, &changed,
                         err);
}

static int put_result(struct bf_view *view, const struct bf_record *rec,
                      const struct bf_result *result, struct bf_err *err)
{
    sqlite3_stmt *stmt = view->stmts[STMT_PUT_RESULT];

    bf_sql_text(stmt, 1, result->subject.workspace);
    bf_sql_text(stmt, 2, result->subject.job);
    bf_sql_int(stmt, 3, result->at_ms);
    bf_sql_int(stmt, 4, rec->partition);
    bf_sql_int(stmt, 5, rec->offset);
    bf_sql_text(stmt, 6, result->batch);
    bf_sql_int(stmt, 7, result->subject.attempt);
    bf_sql_str(stmt, 8, bf_reason_name(result->reason));
    bf_sql_str(stmt, 9, bf_delivery_name(result->delivery));
    bf_sql_str(stmt, 10, bf_execution_name(result->execution));
    bf_sql_text(stmt, 11, result->run_id);
    bf_sql_text(stmt, 12, result->usage_id);
    bf_sql_text(stmt, 13, result->backend);
    bf_sql_text(stmt, 14, result->isolation);
    bf_sql_text(stmt, 15, result->worker);
    bf_sql_int(stmt, 16, result->started_at_ms);
    bf_sql_int(stmt, 17, result->ended_at_ms);
    bf_sql_text(stmt, 18, result->source_topic);
    bf_sql_int(stmt, 19, result->source_partition);
    bf_sql_int(stmt, 20, result->source_offset);
    bf_sql_text(stmt, 21, result->correlation_id);
    bf_sql_text(stmt, 22, result->dead_letter);
    bf_sql_text(stmt, 23, result->report);
    bf_sql_int(stmt, 24, (int64_t)result->value.len);
    if (result->value.len > 0 && result->value.len <= BF_VIEW_INLINE_BYTES)
        sqlite3_bind_blob64(stmt, 25, result->value.ptr, result->value.len,
                            SQLITE_STATIC);
    else
        sqlite3_bind_null(stmt, 25);
    return bf_sql_run(stmt, err);
}

static int apply_result(struct bf_view *view, const struct bf_record *rec,
                        struct bf_view_change *ret, struct bf_err *err)
{
    struct bf_row news = {.rank = BF_ROW_ENDED};
    struct bf_result result;
    unsigned changed;

    if (bf_result_parse(rec, &result, err))
        return -1;
    news.generation = result.subject.generation;
    news.attempt = result.subject.attempt;
    news.outcome = result.outcome;
    news.execution = result.execution;
    news.result_partition = rec->partition;
    news.result_offset = rec->offset;
    set_text(news.run_id, sizeof(news.run_id), result.run_id);
    set_submitters(&news, result.batch, result.batch_index, result.labels);
    *ret = (struct bf_view_change){.workspace = result.subject.workspace,
                                   .job = result.subject.job,
                                   .ended = true};
    if (bf_view_merge(view, ret->workspace, ret->job, &news, &changed, err))
        return -1;
    return changed & BF_ROW_RESULT ? put_result(view, rec, &result, err) : 0;
}

int bf_view_apply(struct bf_view *view, enum bf_topic topic,
                  const struct bf_record *rec, struct bf_view_change *ret,
                  struct bf_err *err)
{
    *ret = (struct bf_view_change){0};
    if (topic == BF_TOPIC_JOBS || topic == BF_TOPIC_BATCH)
        return apply_job(view, topic, rec, ret, err);
    if (topic == BF_TOPIC_STATE)
        return apply_state(view, rec, err);
    if (topic == BF_TOPIC_RESULTS)
        return apply_result(view, rec, ret, err);
    if (topic == BF_TOPIC_USAGE)
        return bf_view_usage_apply(view->usage, rec, err);
    if (topic == BF_TOPIC_CONTROL)
        return bf_view_batch_apply(view->batches, rec, err);
    return 0;
}

int bf_view_batches(struct bf_view *view, bool all, bf_view_batch_fn *fn,
                    void *arg, struct bf_err *err)
{
    return bf_view_batch_each(view->batches, all, fn, arg, err);
}

/* ---- forgetting -----------------------------------------------------------*/

static int forget(struct bf_view *view, enum stmt which, int64_t before_ms,
                  int limit, struct bf_err *err)
{
    bf_sql_int(view->stmts[which], 1, before_ms);
    bf_sql_int(view->stmts[which], 2, limit);
    return bf_sql_run(view->stmts[which], err);
}

int bf_view_forget(struct bf_view *view, int64_t now_ms, int limit,
                   int *ret_count, struct bf_err *err)
{
    int64_t before = now_ms - BF_VIEW_KEEP_MS;
    int open;

    if (forget(view, STMT_FORGET_OPEN, before, limit, err))
        return -1;
    open = sqlite3_changes(view->db);
    if (forget(view, STMT_FORGET_JOBS, before, limit, err) ||
        forget(view, STMT_FORGET_RESULTS, before, limit, err))
        return -1;
    *ret_count = sqlite3_changes(view->db);
    if (*ret_count < open)
        *ret_count = open;
    if (*ret_count > 0 && bf_view_batch_forget(view->batches, before, err))
        return -1;
    return bf_view_usage_forget(view->usage, now_ms, err);
}
