/* Sums of metering events: whole numbers, so that they are exact. */

#include "dispatcher/reader_private.h"
#include "dispatcher/view_usage.h"

/* What a sum is split by, in the order of the columns. */
static const struct dimension {
    enum bf_usage_by by;
    const char *name;
    const char *column;
} dimensions[] = {
    {BF_BY_WORKSPACE, "workspace", "workspace"},
    {BF_BY_BLOCK_TYPE, "block_type", "block_type"},
    {BF_BY_FINGERPRINT, "fingerprint", "fingerprint"},
    {BF_BY_DAY, "day", "hour / 24 * 24"},
    {BF_BY_HOUR, "hour", "hour"},
    {BF_BY_BILLABLE, "billable", "billable"},
};

/* What is summed: all of it, then what is billable of it. */
static const struct {
    const char *name;
    const char *column;
    bool seconds;
} sums[] = {
    {"rows", "rows", false},
    {"runs", "runs", false},
    {"duration_seconds", "duration_us", true},
    {"execution_seconds", "execution_us", true},
    {"input_bytes", "input_bytes", false},
    {"output_bytes", "output_bytes", false},
    {"vcpu_seconds", "vcpu_us", true},
    {"memory_gib_seconds", "memory_gib_us", true},
};

unsigned bf_usage_by_parse(struct bf_slice name)
{
    if (bf_slice_is(name, "block"))
        return BF_BY_BLOCK_TYPE | BF_BY_FINGERPRINT;
    for (size_t i = 0; i < bf_countof(dimensions); i++) {
        if (bf_slice_is(name, dimensions[i].name))
            return dimensions[i].by;
    }
    return 0;
}

/* ---- the statement --------------------------------------------------------*/

/* "hour, billable": the dimensions that are asked for. */
static int add_dimensions(struct bf_buf *text, unsigned by)
{
    const char *comma = "";

    for (size_t i = 0; i < bf_countof(dimensions); i++) {
        if (!(by & dimensions[i].by))
            continue;
        if (bf_buf_addf(text, NULL, "%s%s", comma, dimensions[i].column))
            return -1;
        comma = ", ";
    }
    return 0;
}

static int add_sums(struct bf_buf *text, bool first, const char *of)
{
    for (size_t i = 0; i < bf_countof(sums); i++) {
        if (bf_buf_addf(text, NULL, "%ssum(%s%s)", first && i == 0 ? "" : ", ",
                        sums[i].column, of))
            return -1;
    }
    return 0;
}

static int write_text(const struct bf_usage_question *question,
                      struct bf_buf *text)
{
    if (bf_buf_adds(text, "SELECT ", NULL) ||
        add_dimensions(text, question->by) ||
        add_sums(text, question->by == 0, "") ||
        add_sums(text, false, " * billable") ||
        bf_buf_addf(text, NULL,
                    " FROM usage_totals WHERE hour >= ?1 AND hour < ?2%s",
                    question->workspace[0] ? " AND workspace = ?3" : ""))
        return -1;
    if (question->by == 0)
        return 0;
    if (bf_buf_adds(text, " GROUP BY ", NULL) ||
        add_dimensions(text, question->by) ||
        bf_buf_adds(text, " ORDER BY ", NULL))
        return -1;
    return add_dimensions(text, question->by);
}

static int64_t latest(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static sqlite3_stmt *prepare(struct bf_reader_db *reader,
                             const struct bf_usage_question *question,
                             struct bf_problem *problem)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(4096);
    int64_t since = bf_view_usage_since(reader->as_of_ms) * BF_DAY_MS;
    struct bf_err err;
    sqlite3_stmt *stmt;

    if (write_text(question, &text)) {
        bf_reader_out_of_memory(problem);
        return NULL;
    }
    stmt = bf_sql_prepare(reader->db, text.data, &err);
    if (!stmt) {
        bf_reader_failed(problem, &err);
        return NULL;
    }
    bf_sql_int(stmt, 1, latest(question->from_ms, since) / BF_HOUR_MS);
    bf_sql_int(stmt, 2, question->to_ms / BF_HOUR_MS);
    if (question->workspace[0])
        bf_sql_str(stmt, 3, question->workspace);
    return stmt;
}

/* ---- the answer -----------------------------------------------------------*/

/* Corrections alone may sum up to less than nothing. */
static void put_seconds(struct bf_json_out *json, const char *name,
                        int64_t micros)
{
    uint64_t size = micros < 0 ? 0 - (uint64_t)micros : (uint64_t)micros;
    char text[40];

    snprintf(text, sizeof(text), "%s%llu.%06llu", micros < 0 ? "-" : "",
             (unsigned long long)size / 1000000,
             (unsigned long long)size % 1000000);
    bf_json_str(json, name, text);
}

static void put_sums(struct bf_json_out *json, sqlite3_stmt *stmt, int at)
{
    for (size_t i = 0; i < bf_countof(sums); i++) {
        int64_t value = bf_sql_get_int(stmt, at + (int)i);

        if (sums[i].seconds)
            put_seconds(json, sums[i].name, value);
        else
            bf_json_int(json, sums[i].name, value);
    }
}

static void put_quantities(struct bf_json_out *json, sqlite3_stmt *stmt, int at)
{
    put_sums(json, stmt, at);
    bf_json_open(json, "billable", '{');
    put_sums(json, stmt, at + (int)bf_countof(sums));
    bf_json_close(json, '}');
}

static void put_dimension(struct bf_json_out *json,
                          const struct dimension *dimension, sqlite3_stmt *stmt,
                          int at)
{
    switch (dimension->by) {
    case BF_BY_HOUR:
    case BF_BY_DAY:
        bf_json_time(json, dimension->name,
                     bf_sql_get_int(stmt, at) * BF_HOUR_MS);
        return;
    case BF_BY_BILLABLE:
        bf_json_bool(json, "is_billable", bf_sql_get_int(stmt, at) != 0);
        return;
    case BF_BY_WORKSPACE:
    case BF_BY_BLOCK_TYPE:
    case BF_BY_FINGERPRINT:
        break;
    }
    bf_json_text(json, dimension->name, bf_sql_get(stmt, at));
}

static void put_group(struct bf_json_out *json, sqlite3_stmt *stmt, unsigned by)
{
    int at = 0;

    bf_json_open(json, NULL, '{');
    for (size_t i = 0; i < bf_countof(dimensions); i++) {
        if (by & dimensions[i].by)
            put_dimension(json, &dimensions[i], stmt, at++);
    }
    put_quantities(json, stmt, at);
    bf_json_close(json, '}');
}

static int put_groups(struct bf_json_out *json, sqlite3_stmt *stmt, unsigned by,
                      struct bf_problem *problem)
{
    struct bf_err err;
    int rc, count = 0;

    bf_json_open(json, "groups", '[');
    for (rc = bf_sql_step(stmt, &err); rc > 0; rc = bf_sql_step(stmt, &err)) {
        if (++count > BF_USAGE_GROUPS)
            return bf_problem_set(problem, BF_PROBLEM_BAD_REQUEST, "group_by",
                                  "more than %d groups: ask for less time",
                                  BF_USAGE_GROUPS);
        put_group(json, stmt, by);
    }
    bf_json_close(json, ']');
    return rc < 0 ? bf_reader_failed(problem, &err) : 0;
}

/* A sum of no rows is NULL, which reads as 0. */
static int put_one(struct bf_json_out *json, sqlite3_stmt *stmt,
                   struct bf_problem *problem)
{
    struct bf_err err;

    if (bf_sql_step(stmt, &err) < 0)
        return bf_reader_failed(problem, &err);
    put_quantities(json, stmt, 0);
    return 0;
}

/*
 * A transaction that is open when we look holds records of before that come
 * to light later: for as long as it may live, its producer's death included.
 */
static void put_times(const struct bf_reader_db *reader, int64_t transaction_ms,
                      struct bf_json_out *json)
{
    int64_t as_of_ms = reader->as_of_ms;

    bf_json_time(json, "since", bf_view_usage_since(as_of_ms) * BF_DAY_MS);
    bf_json_time(json, "complete_until", as_of_ms - transaction_ms);
    bf_json_time(json, "as_of", as_of_ms);
}

int bf_reader_usage(struct bf_reader_db *reader,
                    const struct bf_usage_question *question,
                    struct bf_buf *out, struct bf_problem *problem)
{
    sqlite3_stmt *stmt = prepare(reader, question, problem);
    struct bf_json_out json;
    int rc;

    if (!stmt)
        return -1;
    bf_json_start(&json, out, NULL);
    bf_json_open(&json, NULL, '{');
    bf_json_str(&json, "workspace",
                question->workspace[0] ? question->workspace : NULL);
    rc = question->by ? put_groups(&json, stmt, question->by, problem)
                      : put_one(&json, stmt, problem);
    sqlite3_finalize(stmt);
    if (rc)
        return -1;
    put_times(reader, question->transaction_ms, &json);
    bf_json_close(&json, '}');
    return bf_json_done(&json) ? bf_reader_out_of_memory(problem) : 0;
}
