#include "tests/unit/support.h"

#include "schemas/json.h"
#include "schemas/result.h"

#define T0 1795266000000 /* 2026-11-21T13:00:00.000Z */
#define RUN "87ca9100b538bab1b032f3610d9d74f6"
#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static const struct bf_job job = {
    .kind = LIT("block"),
    .workspace = LIT("acme"),
    .id = LIT("j-1"),
    .generation = 2,
    .execution = BF_AT_MOST_ONCE,
    .inputs = LIT("{\"x\":1}"),
    .batch = LIT("b.1"),
    .batch_index = LIT("17"),
    .callback_url = LIT("https://example.com/cb"),
    .labels = LIT("{\"a\":\"b\"}"),
    .correlation_id = LIT("\0\xff"),
    .traceparent = LIT(TRACE),
};

static const struct bf_record source = {
    .topic = "bf.jobs",
    .partition = 3,
    .offset = 42,
    .key = LIT("acme"),
    .value = LIT("{\"x\":1}"),
};

static const struct bf_end good = {
    .job = &job,
    .source = &source,
    .attempt = 3,
    .outcome = BF_OUTCOME_SUCCEEDED,
    .delivery = BF_DELIVERY_RAN,
    .result = LIT("{\"y\":NaN}"),
    .report = {.standard_output = LIT("hi\n"), .execution_us = 1000250},
    .run_id = RUN,
    .backend = "local",
    .isolation = "process",
    .worker = "bf-h-0",
    .fingerprint = "fddd4dd8ebd40d43",
    .block_type = "acme/blur@v1",
    .started_at_ms = T0 - 1500,
    .ended_at_ms = T0,
    .duration_us = 1500000,
    .billable = true,
    .has_usage = true,
};

static const struct bf_end refused = {
    .job = &job,
    .source = &source,
    .attempt = 1,
    .outcome = BF_OUTCOME_REJECTED,
    .reason = BF_REASON_BAD_BLOCK,
    .delivery = BF_DELIVERY_DID_NOT_RUN,
    .report = {.message = LIT("bf_block: no")},
    .worker = "bf-h-0",
    .ended_at_ms = T0,
    .has_dead_letter = true,
};

static void assert_headers(const struct bf_record *rec,
                           const char *const want[][2], size_t nwant)
{
    for (size_t i = 0; i < nwant && i < rec->nheaders; i++) {
        assert_slice(rec->headers[i].name, want[i][0]);
        if (want[i][1])
            assert_slice(rec->headers[i].value, want[i][1]);
    }
    assert_int_equal(rec->nheaders, nwant);
}

static void test_headers_of_a_success(void **state)
{
    static const char *const want[][2] = {
        {"ce_specversion", "1.0"},
        {"ce_id", "091c0c35899f91c4eeb2857a60ae936a"},
        {"ce_source", "/blockfleet/f1"},
        {"ce_type", "dev.blockfleet.result.v1"},
        {"ce_time", "2026-11-21T13:00:00.000Z"},
        {"ce_subject", "acme/j-1"},
        {"content-type", "application/json"},
        {"bf_workspace", "acme"},
        {"bf_job", "j-1"},
        {"bf_generation", "2"},
        {"bf_attempt", "3"},
        {"bf_execution", "at_most_once"},
        {"bf_outcome", "succeeded"},
        {"bf_delivery", "ran"},
        {"bf_run_id", RUN},
        {"bf_usage_id", "6df8e552fdf7d34308993644d47c0989"},
        {"bf_backend", "local"},
        {"bf_isolation", "process"},
        {"bf_started_at_ms", "1795265998500"},
        {"bf_ended_at_ms", "1795266000000"},
        {"bf_worker", "bf-h-0"},
        {"bf_source_topic", "bf.jobs"},
        {"bf_source_partition", "3"},
        {"bf_source_offset", "42"},
        {"bf_report",
         "{\"stdout\":\"hi\\n\",\"execution_time_seconds\":\"1.000250\"}"},
        {"bf_batch", "b.1"},
        {"bf_batch_index", "17"},
        {"bf_labels", "{\"a\":\"b\"}"},
        {"kafka_correlationId", NULL},
        {"traceparent", TRACE},
    };
    bf_autorecord struct bf_record rec;

    (void)state;
    bf_record_init(&rec, "bf.results", 3);
    assert_int_equal(bf_result_build(&good, "f1", &rec, NULL), 0);
    assert_headers(&rec, want, bf_countof(want));
    assert_slice(rec.key, "acme");
    assert_ptr_equal(rec.value.ptr, good.result.ptr); /* borrowed, not copied */
    assert_int_equal(rec.value.len, good.result.len);
}

static void test_headers_of_a_refusal(void **state)
{
    static const char *const want[][2] = {
        {"ce_specversion", NULL},
        {"ce_id", NULL},
        {"ce_source", NULL},
        {"ce_type", NULL},
        {"ce_time", NULL},
        {"ce_subject", NULL},
        {"bf_workspace", "acme"},
        {"bf_job", "j-1"},
        {"bf_generation", "2"},
        {"bf_attempt", "1"},
        {"bf_execution", "at_most_once"},
        {"bf_outcome", "rejected"},
        {"bf_delivery", "did_not_run"},
        {"bf_reason", "bad_block"},
        {"bf_worker", "bf-h-0"},
        {"bf_source_topic", "bf.jobs"},
        {"bf_source_partition", "3"},
        {"bf_source_offset", "42"},
        {"bf_report", "{\"message\":\"bf_block: no\"}"},
        {"bf_dead_letter", NULL},
        {"bf_batch", "b.1"},
        {"bf_batch_index", "17"},
        {"bf_labels", "{\"a\":\"b\"}"},
        {"kafka_correlationId", NULL},
        {"traceparent", TRACE},
    };
    bf_autorecord struct bf_record rec;

    (void)state;
    bf_record_init(&rec, "bf.results", 3);
    assert_int_equal(bf_result_build(&refused, "f1", &rec, NULL), 0);
    assert_headers(&rec, want, bf_countof(want));
    assert_slice(rec.value, "");
}

static void test_results_there_and_back(void **state)
{
    bf_autorecord struct bf_record rec;
    struct bf_result back;

    (void)state;
    bf_record_init(&rec, "bf.results", 3);
    assert_int_equal(bf_result_build(&good, "f1", &rec, NULL), 0);
    assert_int_equal(bf_result_parse(&rec, &back, NULL), 0);
    assert_slice(back.subject.workspace, "acme");
    assert_slice(back.subject.job, "j-1");
    assert_int_equal(back.subject.generation, 2);
    assert_int_equal(back.subject.attempt, 3);
    assert_slice(back.id, "091c0c35899f91c4eeb2857a60ae936a");
    assert_int_equal(back.outcome, BF_OUTCOME_SUCCEEDED);
    assert_int_equal(back.reason, BF_REASON_NONE);
    assert_int_equal(back.delivery, BF_DELIVERY_RAN);
    assert_int_equal(back.execution, BF_AT_MOST_ONCE);
    assert_slice(back.run_id, RUN);
    assert_slice(back.worker, "bf-h-0");
    assert_slice(back.source_topic, "bf.jobs");
    assert_int_equal(back.source_partition, 3);
    assert_int_equal(back.source_offset, 42);
    assert_int_equal(back.at_ms, T0);
    assert_int_equal(back.started_at_ms, T0 - 1500);
    assert_int_equal(back.ended_at_ms, T0);
    assert_slice(back.batch_index, "17");
    assert_slice(back.value, "{\"y\":NaN}");
    assert_null(back.dead_letter.ptr);
}

/* The report of this end, or NULL; in rec. */
static struct bf_slice report_of(const struct bf_report *report,
                                 struct bf_record *rec)
{
    struct bf_end end = refused;

    end.report = *report;
    bf_record_init(rec, "bf.results", 3);
    assert_int_equal(bf_result_build(&end, "f1", rec, NULL), 0);
    return bf_record_get(rec, "bf_report");
}

static void test_reports_in_order(void **state)
{
    static const struct bf_report report = {
        .message = LIT("m"),
        .error = LIT("e\xff"),
        .error_type = LIT("T"),
        .function_name = LIT("f"),
        .code_hash = LIT("c"),
        .standard_output = LIT("\0"),
        .standard_error = LIT(""),
        .standard_output_truncated = true,
        .line_number = 7,
        .execution_us = 5,
    };
    static const struct bf_report empty = {0};
    bf_autorecord struct bf_record rec, bare;

    (void)state;
    assert_slice(report_of(&report, &rec),
                 "{\"message\":\"m\",\"error\":\"e\xef\xbf\xbd\","
                 "\"error_type\":\"T\",\"line_number\":7,"
                 "\"function_name\":\"f\",\"stdout\":\"\\u0000\","
                 "\"stderr\":\"\",\"stdout_truncated\":true,"
                 "\"execution_time_seconds\":\"0.000005\","
                 "\"code_hash\":\"c\"}");
    assert_slice(report_of(&empty, &bare), "{}");
}

static void test_the_largest_report_fits(void **state)
{
    bf_autofree char *zeros = calloc(1, 1 << 20);
    struct bf_slice big = {zeros, 1 << 20};
    struct bf_report report = {
        .message = big,
        .error = big,
        .error_type = big,
        .function_name = big,
        .code_hash = big,
        .standard_output = big,
        .standard_error = big,
        .line_number = INT64_MAX,
        .execution_us = INT64_MAX,
    };
    bf_autorecord struct bf_record rec;
    struct bf_slice text;
    struct bf_result back;
    bf_autojson json_t *doc = NULL;

    (void)state;
    assert_non_null(zeros);
    text = report_of(&report, &rec);
    assert_in_range(text.len, 110000, BF_MAX_REPORT);
    doc = bf_json_parse_nul(text, BF_MAX_REPORT, NULL);
    assert_non_null(doc);
    /* 49152 / strlen("\\u0000") */
    assert_int_equal(bf_json_slice(json_object_get(doc, "stdout")).len, 8192);
    assert_true(json_is_true(json_object_get(doc, "stdout_truncated")));
    assert_true(json_is_true(json_object_get(doc, "stderr_truncated")));
    assert_int_equal(bf_result_parse(&rec, &back, NULL), 0);
}

static void test_too_large_a_result(void **state)
{
    bf_autofree char *big = calloc(1, BF_MAX_RESULT + 1);
    bf_autorecord struct bf_record rec;
    struct bf_end end = good;
    struct bf_err err = {0};

    (void)state;
    assert_non_null(big);
    end.result = (struct bf_slice){big, BF_MAX_RESULT + 1};
    bf_record_init(&rec, "bf.results", 3);
    assert_refused(bf_result_build(&end, "f1", &rec, &err), err, "too_large");
}

static void test_usage(void **state)
{
    bf_autojson json_t *provider = json_pack("{s:s}", "call", "fc-\"1\"");
    bf_autorecord struct bf_record rec;
    struct bf_end end = good;

    (void)state;
    end.provider = provider;
    end.memory_gib_us = 250000;
    bf_record_init(&rec, "bf.usage", 3);
    assert_int_equal(bf_usage_build(&end, "f1", &rec, NULL), 0);
    assert_slice(
        rec.value,
        "{\"workspace\":\"acme\",\"job\":\"j-1\",\"generation\":2,"
        "\"attempt\":3,\"run_id\":\"" RUN "\",\"kind\":\"run\","
        "\"block_type\":\"acme/blur@v1\","
        "\"fingerprint\":\"fddd4dd8ebd40d43\",\"backend\":\"local\","
        "\"isolation\":\"process\",\"provider\":{\"call\":\"fc-\\\"1\\\"\"},"
        "\"execution\":\"at_most_once\",\"outcome\":\"succeeded\","
        "\"reason\":null,\"delivery\":\"ran\","
        "\"started_at\":\"2026-11-21T12:59:58.500Z\","
        "\"ended_at\":\"2026-11-21T13:00:00.000Z\",\"billable\":true,"
        "\"runs\":\"1\",\"duration_seconds\":\"1.500000\","
        "\"execution_seconds\":\"1.000250\",\"input_bytes\":\"7\","
        "\"output_bytes\":\"9\",\"vcpu_seconds\":null,"
        "\"memory_gib_seconds\":\"0.250000\"}");
    assert_slice(bf_record_get(&rec, "ce_id"),
                 "6df8e552fdf7d34308993644d47c0989");
    assert_slice(bf_record_get(&rec, "ce_type"), "dev.blockfleet.usage.v1");
    assert_slice(bf_record_get(&rec, "bf_run_id"), RUN);
    assert_int_equal(rec.nheaders, 10);
}

static void test_usage_of_an_unknown_end_is_not_billable(void **state)
{
    struct bf_end end = {
        .job = &job,
        .source = &source,
        .attempt = 1,
        .outcome = BF_OUTCOME_UNKNOWN,
        .reason = BF_REASON_WORKER_LOST,
        .delivery = BF_DELIVERY_UNKNOWN,
        .run_id = RUN,
        .worker = "bf-h-0",
        .ended_at_ms = T0,
        .billable = true,
        .has_usage = true,
    };
    bf_autorecord struct bf_record rec;
    bf_autojson json_t *doc = NULL;

    (void)state;
    bf_record_init(&rec, "bf.usage", 3);
    assert_int_equal(bf_usage_build(&end, "f1", &rec, NULL), 0);
    doc = bf_json_parse(rec.value, rec.value.len, NULL);
    assert_non_null(doc);
    assert_true(json_is_false(json_object_get(doc, "billable")));
    assert_slice(bf_json_slice(json_object_get(doc, "runs")), "1");
    assert_true(json_is_null(json_object_get(doc, "started_at")));
    assert_true(json_is_null(json_object_get(doc, "fingerprint")));
    assert_slice(bf_json_slice(json_object_get(doc, "reason")), "worker_lost");
    assert_int_equal(json_object_size(json_object_get(doc, "provider")), 0);
}

static void test_callbacks(void **state)
{
    bf_autorecord struct bf_record rec;

    (void)state;
    bf_record_init(&rec, "bf.callbacks", 3);
    assert_int_equal(bf_callback_build(&refused, "f1", &rec, NULL), 0);
    assert_slice(rec.value,
                 "{\"type\":\"job.completed\","
                 "\"timestamp\":\"2026-11-21T13:00:00.000Z\",\"data\":{"
                 "\"workspace\":\"acme\",\"job\":\"j-1\",\"generation\":2,"
                 "\"attempt\":1,\"outcome\":\"rejected\","
                 "\"reason\":\"bad_block\",\"delivery\":\"did_not_run\","
                 "\"result_id\":\"fc10754c59f63bb2931e4ae1570ec45b\"}}");
    assert_slice(bf_record_get(&rec, "ce_id"),
                 "a031d67046ea6cb80a230ac8f8278710");
    assert_slice(bf_record_get(&rec, "bf_callback_url"),
                 "https://example.com/cb");
    assert_slice(bf_record_get(&rec, "bf_generation"), "2");
}

static void test_what_readers_refuse(void **state)
{
    static const struct {
        const char *name;
        struct bf_slice value;
    } bad[] = {
        {"ce_type", LIT("dev.blockfleet.usage.v1")},
        {"ce_id", LIT("6df8e552fdf7d34308993644d47c0989")},
        {"bf_attempt", LIT("0")},
        {"bf_outcome", LIT("won")},
        {"bf_outcome", LIT("failed")}, /* but has a value */
        {"bf_delivery", LIT("")},
        {"bf_run_id", LIT("x")},
        {"bf_backend", LIT("")},
        {"bf_worker", LIT("a b")},
        {"bf_report", LIT("{")},
        {"bf_report", LIT("[]")},
        {"bf_batch_index", LIT("01")},
        {"bf_source_partition", LIT("2147483648")},
        {"bf_source_offset", LIT("9223372036854775808")},
        {"bf_started_at_ms", {NULL, 0}},
        {"bf_worker", {NULL, 0}},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(bad); i++) {
        bf_autorecord struct bf_record rec;
        struct bf_err err = {0};
        struct bf_result back;
        bool found = false;

        bf_record_init(&rec, "bf.results", 3);
        assert_int_equal(bf_result_build(&good, "f1", &rec, NULL), 0);
        for (size_t j = 0; j < rec.nheaders; j++) {
            if (!bf_slice_is(rec.headers[j].name, bad[i].name))
                continue;
            rec.headers[j].value = bad[i].value;
            found = true;
        }
        assert_true(found);
        assert_refused(bf_result_parse(&rec, &back, &err), err, "bad_record");
    }
}

static void test_a_reason_that_is_empty(void **state)
{
    bf_autorecord struct bf_record rec;
    struct bf_err err = {0};
    struct bf_result back;

    (void)state;
    bf_record_init(&rec, "bf.results", 3);
    assert_int_equal(bf_result_build(&good, "f1", &rec, NULL), 0);
    bf_record_puts(&rec, "bf_reason", "", NULL);
    assert_refused(bf_result_parse(&rec, &back, &err), err, "bad_record");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers_of_a_success),
        cmocka_unit_test(test_headers_of_a_refusal),
        cmocka_unit_test(test_results_there_and_back),
        cmocka_unit_test(test_reports_in_order),
        cmocka_unit_test(test_the_largest_report_fits),
        cmocka_unit_test(test_too_large_a_result),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_usage_of_an_unknown_end_is_not_billable),
        cmocka_unit_test(test_callbacks),
        cmocka_unit_test(test_what_readers_refuse),
        cmocka_unit_test(test_a_reason_that_is_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
