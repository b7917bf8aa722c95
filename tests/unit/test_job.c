#include "tests/unit/support.h"

#include "schemas/job.h"

#define T0 1795266000000 /* 2026-11-21T13:00:00.000Z */
#define BLOCK "{\"run_function_code\":\"def run():\\n  return {}\\n\"}"
#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static const struct bf_job full = {
    .kind = LIT("block"),
    .workspace = LIT("acme"),
    .id = LIT("j-1"),
    .generation = 2,
    .id_origin = BF_ID_KEY,
    .spread = 4,
    .execution = BF_AT_MOST_ONCE,
    .accepted_at_ms = T0,
    .expires_at_ms = T0 + 86400000,
    .not_before_ms = T0 + 1000,
    .timeout_ms = 20000,
    .max_attempts = 3,
    .block = LIT(BLOCK),
    .inputs = LIT("{\"x\":NaN}"),
    .order_key = LIT("camera \xc3\xa9"),
    .backend = LIT("local"),
    .batch = LIT("b.1"),
    .batch_index = LIT("17"),
    .callback_url = LIT("https://example.com/cb"),
    .labels = LIT("{\"a\":\"b\"}"),
    .context = LIT("{\"step_name\":null}"),
    .dead_of = LIT("512b778f5c926f9524b2403fcede96d3"),
    .correlation_id = LIT("\0\xff"),
    .traceparent = LIT(TRACE),
};

static const struct bf_job least = {
    .kind = LIT("block"),
    .workspace = LIT("acme"),
    .id = LIT("j-1"),
    .spread = 4,
    .accepted_at_ms = T0,
    .expires_at_ms = T0 + 86400000,
    .timeout_ms = 20000,
    .max_attempts = 1,
    .block = LIT(BLOCK),
    .inputs = LIT("{}"),
};

/* names and values in order, as PROTOCOL.md §5.1 has them. */
static const char *const full_headers[][2] = {
    {"ce_specversion", "1.0"},
    {"ce_id", "512b778f5c926f9524b2403fcede96d3"},
    {"ce_source", "/blockfleet/f1"},
    {"ce_type", "dev.blockfleet.job.v1"},
    {"ce_time", "2026-11-21T13:00:00.000Z"},
    {"ce_subject", "acme/j-1"},
    {"content-type", "application/json"},
    {"bf_kind", "block"},
    {"bf_workspace", "acme"},
    {"bf_job", "j-1"},
    {"bf_generation", "2"},
    {"bf_id_origin", "key"},
    {"bf_spread", "4"},
    {"bf_execution", "at_most_once"},
    {"bf_expires_at_ms", "1795352400000"},
    {"bf_not_before_ms", "1795266001000"},
    {"bf_timeout_ms", "20000"},
    {"bf_max_attempts", "3"},
    {"bf_block", BLOCK},
    {"bf_order_key", "camera \xc3\xa9"},
    {"bf_backend", "local"},
    {"bf_batch", "b.1"},
    {"bf_batch_index", "17"},
    {"bf_callback_url", "https://example.com/cb"},
    {"bf_labels", "{\"a\":\"b\"}"},
    {"bf_context", "{\"step_name\":null}"},
    {"bf_dead_of", "512b778f5c926f9524b2403fcede96d3"},
    {"kafka_correlationId", NULL}, /* not text */
    {"traceparent", TRACE},
};

static void test_headers_in_their_order(void **state)
{
    bf_autorecord struct bf_record rec;

    (void)state;
    bf_record_init(&rec, "bf.jobs", 3);
    assert_int_equal(bf_job_build(&full, "f1", &rec, NULL), 0);
    assert_int_equal(rec.nheaders, bf_countof(full_headers));
    for (size_t i = 0; i < rec.nheaders; i++) {
        assert_slice(rec.headers[i].name, full_headers[i][0]);
        if (full_headers[i][1])
            assert_slice(rec.headers[i].value, full_headers[i][1]);
    }
    assert_slice(rec.key, "acme");
    assert_slice(rec.value, "{\"x\":NaN}");
    assert_ptr_equal(rec.value.ptr, full.inputs.ptr);
}

static void assert_same(struct bf_slice a, struct bf_slice b)
{
    assert_int_equal(!a.ptr, !b.ptr);
    if (a.ptr && b.ptr)
        assert_true(bf_slice_eq(a, b));
}

static void assert_same_job(const struct bf_job *a, const struct bf_job *b)
{
    assert_same(a->kind, b->kind);
    assert_same(a->workspace, b->workspace);
    assert_same(a->id, b->id);
    assert_same(a->block, b->block);
    assert_same(a->inputs, b->inputs);
    assert_same(a->order_key, b->order_key);
    assert_same(a->backend, b->backend);
    assert_same(a->batch, b->batch);
    assert_same(a->batch_index, b->batch_index);
    assert_same(a->callback_url, b->callback_url);
    assert_same(a->labels, b->labels);
    assert_same(a->context, b->context);
    assert_same(a->dead_of, b->dead_of);
    assert_same(a->correlation_id, b->correlation_id);
    assert_same(a->traceparent, b->traceparent);
    assert_int_equal(a->generation, b->generation);
    assert_int_equal(a->id_origin, b->id_origin);
    assert_int_equal(a->spread, b->spread);
    assert_int_equal(a->execution, b->execution);
    assert_int_equal(a->accepted_at_ms, b->accepted_at_ms);
    assert_int_equal(a->expires_at_ms, b->expires_at_ms);
    assert_int_equal(a->not_before_ms, b->not_before_ms);
    assert_int_equal(a->timeout_ms, b->timeout_ms);
    assert_int_equal(a->max_attempts, b->max_attempts);
}

static void test_there_and_back(void **state)
{
    const struct bf_job *jobs[] = {&full, &least};

    (void)state;
    for (size_t i = 0; i < bf_countof(jobs); i++) {
        bf_autorecord struct bf_record rec;
        struct bf_job back;

        bf_record_init(&rec, "bf.jobs", 3);
        assert_int_equal(bf_job_build(jobs[i], "f1", &rec, NULL), 0);
        assert_int_equal(bf_job_parse(&rec, &back, NULL), 0);
        assert_same_job(jobs[i], &back);
    }
}

/* A header replaced: by value, by null (NULL and len 1), or taken away. */
struct change {
    const char *name;
    struct bf_slice value;
    const char *code; /* NULL: taken */
};

#define GONE                                                                   \
    {                                                                          \
        NULL, 0                                                                \
    }
#define A_NULL                                                                 \
    {                                                                          \
        NULL, 1                                                                \
    }

static void record_change(struct bf_record *rec, const struct change *change)
{
    size_t at = 0;

    while (at < rec->nheaders &&
           !bf_slice_is(rec->headers[at].name, change->name))
        at++;
    if (at == rec->nheaders)
        rec->headers[rec->nheaders++].name = bf_slice_str(change->name);
    rec->headers[at].value = change->value;
    if (change->value.ptr)
        return;
    rec->headers[at].value.len = 0;
    if (change->value.len == 0)
        rec->headers[at] = rec->headers[--rec->nheaders];
}

static const struct change changes[] = {
    {"ce_specversion", LIT("1.1"), "bad_record"},
    {"ce_type", LIT("dev.blockfleet.job.v2"), "bad_record"},
    {"ce_id", LIT("512b778f5c926f9524b2403fcede96d4"), "bad_record"},
    {"ce_id", GONE, "bad_record"},
    {"ce_source", LIT(""), "bad_record"},
    {"ce_subject", GONE, "bad_record"},
    {"ce_time", LIT("2026-11-21T13:00:00Z"), "bad_record"},
    {"content-type", LIT("text/plain"), "bad_record"},
    {"content-type", GONE, "bad_record"},
    {"bf_kind", LIT("sandbox"), "unknown_kind"},
    {"bf_kind", LIT(""), "bad_record"},
    {"bf_kind", GONE, "bad_record"},
    {"bf_id_origin", LIT("me"), "bad_record"},
    {"bf_execution", LIT("exactly_once"), "bad_record"},
    {"bf_execution", A_NULL, "bad_record"},
    {"bf_spread", LIT("0"), "bad_record"},
    {"bf_spread", LIT("4097"), "bad_record"},
    {"bf_expires_at_ms", LIT("1795957200001"), "bad_record"},
    {"bf_expires_at_ms", LIT("1795957200000"), NULL},
    {"bf_expires_at_ms", LIT("0"), "bad_record"}, /* < not before */
    {"bf_expires_at_ms", LIT("9007199254740992"), "bad_record"},
    {"bf_expires_at_ms", LIT("18446744073709551616"), "bad_record"},
    {"bf_expires_at_ms", LIT("-1"), "bad_record"},
    {"bf_not_before_ms", LIT("soon"), "bad_record"},
    {"bf_not_before_ms", A_NULL, "bad_record"},
    {"bf_timeout_ms", LIT("0"), "bad_record"},
    {"bf_timeout_ms", LIT("86400001"), "bad_record"},
    {"bf_timeout_ms", LIT("020"), "bad_record"},
    {"bf_timeout_ms", LIT("2\0"), "bad_record"},
    {"bf_max_attempts", LIT("101"), "bad_record"},
    {"bf_max_attempts", LIT("+1"), "bad_record"},
    {"bf_block", GONE, "bad_record"},
    {"bf_order_key", LIT("a\x01"), "bad_record"},
    {"bf_order_key", LIT("\xff"), "bad_record"},
    {"bf_backend", LIT("Local"), "bad_record"},
    {"bf_backend", LIT("a23456789012345678901234567890123"), "bad_record"},
    {"bf_batch", LIT("a b"), "bad_record"},
    {"bf_batch", GONE, "bad_record"},
    {"bf_batch_index", GONE, "bad_record"},
    {"bf_batch_index", LIT("4294967296"), "bad_record"},
    {"bf_callback_url", LIT("ftp://x"), "bad_record"},
    {"bf_callback_url", LIT("https://"), "bad_record"},
    {"bf_callback_url", LIT("http://"), "bad_record"},
    {"bf_callback_url", LIT("http://x"), NULL},
    {"bf_callback_url", LIT("http://x y"), "bad_record"},
    {"bf_labels", LIT("{\"a\":1}"), "bad_record"},
    {"bf_labels", LIT("[]"), "bad_record"},
    {"bf_labels", LIT("{\"a\":\"b\",\"a\":\"b\"}"), "bad_record"},
    {"bf_context", LIT("{\"step_name\":1}"), "bad_record"},
    {"bf_context", LIT("{\"other\":\"x\"}"), "bad_record"},
    {"bf_context", LIT("{}"), NULL},
    {"bf_dead_of", LIT("x"), "bad_record"},
    {"bf_unheard_of", LIT("x"), NULL},
    {"traceparent", LIT("00-zz"), NULL},
};

static void test_each_rule_of_the_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(changes); i++) {
        bf_autorecord struct bf_record rec;
        struct bf_err err = {0};
        struct bf_job job;
        int rc;

        bf_record_init(&rec, "bf.jobs", 3);
        assert_int_equal(bf_job_build(&full, "f1", &rec, NULL), 0);
        record_change(&rec, &changes[i]);
        rc = bf_job_parse(&rec, &job, &err);
        if (changes[i].code)
            assert_refused(rc, err, changes[i].code);
        else
            assert_int_equal(rc, 0);
        assert_slice(job.workspace, "acme");
        assert_slice(job.id, "j-1");
        assert_int_equal(job.generation, 2);
    }
}

static void test_who_cannot_be_answered(void **state)
{
    static const struct change who[] = {
        {"bf_workspace", LIT("a.b"), "bad_record"},
        {"bf_workspace", GONE, "bad_record"},
        {"bf_job", LIT("a/b"), "bad_record"},
        {"bf_job", LIT(""), "bad_record"},
        {"bf_generation", LIT("4294967296"), "bad_record"},
        {"bf_generation", GONE, "bad_record"},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(who); i++) {
        bf_autorecord struct bf_record rec;
        struct bf_err err = {0};
        struct bf_job job;

        bf_record_init(&rec, "bf.jobs", 3);
        assert_int_equal(bf_job_build(&full, "f1", &rec, NULL), 0);
        record_change(&rec, &who[i]);
        assert_refused(bf_job_parse(&rec, &job, &err), err, who[i].code);
        assert_true(!job.workspace.ptr || !job.id.ptr);
        assert_slice(job.labels, "{\"a\":\"b\"}");
    }
}

static void test_an_unknown_kind_says_so_before_the_rest(void **state)
{
    static const struct change kind = {"bf_kind", LIT("x"), NULL};
    static const struct change job_id = {"bf_spread", GONE, NULL};
    bf_autorecord struct bf_record rec;
    struct bf_err err = {0};
    struct bf_job job;

    (void)state;
    bf_record_init(&rec, "bf.jobs", 3);
    assert_int_equal(bf_job_build(&full, "f1", &rec, NULL), 0);
    record_change(&rec, &kind);
    record_change(&rec, &job_id);
    assert_refused(bf_job_parse(&rec, &job, &err), err, "unknown_kind");
}

static void test_ceilings(void **state)
{
    static const struct {
        const char *name;
        size_t max;
    } cases[] = {
        {"bf_labels", 4096},
        {"bf_context", 4096},
        {"bf_callback_url", 2048},
        {"bf_order_key", 128},
        {"bf_other", 1024},
        {"bf_block", 262144},
        {"kafka_correlationId", 1024},
        {"ce_source", 1024},
    };
    bf_autofree char *big = malloc(BF_MAX_INPUTS + 1);

    (void)state;
    assert_non_null(big);
    memset(big, 'x', BF_MAX_INPUTS + 1);
    for (size_t i = 0; i < bf_countof(cases); i++) {
        bf_autorecord struct bf_record rec;
        struct change change = {cases[i].name, {big, cases[i].max + 1}, NULL};
        struct bf_err err = {0};
        struct bf_job job;

        bf_record_init(&rec, "bf.jobs", 3);
        assert_int_equal(bf_job_build(&full, "f1", &rec, NULL), 0);
        record_change(&rec, &change);
        assert_refused(bf_job_parse(&rec, &job, &err), err, "too_large");
    }
}

static void test_values(void **state)
{
    bf_autofree char *big = calloc(1, BF_MAX_INPUTS + 1);
    const struct {
        struct bf_slice value;
        const char *code;
    } cases[] = {
        {{NULL, 0}, "bad_record"},
        {{"", 0}, "bad_record"},
        {{big, BF_MAX_INPUTS}, NULL},
        {{big, BF_MAX_INPUTS + 1}, "too_large"},
    };

    (void)state;
    assert_non_null(big);
    for (size_t i = 0; i < bf_countof(cases); i++) {
        bf_autorecord struct bf_record rec;
        struct bf_job in = least;
        struct bf_err err = {0};
        int rc;

        in.inputs = cases[i].value;
        bf_record_init(&rec, "bf.jobs", 3);
        rc = bf_job_build(&in, "f1", &rec, &err);
        if (cases[i].code)
            assert_refused(rc, err, cases[i].code);
        else
            assert_int_equal(rc, 0);
    }
}

static void test_a_header_that_stands_twice(void **state)
{
    bf_autorecord struct bf_record rec;
    struct bf_err err = {0};
    struct bf_job job;

    (void)state;
    bf_record_init(&rec, "bf.jobs", 3);
    assert_int_equal(bf_job_build(&least, "f1", &rec, NULL), 0);
    bf_record_puts(&rec, "bf_job", "j-1", NULL);
    assert_refused(bf_job_parse(&rec, &job, &err), err, "bad_record");
}

static void test_places(void **state)
{
    bf_autorecord struct bf_record rec;
    struct bf_job job;

    (void)state;
    bf_record_init(&rec, "bf.jobs", 3); /* vector of test_ids.c */
    assert_int_equal(bf_job_build(&least, "f1", &rec, NULL), 0);
    assert_int_equal(bf_job_parse(&rec, &job, NULL), 0);
    assert_true(bf_job_placed(&rec, &job, 4, 12));
    assert_false(bf_job_placed(&rec, &job, 3, 12));
    rec.partition = 2;
    assert_false(bf_job_placed(&rec, &job, 4, 12));
    rec.partition = 3;
    rec.key = S("acm");
    assert_false(bf_job_placed(&rec, &job, 4, 12));
    rec.key = NONE;
    assert_false(bf_job_placed(&rec, &job, 4, 12));
}

static void test_what_could_not_be_read_is_not_misplaced(void **state)
{
    static const struct change changed[] = {
        {"bf_spread", LIT("x"), NULL},
        {"bf_order_key", LIT("\xff"), NULL},
        {"bf_generation", GONE, NULL},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(changed); i++) {
        bf_autorecord struct bf_record rec;
        struct bf_job job;

        bf_record_init(&rec, "bf.jobs", 3);
        assert_int_equal(bf_job_build(&least, "f1", &rec, NULL), 0);
        record_change(&rec, &changed[i]);
        assert_int_equal(bf_job_parse(&rec, &job, NULL), -1);
        assert_true(bf_job_placed(&rec, &job, 4, 12));
        rec.key = S("other");
        assert_false(bf_job_placed(&rec, &job, 4, 12));
    }
}

static void test_a_key_of_another_workspace(void **state)
{
    bf_autorecord struct bf_record rec;
    struct bf_err err = {0};
    struct bf_job job;

    (void)state;
    bf_record_init(&rec, "bf.jobs", 3);
    assert_int_equal(bf_job_build(&least, "f1", &rec, NULL), 0);
    rec.key = S("acm");
    assert_refused(bf_job_parse(&rec, &job, &err), err, "bad_record");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers_in_their_order),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_each_rule_of_the_headers),
        cmocka_unit_test(test_who_cannot_be_answered),
        cmocka_unit_test(test_an_unknown_kind_says_so_before_the_rest),
        cmocka_unit_test(test_ceilings),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_a_header_that_stands_twice),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_what_could_not_be_read_is_not_misplaced),
        cmocka_unit_test(test_a_key_of_another_workspace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
