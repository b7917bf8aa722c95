#include "tests/unit/support.h"

#include "schemas/resume.h"

static const struct bf_slice garbage = LIT("garbage");

/* A b entry of the lane jobs. */
static struct bf_entry entry_of(int64_t base, uint64_t seq,
                                const char *confirmed)
{
    struct bf_entry entry = {
        .kind = BF_ENTRY_BASE, .lane = BF_LANE_JOBS, .seq = seq};

    entry.b.base = base;
    entry.b.txn_id = BF_SLICE_LIT("w");
    if (confirmed)
        entry.b.confirmed = bf_slice_str(confirmed);
    return entry;
}

static void take(struct bf_resume_base *base, struct bf_entry entry)
{
    struct bf_err err = {0};

    assert_int_equal(bf_resume_base_take(base, &entry, &err), 0);
}

/* offset is committed with metadata that says base and seq. */
static struct bf_resume_facts facts_of(int64_t offset, int64_t base,
                                       uint64_t seq)
{
    struct bf_meta meta = {.base = base, .txn_seq = seq, .writer = "w"};
    struct bf_resume_facts facts = {.high = 90};
    char text[BF_MAX_METADATA];

    bf_meta_encode(&meta, text);
    bf_resume_facts_take(&facts, offset, bf_slice_str(text));
    return facts;
}

static struct bf_resume_facts corrupt_facts(int64_t offset)
{
    struct bf_resume_facts facts = {.high = 90};

    bf_resume_facts_take(&facts, offset, garbage);
    return facts;
}

static void facts_are_what_is_committed(void **state)
{
    struct bf_resume_facts facts = facts_of(50, 50, 7);
    char id[BF_HEX128_SIZE];

    (void)state;
    assert_true(facts.committed && !facts.corrupt);
    assert_int_equal(facts.meta.txn_seq, 7);
    facts = facts_of(50, 51, 7);
    assert_true(!facts.committed && facts.corrupt);
    assert_non_null(strstr(facts.problem.msg, "metadata of base 51"));
    facts = corrupt_facts(50);
    assert_true(!facts.committed && facts.corrupt);
    assert_int_equal(facts.offset, 50);
    bf_commit_id(50, garbage, id);
    assert_string_equal(facts.commit_id, id);
    bf_resume_facts_take(&facts, -1001, (struct bf_slice){NULL, 0});
    assert_true(!facts.committed && !facts.corrupt);
    bf_commit_id(-1, garbage, id);
    assert_string_equal(facts.commit_id, id);
}

/* What would stop the shard, and goes on from 40 once it is confirmed. */
static void assert_confirmable(const struct bf_resume_facts *facts,
                               struct bf_resume_base base, const char *why)
{
    struct bf_resume resume;
    struct bf_err err = {0};

    assert_int_equal(bf_resume(facts, &base, BF_LANE_JOBS, &resume, &err), -1);
    assert_string_equal(err.code, why);
    take(&base, entry_of(40, 100, facts->commit_id));
    assert_int_equal(bf_resume(facts, &base, BF_LANE_JOBS, &resume, &err), 0);
    assert_true(resume.confirmed);
    assert_false(resume.from_base);
    assert_int_equal(resume.start, 40);
    assert_int_equal(resume.meta.txn_seq, 100);
    /* until a worker has committed */
    take(&base, entry_of(40, 101, NULL));
    assert_int_equal(bf_resume(facts, &base, BF_LANE_JOBS, &resume, &err), -1);
}

static void a_confirmation_ends_every_contradiction(void **state)
{
    struct bf_resume_base nothing = {0}, base = {0};
    struct bf_resume_facts facts = corrupt_facts(50);

    (void)state;
    take(&base, entry_of(40, 5, NULL));
    assert_confirmable(&facts, base, "corrupt_metadata");
    assert_confirmable(&facts, nothing, "no_base");
    facts = facts_of(50, 51, 7);
    assert_confirmable(&facts, base, "corrupt_metadata");
    facts = facts_of(30, 30, 4);
    assert_confirmable(&facts, base, "older_than_base");
    facts = facts_of(91, 91, 7);
    assert_confirmable(&facts, base, "ahead_of_log");
}

static void a_confirmation_is_of_what_was_seen(void **state)
{
    const struct bf_resume_facts seen = corrupt_facts(50);
    struct bf_resume_facts facts = facts_of(50, 50, 7);
    struct bf_resume_base base = {0};
    struct bf_resume resume;
    struct bf_err err = {0};

    (void)state;
    take(&base, entry_of(40, 100, seen.commit_id));
    /* somebody has gone on with the old base, and knows better than 40 */
    assert_int_equal(bf_resume(&facts, &base, BF_LANE_JOBS, &resume, &err), -1);
    assert_string_equal(err.code, "older_than_base");
    facts = corrupt_facts(51);
    assert_int_equal(bf_resume(&facts, &base, BF_LANE_JOBS, &resume, &err), -1);
    assert_string_equal(err.code, "corrupt_metadata");
    /* what a worker commits that started there is newer */
    facts = facts_of(41, 41, 101);
    assert_int_equal(bf_resume(&facts, &base, BF_LANE_JOBS, &resume, &err), 0);
    assert_false(resume.confirmed);
    assert_int_equal(resume.start, 41);
    /* and so is a commit that says what was confirmed, but is not older */
    facts = facts_of(41, 41, 100);
    take(&base, entry_of(40, 100, facts.commit_id));
    assert_int_equal(bf_resume(&facts, &base, BF_LANE_JOBS, &resume, &err), 0);
    assert_false(resume.confirmed);
    assert_int_equal(resume.start, 41);
}

static void a_confirmation_may_be_wrong_itself(void **state)
{
    struct bf_resume_facts facts = corrupt_facts(50);
    struct bf_resume_base base = {0};
    struct bf_resume resume;
    struct bf_err err = {0};

    (void)state;
    take(&base, entry_of(91, 100, facts.commit_id));
    assert_int_equal(bf_resume(&facts, &base, BF_LANE_JOBS, &resume, &err), -1);
    assert_string_equal(err.code, "ahead_of_log");
    facts.low = 60;
    take(&base, entry_of(40, 101, facts.commit_id));
    assert_int_equal(bf_resume(&facts, &base, BF_LANE_JOBS, &resume, &err), 0);
    assert_int_equal(resume.start, 60);
    assert_int_equal(resume.lost, 20);
}

static void what_is_incomplete_is_counted(void **state)
{
    struct bf_meta meta = {.base = 50};

    (void)state;
    meta.map[0] = 0xfe; /* 51 to 57 */
    meta.map[BF_MAP_BYTES - 1] = 0x80;
    assert_true(bf_meta_has(&meta, 0));
    assert_false(bf_meta_has(&meta, 50));
    assert_true(bf_meta_has(&meta, 57));
    assert_false(bf_meta_has(&meta, 58));
    assert_true(bf_meta_has(&meta, 50 + (int64_t)BF_WINDOW - 1));
    assert_false(bf_meta_has(&meta, 50 + (int64_t)BF_WINDOW));
    assert_int_equal(bf_meta_incomplete(&meta, 0, 50), 0);
    assert_int_equal(bf_meta_incomplete(&meta, 0, 60), 3);
    assert_int_equal(bf_meta_incomplete(&meta, 55, 59), 1);
    assert_int_equal(bf_meta_incomplete(&meta, 59, 55), 0);
    assert_int_equal(bf_meta_incomplete(&meta, 50, INT64_MAX),
                     INT64_MAX - 50 - 8);
    meta.base = INT64_MAX - 1;
    assert_int_equal(bf_meta_incomplete(&meta, 0, INT64_MAX), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_are_what_is_committed),
        cmocka_unit_test(a_confirmation_ends_every_contradiction),
        cmocka_unit_test(a_confirmation_is_of_what_was_seen),
        cmocka_unit_test(a_confirmation_may_be_wrong_itself),
        cmocka_unit_test(what_is_incomplete_is_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
