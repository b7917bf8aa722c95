#include "worker/backend/e2b_cause.h"

#include <strings.h>

#include "schemas/check.h"

#define CREATE BF_E2B_ASK_CREATE
#define CONNECT BF_E2B_ASK_CONNECT
#define KILL BF_E2B_ASK_KILL
#define PREPARE BF_E2B_ASK_PREPARE
#define RUN BF_E2B_ASK_RUN
#define CHORES (BF_E2B_ASK_LIST | BF_E2B_ASK_TTL)
#define CONTROL (CREATE | CONNECT | CHORES | KILL)
#define INSIDE (PREPARE | RUN)
#define ANY (CONTROL | INSIDE)

#define OK BF_REPLY_OK
#define ANY_KIND (-1)

/*
 * The first row that fits. A LOST answer whose status came goes by the status,
 * unless that says that more was to come.
 */
static const struct cause_row {
    unsigned int asks;
    int kind;
    int from, to;     /* statuses */
    const char *says; /* within message or error_code; NULL: whatever */
    int port;         /* 1: about a port, 0: not, -1: whatever */
    int unsent;       /* the same, of DEADLINE and LATE */
    enum bf_e2b_stream stream;
    struct bf_e2b_cause cause;
} rows[] = {
#define ROW(asks_, kind_, from_, to_, says_, port_, unsent_, stream_, ...)     \
    {                                                                          \
        asks_, kind_, from_, to_, says_, port_, unsent_,                       \
            BF_E2B_STREAM_##stream_,                                           \
        {                                                                      \
            __VA_ARGS__                                                        \
        }                                                                      \
    }
#define STATUS(asks_, from_, to_, ...)                                         \
    ROW(asks_, OK, from_, to_, NULL, -1, -1, NONE, __VA_ARGS__)
#define SAYS(asks_, from_, to_, says_, ...)                                    \
    ROW(asks_, OK, from_, to_, says_, -1, -1, NONE, __VA_ARGS__)
#define KIND(asks_, kind_, unsent_, ...)                                       \
    ROW(asks_, BF_REPLY_##kind_, 0, 999, NULL, -1, unsent_, NONE, __VA_ARGS__)
#define STREAM(asks_, stream_, ...)                                            \
    ROW(asks_, OK, 200, 200, NULL, -1, -1, stream_, __VA_ARGS__)

#define NOT_STARTED BF_TRY_NOT_STARTED
#define UNKNOWN BF_TRY_NOBODY_KNOWS
#define KEEP BF_E2B_KEEP
#define FORGET BF_E2B_FORGET
#define DELETE BF_E2B_DELETE
#define GHOST BF_E2B_GHOST
#define END BF_E2B_END

    /* ---- the transport's own words ---- */
    KIND(ANY, UNSENT, -1, "unsent", NOT_STARTED, KEEP, END, false),
    KIND(ANY, LATE, 1, "late_unsent", NOT_STARTED, KEEP, END, false),
    KIND(RUN, DEADLINE, 1, "deadline_unsent", BF_TRY_NEVER_LEFT, KEEP, END,
         false),
    KIND(RUN, DEADLINE, 0, "deadline", BF_TRY_TIMED_OUT, DELETE, END, false),
    KIND(RUN, LATE, 0, "late", UNKNOWN, DELETE, END, false),
    KIND(RUN, LOST, -1, "lost", UNKNOWN, DELETE, END, false),
    KIND(RUN, TOO_LARGE, -1, "reply_too_large", BF_TRY_TOO_LARGE, DELETE, END,
         false),
    /* Expired or out of time before it came to the run. */
    KIND(PREPARE, DEADLINE, -1, "prepare_deadline", BF_TRY_NEVER_LEFT, DELETE,
         END, false),
    KIND(PREPARE, LATE, 0, "prepare_late", NOT_STARTED, DELETE, BF_E2B_FRESH,
         false),
    KIND(PREPARE, LOST, -1, "prepare_lost", NOT_STARTED, DELETE, BF_E2B_FRESH,
         false),
    KIND(PREPARE, TOO_LARGE, -1, "prepare_too_large", NOT_STARTED, DELETE,
         BF_E2B_FRESH, false),
    KIND(CREATE, DEADLINE, -1, "create_deadline", BF_TRY_NEVER_LEFT, GHOST, END,
         false),
    KIND(CREATE, LATE, 0, "create_late", NOT_STARTED, GHOST, END, false),
    KIND(CREATE, LOST, -1, "create_lost", NOT_STARTED, GHOST, END, false),
    KIND(CREATE, TOO_LARGE, -1, "create_too_large", NOT_STARTED, GHOST, END,
         false),
    KIND(CONTROL, DEADLINE, -1, "control_deadline", BF_TRY_NEVER_LEFT, KEEP,
         END, false),
    KIND(CONTROL, LATE, 0, "control_late", NOT_STARTED, KEEP, END, false),
    KIND(CONTROL, LOST, -1, "control_lost", NOT_STARTED, KEEP, END, false),
    KIND(CONTROL, TOO_LARGE, -1, "control_too_large", NOT_STARTED, KEEP, END,
         false),

    /* ---- the control plane ---- */
    STATUS(KILL, 200, 299, "killed", NOT_STARTED, FORGET, BF_E2B_GO_ON, false),
    STATUS(CONTROL, 200, 299, "fine", NOT_STARTED, KEEP, BF_E2B_GO_ON, false),
    STATUS(CONTROL, 401, 401, "credential", NOT_STARTED, KEEP, END, true),
    STATUS(CONTROL, 402, 402, "credential_unpaid", NOT_STARTED, KEEP, END,
           true),
    STATUS(CONTROL, 403, 403, "credential_forbidden", NOT_STARTED, KEEP, END,
           true),
    STATUS(CONTROL, 300, 399, "control_redirected", NOT_STARTED, KEEP, END,
           true),
    SAYS(CREATE, 429, 429, "concurrent", "concurrency", NOT_STARTED, FORGET,
         BF_E2B_EVICT, false),
    STATUS(CONTROL, 429, 429, "rate", NOT_STARTED, KEEP, END, false),
    STATUS(CREATE, 404, 405, "create_no_route", NOT_STARTED, KEEP, BF_E2B_OLD,
           true),
    STATUS(CREATE, 409, 409, "create_conflict", NOT_STARTED, GHOST, END, false),
    STATUS(CREATE, 408, 408, "create_timeout", NOT_STARTED, GHOST, END, false),
    /* The same for every run: not a word against this one. */
    STATUS(CREATE, 400, 499, "create_refused", NOT_STARTED, KEEP, END, true),
    SAYS(CREATE, 503, 503, "capacity", "no_capacity", NOT_STARTED, KEEP, END,
         false),
    SAYS(CREATE, 503, 503, "no_compatible_node", "no_node", NOT_STARTED, KEEP,
         END, false),
    SAYS(CREATE, 504, 504, "placement", "placement_timeout", NOT_STARTED, GHOST,
         END, false),
    STATUS(CREATE, 500, 599, "create_failed", NOT_STARTED, GHOST, END, false),
    STATUS(CONNECT | KILL | BF_E2B_ASK_TTL, 404, 404, "gone", NOT_STARTED,
           FORGET, BF_E2B_GO_ON, false),
    STATUS(CONTROL, 409, 409, "control_conflict", NOT_STARTED, KEEP,
           BF_E2B_AGAIN, false),
    STATUS(CONTROL, 100, 999, "control_failed", NOT_STARTED, KEEP, END, false),

    /* ---- the sandbox: the proxy before it, and what answers inside ---- */
    ROW(PREPARE, OK, 502, 502, NULL, 1, -1, NONE, "port_closed", NOT_STARTED,
        DELETE, BF_E2B_AGAIN, false),
    SAYS(PREPARE, 502, 502, "not open", "port_closed", NOT_STARTED, DELETE,
         BF_E2B_AGAIN, false),
    /* It was open before: the proxy says the same of a server that died with
       the request, as long as no answer had begun. */
    ROW(RUN, OK, 502, 502, NULL, 1, -1, NONE, "port_lost", UNKNOWN, DELETE, END,
        false),
    SAYS(INSIDE, 502, 502, "not found", "vanished", NOT_STARTED, FORGET,
         BF_E2B_FRESH, false),
    SAYS(INSIDE, 404, 404, "not found", "vanished_404", NOT_STARTED, FORGET,
         BF_E2B_FRESH, false),
    STATUS(INSIDE, 401, 401, "token_refused", NOT_STARTED, DELETE, BF_E2B_FRESH,
           false),
    STATUS(INSIDE, 403, 403, "traffic_refused", NOT_STARTED, DELETE,
           BF_E2B_FRESH, false),
    STATUS(INSIDE, 409, 409, "transitioning", NOT_STARTED, DELETE, BF_E2B_AGAIN,
           false),
    STATUS(INSIDE, 429, 429, "traffic_rate", NOT_STARTED, KEEP, END, false),
    STATUS(INSIDE, 300, 399, "redirected", NOT_STARTED, DELETE, END, true),
    STATUS(INSIDE, 408, 408, "request_timeout", NOT_STARTED, KEEP, END, false),
    STATUS(INSIDE, 425, 425, "too_early", NOT_STARTED, KEEP, END, false),
    STATUS(INSIDE, 413, 413, "request_too_large", BF_TRY_REFUSED, KEEP, END,
           false),
    STATUS(INSIDE, 422, 422, "request_refused", BF_TRY_REFUSED, KEEP, END,
           false),
    STATUS(PREPARE, 507, 507, "disk_full", NOT_STARTED, DELETE, BF_E2B_FRESH,
           false),
    /* No such route, host or method: it is another template than we think. */
    STATUS(INSIDE, 400, 499, "wrong_template", NOT_STARTED, DELETE, END, true),
    STATUS(PREPARE, 500, 599, "prepare_failed", NOT_STARTED, DELETE,
           BF_E2B_FRESH, false),
    ROW(RUN, OK, 500, 599, NULL, -1, -1, PROMISED, "server_busy", NOT_STARTED,
        KEEP, END, false),
    /* 502 too: the proxy lost a sandbox that had the request. */
    STATUS(RUN, 500, 599, "run_failed", UNKNOWN, DELETE, END, false),

    /* ---- what stands in a 200 ---- */
    STREAM(RUN, ANSWER, "answer", UNKNOWN, KEEP, BF_E2B_GO_ON, false),
    STREAM(PREPARE, READY, "ready", NOT_STARTED, KEEP, BF_E2B_GO_ON, false),
    STREAM(RUN, NEEDS, "runner_gone", NOT_STARTED, DELETE, BF_E2B_REDO, false),
    STREAM(RUN, ABORTED, "aborted", NOT_STARTED, DELETE, BF_E2B_FRESH, false),
    STREAM(RUN, NOT_BEGUN, "not_begun", NOT_STARTED, DELETE, BF_E2B_FRESH,
           false),
    STREAM(RUN, KERNEL_DIED, "kernel_died", UNKNOWN, DELETE, END, false),
    STREAM(RUN, CUT, "cut", UNKNOWN, DELETE, END, false),
    STREAM(RUN, BROKEN, "broken", UNKNOWN, DELETE, END, false),
    STREAM(RUN, SILENT, "silent", UNKNOWN, DELETE, END, false),
    STREAM(RUN, TOO_LARGE, "output_too_large", BF_TRY_TOO_LARGE, DELETE, END,
           false),
    STREAM(RUN, DEADLINE, "killed_inside", BF_TRY_TIMED_OUT, DELETE, END,
           false),
    /* Nothing of the user's was in it. */
    ROW(PREPARE, ANY_KIND, 0, 999, NULL, -1, -1, NONE, "prepare_useless",
        NOT_STARTED, DELETE, BF_E2B_FRESH, false),
    ROW(RUN, ANY_KIND, 0, 999, NULL, -1, -1, NONE, "no_answer", UNKNOWN, DELETE,
        END, false),
    ROW(ANY, ANY_KIND, 0, 999, NULL, -1, -1, NONE, "no_sense", NOT_STARTED,
        KEEP, END, false),
};

static bool says(const struct bf_e2b_evidence *what, const char *text)
{
    return strcasestr(what->message, text) ||
           strcasestr(what->error_code, text);
}

static bool is(int wanted, bool found)
{
    return wanted < 0 || wanted == (int)found;
}

/* A status that says it all needs no body: it counts as if that had come. */
static enum bf_reply_kind kind_of(const struct bf_e2b_evidence *what)
{
    bool told = what->kind == BF_REPLY_LOST || what->kind == BF_REPLY_TOO_LARGE;

    return told && what->status >= 300 ? BF_REPLY_OK : what->kind;
}

static bool fits(const struct cause_row *row,
                 const struct bf_e2b_evidence *what)
{
    return (row->asks & what->ask) &&
           (row->kind == ANY_KIND || row->kind == (int)kind_of(what)) &&
           what->status >= row->from && what->status <= row->to &&
           (!row->says || says(what, row->says)) &&
           is(row->port, what->about_port) && is(row->unsent, what->unsent) &&
           (row->stream == BF_E2B_STREAM_NONE || row->stream == what->stream);
}

const struct bf_e2b_cause *bf_e2b_judge(const struct bf_e2b_evidence *what)
{
    size_t i = 0;

    while (i + 1 < bf_countof(rows) && !fits(&rows[i], what))
        i++;
    return &rows[i].cause;
}

const char *bf_e2b_cause_name(size_t i)
{
    return i < bf_countof(rows) ? rows[i].cause.name : NULL;
}
