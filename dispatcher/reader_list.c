/* Jobs of a workspace, those accepted last first. */

#include <inttypes.h>

#include "dispatcher/reader_private.h"

#define LOOKS 20000 /* rows that one page looks at */

enum { L_JOB, L_ACCEPTED_MS, L_RANK, L_OUTCOME, L_ORDER_KEY, L_LABELS };

#define LIST(index, where)                                                     \
    "SELECT job, accepted_ms, rank, outcome, order_key, labels FROM jobs"      \
    " INDEXED BY " index " WHERE workspace = ?1 AND " where                    \
    " (accepted_ms, job) < (?2, ?3) AND accepted_ms >= ?4"                     \
    " ORDER BY accepted_ms DESC, job DESC LIMIT ?5"

static int parse_cursor(const char *cursor, int64_t *ret_ms,
                        const char **ret_name)
{
    size_t len = strcspn(cursor, ".");
    uint64_t ms;

    if (bf_slice_u64((struct bf_slice){cursor, len}, INT64_MAX, &ms) ||
        cursor[len] != '.')
        return -1;
    *ret_ms = (int64_t)ms;
    *ret_name = cursor + len + 1;
    return 0;
}

int bf_reader_bad_cursor(struct bf_problem *problem)
{
    return bf_problem_set(problem, BF_PROBLEM_BAD_REQUEST, "cursor",
                          "cursor: is none that this resource gave");
}

int bf_reader_start(sqlite3_stmt *stmt, const char *workspace,
                    const char *cursor, int64_t before_ms,
                    struct bf_problem *problem)
{
    const char *before = "";

    if (cursor && parse_cursor(cursor, &before_ms, &before))
        return bf_reader_bad_cursor(problem);
    bf_sql_str(stmt, 1, workspace);
    bf_sql_int(stmt, 2, before_ms);
    sqlite3_bind_text(stmt, 3, before, -1, SQLITE_STATIC);
    return 0;
}

static bool has_label(const char *want, struct bf_slice labels)
{
    size_t len = strcspn(want, "=");
    bf_autojson json_t *doc = NULL;
    const json_t *value;

    if (labels.len == 0)
        return false;
    doc = bf_json_parse(labels, BF_MAX_LABELS, NULL);
    value = json_object_getn(doc, want, len);
    return value && (want[len] == '\0' ||
                     bf_slice_is(bf_json_slice(value), want + len + 1));
}

static bool is_wanted(const struct bf_list *list, sqlite3_stmt *stmt)
{
    unsigned bit =
        bf_row_status_bit((enum bf_row_rank)bf_sql_get_int(stmt, L_RANK),
                          (enum bf_outcome)bf_sql_get_int(stmt, L_OUTCOME));

    return (list->statuses & bit) != 0 &&
           (!list->order_key ||
            bf_slice_is(bf_sql_get(stmt, L_ORDER_KEY), list->order_key)) &&
           (!list->label || has_label(list->label, bf_sql_get(stmt, L_LABELS)));
}

static int put_job(struct bf_reader_db *reader, struct bf_page_out *page,
                   const struct bf_list *list, struct bf_slice job)
{
    struct bf_problem problem;
    sqlite3_stmt *stmt = NULL;
    int rc = bf_reader_find_job(reader, bf_slice_str(list->workspace), job,
                                &stmt, &problem);

    if (rc <= 0)
        return rc; /* forgotten between the two questions */
    bf_status_put(reader, bf_page_item(page), stmt);
    sqlite3_reset(stmt);
    return bf_page_item_end(page);
}

/* 1: there may be more, after *cursor; 0: there is not; -1. */
static int put_jobs(struct bf_reader_db *reader, sqlite3_stmt *stmt,
                    const struct bf_list *list, struct bf_page_out *page,
                    char cursor[BF_CURSOR_SIZE])
{
    int rc, looks = 0, count = 0;

    for (rc = bf_sql_step(stmt, NULL); rc > 0; rc = bf_sql_step(stmt, NULL)) {
        struct bf_slice job = bf_sql_get(stmt, L_JOB);
        bool wanted = is_wanted(list, stmt);

        if ((wanted && count == list->limit) || looks == LOOKS ||
            page->buf->len >= BF_PAGE_BYTES)
            return 1;
        if (wanted && put_job(reader, page, list, job))
            return -1;
        snprintf(cursor, BF_CURSOR_SIZE, "%" PRId64 ".%.*s",
                 bf_sql_get_int(stmt, L_ACCEPTED_MS), BF_SLICE_ARG(job));
        count += wanted;
        looks++;
    }
    return rc;
}

static sqlite3_stmt *statement(struct bf_reader_db *reader,
                               const struct bf_list *list,
                               struct bf_problem *problem)
{
    if (!list->batch)
        return bf_reader_stmt(reader, BF_READER_JOBS, LIST("jobs_time", ""),
                              problem);
    return bf_reader_stmt(reader, BF_READER_BATCH_JOBS,
                          LIST("jobs_batch", "batch = ?6 AND "), problem);
}

int bf_reader_list(struct bf_reader_db *reader, const struct bf_list *list,
                   struct bf_buf *out, char ret_cursor[BF_CURSOR_SIZE],
                   struct bf_problem *problem)
{
    sqlite3_stmt *stmt = statement(reader, list, problem);
    struct bf_page_out page;
    int rc;

    if (!stmt || bf_reader_start(stmt, list->workspace, list->cursor,
                                 list->to_ms, problem))
        return -1;
    bf_sql_int(stmt, 4, list->from_ms);
    bf_sql_int(stmt, 5, LOOKS + 1);
    if (list->batch)
        bf_sql_str(stmt, 6, list->batch);
    bf_page_begin(&page, out, list->lines, "jobs");
    rc = put_jobs(reader, stmt, list, &page, ret_cursor);
    sqlite3_reset(stmt);
    return bf_page_finish(reader, &page, rc, ret_cursor, problem);
}
