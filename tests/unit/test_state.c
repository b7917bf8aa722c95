#include "tests/unit/support.h"

#include "schemas/json.h"
#include "schemas/state.h"

#define T0 1795266000000 /* 2026-11-21T13:00:00.000Z */
#define RUN "87ca9100b538bab1b032f3610d9d74f6"

static const unsigned char map[BF_MAP_BYTES] = {0x06, 0, 0x80};
static const unsigned char ids[32] = {1, 2, [31] = 3};

static const struct bf_entry base = {
    .kind = BF_ENTRY_BASE,
    .lane = BF_LANE_BATCH,
    .seq = 7,
    .b = {.base = 1234,
          .map = map,
          .host = LIT("h\"1"),
          .txn_id = LIT("bf-h-0"),
          .pid = 42,
          .at_ms = T0},
};

static const struct bf_entry parked = {
    .kind = BF_ENTRY_RUN,
    .lane = BF_LANE_JOBS,
    .seq = INT64_MAX,
    .offset = INT64_MAX,
    .workspace = LIT("acme"),
    .job = LIT("j-1"),
    .r = {.state = BF_RUN_PARKED,
          .attempt = 1,
          .due_ms = T0,
          .expires_ms = T0 + 1,
          .id_origin = BF_ID_CLIENT},
};

static const struct bf_entry range = {
    .kind = BF_ENTRY_RANGE,
    .lane = BF_LANE_CONTROL,
    .seq = 1,
    .offset = 0,
    .workspace = LIT("acme"),
    .f = {.width = 24, .map = map, .earliest_expiry_ms = T0},
};

static const struct bf_entry finished = {
    .kind = BF_ENTRY_FINISHED,
    .d = {.segment = 3, .ids = ids, .nids = 2, .from_ms = 1, .to_ms = T0},
};

static const struct bf_entry cancel_job = {
    .kind = BF_ENTRY_CANCEL,
    .seq = 2,
    .workspace = LIT("acme"),
    .job = LIT("j.1"),
    .c = {.until_ms = T0, .ends = {-1, -1, -1}, .control_id = LIT("c-1")},
};

static const struct bf_entry cancel_batch = {
    .kind = BF_ENTRY_CANCEL,
    .seq = 2,
    .workspace = LIT("acme"),
    .batch = LIT("b.1"),
    .c = {.until_ms = T0, .ends = {10, 0, -1}, .control_id = LIT("c-1")},
};

static const struct bf_entry cancel_all = {
    .kind = BF_ENTRY_CANCEL,
    .seq = 2,
    .workspace = LIT("acme"),
    .c = {.until_ms = T0, .ends = {-1, 5, -1}, .control_id = LIT("c-1")},
};

/* The base64 is Python's. */
static const struct {
    const struct bf_entry *entry;
    const char *key, *value;
} entries[] = {
    {&base, "b/batch",
     "{\"v\":1,\"seq\":7,\"base\":1234,\"map\":\"BgCA\",\"owner\":{\"host\":"
     "\"h\\\"1\",\"pid\":42,\"txn_id\":\"bf-h-0\"},"
     "\"at\":\"2026-11-21T13:00:00.000Z\"}"},
    {&parked, "r/jobs/9223372036854775807",
     "{\"v\":1,\"seq\":9223372036854775807,\"state\":\"parked\","
     "\"workspace\":\"acme\",\"job\":\"j-1\",\"generation\":0,\"attempt\":1,"
     "\"due_ms\":1795266000000,\"expires_ms\":1795266000001,"
     "\"order_key\":null,\"run_id\":null,\"handle\":null,"
     "\"id_origin\":\"client\",\"digest\":null}"},
    {&range, "f/control/acme/0",
     "{\"v\":1,\"seq\":1,\"width\":24,\"map\":\"BgCA\","
     "\"earliest_expiry_ms\":1795266000000}"},
    {&finished, "d/3",
     "{\"v\":1,\"seq\":0,\"ids\":"
     "\"AQIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAM=\",\"from_ms\":1,"
     "\"to_ms\":1795266000000}"},
    {&cancel_job, "c/acme/job/j.1",
     "{\"v\":1,\"seq\":2,\"until_ms\":1795266000000,\"ends\":{},"
     "\"control_id\":\"c-1\"}"},
    {&cancel_batch, "c/acme/batch/b.1",
     "{\"v\":1,\"seq\":2,\"until_ms\":1795266000000,"
     "\"ends\":{\"jobs\":10,\"batch\":0},\"control_id\":\"c-1\"}"},
    {&cancel_all, "c/acme/all",
     "{\"v\":1,\"seq\":2,\"until_ms\":1795266000000,"
     "\"ends\":{\"batch\":5},\"control_id\":\"c-1\"}"},
};

static void test_entries_have_their_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(entries); i++) {
        bf_autorecord struct bf_record rec;

        bf_record_init(&rec, "bf.state", 3);
        assert_int_equal(bf_entry_build(entries[i].entry, "f1", T0, &rec, NULL),
                         0);
        assert_slice(rec.key, entries[i].key);
        assert_slice(rec.value, entries[i].value);
        assert_slice(bf_record_get(&rec, "ce_subject"), entries[i].key);
        assert_slice(bf_record_get(&rec, "ce_type"), "dev.blockfleet.state.v1");
        assert_int_equal(rec.nheaders, 8);
        assert_slice(rec.headers[7].name, "bf_seq");
    }
}

/* Built, read, built again: the same record. */
static void assert_round_trip(const struct bf_entry *entry)
{
    bf_autorecord struct bf_record rec, again;
    bf_autoentry struct bf_entry back;

    bf_record_init(&rec, "bf.state", 3);
    bf_record_init(&again, "bf.state", 3);
    assert_int_equal(bf_entry_build(entry, "f1", T0, &rec, NULL), 0);
    assert_int_equal(bf_entry_parse(&rec, &back, NULL), 0);
    assert_int_equal(back.kind, entry->kind);
    assert_int_equal(back.tombstone, entry->tombstone);
    assert_int_equal(bf_entry_build(&back, "f1", T0, &again, NULL), 0);
    assert_true(bf_slice_eq(rec.key, again.key));
    assert_int_equal(!rec.value.ptr, !again.value.ptr);
    assert_true(bf_slice_eq(rec.value, again.value));
    assert_int_equal(rec.nheaders, again.nheaders);
    for (size_t i = 0; i < rec.nheaders; i++)
        assert_true(bf_slice_eq(rec.headers[i].value, again.headers[i].value));
}

static void test_entries_come_back(void **state)
{
    bf_autojson json_t *handle = json_pack("{s:s,s:s}", "z", "1", "a", "2");
    struct bf_entry full = parked;

    (void)state;
    for (size_t i = 0; i < bf_countof(entries); i++)
        assert_round_trip(entries[i].entry);
    full.r.state = BF_RUN_RUNNING;
    full.r.handle = handle;
    full.r.order_key = S("clé");
    full.r.run_id = S(RUN);
    full.r.digest = S(RUN);
    assert_round_trip(&full);
}

static void test_tombstones(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(entries); i++) {
        struct bf_entry entry = *entries[i].entry;
        bf_autorecord struct bf_record rec;

        entry.tombstone = true;
        assert_round_trip(&entry);
        bf_record_init(&rec, "bf.state", 3);
        assert_int_equal(bf_entry_build(&entry, "f1", T0, &rec, NULL), 0);
        assert_null(rec.value.ptr);
        assert_null(bf_record_find(&rec, "content-type"));
    }
}

static void test_the_widest(void **state)
{
    bf_autofree unsigned char *many = malloc((size_t)BF_MAX_SEGMENT * 16);
    unsigned char full[BF_MAP_BYTES];
    struct bf_entry entry = range;

    (void)state;
    assert_non_null(many);
    memset(full, 0xff, sizeof(full));
    memset(many, 0xff, (size_t)BF_MAX_SEGMENT * 16);
    entry.f.width = BF_WINDOW;
    entry.f.map = full;
    assert_round_trip(&entry);
    full[0] = 0xfe;
    entry = base;
    entry.b.map = full;
    assert_round_trip(&entry);
    entry = finished;
    entry.d.ids = many;
    entry.d.nids = BF_MAX_SEGMENT;
    assert_round_trip(&entry);
}

static void test_lanes(void **state)
{
    (void)state;
    for (int i = 0; i < BF_LANES; i++)
        assert_int_equal(
            bf_lane_parse(bf_slice_str(bf_lane_name((enum bf_lane)i))), i);
    assert_int_equal(bf_lane_parse(S("job")), -1);
    assert_int_equal(bf_lane_parse(NONE), -1);
}

/* A record whose key and value are as given, its headers right. */
static int parse(struct bf_slice key, struct bf_slice value, struct bf_err *err)
{
    struct bf_entry entry = {.kind = BF_ENTRY_BASE, .lane = BF_LANE_JOBS};
    bf_autorecord struct bf_record rec;
    struct bf_entry back;

    entry.b.host = S("");
    entry.b.txn_id = S("x");
    bf_record_init(&rec, "bf.state", 3);
    assert_int_equal(bf_entry_build(&entry, "f1", T0, &rec, NULL), 0);
    rec.key = key;
    rec.value = value;
    if (!value.ptr)
        rec.headers[6] = rec.headers[--rec.nheaders];
    if (bf_entry_parse(&rec, &back, err))
        return -1;
    bf_entry_release(&back);
    return 0;
}

static void test_keys_that_are_none(void **state)
{
    static const struct bf_slice good[] = {
        LIT("b/jobs"),  LIT("r/batch/0"),   LIT("f/jobs/w/0"),    LIT("d/0"),
        LIT("c/w/all"), LIT("c/w/job/all"), LIT("c/w/batch/..."),
    };
    static const struct bf_slice bad[] = {
        {NULL, 0},
        LIT(""),
        LIT("b"),
        LIT("b/"),
        LIT("b/jobs/"),
        LIT("b/jobs\0"),
        LIT("x/jobs"),
        LIT("r/jobs"),
        LIT("r/jobs/-1"),
        LIT("r/jobs/01"),
        LIT("r/jobs/9223372036854775808"),
        LIT("r/jobs/1/2"),
        LIT("x/jobs/w/0"),
        LIT("f/jobs/a.b/0"),
        LIT("f/jobs/w/"),
        LIT("f/jobs/w/0/1"),
        LIT("d/"),
        LIT("d/x"),
        LIT("d/0/0"),
        LIT("c/w"),
        LIT("c/w/any"),
        LIT("c/w/all/x"),
        LIT("c/w/job/"),
        LIT("c/w/job/a/b"),
        LIT("c//all"),
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(good); i++)
        assert_int_equal(parse(good[i], NONE, NULL), 0);
    for (size_t i = 0; i < bf_countof(bad); i++) {
        struct bf_err err = {0};

        assert_refused(parse(bad[i], NONE, &err), err, "bad_state");
    }
}

static void test_values_that_are_none(void **state)
{
#define HEAD "{\"v\":1,\"seq\":0,"
#define OWNER "\"owner\":{\"host\":\"h\",\"pid\":1,\"txn_id\":\"x\"}"
#define AT "\"at\":\"2026-11-21T13:00:00.000Z\"}"
    static const struct bf_slice bad[] = {
        LIT(""),
        LIT("{}"),
        LIT("[]"),
        LIT("null"),
        LIT("{\"v\":1,\"seq\":0}"),
        LIT("{\"v\":2,\"seq\":0,\"base\":0,\"map\":\"\"," OWNER "," AT),
        LIT("{\"v\":1,\"seq\":1,\"base\":0,\"map\":\"\"," OWNER "," AT),
        LIT(HEAD "\"base\":-1,\"map\":\"\"," OWNER "," AT),
        LIT(HEAD "\"base\":0.0,\"map\":\"\"," OWNER "," AT),
        LIT(HEAD "\"base\":0,\"map\":null," OWNER "," AT),
        LIT(HEAD "\"base\":0,\"map\":\"AQ==\"," OWNER "," AT), /* bit 0 */
        LIT(HEAD "\"base\":0,\"map\":\"AgA=\"," OWNER "," AT), /* zero */
        LIT(HEAD "\"base\":0,\"map\":\"Ag=\"," OWNER "," AT),
        LIT(HEAD "\"base\":0,\"map\":\"\",\"owner\":null," AT),
        LIT(HEAD "\"base\":0,\"map\":\"\",\"owner\":{}," AT),
        LIT(HEAD "\"base\":0,\"map\":\"\"," OWNER ",\"x\":1," AT),
        LIT(HEAD "\"base\":0,\"map\":\"\"," OWNER ",\"at\":\"now\"}"),
        LIT(HEAD "\"base\":0,\"map\":\"\"," OWNER ",\"base\":0," AT),
    };
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(parse(S("b/jobs"),
                           S(HEAD "\"base\":0,\"map\":\"\"," OWNER "," AT),
                           &err),
                     0);
    for (size_t i = 0; i < bf_countof(bad); i++)
        assert_refused(parse(S("b/jobs"), bad[i], &err), err, "bad_state");
}

static void test_other_values_that_are_none(void **state)
{
    static const struct {
        const char *key, *value;
    } bad[] = {
        {"f/jobs/w/0", HEAD "\"width\":0,\"map\":\"\","
                            "\"earliest_expiry_ms\":0}"},
        {"f/jobs/w/0", HEAD "\"width\":16385,\"map\":\"\","
                            "\"earliest_expiry_ms\":0}"},
        {"f/jobs/w/0", HEAD "\"width\":1,\"map\":\"Ag==\","
                            "\"earliest_expiry_ms\":0}"},
        {"f/jobs/w/0", HEAD "\"width\":1,\"map\":\"AQ==\","
                            "\"earliest_expiry_ms\":9007199254740992}"},
        {"d/0", HEAD "\"ids\":\"AA==\",\"from_ms\":0,\"to_ms\":0}"},
        {"c/w/all", HEAD "\"until_ms\":0,\"ends\":{\"x\":1},"
                         "\"control_id\":\"c\"}"},
        {"c/w/all", HEAD "\"until_ms\":0,\"ends\":{\"jobs\":-1},"
                         "\"control_id\":\"c\"}"},
        {"c/w/all", HEAD "\"until_ms\":0,\"ends\":{\"jobs\":null},"
                         "\"control_id\":\"c\"}"},
        {"c/w/all", HEAD "\"until_ms\":0,\"ends\":{},\"control_id\":\"\"}"},
        {"c/w/all", HEAD "\"until_ms\":0,\"ends\":[],\"control_id\":\"c\"}"},
    };

    (void)state;
    assert_int_equal(parse(S("f/jobs/w/0"),
                           S(HEAD "\"width\":1,\"map\":\"AQ==\","
                                  "\"earliest_expiry_ms\":0}"),
                           NULL),
                     0);
    for (size_t i = 0; i < bf_countof(bad); i++) {
        struct bf_err err = {0};

        assert_refused(
            parse(bf_slice_str(bad[i].key), bf_slice_str(bad[i].value), &err),
            err, "bad_state");
    }
}

/* A run's value with one member replaced. */
static int parse_run(const char *member, const char *value, struct bf_err *err)
{
    static const char *const members[][2] = {
        {"state", "\"started\""}, {"workspace", "\"w\""},   {"job", "\"j\""},
        {"generation", "0"},      {"attempt", "1"},         {"due_ms", "0"},
        {"expires_ms", "0"},      {"order_key", "null"},    {"run_id", "null"},
        {"handle", "null"},       {"id_origin", "\"key\""}, {"digest", "null"},
    };
    bf_autobuf struct bf_buf text = BF_BUF_INIT(4096);

    bf_buf_adds(&text, "{\"v\":1,\"seq\":0", NULL);
    for (size_t i = 0; i < bf_countof(members); i++) {
        bool this_one = member && strcmp(members[i][0], member) == 0;

        bf_buf_addf(&text, NULL, ",\"%s\":%s", members[i][0],
                    this_one ? value : members[i][1]);
    }
    bf_buf_adds(&text, "}", NULL);
    return parse(S("r/jobs/1"), bf_buf_slice(&text), err);
}

static void test_runs_that_are_none(void **state)
{
    static const char *const bad[][2] = {
        {"state", "\"resting\""},
        {"state", "null"},
        {"workspace", "\"a.b\""},
        {"job", "\"\""},
        {"generation", "4294967296"},
        {"generation", "true"},
        {"attempt", "0"},
        {"due_ms", "-1"},
        {"expires_ms", "\"1\""},
        {"order_key", "\"\""},
        {"order_key", "1"},
        {"run_id", "\"x\""},
        {"handle", "[]"},
        {"handle", "{\"a\":1}"},
        {"id_origin", "\"me\""},
        {"digest", "\"\""},
    };

    (void)state;
    assert_int_equal(parse_run(NULL, NULL, NULL), 0);
    assert_int_equal(parse_run("handle", "{}", NULL), 0);
    for (size_t i = 0; i < bf_countof(bad); i++) {
        struct bf_err err = {0};

        assert_refused(parse_run(bad[i][0], bad[i][1], &err), err, "bad_state");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries_have_their_bytes),
        cmocka_unit_test(test_entries_come_back),
        cmocka_unit_test(test_tombstones),
        cmocka_unit_test(test_the_widest),
        cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_keys_that_are_none),
        cmocka_unit_test(test_values_that_are_none),
        cmocka_unit_test(test_other_values_that_are_none),
        cmocka_unit_test(test_runs_that_are_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
