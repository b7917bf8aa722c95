#include "tests/unit/support.h"

#include "dispatcher/cli/export.h"
#include "dispatcher/cli/times.h"

#define MAX_TEXT (1U << 20)

static void make(struct bf_record *rec, const char *topic)
{
    bf_record_init(rec, topic, 3);
    rec->offset = 41;
    rec->timestamp_ms = 1760000000000;
    rec->key = S("ws");
    rec->value = S("{\"a\":\"\\u0000\\n\"}");
    assert_int_equal(bf_record_ref(rec, S("ce_id"), S("x\ty"), NULL), 0);
    assert_int_equal(bf_record_ref(rec, S("none"), NONE, NULL), 0);
}

static void test_there_and_back(void **state)
{
    bf_autobuf struct bf_buf line = BF_BUF_INIT(MAX_TEXT);
    bf_autorecord struct bf_record rec, back;
    char topic[BF_EXPORT_TOPIC];

    (void)state;
    make(&rec, "bf.usage");
    bf_record_init(&back, "", 0);
    assert_int_equal(bf_export_line(&rec, &line, NULL), 0);
    assert_int_equal(line.data[line.len - 1], '\n');
    assert_ptr_equal(memchr(line.data, '\n', line.len),
                     line.data + line.len - 1);
    assert_int_equal(bf_export_parse((struct bf_slice){line.data, line.len - 1},
                                     topic, &back, NULL),
                     0);
    assert_string_equal(back.topic, "bf.usage");
    assert_int_equal(back.partition, 3);
    assert_int_equal(back.offset, 41);
    assert_int_equal(back.timestamp_ms, 1760000000000);
    assert_true(bf_slice_eq(back.key, rec.key));
    assert_true(bf_slice_eq(back.value, rec.value));
    assert_int_equal(back.nheaders, 2);
    assert_slice(bf_record_get(&back, "ce_id"), "x\ty");
    assert_null(bf_record_get(&back, "none").ptr);
}

static void test_bytes_that_are_no_text_are_refused(void **state)
{
    bf_autobuf struct bf_buf line = BF_BUF_INIT(MAX_TEXT);
    bf_autorecord struct bf_record rec;
    struct bf_err err = {0};

    (void)state;
    make(&rec, "bf.usage");
    rec.value = S("\xff");
    assert_refused(bf_export_line(&rec, &line, &err), err, "bad_record");
    assert_non_null(strstr(err.msg, "bf.usage/3/41"));
}

static void test_other_lines_are_refused(void **state)
{
    static const struct bf_slice lines[] = {
        LIT(""),
        LIT("[]"),
        LIT("{\"topic\":\"t\"}"),
        LIT("{\"topic\":\"t\",\"partition\":-1,\"headers\":[]}"),
        LIT("{\"topic\":\"t\",\"partition\":1,\"headers\":[[1,2]],"
            "\"key\":null,\"value\":null}"),
        LIT("{\"topic\":\"t\",\"partition\":1,\"headers\":[],\"key\":1,"
            "\"value\":null}"),
        LIT("{\"topic\":\"t\",\"partition\":1,\"headers\":[],\"key\":null}"),
    };
    char topic[BF_EXPORT_TOPIC];

    (void)state;
    for (size_t i = 0; i < bf_countof(lines); i++) {
        bf_autorecord struct bf_record rec;
        struct bf_err err = {0};

        bf_record_init(&rec, "", 0);
        assert_refused(bf_export_parse(lines[i], topic, &rec, &err), err,
                       "bad_line");
    }
}

static void test_times(void **state)
{
    struct bf_err err = {0};
    int64_t ms = 0;

    (void)state;
    assert_int_equal(bf_times_parse("90s", 100000, &ms, NULL), 0);
    assert_int_equal(ms, 10000);
    assert_int_equal(bf_times_parse("7d", 8 * 86400000LL, &ms, NULL), 0);
    assert_int_equal(ms, 86400000);
    assert_int_equal(bf_times_parse("1970-01-01T01:00:01+01:00", 0, &ms, NULL),
                     0);
    assert_int_equal(ms, 1000);
    assert_refused(bf_times_parse("yesterday", 0, &ms, &err), err, "usage");
    assert_refused(bf_times_parse("7", 0, &ms, &err), err, "usage");
    assert_int_equal(ms, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_bytes_that_are_no_text_are_refused),
        cmocka_unit_test(test_other_lines_are_refused),
        cmocka_unit_test(test_times),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
