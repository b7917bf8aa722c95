#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "schemas/err.h"
#include "worker/restore.h"

static const unsigned char no_map[BF_MAP_BYTES];

static void apply_base(struct bf_shard *shard, enum bf_lane lane, int64_t base,
                       uint64_t seq)
{
    struct bf_entry entry = {.kind = BF_ENTRY_BASE, .lane = lane, .seq = seq};
    struct bf_err err = {0};

    entry.b.base = base;
    entry.b.map = no_map;
    entry.b.txn_id = BF_SLICE_LIT("w");
    assert_int_equal(bf_shard_apply(shard, &entry, &err), 0);
}

/* The facts of both lanes, the first of them as given. */
static struct bf_query facts_of(bool committed, int64_t base, uint64_t seq,
                                int64_t low, int64_t high)
{
    struct bf_query facts = {0};

    facts.lanes[0] = (struct bf_resume_facts){
        .committed = committed, .low = low, .high = high};
    facts.lanes[0].meta.base = base;
    facts.lanes[0].meta.txn_seq = seq;
    return facts;
}

static const struct {
    const char *name;
    bool committed;
    int64_t base, low, high;
    uint64_t seq, base_seq;
    int64_t base_entry; /* -1: no b entry */
    bool corrupt;
    const char *refused; /* NULL: resumes */
    int64_t start, lost;
} rows[] = {
    {"first ever", false, 0, 0, 0, 0, 0, 0, false, NULL, 0, 0},
    {"committed", true, 50, 0, 90, 7, 5, 40, false, NULL, 50, 0},
    {"offsets expired", false, 0, 0, 90, 0, 5, 40, false, NULL, 40, 0},
    {"log cut", true, 50, 70, 90, 7, 5, 40, false, NULL, 70, 20},
    {"log cut, offsets expired", false, 0, 70, 90, 0, 5, 40, false, NULL, 70,
     30},
    {"everything gone", true, 50, 90, 90, 7, 5, 40, false, NULL, 90, 40},
    {"no b", true, 50, 0, 90, 7, 0, -1, false, "no_base", 0, 0},
    {"older than b", true, 30, 0, 90, 4, 5, 40, false, "older_than_base", 0, 0},
    {"above the log", true, 91, 0, 90, 7, 5, 40, false, "ahead_of_log", 0, 0},
    {"b above the log", false, 0, 0, 9, 0, 5, 40, false, "ahead_of_log", 0, 0},
    {"corrupt", false, 0, 0, 90, 0, 5, 40, true, "corrupt_metadata", 0, 0},
};

static void each_row_resumes_or_says_why_not(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        struct bf_err err = {0};
        bf_autoshard struct bf_shard *shard = bf_shard_new(&err);
        struct bf_restored restored = {.seq = 99};
        struct bf_query facts =
            facts_of(rows[i].committed, rows[i].base, rows[i].seq, rows[i].low,
                     rows[i].high);
        int rc;

        print_message("%s\n", rows[i].name);
        facts.lanes[0].corrupt = rows[i].corrupt;
        apply_base(shard, BF_LANE_BATCH, 0, 0);
        if (rows[i].base_entry >= 0)
            apply_base(shard, BF_LANE_JOBS, rows[i].base_entry,
                       rows[i].base_seq);
        rc = bf_restore(&facts, shard, &restored, &err);
        assert_int_equal(rc, rows[i].refused ? -1 : 0);
        if (rows[i].refused) {
            assert_string_equal(err.code, rows[i].refused);
            assert_int_equal(restored.seq, 99);
            continue;
        }
        assert_int_equal(restored.lanes[0].start, rows[i].start);
        assert_int_equal(restored.lanes[0].lost, rows[i].lost);
        assert_int_equal(restored.seq, rows[i].seq > rows[i].base_seq
                                           ? rows[i].seq
                                           : rows[i].base_seq);
    }
}

static void what_was_complete_is_not_lost(void **unused)
{
    struct bf_err err = {0};
    bf_autoshard struct bf_shard *shard = bf_shard_new(&err);
    struct bf_restored restored;
    struct bf_query facts = facts_of(true, 50, 7, 70, 90);

    (void)unused;
    facts.lanes[0].meta.map[0] = 0xfe; /* 51 to 57 */
    apply_base(shard, BF_LANE_JOBS, 0, 0);
    apply_base(shard, BF_LANE_BATCH, 0, 0);
    assert_int_equal(bf_restore(&facts, shard, &restored, &err), 0);
    assert_int_equal(restored.lanes[0].lost, 20 - 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_resumes_or_says_why_not),
        cmocka_unit_test(what_was_complete_is_not_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
