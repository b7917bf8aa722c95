#include "dispatcher/limits.h"

#include <inttypes.h>

#include "dispatcher/apikeys.h"
#include "dispatcher/get.h"
#include "dispatcher/post.h"
#include "dispatcher/rate.h"
#include "dispatcher/reader.h"
#include "dispatcher/scan.h"
#include "dispatcher/seam.h"
#include "dispatcher/seam_call.h"

#define OPTION(name) .option = "dispatcher." name
#define BYTES(n) .most = (n), .unit = "bytes"
#define US(id) .by = BF_LIMIT_US, .problem = BF_PROBLEM_##id
#define LIBRARY(number) .by = BF_LIMIT_LIBRARY, .status = (number)
#define NOBODY .by = BF_LIMIT_NOBODY

static const struct bf_limit limits[] = {
    {.what = "connections",
     OPTION("connections"),
     NOBODY,
     .then = "more wait in the kernel's queue until one ends"},
    {.what = "connections of one address",
     OPTION("connections_per_ip"),
     NOBODY,
     .then = "more are closed"},
    {.what = "time to a request's headers",
     OPTION("header_timeout"),
     NOBODY,
     .then = "closed"},
    {.what = "slowness of a body, or of reading an answer",
     OPTION("least_bytes_per_s"),
     NOBODY,
     .then = "closed, after dispatcher.header_timeout"},
    {.what = "request line",
     BYTES(BF_HTTP_HEAD_BYTES),
     LIBRARY(414),
     .then = "with the headers; a query of some hundred parameters may end "
             "the connection instead"},
    {.what = "headers",
     BYTES(BF_HTTP_HEAD_BYTES),
     LIBRARY(431),
     .then = "with the request line"},

    {.what = "body of one job", OPTION("max_body"), US(TOO_LARGE)},
    {.what = "body of an upload",
     OPTION("max_upload"),
     US(TOO_LARGE),
     .then = "on the line where it is too much; at once when Content-Length "
             "says so"},
    {.what = "answers of an upload",
     OPTION("max_answers"),
     US(TOO_LARGE),
     .then = "on the line where it is too much"},
    {.what = "line of an upload",
     BYTES(BF_MAX_LINE_BYTES),
     US(TOO_LARGE),
     .then = "on its line"},
    {.what = "inputs", OPTION("inputs_bytes"), US(TOO_LARGE)},
    {.what = "block, as JSON", OPTION("block_bytes"), US(TOO_LARGE)},
    {.what = "labels, as JSON", BYTES(BF_MAX_LABELS), US(TOO_LARGE)},
    {.what = "context, as JSON", BYTES(BF_MAX_CONTEXT), US(TOO_LARGE)},
    {.what = "members besides inputs", BYTES(BF_SCAN_REST), US(TOO_LARGE)},
    {.what = "record in Kafka",
     .unit = "the topic's max.message.bytes",
     US(TOO_LARGE)},

    {.what = "workspace, job id, batch", BYTES(BF_MAX_ID), US(BAD_FIELD)},
    {.what = "Idempotency-Key", BYTES(BF_MAX_IDEMPOTENCY_KEY), US(BAD_REQUEST)},
    {.what = "order_key", BYTES(BF_MAX_ORDER_KEY), US(BAD_FIELD)},
    {.what = "callback_url", BYTES(BF_MAX_URL), US(BAD_FIELD)},
    {.what = "correlation_id", BYTES(BF_MAX_HEADER), US(BAD_FIELD)},
    {.what = "timeout_ms", .most = BF_MAX_TIMEOUT_MS, US(BAD_FIELD)},
    {.what = "max_attempts", .most = BF_MAX_ATTEMPTS, US(BAD_FIELD)},
    {.what = "not_before and expires_at",
     .most = BF_MAX_EXPIRY_MS / 86400000,
     .unit = "days ahead",
     US(BAD_FIELD)},
    {.what = "limit of a page",
     .most = BF_PAGE_MAX,
     .unit = "rows",
     US(BAD_REQUEST)},
    {.what = "page",
     BYTES(BF_PAGE_BYTES),
     NOBODY,
     .then = "it ends there, with a cursor"},
    {.what = "wait in the query",
     .most = BF_GET_MAX_WAIT_S,
     .unit = "s",
     US(BAD_REQUEST)},
    {.what = "wait of Prefer",
     .most = BF_GET_MAX_WAIT_S,
     .unit = "s",
     NOBODY,
     .then = "it waits no longer"},

    {.what = "bodies and jobs on their way to Kafka",
     OPTION("inflight_bytes"),
     US(BUSY),
     .then = "an upload waits instead; where nothing but lines that have "
             "begun is in memory, the longest is refused"},
    {.what = "pages, results and sums of more than 64 KiB in memory",
     OPTION("inflight_bytes"),
     US(BUSY)},
    {.what = "jobs of one workspace in a second, batch orders too",
     OPTION("workspace_jobs_per_s"),
     US(RATE),
     .then = "an upload waits instead"},
    {.what = "bytes of one workspace in a second",
     OPTION("workspace_bytes_per_s"),
     US(RATE),
     .then = "an upload waits instead"},
    {.what = "workspaces with a rate of their own",
     .most = BF_RATE_WORKSPACES,
     NOBODY,
     .then = "more share one"},
    {.what = "view that has not read all of Kafka yet",
     .unit = "any question",
     US(UNAVAILABLE)},
    {.what = "topics that are missing or unequal, no broker",
     .unit = "any job",
     US(UNAVAILABLE)},
    {.what = "call to execute_block, unzipped",
     BYTES(BF_SEAM_BODY_BYTES),
     US(TOO_LARGE),
     .then = "in plain text, as all its refusals"},
    {.what = "code of one workspace that calls name by its hash",
     BYTES(BF_SEAM_CODES_WORKSPACE_BYTES),
     NOBODY,
     .then = "what was not used for the longest is asked for again"},
    {.what = "such code of all workspaces",
     BYTES(BF_SEAM_CODES_BYTES),
     NOBODY,
     .then = "the same"},
    {.what = "answers to validations of one workspace",
     BYTES(BF_SEAM_VALID_WORKSPACE_BYTES),
     NOBODY,
     .then = "what was not used for the longest runs again; each does after "
             "an hour"},
    {.what = "such answers of all workspaces",
     BYTES(BF_SEAM_VALID_BYTES),
     NOBODY,
     .then = "the same"},
    {.what = "time of a call to execute_block until its run begins",
     OPTION("block_expiry"),
     US(UNAVAILABLE),
     .then = "cut, if it was answered with 200 by then"},
    {.what = "API keys",
     .most = BF_APIKEYS_MAX,
     NOBODY,
     .then = "the file is not read"},
};

const struct bf_limit *bf_limit_at(size_t i)
{
    return i < bf_countof(limits) ? &limits[i] : NULL;
}

static int add_most(const struct bf_limit *limit, struct bf_buf *out,
                    struct bf_err *err)
{
    if (limit->option)
        return bf_buf_addf(out, err, "`%s`", limit->option);
    if (limit->most == 0)
        return bf_buf_adds(out, limit->unit, err);
    return bf_buf_addf(out, err, "%" PRIu64 "%s%s", limit->most,
                       limit->unit ? " " : "", limit->unit ? limit->unit : "");
}

static int add_answer(const struct bf_limit *limit, struct bf_buf *out,
                      struct bf_err *err)
{
    const struct bf_problem problem = {.code = limit->problem};

    switch (limit->by) {
    case BF_LIMIT_US:
        return bf_buf_addf(
            out, err, "%u `%s`%s", bf_problem_status(limit->problem),
            bf_problem_name(limit->problem),
            bf_problem_retry_after(&problem) > 0 ? " with Retry-After" : "");
    case BF_LIMIT_LIBRARY:
        return bf_buf_addf(out, err, "%u, no problem+json", limit->status);
    case BF_LIMIT_NOBODY:
        break;
    }
    return 0;
}

static int add_row(const struct bf_limit *limit, struct bf_buf *out,
                   struct bf_err *err)
{
    bool both = limit->by != BF_LIMIT_NOBODY && limit->then;

    if (bf_buf_addf(out, err, "| %s | ", limit->what) ||
        add_most(limit, out, err) || bf_buf_adds(out, " | ", err) ||
        add_answer(limit, out, err))
        return -1;
    return bf_buf_addf(out, err, "%s%s |\n", both ? "; " : "",
                       limit->then ? limit->then : "");
}

static const char intro[] =
    "# Limits of the HTTP API\n"
    "\n"
    "<!-- Generated from dispatcher/limits.c; a test compares. -->\n"
    "\n"
    "What has a most, and what is answered beyond it. Answers are\n"
    "`application/problem+json` (RFC 9457) with the code as the last part of\n"
    "`type`; in the answer to an upload, a line has the same `status` and\n"
    "`detail`. `dispatcher.*` are options.\n"
    "\n"
    "libmicrohttpd answers some requests before this program sees them, with\n"
    "a page of HTML: 414 and 431 below, 400 for what is no HTTP (a header\n"
    "without a colon, a Content-Length or a chunk that is no number), 413 for\n"
    "a Content-Length of more than 64 bits, 505 for another version than\n"
    "HTTP/1. What does not even look like HTTP may be closed without one.\n"
    "\n"
    "| what | most | beyond it |\n"
    "| --- | --- | --- |\n";

int bf_limits_markdown(struct bf_buf *out, struct bf_err *err)
{
    const struct bf_limit *limit;

    if (bf_buf_adds(out, intro, err))
        return -1;
    for (size_t i = 0; (limit = bf_limit_at(i)); i++) {
        if (add_row(limit, out, err))
            return -1;
    }
    return 0;
}
