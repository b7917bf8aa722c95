#include "dispatcher/question.h"

#include <strings.h>

#include "config/clock.h"
#include "dispatcher/get.h"
#include "dispatcher/row.h"
#include "dispatcher/view_usage.h"

#define PAGE_LIMIT 200 /* when none is asked for */

static int bad(struct bf_problem *problem, const char *name, const char *rule)
{
    return bf_problem_set(problem, BF_PROBLEM_BAD_REQUEST, name, "%s: %s", name,
                          rule);
}

static int copy_id(char out[BF_MAX_ID + 1], struct bf_slice text,
                   const char *name, struct bf_problem *problem)
{
    if (!bf_job_id_ok(text))
        return bad(problem, name,
                   "must be 1-64 characters of A-Z a-z 0-9 . _ -");
    snprintf(out, BF_MAX_ID + 1, "%.*s", BF_SLICE_ARG(text));
    return 0;
}

/* A number of the query; absent is the default. */
static int read_number(const struct bf_request *req, const char *name,
                       uint64_t most, int64_t *ret, struct bf_problem *problem)
{
    const char *text = bf_request_query(req, name);
    uint64_t value;

    if (!text)
        return 0;
    if (bf_slice_u64(bf_slice_str(text), most, &value))
        return bf_problem_set(problem, BF_PROBLEM_BAD_REQUEST, name,
                              "%s: must be a number up to %llu", name,
                              (unsigned long long)most);
    *ret = (int64_t)value;
    return 0;
}

/* A text of the query; absent leaves *out empty. */
static int read_text(const struct bf_request *req, const char *name, char *out,
                     size_t size, struct bf_problem *problem)
{
    const char *text = bf_request_query(req, name);

    if (text && (!text[0] || strlen(text) >= size))
        return bf_problem_set(problem, BF_PROBLEM_BAD_REQUEST, name,
                              "%s: must be 1-%zu bytes", name, size - 1);
    snprintf(out, size, "%s", text ? text : "");
    return 0;
}

static int read_batch(struct bf_question *question,
                      const struct bf_request *req, struct bf_problem *problem)
{
    const char *batch = bf_request_query(req, "batch");

    return batch
               ? copy_id(question->batch, bf_slice_str(batch), "batch", problem)
               : 0;
}

/* RFC 3339; absent is the default. */
static int read_time(const struct bf_request *req, const char *name,
                     int64_t *ret, struct bf_problem *problem)
{
    const char *text = bf_request_query(req, name);

    if (text && bf_clock_parse(bf_slice_str(text), ret, NULL))
        return bad(problem, name,
                   "must be an RFC 3339 time; write a + in it as %2B");
    return 0;
}

static int read_range(struct bf_question *question,
                      const struct bf_request *req, struct bf_problem *problem)
{
    question->to_ms = BF_MAX_TIME_MS;
    if (read_time(req, "from", &question->from_ms, problem) ||
        read_time(req, "to", &question->to_ms, problem))
        return -1;
    if (question->from_ms > question->to_ms)
        return bad(problem, "from", "must not be after to");
    return 0;
}

/* "waiting,failed": any of them; absent: all. */
static int read_statuses(struct bf_question *question,
                         const struct bf_request *req,
                         struct bf_problem *problem)
{
    struct bf_slice names[2 + BF_OUTCOMES];
    const char *text = bf_request_query(req, "status");
    size_t count =
        text ? bf_slice_split(bf_slice_str(text), ',', names, bf_countof(names))
             : 0;

    question->statuses = text ? 0 : ~0U;
    for (size_t i = 0; i < count && i < bf_countof(names); i++) {
        unsigned bits = bf_row_status_parse(names[i]);

        if (bits == 0)
            return bad(problem, "status",
                       "must be of waiting, running, ended and the outcomes");
        question->statuses |= bits;
    }
    if (count > bf_countof(names))
        return bad(problem, "status", "names the same status twice");
    return 0;
}

static bool accepts_lines(const struct bf_request *req)
{
    const char *accept = bf_request_header(req, "Accept");

    return accept && strcasestr(accept, "application/x-ndjson");
}

static int read_page(struct bf_question *question, const struct bf_request *req,
                     struct bf_problem *problem)
{
    const char *cursor = bf_request_query(req, "cursor");
    int64_t limit = PAGE_LIMIT;

    if (cursor && strlen(cursor) >= sizeof(question->cursor))
        return bad(problem, "cursor", "is none that this resource gave");
    snprintf(question->cursor, sizeof(question->cursor), "%s",
             cursor ? cursor : "");
    if (read_number(req, "limit", BF_PAGE_MAX, &limit, problem))
        return -1;
    question->limit = limit > 0 ? (int)limit : 1;
    question->lines = accepts_lines(req);
    return read_batch(question, req, problem);
}

static int read_list(struct bf_question *question, const struct bf_request *req,
                     struct bf_problem *problem)
{
    if (read_page(question, req, problem) ||
        read_statuses(question, req, problem) ||
        read_range(question, req, problem) ||
        read_text(req, "order_key", question->order_key,
                  sizeof(question->order_key), problem))
        return -1;
    return read_text(req, "label", question->label, sizeof(question->label),
                     problem);
}

/* Sums are kept by the hour: less than one cannot be told. */
static int check_hours(const struct bf_question *question,
                       struct bf_problem *problem)
{
    if (question->from_ms % BF_HOUR_MS)
        return bad(problem, "from", "must be a full hour");
    if (question->to_ms % BF_HOUR_MS && question->to_ms != BF_MAX_TIME_MS)
        return bad(problem, "to", "must be a full hour");
    return 0;
}

static int read_usage(struct bf_question *question,
                      const struct bf_request *req, struct bf_problem *problem)
{
    const char *text = bf_request_query(req, "group_by");
    struct bf_slice names[8];
    size_t count = text ? bf_slice_split(bf_slice_str(text), ',', names, 8) : 0;

    for (size_t i = 0; i < count && i < bf_countof(names); i++) {
        unsigned by = bf_usage_by_parse(names[i]);

        if (by == 0)
            return bad(problem, "group_by",
                       "must be of workspace, block, block_type, fingerprint, "
                       "hour, day and billable");
        question->usage_by |= by;
    }
    if (count > bf_countof(names))
        return bad(problem, "group_by", "names the same thing twice");
    if (read_range(question, req, problem))
        return -1;
    return check_hours(question, problem);
}

int bf_question_read(struct bf_question *question, const struct bf_request *req,
                     const struct bf_path *path, struct bf_problem *problem)
{
    snprintf(question->workspace, sizeof(question->workspace), "%s",
             path->workspace);
    switch (question->kind) {
    case BF_ASK_JOB:
        if (read_number(req, "wait", BF_GET_MAX_WAIT_S, &question->wait_s,
                        problem))
            return -1;
        return copy_id(question->job, path->segments[1], "id", problem);
    case BF_ASK_RESULT:
        return copy_id(question->job, path->segments[1], "id", problem);
    case BF_ASK_JOBS:
        return read_list(question, req, problem);
    case BF_ASK_RESULTS:
    case BF_ASK_BATCHES:
        return read_page(question, req, problem);
    case BF_ASK_BATCH:
        return copy_id(question->batch, path->segments[1], "batch", problem);
    case BF_ASK_USAGE:
        return read_usage(question, req, problem);
    }
    return 0;
}
