#include "tests/unit/support.h"

#include "dispatcher/cli/confirm.h"

/* Shard 3, lane jobs; the log holds 10 to 99, b says 40 and that 42 is done. */
struct world {
    struct bf_base_seen base;
    struct bf_lane_seen seen;
};

static void world_init(struct world *world)
{
    memset(world, 0, sizeof(*world));
    world->base.base.known = true;
    world->base.base.meta =
        (struct bf_meta){.base = 40, .txn_seq = 5, .map = {4}};
    world->seen.shard = 3;
    world->seen.base = &world->base;
    world->seen.facts.low = 10;
    world->seen.facts.high = 100;
    bf_resume_facts_take(&world->seen.facts, -1, BF_SLICE_LIT(""));
}

/* offset is committed with the metadata of base, seq and one done above. */
static void commit(struct world *world, int64_t offset, int64_t base,
                   uint64_t seq)
{
    struct bf_meta meta = {
        .base = base, .txn_seq = seq, .writer = "w", .map = {2}};
    char text[BF_MAX_METADATA];

    bf_meta_encode(&meta, text);
    bf_resume_facts_take(&world->seen.facts, offset, bf_slice_str(text));
}

static struct bf_confirm plan_of(const struct world *world, const char *from)
{
    struct bf_confirm_want want;
    struct bf_confirm plan;
    struct bf_err err = {0};

    assert_int_equal(bf_confirm_parse(from, &want, &err), 0);
    if (bf_confirm_plan(&world->seen, &want, 7, &plan, &err))
        fail_msg("%s", err.msg);
    assert_true(plan.resume.confirmed);
    return plan;
}

static void assert_no_plan(const struct world *world, const char *from,
                           const char *why)
{
    struct bf_confirm_want want;
    struct bf_confirm plan;
    struct bf_err err = {0};

    assert_int_equal(bf_confirm_parse(from, &want, &err), 0);
    assert_int_equal(bf_confirm_plan(&world->seen, &want, 7, &plan, &err), -1);
    assert_string_equal(err.code, "refused");
    assert_non_null(strstr(err.msg, "shard 3"));
    assert_non_null(strstr(err.msg, why));
}

static void words_are_read(void **state)
{
    struct bf_confirm_want want;
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(bf_confirm_parse("latest", &want, &err), 0);
    assert_int_equal(want.from, BF_CONFIRM_LATEST);
    assert_int_equal(bf_confirm_parse("9223372036854775807", &want, &err), 0);
    assert_int_equal(want.from, BF_CONFIRM_OFFSET);
    assert_true(want.offset == INT64_MAX);
    assert_int_equal(bf_confirm_parse("-1", &want, &err), -1);
    assert_string_equal(err.code, "usage");
    assert_int_equal(bf_confirm_parse("", &want, &err), -1);
}

static void the_base_goes_on_where_it_says(void **state)
{
    struct world world;
    struct bf_confirm plan;

    (void)state;
    world_init(&world);
    bf_resume_facts_take(&world.seen.facts, 50, BF_SLICE_LIT("garbage"));
    plan = plan_of(&world, "base");
    assert_int_equal(plan.resume.start, 40);
    assert_int_equal(plan.meta.map[0], 4);
    assert_true(plan.meta.txn_seq > 1000000); /* what could not be read */
    assert_int_equal(plan.todo, 50);
    assert_int_equal(plan.again, 10 - 1); /* 40 to 49 were committed */
    assert_int_equal(plan.skipped, 0);
    assert_true(plan.unsure);
    world.base.base.known = false;
    assert_no_plan(&world, "base", "no b entry");
}

static void what_is_committed_counts_as_far_as_it_is_read(void **state)
{
    struct world world;
    struct bf_confirm plan;

    (void)state;
    world_init(&world);
    assert_no_plan(&world, "committed", "nothing is committed");
    commit(&world, 38, 38, 4); /* older than b: 40 and what b says again */
    plan = plan_of(&world, "committed");
    assert_int_equal(plan.resume.start, 38);
    assert_int_equal(plan.meta.map[0], 2);
    assert_int_equal(plan.meta.txn_seq, 8);
    assert_int_equal(plan.again, 2); /* 38 and 42; 39 is done in the map */
    assert_int_equal(plan.todo, 100 - 40 - 1);
    assert_false(plan.unsure);
    /* unreadable: what b says of the rest stays */
    bf_resume_facts_take(&world.seen.facts, 41, BF_SLICE_LIT("garbage"));
    plan = plan_of(&world, "committed");
    assert_int_equal(plan.resume.start, 41);
    assert_int_equal(plan.meta.map[0], 2);
    assert_int_equal(plan.again, 0);
    bf_resume_facts_take(&world.seen.facts, 42, BF_SLICE_LIT("garbage"));
    plan = plan_of(&world, "committed");
    assert_int_equal(plan.resume.start, 43);
    assert_int_equal(plan.meta.map[0], 0);
    bf_resume_facts_take(&world.seen.facts, 0, BF_SLICE_LIT("garbage"));
    plan = plan_of(&world, "committed");
    assert_int_equal(plan.resume.start, 40);
    assert_int_equal(plan.meta.map[0], 4);
}

static void ends_of_the_log_are_plain(void **state)
{
    struct world world;
    struct bf_confirm plan;

    (void)state;
    world_init(&world);
    commit(&world, 200, 200, 9); /* above the log */
    assert_no_plan(&world, "committed", "above the log's end");
    plan = plan_of(&world, "earliest");
    assert_int_equal(plan.resume.start, 10);
    assert_int_equal(plan.meta.txn_seq, 10);
    assert_int_equal(plan.again, 90);
    assert_int_equal(plan.todo + plan.skipped, 0);
    bf_resume_facts_take(&world.seen.facts, -1, BF_SLICE_LIT(""));
    plan = plan_of(&world, "latest");
    assert_int_equal(plan.resume.start, 100);
    assert_int_equal(plan.skipped, 60 - 1);
    assert_int_equal(plan.todo + plan.again, 0);
    plan = plan_of(&world, "41");
    assert_int_equal(plan.resume.start, 41);
    assert_int_equal(plan.skipped, 1);
    assert_int_equal(plan.again, 1);
    assert_int_equal(plan.todo, 58);
    assert_no_plan(&world, "9", "holds 10 to 100");
    assert_no_plan(&world, "101", "holds 10 to 100");
}

static void what_the_log_lost_is_lost(void **state)
{
    struct world world;
    struct bf_confirm plan;

    (void)state;
    world_init(&world);
    world.seen.facts.low = 60;
    bf_resume_facts_take(&world.seen.facts, 40, BF_SLICE_LIT("garbage"));
    plan = plan_of(&world, "base");
    assert_int_equal(plan.resume.start, 60);
    assert_int_equal(plan.resume.lost, 20 - 1);
    assert_int_equal(plan.todo, 40);
}

static void a_sequence_does_not_run_over(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    commit(&world, 50, 50, INT64_MAX);
    assert_no_plan(&world, "base", "no txn_seq is left");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_read),
        cmocka_unit_test(the_base_goes_on_where_it_says),
        cmocka_unit_test(what_is_committed_counts_as_far_as_it_is_read),
        cmocka_unit_test(ends_of_the_log_are_plain),
        cmocka_unit_test(what_the_log_lost_is_lost),
        cmocka_unit_test(a_sequence_does_not_run_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
