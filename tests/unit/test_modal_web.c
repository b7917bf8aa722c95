/* What Modal's edge says, as a table: one row at least for each of ours. */

#include "tests/unit/support.h"

#include <stdio.h>

#include "schemas/check.h"
#include "schemas/limits.h"
#include "worker/backend/modal_web.h"

#define END BF_MODAL_END
#define P BF_MODAL_POST
#define R BF_MODAL_RESULT
#define HTTP "modal-http: "
#define APP(why) "{\"error\":\"" why "\",\"delivery\":\"did_not_run\"}"

/* END, ASK_A_FEW: what it comes to. */
static const struct answer {
    enum bf_modal_phase phase;
    int status;
    const char *body;
    const char *cause;
    enum bf_modal_next next;
    enum bf_try what;
    enum bf_sign sign;
} answers[] = {
    {P, 200, "{}", "answered", BF_MODAL_READ, 0, BF_SIGN_GOOD},
    {R, 200, "{}", "answered", BF_MODAL_READ, 0, BF_SIGN_GOOD},
    {P, 303, "", "runs_on", BF_MODAL_FOLLOW, 0, BF_SIGN_GOOD},
    {R, 303, "", "runs_on", BF_MODAL_FOLLOW, 0, BF_SIGN_GOOD},

    {P, 401, HTTP "missing credentials for proxy authorization",
     "bad_credentials", END, BF_TRY_CREDENTIAL, BF_SIGN_CREDENTIAL},
    {P, 402, "", "payment_required", END, BF_TRY_CREDENTIAL,
     BF_SIGN_CREDENTIAL},
    {P, 403, "", "forbidden", END, BF_TRY_CREDENTIAL, BF_SIGN_CREDENTIAL},
    {P, 404, HTTP "app for invoked web endpoint is stopped", "app_stopped", END,
     BF_TRY_CREDENTIAL, BF_SIGN_CREDENTIAL},
    {P, 404, HTTP "workspace ac-0123456789abcdef is disabled",
     "workspace_disabled", END, BF_TRY_CREDENTIAL, BF_SIGN_CREDENTIAL},
    {P, 429, "Webhook failed: workspace billing cycle spend limit reached",
     "spend_limit", END, BF_TRY_CREDENTIAL, BF_SIGN_CREDENTIAL},
    {P, 301, "", "redirected", END, BF_TRY_CREDENTIAL, BF_SIGN_CREDENTIAL},
    {P, 307, "", "redirected", END, BF_TRY_CREDENTIAL, BF_SIGN_CREDENTIAL},

    {P, 400, HTTP "bad redirect method", "bad_redirect_method", END,
     BF_TRY_REFUSED, BF_SIGN_NONE},
    {P, 404, HTTP "invalid function call", "no_function", END,
     BF_TRY_NOT_STARTED, BF_SIGN_FAULT},
    {P, 404, "", "no_function", END, BF_TRY_NOT_STARTED, BF_SIGN_FAULT},
    {P, 408, "Missing request, possibly due to expiry or cancellation",
     "missing_request", END, BF_TRY_NOT_STARTED, BF_SIGN_FAULT},
    {P, 425, "", "too_early", END, BF_TRY_NOT_STARTED, BF_SIGN_NONE},
    {P, 429, HTTP "rate limit", "rate_limited", END, BF_TRY_NOT_STARTED,
     BF_SIGN_NONE},
    {P, 400, "", "refused", END, BF_TRY_REFUSED, BF_SIGN_NONE},
    {P, 413, "", "refused", END, BF_TRY_REFUSED, BF_SIGN_NONE},
    {P, 499, "", "refused", END, BF_TRY_REFUSED, BF_SIGN_NONE},
    {P, 503, "", "unavailable", END, BF_TRY_NOT_STARTED, BF_SIGN_FAULT},

    {P, 500, HTTP "internal error: function execution timed out", "timed_out",
     END, BF_TRY_TIMED_OUT, BF_SIGN_GOOD},
    {R, 500, HTTP "internal error: function execution timed out", "timed_out",
     END, BF_TRY_TIMED_OUT, BF_SIGN_GOOD},
    {P, 500, HTTP "internal error: function was terminated by signal",
     "terminated_by_signal", END, BF_TRY_CRASHED, BF_SIGN_GOOD},
    {P, 500,
     HTTP "internal error: status InternalFailure: Server has lost track of "
          "input",
     "lost_input", END, BF_TRY_NOBODY_KNOWS, BF_SIGN_FAULT},
    {R, 500, HTTP "internal server error: status Failure: ImportError()",
     "container_failure", END, BF_TRY_NOBODY_KNOWS, BF_SIGN_FAULT},
    {P, 500, "", "server_error", END, BF_TRY_NOBODY_KNOWS, BF_SIGN_FAULT},
    {P, 502, "", "server_error", END, BF_TRY_NOBODY_KNOWS, BF_SIGN_FAULT},
    {P, 504, "", "server_error", END, BF_TRY_NOBODY_KNOWS, BF_SIGN_FAULT},
    {R, 500, "", "server_error", END, BF_TRY_NOBODY_KNOWS, BF_SIGN_FAULT},

    /* The app's own words, which come once. */
    {R, 401, APP("bad_signature: ..."), "app_refuses_us", END,
     BF_TRY_CREDENTIAL, BF_SIGN_CREDENTIAL},
    {R, 400, APP("bad_digest: ..."), "refused", END, BF_TRY_REFUSED,
     BF_SIGN_NONE},
    {R, 422, APP("wrong_workspace: ..."), "refused", END, BF_TRY_REFUSED,
     BF_SIGN_NONE},
    {R, 503, APP("server busy"), "unavailable", END, BF_TRY_NOT_STARTED,
     BF_SIGN_FAULT},

    /* It was accepted before: nobody else can say that it did not run. */
    {R, 404, HTTP "invalid function call", "result_gone", BF_MODAL_ASK_A_FEW,
     BF_TRY_NOBODY_KNOWS, BF_SIGN_NONE},
    {R, 404, "", "result_gone", END, BF_TRY_NOBODY_KNOWS, BF_SIGN_NONE},
    {R, 404, HTTP "app for invoked web endpoint is stopped", "result_gone", END,
     BF_TRY_NOBODY_KNOWS, BF_SIGN_NONE},
    {R, 401, HTTP "missing credentials for proxy authorization",
     "result_refused", END, BF_TRY_NOBODY_KNOWS, BF_SIGN_CREDENTIAL},
    {R, 408, "", "result_not_yet", BF_MODAL_ASK, 0, BF_SIGN_NONE},
    {R, 429, HTTP "rate limit", "result_rate_limited", BF_MODAL_ASK, 0,
     BF_SIGN_NONE},
    {R, 503, "", "result_unavailable", BF_MODAL_ASK, 0, BF_SIGN_FAULT},
    {R, 504, "", "result_unavailable", BF_MODAL_ASK, 0, BF_SIGN_FAULT},
    {R, 400, HTTP "bad redirect method", "result_denied", END,
     BF_TRY_NOBODY_KNOWS, BF_SIGN_NONE},
    {R, 307, "", "result_denied", END, BF_TRY_NOBODY_KNOWS, BF_SIGN_NONE},

    {P, 201, "{}", "no_sense", END, BF_TRY_NOBODY_KNOWS, BF_SIGN_FAULT},
    {P, 101, "", "no_sense", END, BF_TRY_NOBODY_KNOWS, BF_SIGN_FAULT},
    {R, 999, "", "no_sense", END, BF_TRY_NOBODY_KNOWS, BF_SIGN_FAULT},
    {P, 0, "", "no_sense", END, BF_TRY_NOBODY_KNOWS, BF_SIGN_FAULT},
};

static void test_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(answers); i++) {
        const struct answer *row = &answers[i];
        const struct bf_modal_fact *fact =
            bf_modal_fact(row->phase, row->status, bf_slice_str(row->body));

        if (strcmp(fact->cause, row->cause) != 0 || fact->next != row->next ||
            fact->sign != row->sign ||
            ((row->next == END || row->next == BF_MODAL_ASK_A_FEW) &&
             fact->what != row->what))
            fail_msg("row %zu: %d %s: %s", i, row->status, row->body,
                     fact->cause);
        /* An operator who has to act is told what about. */
        if (fact->sign == BF_SIGN_CREDENTIAL && fact->what == BF_TRY_CREDENTIAL)
            assert_non_null(fact->words);
    }
}

/* No row of ours is without one of the test's. */
static void test_each_row_is_tested(void **state)
{
    const struct bf_modal_fact *fact;

    (void)state;
    for (size_t i = 0; (fact = bf_modal_fact_at(i)); i++) {
        size_t k = 0;

        while (k < bf_countof(answers) &&
               strcmp(answers[k].cause, fact->cause) != 0)
            k++;
        if (k == bf_countof(answers))
            fail_msg("nothing tests \"%s\"", fact->cause);
    }
}

/* The words count only where Modal's edge puts them. */
static void test_words_are_looked_for_at_the_start(void **state)
{
    static char body[8192];

    (void)state;
    memset(body, 'x', sizeof(body));
    memcpy(body + 6000, "spend limit", sizeof("spend limit"));
    assert_string_equal(
        bf_modal_fact(P, 429, (struct bf_slice){body, sizeof(body)})->cause,
        "rate_limited");
    assert_string_equal(bf_modal_fact(P, 429, NONE)->cause, "rate_limited");
}

#define CALLED "https://acme--web.modal.run/run?workspace_id=w"
#define ID "__modal_function_call_id=fc-01ABC"

static const struct {
    const char *location;
    const char *url; /* NULL: refused */
} locations[] = {
    {"https://acme--web.modal.run/run?workspace_id=w&" ID,
     "https://acme--web.modal.run/run?workspace_id=w&" ID},
    {"/run?" ID, "https://acme--web.modal.run/run?" ID},
    {"?" ID, "https://acme--web.modal.run/run?" ID},
    {"https://ACME--web.modal.run:443/run?" ID,
     "https://ACME--web.modal.run:443/run?" ID},
    {"?a=b&" ID "&c=d", "https://acme--web.modal.run/run?a=b&" ID "&c=d"},
    {"https://evil.example/run?" ID, NULL},
    {"https://acme--web.modal.run.evil.example/run?" ID, NULL},
    {"http://acme--web.modal.run/run?" ID, NULL},
    {"https://acme--web.modal.run:444/run?" ID, NULL},
    {"https://x@acme--web.modal.run/run?" ID, NULL},
    {"//evil.example/run?" ID, NULL},
    {"//acme--web.modal.run/run?" ID, NULL},
    {"run?" ID, NULL},
    {"/run", NULL},
    {"/run?" ID "#part", NULL},
    {"/run?x__modal_function_call_id=fc-1", NULL},
    {"/run?__modal_function_call_id=", NULL},
    {"/run?__modal_function_call_id=in-123", NULL},
    {"/run?__modal_function_call_id=fc-1%0d%0a", NULL},
    {"/run\r\nX: y?" ID, NULL},
    {"/run ?" ID, NULL},
    {"\\\\evil.example?" ID, NULL},
    {"", NULL},
};

static void test_locations(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(locations); i++) {
        bf_autobuf struct bf_buf url = BF_BUF_INIT((size_t)2 * BF_MAX_URL);
        struct bf_slice id = NONE;
        struct bf_err err = {0};
        int rc = bf_modal_result_url(
            CALLED, bf_slice_str(locations[i].location), &url, &id, &err);

        if ((rc == 0) != (locations[i].url != NULL))
            fail_msg("row %zu: %s", i, locations[i].location);
        if (rc)
            continue;
        assert_string_equal(url.data, locations[i].url);
        assert_slice(id, "fc-01ABC");
    }
}

static void test_no_location(void **state)
{
    bf_autobuf struct bf_buf url = BF_BUF_INIT((size_t)2 * BF_MAX_URL);
    struct bf_slice id = NONE;
    struct bf_err err = {0};

    (void)state;
    assert_refused(bf_modal_result_url(CALLED, NONE, &url, &id, &err), err,
                   "bad_location");
}

static void test_call_url(void **state)
{
    static const struct {
        const char *url, *whole;
    } rows[] = {
        {"https://a--b.modal.run",
         "https://a--b.modal.run?workspace_id=w%2F%26"},
        {"https://a--b.modal.run/x?y=z#part",
         "https://a--b.modal.run/x?y=z&workspace_id=w%2F%26"},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        bf_autobuf struct bf_buf url = BF_BUF_INIT(1000);
        struct bf_err err = {0};

        assert_int_equal(bf_modal_call_url(rows[i].url, S("w/&"), &url, &err),
                         0);
        assert_string_equal(url.data, rows[i].whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_each_row_is_tested),
        cmocka_unit_test(test_words_are_looked_for_at_the_start),
        cmocka_unit_test(test_locations),
        cmocka_unit_test(test_no_location),
        cmocka_unit_test(test_call_url),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
