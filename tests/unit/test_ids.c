/* Vectors: computed with Python's hashlib.blake2b from PROTOCOL.md §2. */

#include "tests/unit/support.h"

#include "schemas/ids.h"
#include "schemas/time.h"
#include "schemas/utf8.h"

static const struct bf_subject subject = {
    .workspace = {"acme", 4},
    .job = {"j-1", 3},
    .generation = 2,
    .attempt = 3,
};

static void test_job_ids_derive_from_keys(void **state)
{
    char id[BF_HEX128_SIZE];

    (void)state;
    bf_job_id_derive(S("acme"), S("key 1"), -1, id);
    assert_string_equal(id, "b15b40ec2565509b18f72f0694760b92");
    bf_job_id_derive(S("acme"), S("key 1"), 7, id);
    assert_string_equal(id, "91162b921535f57ae9d1f652d43f4657");
}

static void test_run_ids(void **state)
{
    unsigned char random[16];
    char id[BF_HEX128_SIZE], other[BF_HEX128_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(random); i++)
        random[i] = (unsigned char)i;
    bf_run_id_with(&subject, random, id);
    assert_string_equal(id, "87ca9100b538bab1b032f3610d9d74f6");
    bf_run_id(&subject, id);
    bf_run_id(&subject, other);
    assert_true(bf_hex128_ok(bf_slice_str(id)));
    assert_string_not_equal(id, other);
}

static void test_event_ids(void **state)
{
    static const struct {
        enum bf_type type;
        const char *want;
    } cases[] = {
        {BF_TYPE_JOB, "512b778f5c926f9524b2403fcede96d3"},
        {BF_TYPE_RESULT, "091c0c35899f91c4eeb2857a60ae936a"},
        {BF_TYPE_USAGE, "6df8e552fdf7d34308993644d47c0989"},
        {BF_TYPE_CALLBACK, "a031d67046ea6cb80a230ac8f8278710"},
    };
    const struct bf_slice idle[] = {S("sb-9"), S("1700000000000")};
    char id[BF_HEX128_SIZE];

    (void)state;
    for (size_t i = 0; i < bf_countof(cases); i++) {
        bf_event_id(cases[i].type, &subject, id);
        assert_string_equal(id, cases[i].want);
    }
    bf_event_id_of(BF_TYPE_USAGE, S("acme"), "idle", idle, 2, id);
    assert_string_equal(id, "c0093aa12852d85bfc3540738c4ce8ae");
    bf_event_id_dead(NONE, "bf.jobs", 3, 42, id);
    assert_string_equal(id, "a228a5797d4fd849e0b1bbbf8311692f");
}

static void test_digest_and_finished_id(void **state)
{
    static const unsigned char want[16] = {0xbc, 0x10, 0x6f, 0x1a, 0x3c, 0x29,
                                           0x9c, 0xac, 0x68, 0xd2, 0xe7, 0xe1,
                                           0xdb, 0x8d, 0x04, 0x7f};
    unsigned char finished[16];
    char digest[BF_HEX128_SIZE];

    (void)state;
    bf_job_digest(S("{}"), S("{\"a\":1}"), digest);
    assert_string_equal(digest, "b66f1d6e45e8fc9c2368047197be68fc");
    bf_finished_id(S("acme"), S("j-1"), 3, finished);
    assert_memory_equal(finished, want, sizeof(want));
}

static void test_partitions(void **state)
{
    static const struct {
        const char *workspace, *order_key, *job;
        uint32_t spread, shards;
        int32_t want;
    } cases[] = {
        {"acme", NULL, "j-1", 4, 12, 3},
        {"acme", NULL, "j-2", 4, 12, 2},
        {"acme", "cl\xc3\xa9", "j-2", 4, 12, 2},
        {"acme", NULL, "j-1", 1, 1, 0},
        {"w", NULL, "x", 4096, 4096, 3051},
        {"zed", "k", "x", 3, 7, 6},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(cases); i++)
        assert_int_equal(bf_partition(bf_slice_str(cases[i].workspace),
                                      bf_slice_str(cases[i].order_key),
                                      bf_slice_str(cases[i].job),
                                      cases[i].spread, cases[i].shards),
                         cases[i].want);
}

static void test_uuid7(void **state)
{
    char id[BF_UUID_SIZE], other[BF_UUID_SIZE];

    (void)state;
    /* RFC 9562 §A.6: 2022-02-22T19:22:22.000Z is 017f22e2-79b0-7... */
    bf_uuid7(1645557742000, id);
    bf_uuid7(1645557742000, other);
    assert_int_equal(strlen(id), 36);
    assert_memory_equal(id, "017f22e2-79b0-7", 15);
    assert_non_null(strchr("89ab", id[19]));
    assert_int_equal(id[18], '-');
    assert_int_equal(id[23], '-');
    assert_string_not_equal(id, other);
    assert_true(bf_job_id_ok(bf_slice_str(id)));
}

static void test_words(void **state)
{
    char long_id[65];

    (void)state;
    memset(long_id, 'a', sizeof(long_id));
    assert_true(bf_workspace_ok(S("Az09_-")));
    assert_false(bf_workspace_ok(S("a.b")));
    assert_true(bf_job_id_ok(S("a.b_C-9")));
    assert_true(bf_job_id_ok((struct bf_slice){long_id, 64}));
    assert_false(bf_job_id_ok((struct bf_slice){long_id, 65}));
    assert_false(bf_job_id_ok(NONE));
    assert_false(bf_job_id_ok(S("")));
    assert_false(bf_job_id_ok(S("a\0b")));
    assert_false(bf_job_id_ok(S("a/b")));
    assert_false(bf_workspace_ok(S("a\xc3\xa9")));
    assert_false(bf_hex128_ok(S("87CA9100b538bab1b032f3610d9d74f6")));
    assert_false(bf_hex128_ok(S("87ca9100b538bab1b032f3610d9d74f")));
    assert_true(bf_txn_id_ok(S("group-host-0")));
    assert_false(bf_txn_id_ok(S("group host")));
    assert_false(bf_txn_id_ok(S("")));
}

static void test_order_keys(void **state)
{
    (void)state;
    assert_true(bf_order_key_ok(S("camera \xc3\xa9/1")));
    assert_false(bf_order_key_ok(S("")));
    assert_false(bf_order_key_ok(S("a\0")));
    assert_false(bf_order_key_ok(S("a\n")));
    assert_false(bf_order_key_ok(S("a\x7f")));
    assert_false(bf_order_key_ok(S("a\xc3")));
    assert_false(bf_order_key_ok(S("\xed\xa0\x80"))); /* a surrogate */
    assert_false(bf_order_key_ok(S("\xc0\xaf")));     /* overlong */
}

static void test_utf8_cuts_at_characters(void **state)
{
    (void)state;
    assert_int_equal(bf_utf8_cut(S("a\xe2\x82\xac"), 3).len, 1);
    assert_int_equal(bf_utf8_cut(S("a\xe2\x82\xac"), 4).len, 4);
    assert_int_equal(bf_utf8_cut(S("\xff\xff\xff"), 2).len, 2);
    assert_true(bf_utf8_ok(S("\xf4\x8f\xbf\xbf")));
    assert_false(bf_utf8_ok(S("\xf4\x90\x80\x80")));
}

static void test_times_go_both_ways(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1795266000000, "2026-11-21T13:00:00.000Z"},
        {951827696789, "2000-02-29T12:34:56.789Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
    };
    char text[BF_TIME_SIZE];
    int64_t ms;

    (void)state;
    for (size_t i = 0; i < bf_countof(cases); i++) {
        bf_time_format(cases[i].ms, text);
        assert_string_equal(text, cases[i].text);
        assert_int_equal(bf_time_parse(bf_slice_str(text), &ms), 0);
        assert_int_equal(ms, cases[i].ms);
    }
    bf_time_format(-5, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    bf_time_format(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
}

static void test_other_times_are_refused(void **state)
{
    static const char *const bad[] = {
        "2026-11-21T13:00:00Z",      "2026-11-21t13:00:00.000Z",
        "2026-11-21T13:00:00.000z",  "2026-11-31T13:00:00.000Z",
        "2026-02-29T13:00:00.000Z",  "2026-11-21T24:00:00.000Z",
        "2026-11-21T13:60:00.000Z",  "2026-11-21T13:00:60.000Z",
        "2026-11-21 13:00:00.000Z",  "2026-11-21T13:00:00.00aZ",
        "2026-1 -21T13:00:00.000Z",  "1969-12-31T23:59:59.999Z",
        "2026-11-21T13:00:00.0000Z", "",
    };
    int64_t ms = 7;

    (void)state;
    for (size_t i = 0; i < bf_countof(bad); i++)
        assert_int_equal(bf_time_parse(bf_slice_str(bad[i]), &ms), -1);
    assert_int_equal(bf_time_parse(NONE, &ms), -1);
    assert_int_equal(ms, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_job_ids_derive_from_keys),
        cmocka_unit_test(test_run_ids),
        cmocka_unit_test(test_event_ids),
        cmocka_unit_test(test_digest_and_finished_id),
        cmocka_unit_test(test_partitions),
        cmocka_unit_test(test_uuid7),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_order_keys),
        cmocka_unit_test(test_utf8_cuts_at_characters),
        cmocka_unit_test(test_times_go_both_ways),
        cmocka_unit_test(test_other_times_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
