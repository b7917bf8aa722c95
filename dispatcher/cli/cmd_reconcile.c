/* blockfleet usage reconcile: what ended against what was metered. */

#include "dispatcher/cli/commands.h"

#include "config/clock.h"
#include "dispatcher/cli/logs.h"
#include "dispatcher/quantity.h"
#include "dispatcher/sql.h"
#include "schemas/err.h"
#include "schemas/json.h"

/*
 * A result and its row come with one transaction, but each has a timestamp of
 * its own: what is read from --since on is compared from this much later.
 */
#define MARGIN_MS 60000
#define MAX_ROW (1U << 20)

static const char tables_sql[] =
    "CREATE TABLE results(workspace, job, usage, at_ms, place);"
    "CREATE INDEX by_job ON results(workspace, job);"
    "CREATE TABLE rows(id PRIMARY KEY, workspace, job, kind, at_ms, place,"
    " billable, runs, us, copies) WITHOUT ROWID;"
    "BEGIN";

/* A result's usage row is gone, a row has no result, a job ended twice. */
static const char faults_sql[] =
    "SELECT 'no_row', workspace, job, place FROM results r"
    " WHERE usage IS NOT NULL AND at_ms >= ?1"
    " AND NOT EXISTS (SELECT 1 FROM rows WHERE id = r.usage)"
    " UNION ALL "
    "SELECT 'no_result', workspace, job, place FROM rows u"
    " WHERE kind = 'run' AND at_ms >= ?1 AND NOT EXISTS (SELECT 1 FROM results"
    " WHERE workspace = u.workspace AND job = u.job)"
    " UNION ALL "
    "SELECT 'two_results', workspace, job, max(place) FROM results"
    " GROUP BY workspace, job HAVING count(*) > 1"
    " ORDER BY 1, 2, 3 LIMIT 1000";

static const char totals_sql[] =
    "SELECT workspace,"
    " (SELECT count(*) FROM results r WHERE r.workspace = u.workspace),"
    " sum(kind <> 'correction'), sum(copies * (kind <> 'correction')),"
    " sum(kind = 'correction'), sum(runs), sum(runs * billable),"
    " sum(kind = 'run' AND NOT billable AND runs > 0), sum(us * billable)"
    " FROM rows u WHERE kind <> 'later' GROUP BY workspace ORDER BY workspace";

struct books {
    sqlite3 *db; /* in a temporary file that goes with it */
    sqlite3_stmt *add_result;
    sqlite3_stmt *add_row;
    bool later;     /* rows that are read once more, for the last results */
    json_int_t odd; /* records that are not compared */
};

static void books_release(struct books *books)
{
    sqlite3_finalize(books->add_result);
    sqlite3_finalize(books->add_row);
    sqlite3_close(books->db);
}

static int books_open(struct books *books, struct bf_err *err)
{
    if (sqlite3_open("", &books->db) != SQLITE_OK)
        return bf_sql_fail(books->db, err);
    if (bf_sql_exec(books->db, tables_sql, err))
        return -1;
    books->add_result = bf_sql_prepare(
        books->db, "INSERT INTO results VALUES(?1, ?2, ?3, ?4, ?5)", err);
    books->add_row = bf_sql_prepare(
        books->db,
        "INSERT INTO rows VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1)"
        " ON CONFLICT DO UPDATE SET copies = copies + (?4 <> 'later')",
        err);
    return books->add_result && books->add_row ? 0 : -1;
}

/* "<job>/<generation>": what ends once. */
static struct bf_slice job_name(struct bf_slice job, long long generation,
                                char out[static BF_MAX_ID + 32])
{
    int len = job.len > BF_MAX_ID ? (int)BF_MAX_ID : (int)job.len;

    snprintf(out, BF_MAX_ID + 32, "%.*s/%lld", len, job.ptr ? job.ptr : "",
             generation);
    return bf_slice_str(out);
}

static struct bf_slice place_name(const struct bf_record *rec,
                                  char out[static BF_TOPIC_NAME_SIZE + 48])
{
    snprintf(out, BF_TOPIC_NAME_SIZE + 48, "%s/%d/%lld", rec->topic,
             (int)rec->partition, (long long)rec->offset);
    return bf_slice_str(out);
}

static int take_result(void *arg, const struct bf_record *rec,
                       const struct bf_err *bad, struct bf_err *err)
{
    struct books *books = arg;
    sqlite3_stmt *stmt = books->add_result;
    char job[BF_MAX_ID + 32], place[BF_TOPIC_NAME_SIZE + 48];
    uint64_t generation;

    if (bad || bf_slice_u64(bf_record_get(rec, "bf_generation"), UINT32_MAX,
                            &generation)) {
        books->odd++;
        return 0;
    }
    bf_sql_text(stmt, 1, bf_record_get(rec, "bf_workspace"));
    bf_sql_text(
        stmt, 2,
        job_name(bf_record_get(rec, "bf_job"), (long long)generation, job));
    bf_sql_text(stmt, 3, bf_record_get(rec, "bf_usage_id"));
    bf_sql_int(stmt, 4, rec->timestamp_ms);
    bf_sql_text(stmt, 5, place_name(rec, place));
    return bf_sql_run(stmt, err);
}

/* -1: not a row of quantities that add up; only a correction has signs. */
static int read_quantity(const json_t *row, enum bf_quantity which,
                         int64_t *ret)
{
    bool is_signed =
        bf_slice_is(bf_json_slice(json_object_get(row, "kind")), "correction");

    return bf_quantity_parse(
        which, json_string_value(json_object_get(row, bf_quantity_name(which))),
        is_signed, ret);
}

static int take_row(void *arg, const struct bf_record *rec,
                    const struct bf_err *bad, struct bf_err *err)
{
    struct books *books = arg;
    sqlite3_stmt *stmt = books->add_row;
    bf_autojson json_t *row = bf_json_parse(rec->value, MAX_ROW, NULL);
    char job[BF_MAX_ID + 32], place[BF_TOPIC_NAME_SIZE + 48];
    int64_t runs = 0, us = 0;

    if (bad || !bf_record_get(rec, "ce_id").len ||
        read_quantity(row, BF_QUANTITY_RUNS, &runs) ||
        read_quantity(row, BF_QUANTITY_DURATION, &us)) {
        books->odd += !books->later;
        return 0;
    }
    bf_sql_text(stmt, 1, bf_record_get(rec, "ce_id"));
    bf_sql_text(stmt, 2, bf_record_get(rec, "bf_workspace"));
    bf_sql_text(stmt, 3,
                job_name(bf_record_get(rec, "bf_job"),
                         json_integer_value(json_object_get(row, "generation")),
                         job));
    bf_sql_text(stmt, 4,
                books->later ? BF_SLICE_LIT("later")
                             : bf_json_slice(json_object_get(row, "kind")));
    bf_sql_int(stmt, 5, rec->timestamp_ms);
    bf_sql_text(stmt, 6, place_name(rec, place));
    bf_sql_int(stmt, 7, json_is_true(json_object_get(row, "billable")));
    bf_sql_int(stmt, 8, runs);
    bf_sql_int(stmt, 9, us);
    return bf_sql_run(stmt, err);
}

/* ---- the answer -----------------------------------------------------------*/

static json_t *text_at(sqlite3_stmt *stmt, int at)
{
    struct bf_slice text = bf_sql_get(stmt, at);

    return text.ptr ? json_stringn(text.ptr, text.len) : json_null();
}

static json_t *fault_row(sqlite3_stmt *stmt)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "fault", text_at(stmt, 0),
                     "workspace", text_at(stmt, 1), "job", text_at(stmt, 2),
                     "record", text_at(stmt, 3));
}

static json_t *total_row(sqlite3_stmt *stmt)
{
    static const char *const names[] = {
        "results", "rows", "copies", "corrections", "runs", "billable", "lost"};
    char seconds[BF_QUANTITY_SIZE];
    json_t *row;

    bf_quantity_text(BF_QUANTITY_DURATION, bf_sql_get_int(stmt, 8), seconds);
    row = json_pack("{s:o, s:s}", "workspace", text_at(stmt, 0), "seconds",
                    seconds);
    for (size_t i = 0; row && i < bf_countof(names); i++)
        json_object_set_new(row, names[i],
                            json_integer(bf_sql_get_int(stmt, (int)i + 1)));
    return row;
}

BF_DEFINE_CLEANUP(stmt_freep, sqlite3_stmt *, sqlite3_finalize)

static json_t *query(const struct books *books, const char *sql,
                     int64_t from_ms, json_t *(*row)(sqlite3_stmt *stmt),
                     struct bf_err *err)
{
    bf_cleanup(stmt_freep) sqlite3_stmt *stmt =
        bf_sql_prepare(books->db, sql, err);
    json_auto_t *rows = json_array();
    int more = -1;

    if (stmt && sqlite3_bind_parameter_count(stmt) > 0)
        bf_sql_int(stmt, 1, from_ms);
    while (stmt && (more = bf_sql_step(stmt, err)) > 0)
        json_array_append_new(rows, row(stmt));
    return more == 0 ? json_incref(rows) : NULL;
}

static int show(struct bf_cli *cli, const struct books *books,
                const json_t *totals, const json_t *faults, struct bf_err *err)
{
    static const struct bf_column total_columns[] = {
        {"workspace", "WORKSPACE", false, 40},
        {"results", "RESULTS", true, 0},
        {"rows", "ROWS", true, 0},
        {"copies", "COPIES", true, 0},
        {"corrections", "CORRECTIONS", true, 0},
        {"runs", "RUNS", true, 0},
        {"billable", "BILLABLE", true, 0},
        {"lost", "LOST", true, 0},
        {"seconds", "SECONDS", true, 0},
    };
    static const struct bf_column fault_columns[] = {
        {"fault", "FAULT", false, 0},
        {"workspace", "WORKSPACE", false, 40},
        {"job", "JOB", false, 64},
        {"record", "RECORD", false, 0},
    };
    json_auto_t *all = json_pack("{s:O, s:O, s:I}", "workspaces", totals,
                                 "faults", faults, "not_compared", books->odd);

    if (cli->json)
        return bf_cli_record(cli, NULL, 0, all, err);
    if (bf_cli_rows(cli, total_columns, bf_countof(total_columns), totals, err))
        return -1;
    if (books->odd > 0)
        bf_cli_say(cli, "%lld records were not compared: they cannot be read",
                   (long long)books->odd);
    if (json_array_size(faults) == 0) {
        bf_cli_say(cli, "every result has its row, every row its result");
        return 0;
    }
    return bf_cli_rows(cli, fault_columns, bf_countof(fault_columns), faults,
                       err);
}

/*
 * Rows, results, and the newest rows again: a row that is seen has its result,
 * when one looks for it afterwards, and so the other way round.
 */
static int read_all(struct bf_cli *cli, struct books *books,
                    int64_t *ret_from_ms, struct bf_err *err)
{
    bf_autologs struct bf_logs logs = {0};
    struct bf_log_range results, rows;
    int64_t now_ms = bf_now_ms();

    if (bf_logs_open(&logs, cli, err) ||
        bf_logs_since(&logs, cli, BF_TOPIC_RESULTS, &results, err) ||
        bf_logs_since(&logs, cli, BF_TOPIC_USAGE, &rows, err) ||
        bf_log_read(logs.kafka, &rows, take_row, books, err) ||
        bf_log_read(logs.kafka, &results, take_result, books, err))
        return -1;
    *ret_from_ms = rows.from_ms < 0 ? 0 : rows.from_ms + MARGIN_MS;
    books->later = true;
    rows.from_ms = now_ms - MARGIN_MS;
    return bf_log_read(logs.kafka, &rows, take_row, books, err);
}

static int reconcile(struct bf_cli *cli, struct books *books, bool *ret_faults,
                     struct bf_err *err)
{
    json_auto_t *totals = NULL, *faults = NULL;
    int64_t from_ms = 0;

    if (books_open(books, err) || read_all(cli, books, &from_ms, err))
        return -1;
    totals = query(books, totals_sql, 0, total_row, err);
    faults = totals ? query(books, faults_sql, from_ms, fault_row, err) : NULL;
    if (!faults)
        return -1;
    *ret_faults = json_array_size(faults) > 0;
    return show(cli, books, totals, faults, err);
}

enum bf_exit bf_cmd_usage_reconcile(struct bf_cli *cli)
{
    struct books books = {0};
    struct bf_err err = {0};
    bool faults = false;
    int status = reconcile(cli, &books, &faults, &err);

    books_release(&books);
    if (status)
        return bf_cli_fail(cli, &err);
    return faults ? BF_EXIT_UNHEALTHY : BF_EXIT_OK;
}
