#include "dispatcher/view_batch.h"

#include "dispatcher/sql.h"
#include "schemas/err.h"

#define CHANGED 256 /* batches of one transaction that are remembered */

const char bf_view_batch_schema[] =
    /* the first batch_open and the first batch_seal; NULL: none */
    "CREATE TABLE batches("
    " workspace TEXT, batch TEXT, at_ms INTEGER NOT NULL,"
    " open_offset INTEGER, opened_ms INTEGER, until_ms INTEGER,"
    " max_failure_ppm INTEGER, seal_offset INTEGER, sealed_ms INTEGER,"
    " count INTEGER, PRIMARY KEY(workspace, batch)) WITHOUT ROWID;"
    /* status: bf_batch_status() */
    "CREATE TABLE batch_counts("
    " workspace TEXT, batch TEXT, status INTEGER, jobs INTEGER NOT NULL,"
    " PRIMARY KEY(workspace, batch, status)) WITHOUT ROWID;"
    /* One that never ended is forgotten; those that did are still counted. */
    "CREATE TRIGGER jobs_forgotten AFTER DELETE ON jobs"
    " WHEN old.batch IS NOT NULL AND old.rank < 3 BEGIN"
    " UPDATE batch_counts SET jobs = jobs - 1 WHERE workspace = old.workspace"
    " AND batch = old.batch AND status = (old.rank = 2); END;";
_Static_assert(BF_ROW_STARTED == 2 && BF_ROW_ENDED == 3, "in the text above");

enum stmt {
    STMT_COUNT,
    STMT_OPEN,
    STMT_SEAL,
    STMT_READ,
    STMT_ALL,
    STMT_FORGET,
    STMT_FORGET_COUNTS,
    STMTS,
};

static const char *const texts[] = {
    [STMT_COUNT] = "INSERT INTO batch_counts VALUES(?1, ?2, ?3, ?4)"
                   " ON CONFLICT DO UPDATE SET jobs = jobs + ?4",
    [STMT_OPEN] =
        "INSERT INTO batches(workspace, batch, at_ms, open_offset, opened_ms,"
        " until_ms, max_failure_ppm) VALUES(?1, ?2, ?3, ?4, ?3, ?5, ?6)"
        " ON CONFLICT DO UPDATE SET open_offset = ?4, opened_ms = ?3,"
        " until_ms = ?5, max_failure_ppm = ?6, at_ms = max(at_ms, ?3)"
        " WHERE open_offset IS NULL OR open_offset > ?4",
    [STMT_SEAL] =
        "INSERT INTO batches(workspace, batch, at_ms, seal_offset, sealed_ms,"
        " count) VALUES(?1, ?2, ?3, ?4, ?3, ?5)"
        " ON CONFLICT DO UPDATE SET seal_offset = ?4, sealed_ms = ?3,"
        " count = ?5, at_ms = max(at_ms, ?3)"
        " WHERE seal_offset IS NULL OR seal_offset > ?4",
    [STMT_READ] = BF_VIEW_BATCH_TEXT,
    [STMT_ALL] = "SELECT workspace, batch FROM batches",
    [STMT_FORGET] =
        "DELETE FROM batches WHERE at_ms < ?1 AND NOT EXISTS (SELECT 1 FROM"
        " jobs j WHERE j.workspace = batches.workspace"
        " AND j.batch = batches.batch)",
    [STMT_FORGET_COUNTS] =
        "DELETE FROM batch_counts WHERE NOT EXISTS (SELECT 1 FROM jobs j"
        " WHERE j.workspace = batch_counts.workspace"
        " AND j.batch = batch_counts.batch) AND NOT EXISTS (SELECT 1 FROM"
        " batches b WHERE b.workspace = batch_counts.workspace"
        " AND b.batch = batch_counts.batch)",
};
_Static_assert(bf_countof(texts) == STMTS, "a text each");

struct name {
    char workspace[BF_MAX_ID + 1];
    char batch[BF_MAX_ID + 1];
};

struct bf_view_batch {
    sqlite3_stmt *stmts[STMTS];
    struct name changed[CHANGED];
    size_t nchanged; /* CHANGED + 1: more than are remembered */
};

struct bf_view_batch *bf_view_batch_new(sqlite3 *db, struct bf_err *err)
{
    struct bf_view_batch *batches = calloc(1, sizeof(*batches));

    if (!batches) {
        bf_err_oom(err);
        return NULL;
    }
    for (size_t i = 0; i < STMTS; i++) {
        batches->stmts[i] = bf_sql_prepare(db, texts[i], err);
        if (!batches->stmts[i]) {
            bf_view_batch_free(batches);
            return NULL;
        }
    }
    return batches;
}

void bf_view_batch_free(struct bf_view_batch *batches)
{
    if (!batches)
        return;
    for (size_t i = 0; i < STMTS; i++)
        sqlite3_finalize(batches->stmts[i]);
    free(batches);
}

/* ---- changes --------------------------------------------------------------*/

static void note(struct bf_view_batch *batches, struct bf_slice workspace,
                 struct bf_slice batch)
{
    struct name *name = batches->changed;
    size_t i;

    for (i = 0; i < batches->nchanged && i < CHANGED; i++) {
        if (bf_slice_is(batch, name[i].batch) &&
            bf_slice_is(workspace, name[i].workspace))
            return;
    }
    batches->nchanged = i + 1;
    if (i == CHANGED)
        return;
    snprintf(name[i].workspace, sizeof(name[i].workspace), "%.*s",
             BF_SLICE_ARG(workspace));
    snprintf(name[i].batch, sizeof(name[i].batch), "%.*s", BF_SLICE_ARG(batch));
}

static int count(struct bf_view_batch *batches, struct bf_slice workspace,
                 const struct bf_row *row, int change, struct bf_err *err)
{
    sqlite3_stmt *stmt = batches->stmts[STMT_COUNT];

    note(batches, workspace, bf_slice_str(row->batch));
    bf_sql_text(stmt, 1, workspace);
    bf_sql_str(stmt, 2, row->batch);
    bf_sql_int(stmt, 3, bf_batch_status(row->rank, row->outcome));
    bf_sql_int(stmt, 4, change);
    return bf_sql_run(stmt, err);
}

int bf_view_batch_move(struct bf_view_batch *batches, struct bf_slice workspace,
                       const struct bf_row *was, const struct bf_row *is,
                       struct bf_err *err)
{
    bool had = was && was->batch[0];

    if (had && strcmp(was->batch, is->batch) == 0 &&
        bf_batch_status(was->rank, was->outcome) ==
            bf_batch_status(is->rank, is->outcome))
        return 0;
    if (had && count(batches, workspace, was, -1, err))
        return -1;
    return is->batch[0] ? count(batches, workspace, is, 1, err) : 0;
}

int bf_view_batch_apply(struct bf_view_batch *batches,
                        const struct bf_record *rec, struct bf_err *err)
{
    bf_autocontrol struct bf_control control = {0};
    sqlite3_stmt *stmt;
    bool opens;

    if (bf_control_parse(rec, &control, err))
        return -1;
    opens = control.kind == BF_CONTROL_BATCH_OPEN;
    if (!opens && control.kind != BF_CONTROL_BATCH_SEAL)
        return 0;
    stmt = batches->stmts[opens ? STMT_OPEN : STMT_SEAL];
    note(batches, control.workspace, control.batch);
    bf_sql_text(stmt, 1, control.workspace);
    bf_sql_text(stmt, 2, control.batch);
    bf_sql_int(stmt, 3, control.at_ms);
    bf_sql_int(stmt, 4, rec->offset);
    bf_sql_int(stmt, 5, opens ? control.until_ms : control.count);
    if (opens)
        bf_sql_int(stmt, 6,
                   control.has_max_failure ? (int64_t)control.max_failure_ppm
                                           : -1);
    return bf_sql_run(stmt, err);
}

int bf_view_batch_forget(struct bf_view_batch *batches, int64_t before_ms,
                         struct bf_err *err)
{
    bf_sql_int(batches->stmts[STMT_FORGET], 1, before_ms);
    if (bf_sql_run(batches->stmts[STMT_FORGET], err))
        return -1;
    return bf_sql_run(batches->stmts[STMT_FORGET_COUNTS], err);
}

/* ---- facts ----------------------------------------------------------------*/

static bool has(sqlite3_stmt *stmt, int column)
{
    return sqlite3_column_type(stmt, column) != SQLITE_NULL;
}

static void read_facts(sqlite3_stmt *stmt, struct bf_batch *ret)
{
    ret->opened = has(stmt, 0);
    ret->opened_at_ms = bf_sql_get_int(stmt, 0);
    ret->until_ms = bf_sql_get_int(stmt, 1);
    ret->max_failure_ppm = has(stmt, 2) ? bf_sql_get_int(stmt, 2) : -1;
    ret->sealed = has(stmt, 3);
    ret->sealed_at_ms = bf_sql_get_int(stmt, 3);
    ret->count = bf_sql_get_int(stmt, 4);
}

int bf_view_batch_read(sqlite3_stmt *stmt, struct bf_slice workspace,
                       struct bf_slice batch, struct bf_batch *ret,
                       struct bf_err *err)
{
    int rc;

    *ret = (struct bf_batch){0};
    bf_sql_text(stmt, 1, workspace);
    bf_sql_text(stmt, 2, batch);
    for (rc = bf_sql_step(stmt, err); rc > 0; rc = bf_sql_step(stmt, err)) {
        int64_t status = bf_sql_get_int(stmt, 5);

        read_facts(stmt, ret);
        if (has(stmt, 5) && status >= 0 && status < BF_STATUSES)
            ret->jobs[status] = bf_sql_get_int(stmt, 6);
    }
    if (rc < 0)
        return -1;
    return ret->opened || ret->sealed || bf_batch_total(ret) > 0;
}

static int tell(struct bf_view_batch *batches, const struct name *name,
                bf_view_batch_fn *fn, void *arg, struct bf_err *err)
{
    struct bf_batch facts;
    int rc = bf_view_batch_read(batches->stmts[STMT_READ],
                                bf_slice_str(name->workspace),
                                bf_slice_str(name->batch), &facts, err);

    if (rc > 0)
        fn(arg, name->workspace, name->batch, &facts);
    return rc < 0 ? -1 : 0;
}

static int tell_all(struct bf_view_batch *batches, bf_view_batch_fn *fn,
                    void *arg, struct bf_err *err)
{
    sqlite3_stmt *stmt = batches->stmts[STMT_ALL];
    int rc;

    for (rc = bf_sql_step(stmt, err); rc > 0; rc = bf_sql_step(stmt, err)) {
        struct name name;

        snprintf(name.workspace, sizeof(name.workspace), "%.*s",
                 BF_SLICE_ARG(bf_sql_get(stmt, 0)));
        snprintf(name.batch, sizeof(name.batch), "%.*s",
                 BF_SLICE_ARG(bf_sql_get(stmt, 1)));
        if (tell(batches, &name, fn, arg, err)) {
            sqlite3_reset(stmt);
            return -1;
        }
    }
    return rc;
}

int bf_view_batch_each(struct bf_view_batch *batches, bool all,
                       bf_view_batch_fn *fn, void *arg, struct bf_err *err)
{
    size_t n = batches->nchanged;

    batches->nchanged = 0;
    if (all || n > CHANGED)
        return tell_all(batches, fn, arg, err);
    for (size_t i = 0; i < n; i++) {
        if (tell(batches, &batches->changed[i], fn, arg, err))
            return -1;
    }
    return 0;
}
