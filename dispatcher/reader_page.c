/* Finished jobs in the order in which they ended, with their results. */

#include <inttypes.h>

#include "dispatcher/reader_private.h"

enum { P_VALUE = STATUS_COLUMNS, P_AT_MS, P_PARTITION, P_OFFSET };

#define PAGE(where)                                                            \
    "SELECT " BF_STATUS ", r.value, r.at_ms, r.partition, r.\"offset\""        \
    " FROM results r JOIN jobs j ON j.workspace = r.workspace"                 \
    " AND j.job = r.job AND j.rank = 3 WHERE r.workspace = ?1 AND " where      \
    " (r.at_ms, r.partition, r.\"offset\") > (?2, ?3, ?4)"                     \
    " ORDER BY r.at_ms, r.partition, r.\"offset\" LIMIT ?5"

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

    bf_status_put_text(out, "result", stmt, P_VALUE);
    if (bf_sql_get_int(stmt, R_VALUE_BYTES) == 0 ||
        sqlite3_column_type(stmt, P_VALUE) != SQLITE_NULL)
        return;
    snprintf(url, sizeof(url), "/v1/jobs/%.*s/result?workspace=%.*s",
             BF_SLICE_ARG(bf_sql_get(stmt, J_JOB)),
             BF_SLICE_ARG(bf_sql_get(stmt, J_WORKSPACE)));
    bf_json_str(out, "result_url", url);
}

static int put_item(const struct bf_reader_db *reader, struct bf_page_out *page,
                    sqlite3_stmt *stmt)
{
    struct bf_json_out *json = bf_page_item(page);

    bf_status_put(reader, json, stmt);
    put_value(json, stmt);
    return bf_page_item_end(page);
}

static void put_cursor(sqlite3_stmt *stmt, char out[BF_CURSOR_SIZE])
{
    snprintf(out, BF_CURSOR_SIZE, "%" PRId64 ".%" PRId64 ".%" PRId64,
             bf_sql_get_int(stmt, P_AT_MS), bf_sql_get_int(stmt, P_PARTITION),
             bf_sql_get_int(stmt, P_OFFSET));
}

/* 1: there is more; 0: there is not; -1. */
static int put_items(const struct bf_reader_db *reader, sqlite3_stmt *stmt,
                     int limit, struct bf_page_out *out,
                     char cursor[BF_CURSOR_SIZE])
{
    int rc, count = 0;

    /* One more than asked for: it tells that there is a next page. */
    for (rc = bf_sql_step(stmt, NULL); rc > 0; rc = bf_sql_step(stmt, NULL)) {
        if (count == limit || out->buf->len >= BF_PAGE_BYTES)
            return 1;
        if (put_item(reader, out, stmt))
            return -1;
        put_cursor(stmt, cursor);
        count++;
    }
    return rc;
}

int bf_reader_page(struct bf_reader_db *reader, const struct bf_page *page,
                   struct bf_buf *out, char ret_cursor[BF_CURSOR_SIZE],
                   struct bf_problem *problem)
{
    sqlite3_stmt *stmt =
        page->batch
            ? bf_reader_stmt(reader, BF_READER_BATCH_RESULTS,
                             PAGE("r.batch = ?6 AND "), problem)
            : bf_reader_stmt(reader, BF_READER_RESULTS, PAGE(""), problem);
    struct bf_page_out items;
    struct place after;
    int rc;

    if (!stmt)
        return -1;
    if (parse_cursor(page->cursor, &after))
        return bf_reader_bad_cursor(problem);
    bf_sql_str(stmt, 1, page->workspace);
    bf_sql_int(stmt, 2, after.at_ms);
    bf_sql_int(stmt, 3, after.partition);
    bf_sql_int(stmt, 4, after.offset);
    bf_sql_int(stmt, 5, page->limit + 1);
    if (page->batch)
        bf_sql_str(stmt, 6, page->batch);
    bf_page_begin(&items, out, page->lines, "results");
    rc = put_items(reader, stmt, page->limit, &items, ret_cursor);
    sqlite3_reset(stmt);
    return bf_page_finish(reader, &items, rc, ret_cursor, problem);
}

/* ---- the form -------------------------------------------------------------*/

void bf_page_begin(struct bf_page_out *page, struct bf_buf *buf, bool lines,
                   const char *name)
{
    page->buf = buf;
    page->lines = lines;
    bf_json_start(&page->json, buf, NULL);
    if (lines)
        return;
    bf_json_open(&page->json, NULL, '{');
    bf_json_open(&page->json, name, '[');
}

struct bf_json_out *bf_page_item(struct bf_page_out *page)
{
    if (page->lines)
        bf_json_start(&page->json, page->buf, NULL);
    bf_json_open(&page->json, NULL, '{');
    return &page->json;
}

int bf_page_item_end(struct bf_page_out *page)
{
    bf_json_close(&page->json, '}');
    if (bf_json_done(&page->json))
        return -1;
    return page->lines ? bf_buf_adds(page->buf, "\n", NULL) : 0;
}

static int page_end(struct bf_page_out *page, const char *cursor,
                    int64_t as_of_ms)
{
    if (page->lines)
        return 0;
    bf_json_close(&page->json, ']');
    bf_json_str(&page->json, "cursor", cursor[0] ? cursor : NULL);
    bf_json_time(&page->json, "as_of", as_of_ms);
    bf_json_close(&page->json, '}');
    return bf_json_done(&page->json);
}

int bf_page_finish(const struct bf_reader_db *reader, struct bf_page_out *page,
                   int rc, char cursor[BF_CURSOR_SIZE],
                   struct bf_problem *problem)
{
    if (rc == 0)
        cursor[0] = '\0';
    return rc < 0 || page_end(page, cursor, reader->as_of_ms)
               ? bf_reader_out_of_memory(problem)
               : 0;
}
