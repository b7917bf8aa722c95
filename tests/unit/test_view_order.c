/*
 * Whatever order records come in, and however often each of them does, the
 * view answers the same: partitions have no common order, and a view that was
 * not committed reads again.
 */

#include "support.h"

#include <stdio.h>
#include <unistd.h>

#include "config/clock.h"
#include "dispatcher/reader.h"
#include "dispatcher/view.h"

#define NOW 1763730000000LL
#define JOBS 12
#define PARTITIONS 3
#define RECORDS (JOBS * 6 + 4)
#define ROUNDS 60

static char folder[] = "/tmp/blockfleet-order-XXXXXX";
static char path[64];

static struct {
    struct bf_topics topics;
    char ids[JOBS][8];
    struct bf_job jobs[JOBS];
    struct bf_record records[RECORDS];
    enum bf_topic of[RECORDS];
    size_t count;
    int64_t offsets;
} log_of;

/* ---- records --------------------------------------------------------------*/

static struct bf_record *next(enum bf_topic topic, int32_t partition)
{
    struct bf_record *rec = &log_of.records[log_of.count];

    assert_true(log_of.count < RECORDS);
    bf_record_init(rec, bf_topic_name(&log_of.topics, topic), partition);
    log_of.of[log_of.count++] = topic;
    rec->offset = log_of.offsets++;
    rec->timestamp_ms = NOW;
    return rec;
}

static struct bf_record *add_job(int i)
{
    struct bf_record *rec = next(BF_TOPIC_JOBS, i % PARTITIONS);
    int64_t offset = rec->offset;

    assert_int_equal(bf_job_build(&log_of.jobs[i], "main", rec, NULL), 0);
    rec->offset = offset;
    return rec;
}

static void add_state(int i, enum bf_run_state state, uint64_t seq)
{
    const struct bf_entry entry = {
        .kind = BF_ENTRY_RUN,
        .lane = BF_LANE_JOBS,
        .seq = seq,
        .offset = i,
        .workspace = log_of.jobs[i].workspace,
        .job = log_of.jobs[i].id,
        .r = {.state = state,
              .attempt = 1,
              .expires_ms = NOW + 1000,
              .id_origin = BF_ID_CLIENT},
    };

    assert_int_equal(bf_entry_build(&entry, "main", NOW,
                                    next(BF_TOPIC_STATE, i % PARTITIONS), NULL),
                     0);
}

static void add_end(int i, const struct bf_record *source)
{
    const struct bf_end end = {
        .job = &log_of.jobs[i],
        .source = source,
        .attempt = 1,
        .outcome = i % 4 ? BF_OUTCOME_SUCCEEDED : BF_OUTCOME_FAILED,
        .delivery = BF_DELIVERY_RAN,
        .result = i % 4 ? S("{}") : S(""),
        .run_id = "00112233445566778899aabbccddeeff",
        .backend = "noop",
        .isolation = "none",
        .worker = "w-0",
        .fingerprint = i % 2 ? "0123456789abcdef" : "fedcba9876543210",
        .block_type = "t",
        .started_at_ms = NOW + i,
        .ended_at_ms = NOW + i * 1000000LL,
        .duration_us = 1000001 + i,
        .billable = i % 3 != 0,
        .has_usage = true,
    };

    assert_int_equal(bf_result_build(&end, "main",
                                     next(BF_TOPIC_RESULTS, i % PARTITIONS),
                                     NULL),
                     0);
    assert_int_equal(bf_usage_build(&end, "main",
                                    next(BF_TOPIC_USAGE, i % PARTITIONS), NULL),
                     0);
}

/* A second open and a second seal come too late to count. */
static void add_controls(void)
{
    for (uint32_t i = 0; i < 4; i++) {
        const struct bf_control control = {
            .kind = i < 2 ? BF_CONTROL_BATCH_OPEN : BF_CONTROL_BATCH_SEAL,
            .workspace = S("w"),
            .id = i % 2 ? S("late") : S("first"),
            .at_ms = NOW + i,
            .batch = S("b"),
            .until_ms = i < 2 ? NOW + 1000 + i : 0,
            .max_failure_ppm = i < 2 ? 500000 + i : 0,
            .has_max_failure = i < 2,
            .count = i < 2 ? 0 : JOBS + i - 2,
            .has_count = i >= 2,
        };

        assert_int_equal(
            bf_control_build(&control, "main", next(BF_TOPIC_CONTROL, 0), NULL),
            0);
    }
}

static void make_log(void)
{
    for (int i = 0; i < JOBS; i++) {
        const struct bf_record *source;

        snprintf(log_of.ids[i], sizeof(log_of.ids[i]), "j%d", i);
        log_of.jobs[i] = (struct bf_job){
            .kind = S("block"),
            .workspace = S("w"),
            .id = bf_slice_str(log_of.ids[i]),
            .id_origin = BF_ID_CLIENT,
            .spread = 4,
            .accepted_at_ms = NOW + i / 2,
            .expires_at_ms = NOW + BF_DAY_MS,
            .timeout_ms = 1000,
            .max_attempts = 1,
            .block = S("{\"run_function_code\":\"x\"}"),
            .inputs = S("{}"),
            .order_key = i % 2 ? S("k") : NONE,
            .batch = S("b"),
            .batch_index = S("4"),
        };
        source = add_job(i);
        add_job(i); /* sent again */
        add_state(i, BF_RUN_STARTED, 2);
        add_state(i, BF_RUN_PARKED, 3);
        if (i < JOBS - 2) /* the others wait */
            add_end(i, source);
    }
    add_controls();
}

/* ---- the view -------------------------------------------------------------*/

static void ask_all(struct bf_buf *out)
{
    bf_autoreader struct bf_reader_db *reader =
        bf_reader_open(path, &log_of.topics, NULL);
    const struct bf_page page = {.workspace = "w", .limit = 100, .lines = true};
    const struct bf_list list = {.workspace = "w",
                                 .statuses = ~0U,
                                 .to_ms = BF_MAX_TIME_MS,
                                 .limit = 100,
                                 .lines = true};
    const struct bf_usage_question usage = {
        .workspace = "",
        .to_ms = BF_MAX_TIME_MS,
        .by = BF_BY_WORKSPACE | BF_BY_HOUR | BF_BY_FINGERPRINT | BF_BY_BILLABLE,
    };
    char cursor[BF_CURSOR_SIZE];
    struct bf_problem why;

    assert_non_null(reader);
    bf_reader_as_of(reader, NOW);
    bf_buf_clear(out);
    assert_int_equal(bf_reader_list(reader, &list, out, cursor, &why), 0);
    assert_int_equal(bf_reader_page(reader, &page, out, cursor, &why), 0);
    assert_int_equal(bf_reader_batch(reader, "w", "b", out, &why), 0);
    assert_int_equal(bf_reader_usage(reader, &usage, out, &why), 0);
}

static void apply(struct bf_view *view, size_t which)
{
    struct bf_view_change change;
    struct bf_err err = {.msg = ""};

    if (bf_view_apply(view, log_of.of[which], &log_of.records[which], &change,
                      &err))
        fail_msg("record %zu: %s", which, err.msg);
}

static uint64_t roll(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void shuffle(size_t *order, uint64_t *state)
{
    for (size_t i = log_of.count - 1; i > 0; i--) {
        size_t with = roll(state) % (i + 1), held = order[i];

        order[i] = order[with];
        order[with] = held;
    }
}

/* Now and then a transaction is lost, and what was in it comes again. */
static void tell(struct bf_view *view, const size_t *order, uint64_t *state)
{
    size_t begun = 0;

    assert_int_equal(bf_view_begin(view, NULL), 0);
    for (size_t i = 0; i < log_of.count; i++) {
        apply(view, order[i]);
        if (state && roll(state) % 3 == 0)
            apply(view, order[roll(state) % (i + 1)]);
        if (!state || roll(state) % 8 != 0)
            continue;
        if (roll(state) % 4 == 0) {
            bf_view_rollback(view);
            i = begun - 1;
        } else {
            assert_int_equal(bf_view_commit(view, NULL), 0);
            begun = i + 1;
        }
        assert_int_equal(bf_view_begin(view, NULL), 0);
    }
    assert_int_equal(bf_view_commit(view, NULL), 0);
}

static void any_order_answers_the_same(void **unused)
{
    bf_autobuf struct bf_buf want = BF_BUF_INIT(1 << 20);
    bf_autobuf struct bf_buf got = BF_BUF_INIT(1 << 20);
    bf_autoview struct bf_view *view = bf_view_open(path, "cluster", NULL);
    size_t order[RECORDS];
    uint64_t state = 88172645463325252ULL;

    (void)unused;
    for (size_t i = 0; i < log_of.count; i++)
        order[i] = i;
    assert_non_null(view);
    assert_int_equal(bf_view_reset(view, NULL), 0);
    tell(view, order, NULL);
    ask_all(&want);
    assert_non_null(strstr(want.data, "\"max_failure_rate\":\"0.500000\""));
    assert_non_null(strstr(want.data, "\"count\":12,\"total\":12,"));
    assert_non_null(strstr(want.data, "\"ended\":10,\"succeeded\":7,"));
    for (int round = 0; round < ROUNDS; round++) {
        shuffle(order, &state);
        assert_int_equal(bf_view_reset(view, NULL), 0);
        tell(view, order, &state);
        ask_all(&got);
        assert_string_equal(got.data, want.data);
    }
}

static int set_up(void **unused)
{
    (void)unused;
    if (!mkdtemp(folder) || bf_topics_init(&log_of.topics, "bf.", NULL))
        return -1;
    snprintf(path, sizeof(path), "%s/view.sqlite", folder);
    bf_clock_fake(NOW, 0);
    make_log();
    return 0;
}

static int tear_down(void **unused)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};

    (void)unused;
    for (size_t i = 0; i < log_of.count; i++)
        bf_record_release(&log_of.records[i]);
    for (size_t i = 0; i < bf_countof(suffixes); i++) {
        char file[80];

        snprintf(file, sizeof(file), "%s%s", path, suffixes[i]);
        unlink(file);
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_answers_the_same),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
