#include "support.h"

#include <inttypes.h>
#include <stdio.h>

#include "dispatcher/answers.h"

#define MANY ((size_t)100000)

static char folder[] = "/tmp/blockfleet-answers-XXXXXX";

static int make_folder(void **unused)
{
    (void)unused;
    return mkdtemp(folder) ? 0 : -1;
}

/* Only an empty folder can be removed: files here have no names. */
static int remove_folder(void **unused)
{
    (void)unused;
    return rmdir(folder);
}

static void put(struct bf_answers *answers, uint64_t line, const char *text)
{
    bf_answers_put(answers, line, bf_slice_str(text));
}

/* Everything, read in pieces of an odd size. */
static void read_all(const struct bf_answers *answers, struct bf_buf *out)
{
    char piece[1021];

    while (out->len < bf_answers_bytes(answers)) {
        ssize_t n = bf_answers_read(answers, out->len, piece, sizeof(piece));

        assert_true(n > 0);
        assert_int_equal(bf_buf_add(out, piece, (size_t)n, NULL), 0);
    }
}

static void they_stand_in_the_order_of_the_lines(void **unused)
{
    bf_autobuf struct bf_buf got = BF_BUF_INIT(1 << 10);
    bf_autoanswers struct bf_answers *answers =
        bf_answers_new(folder, 1 << 20, NULL);

    (void)unused;
    assert_int_equal(bf_answers_bytes(answers), 0);
    for (int i = 0; i < 5; i++)
        bf_answers_expect(answers);
    put(answers, 3, "three");
    put(answers, 1, ""); /* has none */
    put(answers, 4, "four");
    put(answers, 0, "zero");
    assert_int_equal(bf_answers_awaited(answers), 1);
    put(answers, 2, "two");
    assert_int_equal(bf_answers_awaited(answers), 0);
    read_all(answers, &got);
    assert_string_equal(got.data, "zero\ntwo\nthree\nfour\n");
}

/* Twice the window, each pair of lines answered the wrong way round. */
static void many_go_through_a_file(void **unused)
{
    bf_autobuf struct bf_buf got = BF_BUF_INIT(MANY * 16);
    bf_autobuf struct bf_buf want = BF_BUF_INIT(MANY * 16);
    bf_autoanswers struct bf_answers *answers =
        bf_answers_new(folder, MANY * 32, NULL);

    (void)unused;
    for (uint64_t i = 0; i < MANY; i += 2) {
        char text[2][32];

        for (uint64_t k = 0; k < 2; k++) {
            assert_int_equal(bf_answers_room(answers), BF_ANSWERS_ROOM);
            bf_answers_expect(answers);
            snprintf(text[k], sizeof(text[k]), "%" PRIu64, i + k);
            assert_int_equal(bf_buf_addf(&want, NULL, "%s\n", text[k]), 0);
        }
        put(answers, i + 1, text[1]);
        put(answers, i, text[0]);
    }
    assert_true(want.len > 2 * BF_ANSWERS_HELD);
    read_all(answers, &got);
    assert_true(bf_slice_eq(bf_buf_slice(&got), bf_buf_slice(&want)));
}

static void a_full_window_waits_for_its_first_line(void **unused)
{
    bf_autoanswers struct bf_answers *answers =
        bf_answers_new(folder, 1ULL << 30, NULL);
    uint64_t lines = 0;

    (void)unused;
    for (; bf_answers_room(answers) == BF_ANSWERS_ROOM; lines++) {
        bf_answers_expect(answers);
        if (lines > 0)
            put(answers, lines, "later");
    }
    assert_int_equal(lines, BF_ANSWERS_WINDOW - 1);
    assert_int_equal(bf_answers_room(answers), BF_ANSWERS_WAIT);
    put(answers, 0, "at last");
    assert_int_equal(bf_answers_room(answers), BF_ANSWERS_ROOM);
    assert_int_equal(bf_answers_bytes(answers), 8 + (lines - 1) * 6);
}

/* What is awaited has its place below the ceiling, however long it becomes. */
static void the_ceiling_holds_with_the_refusal_in_it(void **unused)
{
    static char longest[BF_ANSWER_BYTES];
    const uint64_t max = 8 * BF_ANSWER_BYTES;
    bf_autoanswers struct bf_answers *answers =
        bf_answers_new(folder, max, NULL);
    uint64_t lines = 0, put_lines = 0;

    (void)unused;
    memset(longest, 'x', sizeof(longest) - 1);
    while (bf_answers_room(answers) != BF_ANSWERS_FULL) {
        while (bf_answers_room(answers) == BF_ANSWERS_ROOM) {
            bf_answers_expect(answers);
            lines++;
        }
        while (put_lines < lines)
            put(answers, put_lines++, longest);
    }
    bf_answers_expect(answers);
    put(answers, lines, longest);
    assert_int_equal(lines, 7);
    assert_int_equal(bf_answers_bytes(answers), max);
}

/* A folder that is not there is a disk that is full: nothing is lost. */
static void without_a_file_they_stay_in_memory(void **unused)
{
    static char text[BF_ANSWER_BYTES / 4];
    bf_autobuf struct bf_buf got = BF_BUF_INIT(BF_ANSWERS_HELD * 2);
    bf_autoanswers struct bf_answers *answers =
        bf_answers_new("/nonexistent/blockfleet", 1ULL << 30, NULL);
    uint64_t lines = 0;

    (void)unused;
    memset(text, 'x', sizeof(text) - 1);
    for (; bf_answers_room(answers) == BF_ANSWERS_ROOM; lines++) {
        bf_answers_expect(answers);
        put(answers, lines, text);
    }
    assert_int_equal(bf_answers_room(answers), BF_ANSWERS_BROKEN);
    bf_answers_expect(answers);
    put(answers, lines, "refused");
    read_all(answers, &got);
    assert_int_equal(got.len, lines * sizeof(text) + 8);
    assert_string_equal(got.data + got.len - 8, "refused\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_stand_in_the_order_of_the_lines),
        cmocka_unit_test(many_go_through_a_file),
        cmocka_unit_test(a_full_window_waits_for_its_first_line),
        cmocka_unit_test(the_ceiling_holds_with_the_refusal_in_it),
        cmocka_unit_test(without_a_file_they_stay_in_memory),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
