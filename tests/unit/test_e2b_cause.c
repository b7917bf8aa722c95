#include "tests/unit/support.h"

#include "schemas/check.h"
#include "worker/backend/e2b_api.h"
#include "worker/backend/e2b_cause.h"

#define CREATE BF_E2B_ASK_CREATE
#define CONNECT BF_E2B_ASK_CONNECT
#define LIST BF_E2B_ASK_LIST
#define TTL BF_E2B_ASK_TTL
#define KILL BF_E2B_ASK_KILL
#define PREPARE BF_E2B_ASK_PREPARE
#define RUN BF_E2B_ASK_RUN

#define OK BF_REPLY_OK
#define NOT_STARTED BF_TRY_NOT_STARTED
#define UNKNOWN BF_TRY_NOBODY_KNOWS
#define KEEP BF_E2B_KEEP
#define FORGET BF_E2B_FORGET
#define DELETE BF_E2B_DELETE
#define GHOST BF_E2B_GHOST
#define END BF_E2B_END
#define GO_ON BF_E2B_GO_ON
#define AGAIN BF_E2B_AGAIN
#define FRESH BF_E2B_FRESH

/* As the real ones are. */
#define GONE                                                                   \
    "{\"sandboxId\":\"i1\",\"message\":\"The sandbox was not found\","         \
    "\"code\":502}"
#define CLOSED                                                                 \
    "{\"sandboxId\":\"i1\",\"message\":\"The sandbox is running but port is "  \
    "not open\",\"port\":49999,\"code\":502}"

/* What is seen, and everything that must follow: a row for each cause. */
static const struct {
    enum bf_e2b_ask ask;
    enum bf_reply_kind kind;
    bool unsent;
    int status;
    const char *body;
    enum bf_e2b_stream stream;
    const char *name;
    enum bf_try what;
    enum bf_e2b_fate fate;
    enum bf_e2b_next next;
    bool stop;
} rows[] = {
    {RUN, BF_REPLY_UNSENT, false, 0, "", 0, "unsent", NOT_STARTED, KEEP, END,
     false},
    {CREATE, BF_REPLY_UNSENT, false, 0, "", 0, "unsent", NOT_STARTED, KEEP, END,
     false},
    {CREATE, BF_REPLY_LATE, true, 0, "", 0, "late_unsent", NOT_STARTED, KEEP,
     END, false},
    {RUN, BF_REPLY_DEADLINE, true, 0, "", 0, "deadline_unsent",
     BF_TRY_NEVER_LEFT, KEEP, END, false},
    {RUN, BF_REPLY_DEADLINE, false, 0, "", 0, "deadline", BF_TRY_TIMED_OUT,
     DELETE, END, false},
    {RUN, BF_REPLY_LATE, false, 0, "", 0, "late", UNKNOWN, DELETE, END, false},
    {RUN, BF_REPLY_LOST, false, 0, "", 0, "lost", UNKNOWN, DELETE, END, false},
    {RUN, BF_REPLY_LOST, false, 200, "", 0, "lost", UNKNOWN, DELETE, END,
     false},
    {RUN, BF_REPLY_TOO_LARGE, false, 200, "", 0, "reply_too_large",
     BF_TRY_TOO_LARGE, DELETE, END, false},
    {RUN, BF_REPLY_TOO_LARGE, false, 500, "", 0, "run_failed", UNKNOWN, DELETE,
     END, false},
    {PREPARE, BF_REPLY_DEADLINE, false, 0, "", 0, "prepare_deadline",
     BF_TRY_NEVER_LEFT, DELETE, END, false},
    {PREPARE, BF_REPLY_LATE, false, 0, "", 0, "prepare_late", NOT_STARTED,
     DELETE, FRESH, false},
    {PREPARE, BF_REPLY_LOST, false, 0, "", 0, "prepare_lost", NOT_STARTED,
     DELETE, FRESH, false},
    {PREPARE, BF_REPLY_TOO_LARGE, false, 200, "", 0, "prepare_too_large",
     NOT_STARTED, DELETE, FRESH, false},
    /* a create whose answer nobody saw has made a sandbox, perhaps */
    {CREATE, BF_REPLY_DEADLINE, false, 0, "", 0, "create_deadline",
     BF_TRY_NEVER_LEFT, GHOST, END, false},
    {CREATE, BF_REPLY_LATE, false, 0, "", 0, "create_late", NOT_STARTED, GHOST,
     END, false},
    {CREATE, BF_REPLY_LOST, false, 0, "", 0, "create_lost", NOT_STARTED, GHOST,
     END, false},
    {CREATE, BF_REPLY_LOST, false, 201, "", 0, "create_lost", NOT_STARTED,
     GHOST, END, false},
    {CREATE, BF_REPLY_TOO_LARGE, false, 201, "", 0, "create_too_large",
     NOT_STARTED, GHOST, END, false},
    {LIST, BF_REPLY_DEADLINE, false, 0, "", 0, "control_deadline",
     BF_TRY_NEVER_LEFT, KEEP, END, false},
    {LIST, BF_REPLY_LATE, false, 0, "", 0, "control_late", NOT_STARTED, KEEP,
     END, false},
    {KILL, BF_REPLY_LOST, false, 0, "", 0, "control_lost", NOT_STARTED, KEEP,
     END, false},
    {LIST, BF_REPLY_TOO_LARGE, false, 200, "", 0, "control_too_large",
     NOT_STARTED, KEEP, END, false},

    {KILL, OK, false, 204, "", 0, "killed", NOT_STARTED, FORGET, GO_ON, false},
    {CREATE, OK, false, 201, "", 0, "fine", NOT_STARTED, KEEP, GO_ON, false},
    {CONNECT, OK, false, 200, "", 0, "fine", NOT_STARTED, KEEP, GO_ON, false},
    {LIST, OK, false, 200, "", 0, "fine", NOT_STARTED, KEEP, GO_ON, false},
    {TTL, OK, false, 204, "", 0, "fine", NOT_STARTED, KEEP, GO_ON, false},
    {CREATE, OK, false, 401, "{\"code\":401,\"message\":\"Invalid API key\"}",
     0, "credential", NOT_STARTED, KEEP, END, true},
    /* a body that broke changes nothing about a status that says it all */
    {LIST, BF_REPLY_LOST, false, 401, "", 0, "credential", NOT_STARTED, KEEP,
     END, true},
    {CREATE, OK, false, 402, "", 0, "credential_unpaid", NOT_STARTED, KEEP, END,
     true},
    {KILL, OK, false, 403, "", 0, "credential_forbidden", NOT_STARTED, KEEP,
     END, true},
    {CREATE, OK, false, 307, "", 0, "control_redirected", NOT_STARTED, KEEP,
     END, true},
    {CREATE, OK, false, 429,
     "{\"code\":429,\"message\":\"you have reached the maximum number of "
     "concurrent E2B sandboxes (20)\"}",
     0, "concurrency", NOT_STARTED, FORGET, BF_E2B_EVICT, false},
    {CREATE, OK, false, 429,
     "{\"code\":429,\"message\":\"Rate limit exceeded\"}", 0, "rate",
     NOT_STARTED, KEEP, END, false},
    {LIST, OK, false, 429, "", 0, "rate", NOT_STARTED, KEEP, END, false},
    {CREATE, OK, false, 404, "404 page not found", 0, "create_no_route",
     NOT_STARTED, KEEP, BF_E2B_OLD, true},
    {CREATE, OK, false, 405, "", 0, "create_no_route", NOT_STARTED, KEEP,
     BF_E2B_OLD, true},
    {CREATE, OK, false, 409, "{\"error_code\":\"sandbox_start_in_flight\"}", 0,
     "create_conflict", NOT_STARTED, GHOST, END, false},
    {CREATE, OK, false, 408, "", 0, "create_timeout", NOT_STARTED, GHOST, END,
     false},
    {CREATE, OK, false, 400,
     "{\"code\":400,\"message\":\"Timeout cannot be greater than 1 hours\"}", 0,
     "create_refused", NOT_STARTED, KEEP, END, true},
    {CREATE, OK, false, 503,
     "{\"code\":503,\"error_code\":\"sandbox_capacity_unavailable\"}", 0,
     "no_capacity", NOT_STARTED, KEEP, END, false},
    {CREATE, OK, false, 503,
     "{\"code\":503,\"error_code\":\"sandbox_no_compatible_node\"}", 0,
     "no_node", NOT_STARTED, KEEP, END, false},
    {CREATE, OK, false, 504,
     "{\"code\":504,\"error_code\":\"sandbox_placement_timeout\"}", 0,
     "placement_timeout", NOT_STARTED, GHOST, END, false},
    {CREATE, OK, false, 500,
     "{\"code\":500,\"error_code\":\"sandbox_create_failed\"}", 0,
     "create_failed", NOT_STARTED, GHOST, END, false},
    {CREATE, OK, false, 502, "<html>", 0, "create_failed", NOT_STARTED, GHOST,
     END, false},
    {KILL, OK, false, 404, "", 0, "gone", NOT_STARTED, FORGET, GO_ON, false},
    {CONNECT, OK, false, 404, "", 0, "gone", NOT_STARTED, FORGET, GO_ON, false},
    {TTL, OK, false, 404, "", 0, "gone", NOT_STARTED, FORGET, GO_ON, false},
    {KILL, OK, false, 409, "", 0, "control_conflict", NOT_STARTED, KEEP, AGAIN,
     false},
    /* nothing of it says that there are none */
    {LIST, OK, false, 404, "", 0, "control_failed", NOT_STARTED, KEEP, END,
     false},
    {LIST, OK, false, 500, "", 0, "control_failed", NOT_STARTED, KEEP, END,
     false},

    /* the two 502s */
    {PREPARE, OK, false, 502, CLOSED, 0, "port_closed", NOT_STARTED, DELETE,
     AGAIN, false},
    {PREPARE, OK, false, 502,
     "{\"message\":\"The sandbox is running but port is not open\"}", 0,
     "port_closed", NOT_STARTED, DELETE, AGAIN, false},
    {RUN, OK, false, 502, CLOSED, 0, "port_lost", UNKNOWN, DELETE, END, false},
    {RUN, OK, false, 502, GONE, 0, "vanished", NOT_STARTED, FORGET, FRESH,
     false},
    {RUN, BF_REPLY_LOST, false, 502, "", 0, "run_failed", UNKNOWN, DELETE, END,
     false},
    {PREPARE, OK, false, 502, GONE, 0, "vanished", NOT_STARTED, FORGET, FRESH,
     false},
    {RUN, OK, false, 404, "{\"code\":404,\"message\":\"sandbox i1 not found\"}",
     0, "vanished_404", NOT_STARTED, FORGET, FRESH, false},
    {RUN, OK, false, 401, "{\"code\":401,\"message\":\"unauthorized access\"}",
     0, "token_refused", NOT_STARTED, DELETE, FRESH, false},
    {RUN, OK, false, 403, "{\"code\":403}", 0, "traffic_refused", NOT_STARTED,
     DELETE, FRESH, false},
    {RUN, OK, false, 409, "", 0, "transitioning", NOT_STARTED, DELETE, AGAIN,
     false},
    {RUN, OK, false, 429, "", 0, "traffic_rate", NOT_STARTED, KEEP, END, false},
    {RUN, OK, false, 302, "", 0, "redirected", NOT_STARTED, DELETE, END, true},
    {RUN, OK, false, 408, "", 0, "request_timeout", NOT_STARTED, KEEP, END,
     false},
    {RUN, OK, false, 425, "", 0, "too_early", NOT_STARTED, KEEP, END, false},
    {RUN, OK, false, 413, "", 0, "request_too_large", BF_TRY_REFUSED, KEEP, END,
     false},
    {RUN, OK, false, 422, "{\"detail\":[]}", 0, "request_refused",
     BF_TRY_REFUSED, KEEP, END, false},
    {PREPARE, OK, false, 507, "", 0, "disk_full", NOT_STARTED, DELETE, FRESH,
     false},
    {RUN, OK, false, 404, "404 page not found", 0, "wrong_template",
     NOT_STARTED, DELETE, END, true},
    {PREPARE, OK, false, 400, "Invalid host", 0, "wrong_template", NOT_STARTED,
     DELETE, END, true},
    {PREPARE, OK, false, 500, "", 0, "prepare_failed", NOT_STARTED, DELETE,
     FRESH, false},
    {RUN, OK, false, 500, "", 0, "run_failed", UNKNOWN, DELETE, END, false},
    {RUN, OK, false, 503, "{\"delivery\":\"did_not_run\"}",
     BF_E2B_STREAM_PROMISED, "server_busy", NOT_STARTED, KEEP, END, false},
    {RUN, OK, false, 502, "{\"message\":\"connection reset\"}", 0, "run_failed",
     UNKNOWN, DELETE, END, false},
    {RUN, OK, false, 503, "", 0, "run_failed", UNKNOWN, DELETE, END, false},
    {RUN, OK, false, 504, "", 0, "run_failed", UNKNOWN, DELETE, END, false},

    {RUN, OK, false, 200, "", BF_E2B_STREAM_ANSWER, "answer", UNKNOWN, KEEP,
     GO_ON, false},
    {PREPARE, OK, false, 200, "", BF_E2B_STREAM_READY, "ready", NOT_STARTED,
     KEEP, GO_ON, false},
    {RUN, OK, false, 200, "", BF_E2B_STREAM_NEEDS, "runner_gone", NOT_STARTED,
     DELETE, BF_E2B_REDO, false},
    {RUN, OK, false, 200, "", BF_E2B_STREAM_ABORTED, "aborted", NOT_STARTED,
     DELETE, FRESH, false},
    {RUN, OK, false, 200, "", BF_E2B_STREAM_NOT_BEGUN, "not_begun", NOT_STARTED,
     DELETE, FRESH, false},
    {RUN, OK, false, 200, "", BF_E2B_STREAM_KERNEL_DIED, "kernel_died", UNKNOWN,
     DELETE, END, false},
    {RUN, OK, false, 200, "", BF_E2B_STREAM_CUT, "cut", UNKNOWN, DELETE, END,
     false},
    {RUN, OK, false, 200, "", BF_E2B_STREAM_BROKEN, "broken", UNKNOWN, DELETE,
     END, false},
    {RUN, OK, false, 200, "", BF_E2B_STREAM_SILENT, "silent", UNKNOWN, DELETE,
     END, false},
    {RUN, OK, false, 200, "", BF_E2B_STREAM_TOO_LARGE, "output_too_large",
     BF_TRY_TOO_LARGE, DELETE, END, false},
    {RUN, OK, false, 200, "", BF_E2B_STREAM_DEADLINE, "killed_inside",
     BF_TRY_TIMED_OUT, DELETE, END, false},
    {PREPARE, OK, false, 200, "", BF_E2B_STREAM_CUT, "prepare_useless",
     NOT_STARTED, DELETE, FRESH, false},
    {PREPARE, OK, false, 200, "", BF_E2B_STREAM_KERNEL_DIED, "prepare_useless",
     NOT_STARTED, DELETE, FRESH, false},
    {RUN, OK, false, 200, "", BF_E2B_STREAM_NONE, "no_answer", UNKNOWN, DELETE,
     END, false},
    {RUN, OK, false, 103, "", 0, "no_answer", UNKNOWN, DELETE, END, false},
    {LIST, OK, false, 0, "", 0, "no_sense", NOT_STARTED, KEEP, END, false},
};

static struct bf_e2b_evidence seen(size_t i, struct bf_e2b_error *error)
{
    bf_e2b_error_read(bf_slice_str(rows[i].body), error);
    return (struct bf_e2b_evidence){
        .ask = rows[i].ask,
        .kind = rows[i].kind,
        .unsent = rows[i].unsent,
        .status = rows[i].status,
        .message = error->message,
        .error_code = error->error_code,
        .about_port = error->about_port,
        .stream = rows[i].stream,
    };
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        struct bf_e2b_error error;
        struct bf_e2b_evidence what = seen(i, &error);
        const struct bf_e2b_cause *cause = bf_e2b_judge(&what);

        assert_string_equal(cause->name, rows[i].name);
        assert_int_equal(cause->what, rows[i].what);
        assert_int_equal(cause->fate, rows[i].fate);
        assert_int_equal(cause->next, rows[i].next);
        assert_int_equal(cause->stop, rows[i].stop);
    }
}

static void every_cause_has_a_row(void **state)
{
    const char *name = bf_e2b_cause_name(0);

    (void)state;
    for (size_t n = 0; name; name = bf_e2b_cause_name(++n)) {
        bool found = false;

        for (size_t i = 0; i < bf_countof(rows); i++)
            found = found || strcmp(rows[i].name, name) == 0;
        if (!found)
            fail_msg("%s has no row", name);
    }
}

/*
 * Whatever comes: what is tried at once did not start for certain, a sandbox
 * in which something may still run is not kept, and before user code could
 * start nothing may be called unknown.
 */
static void test_invariants(void **state)
{
    static const enum bf_e2b_ask asks[] = {CREATE, CONNECT, LIST, TTL,
                                           KILL,   PREPARE, RUN};

    (void)state;
    for (size_t n = 0; n < bf_countof(asks) * 8 * 600 * 2; n++) {
        struct bf_e2b_evidence what = {
            .ask = asks[n % bf_countof(asks)],
            .kind = (enum bf_reply_kind)(n / 7 % 8),
            .status = (int)(n / 56 % 600),
            .unsent = n / 33600 % 2,
            .message = "",
            .error_code = "",
            .stream = (enum bf_e2b_stream)(n % 13),
        };
        const struct bf_e2b_cause *cause = bf_e2b_judge(&what);

        if (cause->next > BF_E2B_GO_ON || cause->stop)
            assert_int_equal(cause->what, NOT_STARTED);
        if (cause->what == UNKNOWN && cause->next == END)
            assert_int_equal(cause->fate, DELETE);
        if (what.ask != RUN)
            assert_true(cause->what == NOT_STARTED ||
                        cause->what == BF_TRY_NEVER_LEFT ||
                        cause->what == BF_TRY_REFUSED);
        if (what.ask != CREATE)
            assert_int_not_equal(cause->fate, GHOST);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(every_cause_has_a_row),
        cmocka_unit_test(test_invariants),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
