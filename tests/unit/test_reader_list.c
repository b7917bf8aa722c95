#include "support.h"

#include <stdio.h>
#include <unistd.h>

#include "dispatcher/reader.h"
#include "dispatcher/view.h"
#include "schemas/json.h"

#define NOW 1763730000000LL
#define ALL (~0U)

static char folder[] = "/tmp/blockfleet-list-XXXXXX";
static char path[64];
static struct bf_topics topics;

static int make_folder(void **unused)
{
    (void)unused;
    if (!mkdtemp(folder) || bf_topics_init(&topics, "bf.", NULL))
        return -1;
    snprintf(path, sizeof(path), "%s/view.sqlite", folder);
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

/* ---- a view with jobs -----------------------------------------------------*/

static struct bf_view *view;
static struct bf_reader_db *reader;

static int open_view(void **unused)
{
    (void)unused;
    view = bf_view_open(path, "cluster", NULL);
    if (!view || bf_view_reset(view, NULL))
        return -1;
    reader = bf_reader_open(path, &topics, NULL);
    bf_reader_as_of(reader, NOW);
    return reader ? 0 : -1;
}

static int close_view(void **unused)
{
    (void)unused;
    bf_reader_close(reader);
    bf_view_close(view);
    return 0;
}

static struct bf_row row(int64_t accepted_ms)
{
    return (struct bf_row){.has_job = true,
                           .offset = 1,
                           .accepted_at_ms = accepted_ms,
                           .expires_at_ms = NOW + 1000};
}

static void put(const char *job, const struct bf_row *news)
{
    unsigned changed;

    assert_int_equal(
        bf_view_merge(view, S("w"), bf_slice_str(job), news, &changed, NULL),
        0);
}

/* Jobs j<first> to j<end - 1>, three to a millisecond. */
static void put_many(int first, int end)
{
    assert_int_equal(bf_view_begin(view, NULL), 0);
    for (int i = first; i < end; i++) {
        struct bf_row news = row(NOW + i / 3);
        char job[16];

        snprintf(job, sizeof(job), "j%05d", i);
        put(job, &news);
    }
    assert_int_equal(bf_view_commit(view, NULL), 0);
}

static struct bf_list everything(void)
{
    return (struct bf_list){.workspace = "w",
                            .statuses = ALL,
                            .to_ms = BF_MAX_TIME_MS,
                            .limit = BF_PAGE_MAX};
}

/* The ids of a page as "a b c ". */
static void ask(const struct bf_list *list, char cursor[BF_CURSOR_SIZE],
                struct bf_buf *ids)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(16U << 20);
    bf_autojson json_t *doc = NULL;
    const json_t *jobs;
    struct bf_problem why;

    assert_int_equal(bf_reader_list(reader, list, &out, cursor, &why), 0);
    doc = bf_json_parse(bf_buf_slice(&out), out.len, NULL);
    assert_non_null(doc);
    jobs = json_object_get(doc, "jobs");
    for (size_t i = 0; i < json_array_size(jobs); i++)
        assert_int_equal(bf_buf_addf(ids, NULL, "%s ",
                                     json_string_value(json_object_get(
                                         json_array_get(jobs, i), "job"))),
                         0);
}

static void assert_found(const struct bf_list *list, const char *want)
{
    bf_autobuf struct bf_buf ids = BF_BUF_INIT(1 << 16);
    char cursor[BF_CURSOR_SIZE];

    assert_int_equal(bf_buf_adds(&ids, "", NULL), 0);
    ask(list, cursor, &ids);
    assert_string_equal(ids.data, want);
    assert_string_equal(cursor, "");
}

/* ---- tests ----------------------------------------------------------------*/

static void pages_hold_while_jobs_are_added(void **unused)
{
    bf_autobuf struct bf_buf got = BF_BUF_INIT(1 << 16);
    bf_autobuf struct bf_buf want = BF_BUF_INIT(1 << 16);
    struct bf_list list = everything();
    char cursor[BF_CURSOR_SIZE] = "", last[BF_CURSOR_SIZE];
    int next = 500;

    (void)unused;
    put_many(0, next);
    for (int i = next - 1; i >= 0; i--)
        assert_int_equal(bf_buf_addf(&want, NULL, "j%05d ", i), 0);
    list.limit = 7;
    do {
        memcpy(last, cursor, sizeof(last));
        list.cursor = last[0] ? last : NULL;
        ask(&list, cursor, &got);
        put_many(next, next + 10);
        next += 10;
    } while (cursor[0]);
    assert_string_equal(got.data, want.data);
}

static void filters_hold_together(void **unused)
{
    struct bf_row news = row(NOW);
    struct bf_list list = everything();

    (void)unused;
    snprintf(news.labels, sizeof(news.labels), "{\"cam\":\"7\",\"a=b\":\"1\"}");
    snprintf(news.order_key, sizeof(news.order_key), "k");
    put("a", &news);
    news = row(NOW + 1);
    snprintf(news.labels, sizeof(news.labels), "{\"cam\":\"8\"}");
    snprintf(news.batch, sizeof(news.batch), "b");
    news.rank = BF_ROW_STARTED;
    news.seq = 1;
    put("b", &news);
    news = row(NOW + 2);
    snprintf(news.batch, sizeof(news.batch), "b");
    news.rank = BF_ROW_ENDED;
    news.outcome = BF_OUTCOME_DEAD;
    put("c", &news);

    assert_found(&list, "c b a ");
    list.label = "cam";
    assert_found(&list, "b a ");
    list.label = "cam=7";
    assert_found(&list, "a ");
    list.order_key = "k";
    assert_found(&list, "a ");
    list.order_key = "K";
    assert_found(&list, "");
    list = everything();
    list.batch = "b";
    assert_found(&list, "c b ");
    list.statuses = bf_row_status_parse(S("dead"));
    assert_found(&list, "c ");
    list.statuses =
        bf_row_status_parse(S("waiting")) | bf_row_status_parse(S("running"));
    list.batch = NULL;
    assert_found(&list, "b a ");
    list.statuses = bf_row_status_parse(S("ended"));
    assert_found(&list, "c ");
    list = everything();
    list.from_ms = NOW + 1;
    assert_found(&list, "c b ");
    list.to_ms = NOW + 2;
    assert_found(&list, "b ");
    list.workspace = "other";
    assert_found(&list, "");
}

/* A needle in a haystack is found, a page at a time. */
static void a_page_looks_at_so_many_rows_only(void **unused)
{
    bf_autobuf struct bf_buf got = BF_BUF_INIT(1 << 10);
    struct bf_list list = everything();
    struct bf_row news = row(NOW - 1);
    char cursor[BF_CURSOR_SIZE] = "", last[BF_CURSOR_SIZE];

    (void)unused;
    snprintf(news.order_key, sizeof(news.order_key), "k");
    put("needle", &news);
    put_many(0, 25000);
    list.order_key = "k";
    ask(&list, cursor, &got);
    assert_int_equal(got.len, 0);
    assert_true(cursor[0]);
    memcpy(last, cursor, sizeof(last));
    list.cursor = last;
    ask(&list, cursor, &got);
    assert_string_equal(got.data, "needle ");
    assert_string_equal(cursor, "");
}

static void a_cursor_of_somebody_else_is_refused(void **unused)
{
    static const char *const bad[] = {"x", "1", "-1.j",
                                      "99999999999999999999.j"};
    bf_autobuf struct bf_buf out = BF_BUF_INIT(1 << 10);
    struct bf_list list = everything();
    char cursor[BF_CURSOR_SIZE];
    struct bf_problem why;

    (void)unused;
    for (size_t i = 0; i < bf_countof(bad); i++) {
        list.cursor = bad[i];
        assert_int_equal(bf_reader_list(reader, &list, &out, cursor, &why), -1);
        assert_string_equal(why.field, "cursor");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pages_hold_while_jobs_are_added,
                                        open_view, close_view),
        cmocka_unit_test_setup_teardown(filters_hold_together, open_view,
                                        close_view),
        cmocka_unit_test_setup_teardown(a_page_looks_at_so_many_rows_only,
                                        open_view, close_view),
        cmocka_unit_test_setup_teardown(a_cursor_of_somebody_else_is_refused,
                                        open_view, close_view),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
