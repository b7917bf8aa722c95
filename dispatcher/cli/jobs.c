#include "dispatcher/cli/jobs.h"

#include <poll.h>

#include "config/clock.h"
#include "dispatcher/cli/client.h"
#include "dispatcher/cli/text.h"
#include "schemas/err.h"
#include "schemas/outcome.h"

#define ASK_MS 15000
#define RESULT_MS 300000
#define TRIES 4
#define WAIT_S 20U
#define PAUSE_MS 200
#define CONTEXT 2 /* lines of code before and after */
#define MAX_SHOWN (1U << 20)
#define PATH_SIZE 1024

static int job_path(const char *workspace, const char *id, const char *tail,
                    struct bf_buf *path, struct bf_err *err)
{
    if (bf_buf_adds(path, "/v1/jobs", err) ||
        bf_client_segment(path, id, err) || bf_buf_adds(path, tail, err))
        return -1;
    return bf_client_query(path, "workspace", workspace, err);
}

int bf_jobs_get(struct bf_client *client, const char *workspace, const char *id,
                unsigned wait_s, json_t **ret, struct bf_err *err)
{
    bf_autoreply struct bf_client_reply reply = BF_CLIENT_REPLY;
    bf_autobuf struct bf_buf path = BF_BUF_INIT(PATH_SIZE);
    struct bf_client_request request = {
        .method = "GET",
        .timeout_ms = ASK_MS + (int)wait_s * 1000,
        .tries = TRIES,
    };
    json_t *doc;

    if (job_path(workspace, id, "", &path, err) ||
        (wait_s > 0 && bf_buf_addf(&path, err, "&wait=%u", wait_s)))
        return -1;
    request.path = path.data;
    if (bf_client_send(client, &request, &reply, err))
        return bf_err_prefix(err, "job %s", id);
    doc = json_loadb(reply.body.data ? reply.body.data : "", reply.body.len,
                     JSON_ALLOW_NUL, NULL);
    if (!json_is_object(doc)) {
        json_decref(doc);
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "job %s: the answer is not a JSON object", id);
    }
    *ret = doc;
    return 0;
}

/* May hold U+0000: what a user's code said. */
static struct bf_slice slice_of(const json_t *job, const char *key)
{
    const json_t *value = json_object_get(job, key);

    return (struct bf_slice){json_string_value(value),
                             json_string_length(value)};
}

static const char *text_of(const json_t *job, const char *key)
{
    return json_string_value(json_object_get(job, key));
}

bool bf_jobs_ended(const json_t *job)
{
    const char *status = text_of(job, "status");

    return status && bf_outcome_parse(bf_slice_str(status)) >= 0;
}

int bf_jobs_wait(struct bf_client *client, const char *workspace,
                 const char *id, int64_t until_mono_ms, json_t **ret,
                 struct bf_err *err)
{
    for (;;) {
        int64_t asked_ms = bf_mono_ms();
        int64_t left_ms = until_mono_ms - asked_ms;
        unsigned wait_s = left_ms >= WAIT_S * 1000LL ? WAIT_S
                          : left_ms > 0 ? (unsigned)((left_ms + 999) / 1000)
                                        : 0;
        json_auto_t *job = NULL;

        if (bf_jobs_get(client, workspace, id, wait_s, &job, err))
            return -1;
        if (bf_jobs_ended(job) || wait_s == 0) {
            *ret = bf_take(job);
            return 0;
        }
        /* answered at once: a dispatcher that does not hold its answers */
        if (bf_mono_ms() - asked_ms < PAUSE_MS)
            poll(NULL, 0, PAUSE_MS);
    }
}

enum bf_exit bf_jobs_exit(const json_t *job)
{
    if (!bf_jobs_ended(job))
        return BF_EXIT_PENDING;
    return strcmp(text_of(job, "status"), "succeeded") == 0 ? BF_EXIT_OK
                                                            : BF_EXIT_JOB;
}

enum bf_exit bf_jobs_worse(enum bf_exit a, enum bf_exit b)
{
    static const enum bf_exit order[] = {BF_EXIT_OK, BF_EXIT_PENDING,
                                         BF_EXIT_JOB};
    enum bf_exit worst = BF_EXIT_OK;

    for (size_t i = 0; i < bf_countof(order); i++) {
        if (a == order[i] || b == order[i])
            worst = order[i];
    }
    return worst;
}

/* Seconds between two members that are RFC 3339 times, as a new number. */
static json_t *took(const json_t *job)
{
    const char *from = text_of(job, "started_at");
    const char *to = text_of(job, "ended_at");
    int64_t from_ms, to_ms;

    if (!from || !to || bf_clock_parse(bf_slice_str(from), &from_ms, NULL) ||
        bf_clock_parse(bf_slice_str(to), &to_ms, NULL))
        return NULL;
    return json_sprintf("%.3f s", (double)(to_ms - from_ms) / 1000);
}

int bf_jobs_table(struct bf_cli *cli, const json_t *jobs, struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"job", "JOB", false, 0},        {"status", "STATUS", false, 0},
        {"reason", "REASON", false, 0},  {"attempt", "TRY", true, 0},
        {"took", "TOOK", true, 0},       {"result_bytes", "RESULT", true, 0},
        {"worker", "WORKER", false, 32}, {"ended_at", "ENDED", false, 0},
    };
    size_t i;
    json_t *job;

    if (!cli->json) {
        json_array_foreach(jobs, i, job)
        {
            json_t *seconds = took(job);

            if (seconds)
                json_object_set_new(job, "took", seconds);
        }
    }
    return bf_cli_rows(cli, columns, bf_countof(columns), jobs, err);
}

/* One line of code with its number; NULL past the last. */
static const char *snippet_line(const char *at, int64_t number, int64_t marked,
                                struct bf_buf *out, struct bf_err *err)
{
    struct bf_slice line = {at, strcspn(at, "\n")};
    const char *next = at + line.len + (at[line.len] == '\n');

    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    if (bf_buf_addf(out, err, "  %s %4lld | ", number == marked ? ">>>" : "   ",
                    (long long)number) ||
        bf_text_add(out, line, 160, false, err) || bf_buf_adds(out, "\n", err))
        return NULL;
    return next;
}

int bf_jobs_snippet(const char *code, int64_t line, struct bf_buf *out,
                    struct bf_err *err)
{
    const char *at = code;
    size_t start = out->len;
    int64_t number = 1;

    for (; *at && number <= line + CONTEXT; number++) {
        if (number >= line - CONTEXT)
            at = snippet_line(at, number, line, out, err);
        else
            at += strcspn(at, "\n") + (strchr(at, '\n') != NULL);
        if (!at)
            return -1;
    }
    if (line < 1 || number <= line) {
        /* the line that is to blame is not there */
        out->len = start;
        if (out->data)
            out->data[start] = '\0';
    }
    return 0;
}

/* "Error in line 3, in run: ZeroDivisionError: division by zero" */
static int show_error(const json_t *report, const char *code,
                      struct bf_buf *out, struct bf_err *err)
{
    struct bf_slice error = slice_of(report, "error");
    struct bf_slice type = slice_of(report, "error_type");
    struct bf_slice function = slice_of(report, "function_name");
    const json_t *line = json_object_get(report, "line_number");
    int64_t number = json_is_integer(line) ? json_integer_value(line) : 0;

    if (!error.ptr && !type.ptr)
        return 0;
    if (bf_buf_adds(out, "\nError", err) ||
        (number > 0 &&
         bf_buf_addf(out, err, " in line %lld", (long long)number)) ||
        (function.ptr && (bf_buf_adds(out, ", in ", err) ||
                          bf_text_add(out, function, 0, false, err))))
        return -1;
    if (type.ptr &&
        (bf_buf_adds(out, ": ", err) || bf_text_add(out, type, 0, false, err)))
        return -1;
    if (error.ptr &&
        (bf_buf_adds(out, ": ", err) || bf_text_add(out, error, 0, true, err)))
        return -1;
    if (bf_buf_adds(out, "\n", err))
        return -1;
    return code && number > 0 ? bf_jobs_snippet(code, number, out, err) : 0;
}

static int show_stream(const json_t *report, const char *key, const char *cut,
                       struct bf_buf *out, struct bf_err *err)
{
    struct bf_slice text = slice_of(report, key);

    if (!text.ptr || text.len == 0)
        return 0;
    if (bf_buf_addf(out, err, "\n%s%s:\n", key,
                    json_is_true(json_object_get(report, cut)) ? " (cut)"
                                                               : "") ||
        bf_text_add(out, text, 0, true, err))
        return -1;
    return text.ptr[text.len - 1] == '\n' ? 0 : bf_buf_adds(out, "\n", err);
}

static int show_head(const json_t *job, struct bf_buf *out, struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"workspace", "workspace", false, 0},
        {"job", "job", false, 0},
        {"status", "status", false, 0},
        {"reason", "reason", false, 0},
        {"message", "message", false, 0},
        {"delivery", "delivery", false, 0},
        {"generation", "generation", false, 0},
        {"attempt", "attempt", false, 0},
        {"execution", "execution", false, 0},
        {"worker", "worker", false, 0},
        {"backend", "backend", false, 0},
        {"isolation", "isolation", false, 0},
        {"started_at", "started", false, 0},
        {"ended_at", "ended", false, 0},
        {"took", "took", false, 0},
        {"result_bytes", "result bytes", false, 0},
    };
    json_auto_t *flat = json_copy((json_t *)(uintptr_t)job);
    json_t *message =
        json_object_get(json_object_get(job, "report"), "message");
    json_t *seconds = took(job);

    if (seconds)
        json_object_set_new(flat, "took", seconds);
    if (message)
        json_object_set(flat, "message", message);
    return bf_table_record(columns, bf_countof(columns), flat, out, err);
}

int bf_jobs_show(struct bf_cli *cli, const json_t *job, const char *code,
                 struct bf_err *err)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(MAX_SHOWN);
    const json_t *report = json_object_get(job, "report");

    if (cli->json) {
        if (bf_table_json(job, &out, err))
            return -1;
        return bf_cli_print(cli, &out, err);
    }
    if (show_head(job, &out, err) || show_error(report, code, &out, err) ||
        show_stream(report, "stdout", "stdout_truncated", &out, err) ||
        show_stream(report, "stderr", "stderr_truncated", &out, err))
        return -1;
    return bf_cli_print(cli, &out, err);
}

int bf_jobs_result(struct bf_client *client, const char *workspace,
                   const char *id, FILE *sink, int64_t *ret_bytes,
                   struct bf_err *err)
{
    bf_autoreply struct bf_client_reply reply = BF_CLIENT_REPLY;
    bf_autobuf struct bf_buf path = BF_BUF_INIT(PATH_SIZE);
    struct bf_client_request request = {
        .method = "GET",
        .timeout_ms = RESULT_MS,
        .tries = TRIES,
        .sink = sink,
    };

    if (job_path(workspace, id, "/result", &path, err))
        return -1;
    request.path = path.data;
    if (bf_client_send(client, &request, &reply, err))
        return bf_err_prefix(err, "job %s", id);
    *ret_bytes = reply.sunk;
    return 0;
}
