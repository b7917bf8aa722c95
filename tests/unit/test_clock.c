#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "config/clock.h"
#include "schemas/buf.h"
#include "schemas/err.h"

static const struct {
    int64_t unix_ms;
    const char *text;
} times[] = {
    {0, "1970-01-01T00:00:00.000Z"},
    {1, "1970-01-01T00:00:00.001Z"},
    {951782400000, "2000-02-29T00:00:00.000Z"},
    {1778311773186, "2026-05-09T07:29:33.186Z"},
    {253402300799999, "9999-12-31T23:59:59.999Z"},
};

static void test_both_ways(void **state)
{
    char out[BF_RFC3339_LEN];
    int64_t back;

    (void)state;
    for (size_t i = 0; i < bf_countof(times); i++) {
        bf_clock_rfc3339(times[i].unix_ms, out);
        assert_string_equal(out, times[i].text);
        assert_int_equal(bf_clock_parse(bf_slice_str(out), &back, NULL), 0);
        assert_true(back == times[i].unix_ms);
    }
}

/* Each day of 400 years, and one in a hundred of the rest: as libc has it. */
static void test_days_are_those_of_the_calendar(void **state)
{
    char out[BF_RFC3339_LEN], want[64];
    int64_t back;

    (void)state;
    for (int64_t day = 0; day < 2932897; day += day < 146097 ? 1 : 101) {
        int64_t ms = day * 86400000 + day * 7919 % 86400000;
        time_t secs = (time_t)(ms / 1000);
        struct tm tm;

        gmtime_r(&secs, &tm);
        snprintf(want, sizeof(want), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
                 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                 tm.tm_min, tm.tm_sec, (int)(ms % 1000));
        bf_time_format(ms, out);
        assert_string_equal(out, want);
        assert_int_equal(bf_time_parse(bf_slice_str(out), &back), 0);
        assert_true(back == ms);
    }
}

static void test_days_that_are_not_are_refused(void **state)
{
    static const char *const bad[] = {
        "2026-02-29T00:00:00.000Z", "2026-13-01T00:00:00.000Z",
        "2026-00-01T00:00:00.000Z", "2026-01-00T00:00:00.000Z",
        "2026-01-01T24:00:00.000Z", "2026-01-01T00:60:00.000Z",
        "2026-01-01T00:00:60.000Z", "1969-12-31T23:59:59.999Z",
        "0000-00-00T00:00:00.000Z", "2026-01-01 00:00:00.000Z",
        "20x6-01-01T00:00:00.000Z", "2026-01-01T00:00:00.00xZ",
    };
    int64_t back;

    (void)state;
    for (size_t i = 0; i < bf_countof(bad); i++)
        assert_int_equal(bf_time_parse(bf_slice_str(bad[i]), &back), -1);
}

static void test_out_of_range_is_clamped(void **state)
{
    char out[BF_RFC3339_LEN];

    (void)state;
    bf_clock_rfc3339(INT64_MAX, out);
    assert_string_equal(out, "9999-12-31T23:59:59.999Z");
    bf_clock_rfc3339(INT64_MIN, out);
    assert_string_equal(out, "1970-01-01T00:00:00.000Z");
}

static const struct {
    const char *text;
    int64_t want;
} readings[] = {
    {"1970-01-01T00:00:01Z", 1000},
    {"1970-01-01t00:00:01z", 1000},
    {"1970-01-01T01:00:00+01:00", 0},
    {"1969-12-31T23:30:00-00:30", 0},
    {"1970-01-01T00:00:00.5Z", 500},
    {"1969-12-31T23:59:59.999Z", -1},
    {"0000-01-01T00:00:00Z", -62167219200000},
    {"1970-01-01T00:00:00.1234567891234Z", 123},
};

static void test_reads_what_others_write(void **state)
{
    int64_t got;

    (void)state;
    for (size_t i = 0; i < bf_countof(readings); i++) {
        assert_int_equal(
            bf_clock_parse(bf_slice_str(readings[i].text), &got, NULL), 0);
        assert_true(got == readings[i].want);
    }
}

static const char *const refused[] = {
    "",
    "1970-01-01",
    "1970-01-01T00:00:00",
    "1970-01-01T00:00Z",
    "1970-01-01 00:00:00Z",
    "1970-02-30T00:00:00Z",
    "2023-02-29T00:00:00Z",
    "1970-00-10T00:00:00Z",
    "1970-01-00T00:00:00Z",
    "1970-13-01T00:00:00Z",
    "1970-01-01T24:00:00Z",
    "1970-01-01T00:00:00.Z",
    "1970-01-01T00:00:00+0100",
    "1970-01-01T00:00:00ZZ",
    "+970-01-01T00:00:00Z",
    "19700101T000000Z",
};

static void test_refuses(void **state)
{
    int64_t got = 77;
    struct bf_err err;

    (void)state;
    for (size_t i = 0; i < bf_countof(refused); i++) {
        assert_int_equal(bf_clock_parse(bf_slice_str(refused[i]), &got, &err),
                         -1);
        assert_int_equal(err.kind, BF_ERR_REJECT);
        assert_string_equal(err.code, "bad_time");
        assert_true(got == 77);
    }
    assert_int_equal(bf_clock_parse((struct bf_slice){0}, &got, NULL), -1);
}

static void test_fake(void **state)
{
    int64_t before;

    (void)state;
    bf_clock_fake(5000, 7000000);
    assert_true(bf_now_ms() == 5000);
    assert_true(bf_mono_ms() == 7000);
    bf_clock_fake_advance(3);
    assert_true(bf_now_ms() == 5003);
    assert_true(bf_mono_us() == 7003000);
    bf_clock_real();
    assert_true(bf_now_ms() > INT64_C(1700000000000));
    before = bf_mono_us();
    assert_true(bf_mono_us() >= before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_days_are_those_of_the_calendar),
        cmocka_unit_test(test_days_that_are_not_are_refused),
        cmocka_unit_test(test_out_of_range_is_clamped),
        cmocka_unit_test(test_reads_what_others_write),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_fake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
