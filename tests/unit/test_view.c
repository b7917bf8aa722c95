#include "support.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/clock.h"
#include "dispatcher/reader.h"
#include "dispatcher/view.h"
#include "dispatcher/view_usage.h"

#define NOW 1763730000000LL

static char folder[] = "/tmp/blockfleet-view-XXXXXX";
static char path[64];

static int make_folder(void **unused)
{
    (void)unused;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/view.sqlite", folder);
    bf_clock_fake(NOW, 0);
    return 0;
}

static int remove_folder(void **unused)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};

    (void)unused;
    for (size_t i = 0; i < bf_countof(suffixes); i++) {
        char file[80];

        snprintf(file, sizeof(file), "%s%s", path, suffixes[i]);
        unlink(file);
    }
    return rmdir(folder);
}

/* ---- the records of one job's life ----------------------------------------*/

#define RECORDS 7
static struct {
    struct bf_topics topics;
    struct bf_job job;
    struct bf_record source;
    struct bf_record records[RECORDS];
    enum bf_topic of[RECORDS];
    size_t count;
} life;

static struct bf_record *next(enum bf_topic topic, int64_t offset)
{
    struct bf_record *rec = &life.records[life.count];

    bf_record_init(rec, bf_topic_name(&life.topics, topic), 0);
    life.of[life.count++] = topic;
    rec->offset = offset;
    rec->timestamp_ms = NOW;
    return rec;
}

static void add_job(int64_t offset)
{
    struct bf_record *rec = next(BF_TOPIC_JOBS, offset);

    assert_int_equal(bf_job_build(&life.job, "main", rec, NULL), 0);
    rec->offset = offset;
}

static void add_state(enum bf_run_state state, uint64_t seq)
{
    const struct bf_entry entry = {
        .kind = BF_ENTRY_RUN,
        .lane = BF_LANE_JOBS,
        .seq = seq,
        .offset = 5,
        .workspace = life.job.workspace,
        .job = life.job.id,
        .r = {.state = state,
              .attempt = 1,
              .expires_ms = NOW + 1000,
              .id_origin = BF_ID_CLIENT},
    };
    struct bf_record *rec = next(BF_TOPIC_STATE, (int64_t)seq);

    assert_int_equal(bf_entry_build(&entry, "main", NOW, rec, NULL), 0);
}

static struct bf_end end_of(void)
{
    return (struct bf_end){
        .job = &life.job,
        .source = &life.records[0],
        .attempt = 1,
        .outcome = BF_OUTCOME_SUCCEEDED,
        .delivery = BF_DELIVERY_RAN,
        .result = S("{\"n\":NaN}"),
        .run_id = "00112233445566778899aabbccddeeff",
        .backend = "noop",
        .isolation = "none",
        .worker = "w-0",
        .fingerprint = "0123456789abcdef",
        .block_type = "t",
        .started_at_ms = NOW + 10,
        .ended_at_ms = NOW + 20,
        .duration_us = 1500000,
        .billable = true,
        .has_usage = true,
    };
}

static void add_end(void)
{
    struct bf_end end = end_of();

    assert_int_equal(
        bf_result_build(&end, "main", next(BF_TOPIC_RESULTS, 7), NULL), 0);
    assert_int_equal(
        bf_usage_build(&end, "main", next(BF_TOPIC_USAGE, 3), NULL), 0);
}

static void make_life(void)
{
    life.count = 0;
    assert_int_equal(bf_topics_init(&life.topics, "bf.", NULL), 0);
    life.job = (struct bf_job){
        .kind = S("block"),
        .workspace = S("w"),
        .id = S("j"),
        .id_origin = BF_ID_CLIENT,
        .spread = 4,
        .accepted_at_ms = NOW,
        .expires_at_ms = NOW + 86400000,
        .timeout_ms = 1000,
        .max_attempts = 1,
        .block = S("{\"run_function_code\":\"x\"}"),
        .inputs = S("{}"),
        .batch = S("b"),
        .batch_index = S("4"),
        .labels = S("{\"z\":\"1\",\"a\":\"2\"}"),
    };
    add_job(5);
    add_job(9); /* sent again */
    add_state(BF_RUN_STARTED, 2);
    add_state(BF_RUN_PARKED, 3);
    add_end();
}

static void free_life(void)
{
    for (size_t i = 0; i < life.count; i++)
        bf_record_release(&life.records[i]);
}

static void apply(struct bf_view *view, size_t which)
{
    struct bf_view_change change;
    struct bf_err err = {.msg = ""};
    int rc = bf_view_apply(view, life.of[which], &life.records[which], &change,
                           &err);

    assert_string_equal(err.msg, "");
    assert_int_equal(rc, 0);
    assert_int_equal(change.ended, life.of[which] == BF_TOPIC_RESULTS);
}

/* ---- what the view says ---------------------------------------------------*/

static void ask_all(struct bf_buf *out)
{
    bf_autoreader struct bf_reader_db *reader =
        bf_reader_open(path, &life.topics, NULL);
    const struct bf_page page = {.workspace = "w", .batch = "b", .limit = 5};
    const struct bf_usage_question usage = {
        .workspace = "w", .to_ms = BF_MAX_TIME_MS, .transaction_ms = 3600000};
    char cursor[BF_CURSOR_SIZE];
    struct bf_problem why;
    bool ended;

    assert_non_null(reader);
    bf_reader_as_of(reader, bf_now_ms());
    bf_buf_clear(out);
    assert_int_equal(bf_reader_job(reader, "w", "j", out, &ended, &why), 0);
    assert_int_equal(bf_reader_batch(reader, "w", "b", out, &why), 0);
    assert_int_equal(bf_reader_usage(reader, &usage, out, &why), 0);
    assert_int_equal(bf_reader_page(reader, &page, out, cursor, &why), 0);
    assert_string_equal(cursor, "");
}

/* A life told in this order, each record twice when asked for. */
static void tell(const size_t *order, size_t count, bool twice,
                 struct bf_buf *out)
{
    bf_autoview struct bf_view *view = bf_view_open(path, "cluster", NULL);

    assert_non_null(view);
    assert_int_equal(bf_view_reset(view, NULL), 0);
    assert_int_equal(bf_view_begin(view, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        apply(view, order[i]);
        if (twice)
            apply(view, order[i]);
    }
    assert_int_equal(bf_view_commit(view, NULL), 0);
    ask_all(out);
}

static void any_order_tells_the_same(void **unused)
{
    bf_autobuf struct bf_buf want = BF_BUF_INIT(1 << 16);
    bf_autobuf struct bf_buf got = BF_BUF_INIT(1 << 16);
    size_t order[RECORDS] = {0, 1, 2, 3, 4, 5};
    uint64_t state = 88172645463325252ULL;

    (void)unused;
    make_life();
    tell(order, life.count, false, &want);
    assert_non_null(strstr(want.data, "\"status\":\"succeeded\""));
    assert_non_null(strstr(want.data, "\"topic\":\"bf.jobs\",\"partition\":0,"
                                      "\"offset\":5"));
    assert_non_null(strstr(want.data, "\"duration_seconds\":\"1.500000\""));
    assert_non_null(strstr(want.data, "\"result\":\"{\\\"n\\\":NaN}\""));
    assert_non_null(strstr(want.data, "\"labels\":{\"z\":\"1\",\"a\":\"2\"}"));
    assert_non_null(strstr(want.data, "\"batch_index\":4"));
    for (int round = 0; round < 60; round++) {
        for (size_t i = life.count - 1; i > 0; i--) {
            size_t with, held = order[i];

            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            with = (size_t)(state % (i + 1));
            order[i] = order[with];
            order[with] = held;
        }
        tell(order, life.count, round % 2 == 1, &got);
        assert_string_equal(got.data, want.data);
    }
    free_life();
}

static void a_job_without_its_end_waits_or_runs(void **unused)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(1 << 16);
    const size_t order[] = {0, 2};

    (void)unused;
    make_life();
    tell(order, 1, false, &out);
    assert_non_null(strstr(out.data, "\"attempt\":null,\"status\":\"waiting\","
                                     "\"outcome\":null"));
    assert_non_null(strstr(out.data, "\"total\":1,\"waiting\":1"));
    assert_non_null(strstr(out.data, "\"runs\":0"));
    tell(order, 2, false, &out);
    assert_non_null(strstr(out.data, "\"attempt\":1,\"status\":\"running\""));
    free_life();
}

static void positions_live_and_die_with_the_identity(void **unused)
{
    struct bf_view *view = bf_view_open(path, "one", NULL);
    int64_t next_offset = 0;

    (void)unused;
    assert_int_equal(bf_view_set_position(view, BF_TOPIC_USAGE, 3, 42, NULL),
                     0);
    bf_view_close(view);
    view = bf_view_open(path, "one", NULL);
    assert_int_equal(
        bf_view_position(view, BF_TOPIC_USAGE, 3, &next_offset, NULL), 0);
    assert_int_equal(next_offset, 42);
    assert_int_equal(
        bf_view_position(view, BF_TOPIC_JOBS, 3, &next_offset, NULL), 0);
    assert_int_equal(next_offset, -1);
    bf_view_close(view);
    view = bf_view_open(path, "two", NULL);
    assert_int_equal(
        bf_view_position(view, BF_TOPIC_USAGE, 3, &next_offset, NULL), 0);
    assert_int_equal(next_offset, -1);
    bf_view_close(view);
}

static void a_rolled_back_life_was_never_told(void **unused)
{
    bf_autoview struct bf_view *view = bf_view_open(path, "back", NULL);
    bf_autoreader struct bf_reader_db *reader = NULL;
    bf_autobuf struct bf_buf out = BF_BUF_INIT(4096);
    struct bf_problem why;
    bool ended;

    (void)unused;
    make_life();
    assert_int_equal(bf_view_begin(view, NULL), 0);
    apply(view, 0);
    bf_view_rollback(view);
    reader = bf_reader_open(path, &life.topics, NULL);
    assert_int_equal(bf_reader_job(reader, "w", "j", &out, &ended, &why), -1);
    assert_int_equal(why.code, BF_PROBLEM_NOT_FOUND);
    free_life();
}

static void only_its_owner_reads_it(void **unused)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    bf_autoview struct bf_view *view = NULL;
    mode_t mask = umask(022);

    (void)unused;
    view = bf_view_open(path, "secret", NULL);
    assert_non_null(view);
    assert_int_equal(bf_view_reset(view, NULL), 0);
    for (size_t i = 0; i < bf_countof(suffixes); i++) {
        struct stat st;
        char file[80];

        snprintf(file, sizeof(file), "%s%s", path, suffixes[i]);
        assert_int_equal(stat(file, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    umask(mask);
}

static void a_second_writer_is_kept_out(void **unused)
{
    bf_autoview struct bf_view *view = bf_view_open(path, "cluster", NULL);
    struct bf_err err;

    (void)unused;
    assert_non_null(view);
    assert_null(bf_view_open(path, "cluster", &err));
    assert_string_equal(err.code, "view_locked");
}

static int forget(struct bf_view *view, int64_t now)
{
    int count;

    assert_int_equal(bf_view_forget(view, now, 10, &count, NULL), 0);
    return count;
}

static void assert_forgotten(void)
{
    bf_autoreader struct bf_reader_db *reader =
        bf_reader_open(path, &life.topics, NULL);
    bf_autobuf struct bf_buf out = BF_BUF_INIT(1 << 16);
    struct bf_problem why;
    bool ended;

    assert_int_equal(bf_reader_job(reader, "w", "j", &out, &ended, &why), -1);
    assert_int_equal(why.code, BF_PROBLEM_NOT_FOUND);
}

static void what_is_old_is_forgotten(void **unused)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(1 << 16);
    const size_t ended[] = {0, 4}, open[] = {0};
    struct bf_view *view;

    (void)unused;
    make_life();
    tell(ended, 2, false, &out);
    view = bf_view_open(path, "cluster", NULL);
    assert_int_equal(forget(view, NOW + 20 + BF_VIEW_KEEP_MS), 0);
    assert_int_equal(forget(view, NOW + 21 + BF_VIEW_KEEP_MS), 1);
    bf_view_close(view);
    assert_forgotten();
    /* One that should have ended and of which nothing was heard. */
    tell(open, 1, false, &out);
    view = bf_view_open(path, "cluster", NULL);
    assert_int_equal(forget(view, NOW + 86400000 + BF_VIEW_KEEP_MS), 0);
    assert_int_equal(forget(view, NOW + 86400001 + BF_VIEW_KEEP_MS), 1);
    bf_view_close(view);
    assert_forgotten();
    free_life();
}

/* What a rebuild finds in Kafka when results are gone and jobs are not. */
static void a_job_without_its_result_does_not_wait_for_ever(void **unused)
{
    bf_autoview struct bf_view *view = bf_view_open(path, "old", NULL);

    (void)unused;
    make_life();
    bf_clock_fake(NOW + 8 * BF_DAY_MS, 0);
    apply(view, 0);
    bf_clock_fake(NOW, 0);
    assert_forgotten();
    free_life();
}

static void usage_is_of_the_days_that_kafka_keeps(void **unused)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(1 << 16);
    const size_t order[] = {0, 1, 2, 3, 4, 5};

    (void)unused;
    make_life();
    tell(order, life.count, false, &out);
    assert_non_null(strstr(out.data, "\"runs\":1,"));
    /* What is in transactions that are open now may be an hour old here. */
    assert_non_null(
        strstr(out.data, "\"complete_until\":\"2025-11-21T12:00:00.000Z\""));
    bf_clock_fake(NOW + 34 * BF_DAY_MS, 0);
    ask_all(&out);
    assert_non_null(strstr(out.data, "\"runs\":1,"));
    bf_clock_fake(NOW + 35 * BF_DAY_MS, 0);
    ask_all(&out);
    assert_non_null(strstr(out.data, "\"runs\":0,"));
    bf_clock_fake(NOW, 0);
    free_life();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_tells_the_same),
        cmocka_unit_test(a_job_without_its_end_waits_or_runs),
        cmocka_unit_test(positions_live_and_die_with_the_identity),
        cmocka_unit_test(a_rolled_back_life_was_never_told),
        cmocka_unit_test(only_its_owner_reads_it),
        cmocka_unit_test(a_second_writer_is_kept_out),
        cmocka_unit_test(what_is_old_is_forgotten),
        cmocka_unit_test(a_job_without_its_result_does_not_wait_for_ever),
        cmocka_unit_test(usage_is_of_the_days_that_kafka_keeps),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
