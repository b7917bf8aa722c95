#include "tests/unit/support.h"

#include "schemas/control.h"

#define T0 1795266000000 /* 2026-11-21T13:00:00.000Z */

static const struct bf_control_end ends[] = {
    {BF_LANE_JOBS, 3, 41},
    {BF_LANE_JOBS, 4, 0},
    {BF_LANE_BATCH, 0, INT64_MAX},
};

static const struct bf_control cancel_all = {
    .kind = BF_CONTROL_CANCEL,
    .workspace = LIT("acme"),
    .id = LIT("c-1"),
    .at_ms = T0,
    .until_ms = T0 + 1,
    .ends = ends,
    .nends = bf_countof(ends),
    .has_ends = true,
};

static void test_there_and_back(void **state)
{
    bf_autorecord struct bf_record rec;
    bf_autocontrol struct bf_control back;

    (void)state;
    bf_record_init(&rec, "bf.control", 3);
    assert_int_equal(bf_control_build(&cancel_all, "f1", &rec, NULL), 0);
    assert_slice(rec.value, "{\"v\":1,\"ends\":{\"jobs\":[[3,41],[4,0]],"
                            "\"batch\":[[0,9223372036854775807]]},"
                            "\"until\":\"2026-11-21T13:00:00.001Z\"}");
    assert_slice(bf_record_get(&rec, "ce_subject"), "acme/c-1");
    assert_int_equal(bf_control_parse(&rec, &back, NULL), 0);
    assert_int_equal(back.kind, BF_CONTROL_CANCEL);
    assert_int_equal(back.until_ms, T0 + 1);
    assert_int_equal(back.at_ms, T0);
    assert_int_equal(back.nends, 3);
    assert_memory_equal(back.ends, ends, sizeof(ends));
    assert_false(back.has_count);
    assert_null(back.job.ptr);
}

static void test_members_that_do_not_go_together(void **state)
{
    struct bf_control bad[12];

    (void)state;
    for (size_t i = 0; i < bf_countof(bad); i++)
        bad[i] = cancel_all;
    bad[0].until_ms = 0;
    bad[1].job = S("j"); /* with ends */
    bad[2].kind = BF_CONTROL_RESUME;
    bad[3].kind = BF_CONTROL_BATCH_SEAL;
    bad[4].has_generation = true;
    bad[5].batch = S("a/b");
    bad[6].workspace = S("");
    bad[7].id = S("a b");
    bad[8].ends = (const struct bf_control_end[]){
        {BF_LANE_JOBS, 4, 0}, {BF_LANE_JOBS, 4, 0}, {BF_LANE_BATCH, 0, 0}};
    bad[9].ends = (const struct bf_control_end[]){
        {BF_LANE_BATCH, 4, 0}, {BF_LANE_JOBS, 5, 0}, {BF_LANE_JOBS, 6, 0}};
    bad[10].has_max_failure = true;
    bad[11] = (struct bf_control){.kind = BF_CONTROL_BATCH_OPEN,
                                  .workspace = S("acme"),
                                  .id = S("c"),
                                  .batch = S("b"),
                                  .until_ms = T0,
                                  .max_failure_ppm = BF_PPM + 1,
                                  .has_max_failure = true};
    for (size_t i = 0; i < bf_countof(bad); i++) {
        bf_autorecord struct bf_record rec;
        struct bf_err err = {0};

        bf_record_init(&rec, "bf.control", 3);
        assert_refused(bf_control_build(&bad[i], "f1", &rec, &err), err,
                       "bad_control");
    }
}

static void test_values_that_are_none(void **state)
{
#define UNTIL ",\"until\":\"2026-11-21T13:00:00.001Z\"}"
    static const struct bf_slice bad[] = {
        LIT(""),
        LIT("{}"),
        LIT("{\"v\":1}"),
        LIT("{\"v\":2,\"ends\":{}" UNTIL),
        LIT("{\"v\":1,\"ends\":{},\"x\":1" UNTIL),
        LIT("{\"v\":1,\"ends\":null" UNTIL),
        LIT("{\"v\":1,\"ends\":{\"lane\":[[1,1]]}" UNTIL),
        LIT("{\"v\":1,\"ends\":{\"jobs\":[]}" UNTIL),
        LIT("{\"v\":1,\"ends\":{\"jobs\":[[1]]}" UNTIL),
        LIT("{\"v\":1,\"ends\":{\"jobs\":[[1,-1]]}" UNTIL),
        LIT("{\"v\":1,\"ends\":{\"jobs\":[[4096,1]]}" UNTIL),
        LIT("{\"v\":1,\"ends\":{\"jobs\":[[1,1],[1,2]]}" UNTIL),
        LIT("{\"v\":1,\"ends\":{\"jobs\":[1,1]}" UNTIL),
        LIT("{\"v\":1,\"ends\":{},\"job\":null" UNTIL),
        LIT("{\"v\":1,\"ends\":{},\"until\":\"soon\"}"),
        LIT("{\"v\":1,\"job\":\"j\",\"generation\":-1" UNTIL),
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(bad); i++) {
        bf_autorecord struct bf_record rec;
        struct bf_control back;
        struct bf_err err = {0};

        bf_record_init(&rec, "bf.control", 3);
        assert_int_equal(bf_control_build(&cancel_all, "f1", &rec, NULL), 0);
        rec.value = bad[i];
        assert_refused(bf_control_parse(&rec, &back, &err), err, "bad_control");
    }
}

static void test_records_that_are_none(void **state)
{
    static const char *const names[] = {"ce_id", "bf_workspace", "bf_control",
                                        "bf_control_id", "ce_type"};

    (void)state;
    for (size_t i = 0; i < bf_countof(names); i++) {
        bf_autorecord struct bf_record rec;
        struct bf_control back;
        struct bf_err err = {0};

        bf_record_init(&rec, "bf.control", 3);
        assert_int_equal(bf_control_build(&cancel_all, "f1", &rec, NULL), 0);
        for (size_t j = 0; j < rec.nheaders; j++) {
            if (bf_slice_is(rec.headers[j].name, names[i]))
                rec.headers[j].value = S("other");
        }
        assert_refused(bf_control_parse(&rec, &back, &err), err, "bad_control");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_members_that_do_not_go_together),
        cmocka_unit_test(test_values_that_are_none),
        cmocka_unit_test(test_records_that_are_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
