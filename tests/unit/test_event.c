#include "tests/unit/support.h"

#include "schemas/event.h"
#include "schemas/json.h"
#include "schemas/usage.h"

#define T0 1795266000000 /* 2026-11-21T13:00:00.000Z */

static const struct bf_event started = {
    .subject = {LIT("acme"), LIT("j-1"), 2, 3},
    .kind = BF_EVENT_STARTED,
    .seq = 4,
    .at_ms = T0,
};

static void test_there_and_back(void **state)
{
    bf_autorecord struct bf_record rec;
    bf_autoevent struct bf_event back;

    (void)state;
    bf_record_init(&rec, "bf.events", 3);
    assert_int_equal(bf_event_build(&started, "f1", &rec, NULL), 0);
    assert_slice(rec.value,
                 "{\"v\":1,\"workspace\":\"acme\",\"job\":\"j-1\","
                 "\"generation\":2,\"attempt\":3,\"event\":\"started\","
                 "\"seq\":4,\"at\":\"2026-11-21T13:00:00.000Z\","
                 "\"data\":{}}");
    assert_int_equal(bf_event_parse(&rec, &back, NULL), 0);
    assert_slice(back.subject.job, "j-1");
    assert_int_equal(back.kind, BF_EVENT_STARTED);
    assert_int_equal(back.seq, 4);
    assert_int_equal(back.at_ms, T0);
    assert_int_equal(json_object_size(back.data), 0);
}

static void test_what_a_user_printed_comes_through(void **state)
{
    bf_autojson json_t *data =
        json_pack("{s:s%,s:[i,b,n]}", "text", "a\0b", (size_t)3, "list", 1, 1);
    bf_autorecord struct bf_record rec;
    bf_autoevent struct bf_event back;
    struct bf_event event = started;

    (void)state;
    assert_non_null(data);
    event.kind = BF_EVENT_OUTPUT;
    event.data = data;
    bf_record_init(&rec, "bf.events", 3);
    assert_int_equal(bf_event_build(&event, "f1", &rec, NULL), 0);
    assert_non_null(strstr(rec.value.ptr, "\"data\":{\"text\":\"a\\u0000b\","
                                          "\"list\":[1,true,null]}}"));
    assert_int_equal(bf_event_parse(&rec, &back, NULL), 0);
    assert_true(json_equal(back.data, data));
}

static void test_what_is_refused(void **state)
{
    static const struct bf_slice bad[] = {
        LIT("{}"),
        LIT("{\"v\":1,\"workspace\":\"acme\",\"job\":\"j-1\",\"generation\":2,"
            "\"attempt\":3,\"event\":\"ended\",\"seq\":4,"
            "\"at\":\"2026-11-21T13:00:00.000Z\",\"data\":{}}"),
        LIT("{\"v\":1,\"workspace\":\"acme\",\"job\":\"j-1\",\"generation\":2,"
            "\"attempt\":3,\"event\":\"started\",\"seq\":5,"
            "\"at\":\"2026-11-21T13:00:00.000Z\",\"data\":{}}"),
        LIT("{\"v\":1,\"workspace\":\"acme\",\"job\":\"j-1\",\"generation\":2,"
            "\"attempt\":3,\"event\":\"started\",\"seq\":4,"
            "\"at\":\"2026-11-21T13:00:00.000Z\",\"data\":[]}"),
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(bad); i++) {
        bf_autorecord struct bf_record rec;
        struct bf_event back;
        struct bf_err err = {0};

        bf_record_init(&rec, "bf.events", 3);
        assert_int_equal(bf_event_build(&started, "f1", &rec, NULL), 0);
        rec.value = bad[i];
        assert_refused(bf_event_parse(&rec, &back, &err), err, "bad_record");
    }
}

/* Corrections of usage that cannot be: no row, a correction, a bad number. */
static void test_corrections_that_are_none(void **state)
{
    bf_autojson json_t *row =
        json_pack("{s:s,s:s}", "workspace", "acme", "kind", "run");
    struct bf_correction fix = {
        .row = row,
        .row_id = LIT("0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"),
        .number = 1,
        .at_ms = T0,
    };
    bf_autorecord struct bf_record rec;
    struct bf_err err = {0};

    (void)state;
    bf_record_init(&rec, "bf.usage", 3);
    assert_refused(bf_correction_build(&fix, "f1", &rec, &err), err,
                   "bad_usage");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_what_a_user_printed_comes_through),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_corrections_that_are_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
