#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "schemas/err.h"
#include "schemas/fleet.h"

static const struct bf_fleet fleet = {"main", 12, 4, 1795266000000};

/* A signature is asked for, but not looked into, by the envelope. */
static void build(struct bf_record *rec)
{
    struct bf_err err = {0};

    bf_record_init(rec, "bf.state", 0);
    assert_int_equal(bf_fleet_build(&fleet, rec, &err), 0);
    assert_int_equal(bf_record_puts(rec, "bf_signature", "v1", &err), 0);
}

static void test_there_and_back(void **state)
{
    bf_autorecord struct bf_record rec;
    struct bf_fleet found;
    struct bf_err err = {0};

    (void)state;
    build(&rec);
    assert_true(bf_fleet_is(&rec));
    assert_true(bf_slice_is(
        rec.value, "{\"v\":1,\"seq\":0,\"fleet\":\"main\",\"shards\":12,"
                   "\"spread\":4,\"created\":\"2026-11-21T13:00:00.000Z\"}"));
    assert_int_equal(bf_fleet_parse(&rec, &found, &err), 0);
    assert_string_equal(found.name, "main");
    assert_int_equal(found.shards, 12);
    assert_int_equal(found.spread, 4);
    assert_int_equal(found.created_ms, fleet.created_ms);
}

static void test_bad_values(void **state)
{
    static const struct {
        const char *value, *word;
    } rows[] = {
        {"{\"v\":2,\"fleet\":\"a\",\"shards\":1,\"spread\":1,"
         "\"created\":\"2026-11-21T13:00:00.000Z\"}",
         "v breaks"},
        {"{\"v\":1,\"fleet\":\"\",\"shards\":1,\"spread\":1,"
         "\"created\":\"2026-11-21T13:00:00.000Z\"}",
         "fleet"},
        {"{\"v\":1,\"fleet\":\"a\",\"shards\":0,\"spread\":1,"
         "\"created\":\"2026-11-21T13:00:00.000Z\"}",
         "shards"},
        {"{\"v\":1,\"fleet\":\"a\",\"shards\":1,\"spread\":4097,"
         "\"created\":\"2026-11-21T13:00:00.000Z\"}",
         "spread"},
        {"{\"v\":1,\"fleet\":\"a\",\"shards\":1,\"spread\":1,"
         "\"created\":\"yesterday\"}",
         "created"},
        {"[]", ""},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        bf_autorecord struct bf_record rec;
        struct bf_fleet found = {.shards = 77};
        struct bf_err err = {0};

        build(&rec);
        rec.value = bf_slice_str(rows[i].value);
        assert_int_equal(bf_fleet_parse(&rec, &found, &err), -1);
        assert_int_equal(err.kind, BF_ERR_REJECT);
        assert_non_null(strstr(err.msg, rows[i].word));
        assert_int_equal(found.shards, 77);
    }
}

static void test_only_on_shard_0(void **state)
{
    bf_autorecord struct bf_record rec;
    struct bf_fleet found;
    struct bf_err err = {0};

    (void)state;
    build(&rec);
    rec.partition = 1;
    assert_int_equal(bf_fleet_parse(&rec, &found, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_only_on_shard_0),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
