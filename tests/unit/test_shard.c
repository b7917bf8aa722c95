#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "schemas/err.h"
#include "worker/shard.h"

#define OFFSETS 40

/* The obvious model: what was last said of each offset. */
struct naive {
    bool started[BF_LANES][OFFSETS];
    uint64_t seq[BF_LANES][OFFSETS];
    uint32_t attempt[BF_LANES][OFFSETS];
};

static struct bf_entry run_entry(enum bf_lane lane, int64_t offset,
                                 uint64_t seq, bool tombstone)
{
    struct bf_entry entry = {.kind = BF_ENTRY_RUN,
                             .lane = lane,
                             .offset = offset,
                             .seq = seq,
                             .tombstone = tombstone};

    entry.r.state = BF_RUN_STARTED;
    entry.r.attempt = (uint32_t)seq;
    entry.r.run_id = BF_SLICE_LIT("0123456789abcdef0123456789abcdef");
    return entry;
}

static void assert_same(const struct bf_shard *shard, const struct naive *model)
{
    size_t live = 0;

    for (int lane = 0; lane < BF_LANES; lane++) {
        for (int64_t o = 0; o < OFFSETS; o++) {
            const struct bf_started *started =
                bf_shard_started(shard, (enum bf_lane)lane, o);

            assert_int_equal(!!started, model->started[lane][o]);
            if (started)
                assert_int_equal(started->attempt, model->attempt[lane][o]);
            live += model->started[lane][o];
        }
    }
    assert_int_equal(bf_shard_count(shard), live);
}

static void random_changelogs_agree_with_the_model(void **unused)
{
    uint64_t state = 1234567;

    (void)unused;
    for (int round = 0; round < 50; round++) {
        struct bf_err err = {0};
        bf_autoshard struct bf_shard *shard = bf_shard_new(&err);
        struct naive model = {0};

        for (uint64_t i = 0; i < 300; i++) {
            state = state * 6364136223846793005ULL + 1442695040888963407ULL;
            enum bf_lane lane = (enum bf_lane)(state >> 33) % BF_LANES;
            int64_t offset = (int64_t)(state >> 40) % OFFSETS;
            uint64_t seq = i + 10 - (state >> 50) % 5;
            bool tombstone = state >> 60 & 1;
            struct bf_entry entry = run_entry(lane, offset, seq, tombstone);
            bool back = seq < model.seq[lane][offset];

            assert_int_equal(bf_shard_apply(shard, &entry, &err),
                             back ? -1 : 0);
            if (back) {
                assert_string_equal(err.code, "state_went_back");
                continue;
            }
            model.seq[lane][offset] = seq;
            model.started[lane][offset] = !tombstone;
            model.attempt[lane][offset] = (uint32_t)seq;
        }
        assert_same(shard, &model);
    }
}

static void a_run_is_one_of_a_job(void **unused)
{
    struct bf_err err = {0};
    bf_autoshard struct bf_shard *shard = bf_shard_new(&err);
    struct bf_entry entry = run_entry(BF_LANE_JOBS, 7, 3, false);
    const struct bf_started *started;
    unsigned char id[BF_FINISHED_ID_SIZE];

    (void)unused;
    entry.workspace = BF_SLICE_LIT("acme");
    entry.job = BF_SLICE_LIT("j-1");
    entry.r.generation = 2;
    assert_int_equal(bf_shard_apply(shard, &entry, &err), 0);
    started = bf_shard_started(shard, BF_LANE_JOBS, 7);
    assert_non_null(started);
    bf_finished_id(entry.workspace, entry.job, 2, id);
    assert_memory_equal(started->id, id, sizeof(id));
    bf_finished_id(entry.workspace, entry.job, 1, id);
    assert_memory_not_equal(started->id, id, sizeof(id));
}

static void a_run_is_found_by_its_job(void **unused)
{
    struct bf_err err = {0};
    bf_autoshard struct bf_shard *shard = bf_shard_new(&err);
    unsigned char id[BF_FINISHED_ID_SIZE];

    (void)unused;
    for (int64_t o = 0; o < 9; o++) {
        struct bf_entry entry = run_entry(BF_LANE_JOBS, o, 3, false);

        entry.workspace = BF_SLICE_LIT("acme");
        entry.job = o == 4 ? BF_SLICE_LIT("j-1") : BF_SLICE_LIT("j-2");
        assert_int_equal(bf_shard_apply(shard, &entry, &err), 0);
    }
    bf_finished_id(BF_SLICE_LIT("acme"), BF_SLICE_LIT("j-1"), 0, id);
    assert_ptr_equal(bf_shard_started_of(shard, id),
                     bf_shard_started(shard, BF_LANE_JOBS, 4));
    bf_shard_run_ended(shard, BF_LANE_BATCH, 4);
    assert_int_equal(bf_shard_count(shard), 9);
    assert_non_null(bf_shard_started_of(shard, id));
    bf_shard_run_ended(shard, BF_LANE_JOBS, 4);
    assert_int_equal(bf_shard_count(shard), 8);
    assert_null(bf_shard_started(shard, BF_LANE_JOBS, 4));
    assert_null(bf_shard_started_of(shard, id));
}

static void bases_do_not_go_back(void **unused)
{
    static const unsigned char map[BF_MAP_BYTES] = {2};
    struct bf_err err = {0};
    bf_autoshard struct bf_shard *shard = bf_shard_new(&err);
    struct bf_entry entry = {
        .kind = BF_ENTRY_BASE, .lane = BF_LANE_BATCH, .seq = 5};
    const struct bf_resume_base *base = bf_shard_base(shard, BF_LANE_BATCH);

    (void)unused;
    entry.b.base = 17;
    entry.b.map = map;
    entry.b.txn_id = BF_SLICE_LIT("g-host-0");
    assert_false(base->known);
    assert_int_equal(bf_shard_apply(shard, &entry, &err), 0);
    entry.seq = 4;
    entry.b.base = 12;
    assert_int_equal(bf_shard_apply(shard, &entry, &err), -1);
    assert_true(base->known);
    assert_int_equal(base->meta.base, 17);
    assert_int_equal(base->meta.txn_seq, 5);
    assert_int_equal(base->meta.map[0], 2);
    assert_string_equal(base->meta.writer, "g-host-0");
    assert_int_equal(bf_shard_seq(shard), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changelogs_agree_with_the_model),
        cmocka_unit_test(a_run_is_one_of_a_job),
        cmocka_unit_test(a_run_is_found_by_its_job),
        cmocka_unit_test(bases_do_not_go_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
