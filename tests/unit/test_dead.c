#include "tests/unit/support.h"

#include "schemas/dead.h"

#define T0 1795266000000 /* 2026-11-21T13:00:00.000Z */

static const struct bf_job job = {
    .workspace = LIT("acme"),
    .id = LIT("j-1"),
    .generation = 2,
};

/* A hostile record: binary value, odd headers, one of them null. */
static void source_init(struct bf_record *source)
{
    bf_record_init(source, "bf.jobs", 3);
    source->offset = 42;
    source->key = S("k\0y");
    source->value = S("\xff\0");
    bf_record_puts(source, "bf_job", "1", NULL);
    bf_record_puts(source, "bf_job", "2", NULL);
    bf_record_put(source, "null", NONE, NULL);
    bf_record_put(source, "", S(""), NULL);
}

#define ORIGINALS                                                              \
    "\0\0\0\6bf_job\0\0\0\1"                                                   \
    "1"                                                                        \
    "\0\0\0\6bf_job\0\0\0\1"                                                   \
    "2"                                                                        \
    "\0\0\0\4null\xff\xff\xff\xff"                                             \
    "\0\0\0\0\0\0\0\0"

static void test_untrusted(void **state)
{
    static const char *const want[][2] = {
        {"ce_specversion", "1.0"},
        {"ce_id", "a228a5797d4fd849e0b1bbbf8311692f"},
        {"ce_source", "/blockfleet/f1"},
        {"ce_type", "dev.blockfleet.deadletter.v1"},
        {"ce_time", "2026-11-21T13:00:00.000Z"},
        {"ce_subject", "bf.jobs/3/42"},
        {"content-type", "application/octet-stream"},
        {"bf_original_headers", NULL},
        {"__connect.errors.topic", "bf.jobs"},
        {"__connect.errors.partition", "3"},
        {"__connect.errors.offset", "42"},
        {"__connect.errors.stage", "verify"},
        {"__connect.errors.exception.class.name", "unsigned"},
        {"__connect.errors.exception.message", "no \xef\xbf\xbd signature"},
        {"bf_trust", "untrusted"},
    };
    bf_autorecord struct bf_record source, rec;
    struct bf_death death = {
        .source = &source,
        .stage = "verify",
        .reason = "unsigned",
        .message = "no \xff signature",
        .at_ms = T0,
    };

    (void)state;
    source_init(&source);
    bf_record_init(&rec, "bf.deadletter", 3);
    assert_int_equal(bf_dead_build(&death, "f1", &rec, NULL), 0);
    assert_int_equal(rec.nheaders, bf_countof(want));
    for (size_t i = 0; i < rec.nheaders; i++) {
        assert_slice(rec.headers[i].name, want[i][0]);
        if (want[i][1])
            assert_slice(rec.headers[i].value, want[i][1]);
    }
    assert_true(bf_slice_eq(rec.key, S("k\0y")));
    assert_true(bf_slice_eq(rec.value, S("\xff\0")));
    assert_ptr_equal(rec.value.ptr, source.value.ptr);
    assert_true(
        bf_slice_eq(bf_record_get(&rec, "bf_original_headers"), S(ORIGINALS)));
}

static void test_trusted_and_cut(void **state)
{
    bf_autorecord struct bf_record source, rec;
    struct bf_death death = {
        .source = &source,
        .job = &job,
        .stage = "decode",
        .reason = "too_large",
        .message = "",
        .at_ms = T0,
        .truncated = true,
    };

    (void)state;
    source_init(&source);
    bf_record_init(&rec, "bf.deadletter", 3);
    assert_int_equal(bf_dead_build(&death, "f1", &rec, NULL), 0);
    assert_slice(rec.value, "");
    assert_null(bf_record_find(&rec, "content-type"));
    assert_slice(bf_record_get(&rec, "bf_trust"), "trusted");
    assert_slice(bf_record_get(&rec, "bf_truncated"), "true");
    assert_slice(bf_record_get(&rec, "bf_workspace"), "acme");
    assert_slice(bf_record_get(&rec, "bf_job"), "j-1");
    assert_slice(bf_record_get(&rec, "bf_generation"), "2");
}

static void test_a_job_without_an_id(void **state)
{
    static const struct bf_job nobody = {.workspace = LIT("acme")};
    bf_autorecord struct bf_record source, rec;
    struct bf_death death = {
        .source = &source,
        .job = &nobody,
        .stage = "decode",
        .reason = "bad_record",
        .message = "",
    };

    (void)state;
    source_init(&source);
    source.value = NONE;
    bf_record_init(&rec, "bf.deadletter", 3);
    assert_int_equal(bf_dead_build(&death, "f1", &rec, NULL), 0);
    assert_null(rec.value.ptr);
    assert_slice(bf_record_get(&rec, "bf_trust"), "trusted");
    assert_slice(bf_record_get(&rec, "bf_workspace"), "acme");
    assert_null(bf_record_find(&rec, "bf_job"));
    assert_null(bf_record_find(&rec, "bf_generation"));
    assert_null(bf_record_find(&rec, "bf_truncated"));
}

static void test_what_cannot_fit_goes(void **state)
{
    bf_autofree char *big = calloc(1, BF_MAX_RECORD);
    bf_autobuf struct bf_buf message = BF_BUF_INIT(2000);
    bf_autorecord struct bf_record source, rec;
    struct bf_death death = {
        .source = &source,
        .stage = "verify",
        .reason = "unsigned",
    };

    (void)state;
    assert_non_null(big);
    for (int i = 0; i < 600; i++)
        bf_buf_adds(&message, "\xe2\x82\xac", NULL);
    death.message = message.data;
    bf_record_init(&source, "bf.jobs", 0);
    source.offset = 0;
    source.key = (struct bf_slice){big, 1025};
    source.value = (struct bf_slice){big, BF_MAX_RECORD - 1000};
    bf_record_ref(&source, S("a"), (struct bf_slice){big, 1 << 19}, NULL);
    bf_record_ref(&source, S("b"), (struct bf_slice){big, 1 << 20}, NULL);
    bf_record_ref(&source, S("c"), S("kept"), NULL);
    bf_record_init(&rec, "bf.deadletter", 0);
    assert_int_equal(bf_dead_build(&death, "f1", &rec, NULL), 0);
    assert_null(rec.key.ptr);
    assert_slice(rec.value, "");
    assert_slice(bf_record_get(&rec, "bf_truncated"), "true");
    assert_int_equal(bf_record_get(&rec, "bf_original_headers").len,
                     9 + (1 << 19) + 9 + 4);
    assert_int_equal(
        bf_record_get(&rec, "__connect.errors.exception.message").len, 1023);
    assert_in_range(bf_record_bytes(&rec), 1 << 19, BF_MAX_RECORD);
}

static void test_original_headers_come_back(void **state)
{
    bf_autorecord struct bf_record back;

    (void)state;
    bf_record_init(&back, "bf.jobs", 3);
    assert_int_equal(bf_original_parse(S(ORIGINALS), &back, NULL), 0);
    assert_int_equal(back.nheaders, 4);
    assert_slice(back.headers[1].name, "bf_job");
    assert_slice(back.headers[1].value, "2");
    assert_slice(back.headers[2].name, "null");
    assert_null(back.headers[2].value.ptr);
    assert_slice(back.headers[3].name, "");
    assert_slice(back.headers[3].value, "");
}

static void test_hostile_original_headers(void **state)
{
    static const struct bf_slice bad[] = {
        LIT("\0"),
        LIT("\0\0\0\1"),
        LIT("\0\0\0\1a\0\0\0"),
        LIT("\0\0\0\1a\0\0\0\1"),
        LIT("\xff\xff\xff\xff\0\0\0\0"),
        LIT("\0\0\0\1a\xff\xff\xff\xfe"),
        LIT("\0\0\0\1a\0\0\0\0\0"),
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(bad); i++) {
        bf_autorecord struct bf_record back;
        struct bf_err err = {0};

        bf_record_init(&back, "bf.jobs", 3);
        assert_refused(bf_original_parse(bad[i], &back, &err), err,
                       "bad_record");
    }
}

static void test_too_many_original_headers(void **state)
{
    bf_autobuf struct bf_buf bytes = BF_BUF_INIT(1024);
    bf_autorecord struct bf_record back;
    struct bf_err err = {0};

    (void)state;
    for (int i = 0; i <= BF_MAX_HEADERS; i++)
        bf_buf_add(&bytes, "\0\0\0\0\0\0\0\0", 8, NULL);
    bf_record_init(&back, "bf.jobs", 3);
    assert_refused(bf_original_parse(bf_buf_slice(&bytes), &back, &err), err,
                   "too_many_headers");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_untrusted),
        cmocka_unit_test(test_trusted_and_cut),
        cmocka_unit_test(test_a_job_without_an_id),
        cmocka_unit_test(test_what_cannot_fit_goes),
        cmocka_unit_test(test_original_headers_come_back),
        cmocka_unit_test(test_hostile_original_headers),
        cmocka_unit_test(test_too_many_original_headers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
