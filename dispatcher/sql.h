#ifndef BF_DISPATCHER_SQL_H
#define BF_DISPATCHER_SQL_H

/* SQLite with our errors: the only dialect that the view speaks. */

#include <sqlite3.h>

#include "schemas/buf.h"

struct bf_err;

BF_DEFINE_CLEANUP(bf_sqlite_closep_, sqlite3 *, sqlite3_close)
#define bf_autosqlite bf_cleanup(bf_sqlite_closep_)

/*
 * FATAL "view_broken" when the file is no database any more, RETRY "view"
 * otherwise: with SQLite's own words. Returns -1.
 */
int bf_sql_fail(sqlite3 *db, struct bf_err *err);

/* Statements without parameters, several split by semicolons. */
int bf_sql_exec(sqlite3 *db, const char *sql, struct bf_err *err);

sqlite3_stmt *bf_sql_prepare(sqlite3 *db, const char *sql, struct bf_err *err);

/* Parameters from 1. ptr NULL or "" binds NULL. Bytes are borrowed. */
void bf_sql_text(sqlite3_stmt *stmt, int at, struct bf_slice text);
void bf_sql_str(sqlite3_stmt *stmt, int at, const char *text);
void bf_sql_int(sqlite3_stmt *stmt, int at, int64_t value);

/* 1: a row; 0: no more, and reset for the next use; -1. */
int bf_sql_step(sqlite3_stmt *stmt, struct bf_err *err);

/* A statement that gives no row: step and reset. */
int bf_sql_run(sqlite3_stmt *stmt, struct bf_err *err);

/* Columns from 0. NULL is an absent slice, and 0. */
struct bf_slice bf_sql_get(sqlite3_stmt *stmt, int at);
int64_t bf_sql_get_int(sqlite3_stmt *stmt, int at);

#endif
