#include "tests/unit/support.h"

#include "worker/ending.h"
#include "worker/shard.h"

#define T0 1795266000000 /* 2026-11-21T13:00:00.000Z */
#define RUN_ID "000102030405060708090a0b0c0d0e0f"

static const struct bf_job good = {
    .kind = LIT("block"),
    .workspace = LIT("acme"),
    .id = LIT("j-1"),
    .spread = 4,
    .accepted_at_ms = T0,
    .expires_at_ms = T0 + 86400000,
    .timeout_ms = 20000,
    .max_attempts = 3,
    .inputs = LIT("{}"),
};

static void free_nothing(struct bf_run *run)
{
    (void)run;
}

static const struct bf_backend backend = {.name = "fake", .free = free_nothing};

struct fixture {
    struct bf_topics topics;
    struct bf_ending ending;
    struct bf_run run;
    struct bf_task *task;
};

static void fixture_init(struct fixture *f)
{
    *f = (struct fixture){.run = {.backend = &backend}};
    assert_int_equal(bf_topics_init(&f->topics, "bf.", NULL), 0);
    f->ending.names = (struct bf_task_names){
        .topics = &f->topics, .fleet = "f1", .worker = "g-i-0"};
    bf_topic_limits_init(&f->ending.limits);
    f->task = bf_task_new_gap("bf.jobs", 3, 42, NULL);
    assert_non_null(f->task);
    f->task->job = good;
}

/* It has begun, under a run id of ours. */
static void fixture_begin(struct fixture *f)
{
    f->task->run = &f->run;
    f->task->begun = true;
    f->task->started_at_ms = T0;
    memcpy(f->task->run_id, RUN_ID, sizeof(RUN_ID));
}

static void fixture_limit(struct fixture *f, uint32_t bytes)
{
    bf_topic_limits_clamp(&f->ending.limits, bytes);
}

/* The output for that topic; fails when there is none. */
static struct bf_record *output(const struct fixture *f, const char *topic)
{
    for (size_t i = 0; i < f->task->item.nout; i++) {
        if (strcmp(f->task->item.out[i]->topic, topic) == 0)
            return f->task->item.out[i];
    }
    fail_msg("no output for %s", topic);
    return NULL;
}

static void assert_all_fit(const struct fixture *f)
{
    for (size_t i = 0; i < f->task->item.nout; i++)
        assert_int_equal(bf_topic_limits_over(&f->ending.limits, &f->topics,
                                              f->task->item.out[i]),
                         0);
    assert_int_equal(f->task->item.from, 42);
    assert_int_equal(f->task->item.to, 43);
}

static void *bytes(size_t n)
{
    char *text = test_malloc(n);

    memset(text, 'x', n);
    return text;
}

#define assert_header(rec, name, text)                                         \
    assert_slice(bf_record_get((rec), (name)), (text))

static bool says(const struct bf_record *rec, const char *word)
{
    struct bf_slice report = bf_record_get(rec, "bf_report");

    return memmem(report.ptr, report.len, word, strlen(word));
}

/* Around a limit of 100,000: the largest that fits, and one that does not. */
static void test_result_of_a_size(void **state)
{
    static const struct {
        size_t len;
        const char *outcome;
    } rows[] = {
        {0, "succeeded"},
        {97000, "succeeded"},
        {100001, "failed"},
        {15 << 20, "failed"},
    };
    char *text = bytes(15 << 20);

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        struct fixture f;
        struct bf_run_end end = {.outcome = BF_OUTCOME_SUCCEEDED,
                                 .delivery = BF_DELIVERY_RAN,
                                 .result = {text, rows[i].len}};
        const struct bf_record *result;

        fixture_init(&f);
        fixture_begin(&f);
        fixture_limit(&f, 100000);
        assert_int_equal(bf_ending_run(&f.ending, f.task, &end, NULL), 0);
        assert_all_fit(&f);
        result = output(&f, "bf.results");
        assert_header(result, "bf_outcome", rows[i].outcome);
        assert_header(result, "bf_delivery", "ran");
        if (strcmp(rows[i].outcome, "failed") == 0) {
            assert_header(result, "bf_reason", "output_too_large");
            assert_int_equal(result->value.len, 0);
        } else {
            assert_int_equal(result->value.len, rows[i].len);
        }
        assert_true(f.task->end.billable);
        output(&f, "bf.usage");
        bf_task_free(f.task);
    }
    test_free(text);
}

/* Streams go before the result does, when that is enough. */
static void test_streams_go_first(void **state)
{
    char *text = bytes(200000);
    struct bf_run_end end = {
        .outcome = BF_OUTCOME_SUCCEEDED,
        .delivery = BF_DELIVERY_RAN,
        .result = {text, 30000},
        .report = {.standard_output = {text, 40000},
                   .standard_error = {text, 40000},
                   .error = LIT("kept")},
    };
    struct fixture f;
    const struct bf_record *result;

    (void)state;
    fixture_init(&f);
    fixture_begin(&f);
    fixture_limit(&f, 100000);
    assert_int_equal(bf_ending_run(&f.ending, f.task, &end, NULL), 0);
    assert_all_fit(&f);
    result = output(&f, "bf.results");
    assert_header(result, "bf_outcome", "succeeded");
    assert_int_equal(result->value.len, 30000);
    assert_true(says(result, "stdout_truncated"));
    assert_true(says(result, "stderr_truncated"));
    assert_true(says(result, "kept"));
    bf_task_free(f.task);

    /* Where it is not, they stay. */
    fixture_init(&f);
    fixture_begin(&f);
    fixture_limit(&f, 100000);
    end.result.len = 200000;
    end.report.standard_error.ptr = NULL;
    assert_int_equal(bf_ending_run(&f.ending, f.task, &end, NULL), 0);
    assert_all_fit(&f);
    result = output(&f, "bf.results");
    assert_header(result, "bf_reason", "output_too_large");
    assert_false(says(result, "stdout_truncated"));
    bf_task_free(f.task);
    test_free(text);
}

/* A failure's report alone can be too much. */
static void test_report_is_too_large(void **state)
{
    char *text = bytes(49152);
    struct bf_run_end end = {
        .outcome = BF_OUTCOME_FAILED,
        .reason = BF_REASON_USER_ERROR,
        .delivery = BF_DELIVERY_RAN,
        .report = {.standard_output = {text, 49152},
                   .error = {text, 16000},
                   .error_type = LIT("ValueError")},
    };
    struct fixture f;
    const struct bf_record *result;

    (void)state;
    fixture_init(&f);
    fixture_begin(&f);
    fixture_limit(&f, 12000);
    assert_int_equal(bf_ending_run(&f.ending, f.task, &end, NULL), 0);
    assert_all_fit(&f);
    result = output(&f, "bf.results");
    assert_header(result, "bf_reason", "user_error");
    assert_true(says(result, "ValueError"));
    assert_true(says(result, "stdout_truncated"));
    bf_task_free(f.task);
    test_free(text);
}

static void test_letters(void **state)
{
    char *text = bytes(200000);

    (void)state;
    for (int large_headers = 0; large_headers < 2; large_headers++) {
        struct bf_err why = {.kind = BF_ERR_REJECT, .code = "bad_block"};
        struct fixture f;
        const struct bf_record *letter;

        fixture_init(&f);
        fixture_limit(&f, 100000);
        f.task->source.value = (struct bf_slice){text, 200000};
        bf_record_ref(&f.task->source, S("x-large"),
                      (struct bf_slice){text, large_headers ? 150000 : 10},
                      NULL);
        assert_int_equal(
            bf_ending_rejected(&f.ending, f.task, "decode", &why, NULL), 0);
        assert_all_fit(&f);
        letter = output(&f, "bf.deadletter");
        assert_header(letter, "bf_truncated", "true");
        assert_int_equal(letter->value.len, 0);
        assert_int_equal(bf_record_get(letter, "bf_original_headers").len,
                         large_headers ? 0 : 25);
        assert_header(output(&f, "bf.results"), "bf_reason", "bad_block");
        bf_task_free(f.task);
    }
    test_free(text);
}

/* An untrusted record's letter: there is nothing else. */
static void test_letter_alone(void **state)
{
    struct bf_err why = {.kind = BF_ERR_REJECT, .code = "unsigned"};
    char *text = bytes(200000);
    struct fixture f;

    (void)state;
    fixture_init(&f);
    fixture_limit(&f, 100000);
    f.task->source.value = (struct bf_slice){text, 200000};
    assert_int_equal(
        bf_ending_unanswered(&f.ending, f.task, "verify", false, &why, NULL),
        0);
    assert_all_fit(&f);
    assert_int_equal(f.task->item.nout, 1);
    assert_header(output(&f, "bf.deadletter"), "bf_truncated", "true");
    bf_task_free(f.task);
    test_free(text);
}

static void test_refused_by_the_broker(void **state)
{
    struct bf_run_end end = {.outcome = BF_OUTCOME_SUCCEEDED,
                             .delivery = BF_DELIVERY_RAN,
                             .result = LIT("\"large\"")};
    struct bf_err why = {.kind = BF_ERR_REJECT, .code = "output_too_large"};
    struct bf_err err = {0};
    struct fixture f;
    const struct bf_record *result;

    (void)state;
    fixture_init(&f);
    fixture_begin(&f);
    assert_int_equal(bf_ending_run(&f.ending, f.task, &end, NULL), 0);
    assert_int_equal(bf_ending_smaller(&f.ending, f.task, &why, &err), 0);
    result = output(&f, "bf.results");
    assert_header(result, "bf_outcome", "dead");
    assert_header(result, "bf_reason", "output_too_large");
    assert_header(result, "bf_delivery", "ran");
    assert_header(output(&f, "bf.deadletter"), "__connect.errors.stage",
                  "produce");
    assert_true(f.task->end.billable);
    /* There is no smaller one. */
    assert_int_equal(bf_ending_smaller(&f.ending, f.task, &why, &err), -1);
    assert_int_equal(err.kind, BF_ERR_FATAL);
    bf_task_free(f.task);
}

/* How it ends when nothing follows: expired waiting, after a try, refused. */
enum last { WAITING, TRIED, REFUSED, LASTS };

static void end_with(struct fixture *f, enum last last)
{
    struct bf_run_end tried = {.outcome = BF_OUTCOME_EXPIRED,
                               .delivery = BF_DELIVERY_DID_NOT_RUN};
    struct bf_err why = {.kind = BF_ERR_REJECT, .code = "no_backend"};
    int rc = -1;

    switch (last) {
    case WAITING:
        rc = bf_ending_expired(&f->ending, f->task, &why, NULL);
        break;
    case TRIED:
        fixture_begin(f);
        rc = bf_ending_run(&f->ending, f->task, &tried, NULL);
        break;
    case REFUSED:
        rc = bf_ending_rejected(&f->ending, f->task, "dispatch", &why, NULL);
        break;
    case LASTS:
        break;
    }
    assert_int_equal(rc, 0);
}

static void test_nothing_ran(void **state)
{
    static const char *const outcomes[LASTS] = {"expired", "expired",
                                                "rejected"};

    (void)state;
    for (int last = 0; last < LASTS; last++) {
        struct fixture f;
        const struct bf_record *result;

        fixture_init(&f);
        end_with(&f, (enum last)last);
        result = output(&f, "bf.results");
        assert_header(result, "bf_outcome", outcomes[last]);
        assert_header(result, "bf_delivery", "did_not_run");
        bf_task_free(f.task);
    }
}

/* The same, after an attempt that may have run. */
static void test_an_attempt_was_lost(void **state)
{
    (void)state;
    for (int last = 0; last < LASTS; last++) {
        struct fixture f;
        const struct bf_record *result, *letter;
        size_t rows = 0;

        fixture_init(&f);
        fixture_begin(&f);
        assert_int_equal(bf_task_lost(f.task, "process", NULL), 0);
        end_with(&f, (enum last)last);
        result = output(&f, "bf.results");
        letter = output(&f, "bf.deadletter");
        assert_header(result, "bf_outcome", "dead");
        assert_header(result, "bf_reason", "attempts_exhausted");
        assert_header(result, "bf_delivery", "unknown");
        assert_header(result, "bf_attempt", "2");
        assert_true(bf_slice_eq(bf_record_get(result, "bf_dead_letter"),
                                bf_record_get(letter, "ce_id")));
        for (size_t i = 0; i < f.task->item.nout; i++)
            rows += strcmp(f.task->item.out[i]->topic, "bf.usage") == 0;
        assert_int_equal(rows, last == TRIED ? 2 : 1);
        assert_false(f.task->end.billable);
        bf_task_free(f.task);
    }
}

static void test_unknown(void **state)
{
    struct bf_started started = {.attempt = 2, .run_id = RUN_ID};
    struct fixture f;
    const struct bf_record *result;

    (void)state;
    fixture_init(&f);
    f.task->job.execution = BF_AT_MOST_ONCE;
    assert_int_equal(
        bf_ending_unknown(&f.ending, f.task, &started, "local", NULL), 0);
    result = output(&f, "bf.results");
    assert_header(result, "bf_outcome", "unknown");
    assert_header(result, "bf_reason", "worker_lost");
    assert_header(result, "bf_run_id", RUN_ID);
    assert_header(result, "bf_attempt", "2");
    assert_false(f.task->end.billable);
    output(&f, "bf.usage");
    assert_true(f.task->item.has_entry && f.task->item.entry.tombstone);
    bf_task_free(f.task);
}

/* The entry at its place goes, though it has written none itself. */
static void test_ends_what_was_started(void **state)
{
    struct bf_run_end end = {.outcome = BF_OUTCOME_SUCCEEDED,
                             .delivery = BF_DELIVERY_RAN};
    struct fixture f;

    (void)state;
    for (int has = 0; has < 2; has++) {
        fixture_init(&f);
        fixture_begin(&f);
        f.task->has_started = has;
        assert_int_equal(bf_ending_run(&f.ending, f.task, &end, NULL), 0);
        assert_int_equal(f.task->item.has_entry, has);
        assert_int_equal(f.task->item.entry.tombstone, has);
        bf_task_free(f.task);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_result_of_a_size),
        cmocka_unit_test(test_streams_go_first),
        cmocka_unit_test(test_report_is_too_large),
        cmocka_unit_test(test_letters),
        cmocka_unit_test(test_letter_alone),
        cmocka_unit_test(test_refused_by_the_broker),
        cmocka_unit_test(test_nothing_ran),
        cmocka_unit_test(test_an_attempt_was_lost),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_ends_what_was_started),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
