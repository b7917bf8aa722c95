#include "dispatcher/sql.h"

#include "schemas/err.h"

int bf_sql_fail(sqlite3 *db, struct bf_err *err)
{
    int code = sqlite3_errcode(db) & 0xff;

    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        return bf_err_set(err, BF_ERR_FATAL, "view_broken", "%s",
                          sqlite3_errmsg(db));
    return bf_err_set(err, BF_ERR_RETRY, "view", "%s", sqlite3_errmsg(db));
}

int bf_sql_exec(sqlite3 *db, const char *sql, struct bf_err *err)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : bf_sql_fail(db, err);
}

sqlite3_stmt *bf_sql_prepare(sqlite3 *db, const char *sql, struct bf_err *err)
{
    sqlite3_stmt *stmt = NULL;

    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt,
                           NULL) != SQLITE_OK)
        bf_sql_fail(db, err);
    return stmt;
}

void bf_sql_text(sqlite3_stmt *stmt, int at, struct bf_slice text)
{
    if (text.len == 0)
        sqlite3_bind_null(stmt, at);
    else
        sqlite3_bind_text64(stmt, at, text.ptr, text.len, SQLITE_STATIC,
                            SQLITE_UTF8);
}

void bf_sql_str(sqlite3_stmt *stmt, int at, const char *text)
{
    bf_sql_text(stmt, at, bf_slice_str(text));
}

void bf_sql_int(sqlite3_stmt *stmt, int at, int64_t value)
{
    sqlite3_bind_int64(stmt, at, value);
}

int bf_sql_step(sqlite3_stmt *stmt, struct bf_err *err)
{
    int rc = sqlite3_step(stmt);

    if (rc == SQLITE_ROW)
        return 1;
    if (rc != SQLITE_DONE)
        bf_sql_fail(sqlite3_db_handle(stmt), err);
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? 0 : -1;
}

int bf_sql_run(sqlite3_stmt *stmt, struct bf_err *err)
{
    int rc = bf_sql_step(stmt, err);

    if (rc > 0)
        sqlite3_reset(stmt);
    return rc < 0 ? -1 : 0;
}

struct bf_slice bf_sql_get(sqlite3_stmt *stmt, int at)
{
    const void *bytes = sqlite3_column_blob(stmt, at);

    if (sqlite3_column_type(stmt, at) == SQLITE_NULL)
        return (struct bf_slice){0};
    return (struct bf_slice){bytes ? bytes : "",
                             (size_t)sqlite3_column_bytes(stmt, at)};
}

int64_t bf_sql_get_int(sqlite3_stmt *stmt, int at)
{
    return sqlite3_column_int64(stmt, at);
}
