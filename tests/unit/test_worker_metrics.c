#include "tests/unit/generated.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/metrics.h"

#define PATH BF_SOURCE_DIR "/worker/METRICS.md"

static char dir[] = "/tmp/bf-metrics-XXXXXX";

static const struct bf_worker_figures figures = {
    .txn_id = "blockfleet-a\"b-0",
    .backend = "noop",
    .runs = {.tasks = 7, .ended = {[BF_OUTCOME_FAILED] = 3}},
    .shards_open = 4,
    .shards_stopped = 1,
    .memory_limit_bytes = 1 << 20,
    .trusted_keys = 5,
};

static void has(const struct bf_buf *text, const char *line)
{
    if (!strstr(text->data, line))
        fail_msg("no %s in:\n%s", line, text->data);
}

static void the_document_is_generated(void **state)
{
    bf_autobuf struct bf_buf want = BF_BUF_INIT(1U << 20);

    (void)state;
    assert_int_equal(bf_worker_metrics_markdown(&want, NULL), 0);
    check_generated(PATH, want.data);
}

static void figures_are_told_by_worker(void **state)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1U << 20);

    (void)state;
    assert_int_equal(bf_worker_metrics_text(&figures, &text, NULL), 0);
    has(&text, "# TYPE blockfleet_worker_jobs gauge\n"
               "blockfleet_worker_jobs{worker=\"blockfleet-a\\\"b-0\"} 7\n");
    has(&text, "-0\",state=\"open\"} 4\n");
    has(&text, "-0\",state=\"stopped\"} 1\n");
    has(&text, "jobs_ended_total{worker=\"blockfleet-a\\\"b-0\",outcome="
               "\"failed\"} 3\n");
    has(&text, "-0\",outcome=\"succeeded\"} 0\n");
    has(&text, "memory_limit_bytes{worker=\"blockfleet-a\\\"b-0\"} 1048576\n");
    assert_null(strstr(text.data, "_resident_bytes{worker=\"blockfleet-a\\\"b-"
                                  "0\"} 0\n"));
}

static void a_file_comes_whole_and_goes(void **state)
{
    char path[128];
    struct bf_err err = {0};
    struct stat st;
    FILE *file;

    (void)state;
    snprintf(path, sizeof(path), "%s/%s.prom", dir, figures.txn_id);
    file = fopen(path, "we");
    assert_non_null(file);
    fputs("to be replaced", file);
    fclose(file);
    if (bf_worker_metrics_write(&figures, dir, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > 1000);
    assert_int_equal(st.st_mode & 0777, 0644);
    bf_worker_metrics_remove(figures.txn_id, dir);
    assert_int_equal(rmdir(dir), 0); /* nothing else is left */
    bf_worker_metrics_remove(figures.txn_id, dir);
    assert_refused(bf_worker_metrics_write(&figures, dir, &err), err,
                   "metrics_dir");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_document_is_generated),
        cmocka_unit_test(figures_are_told_by_worker),
        cmocka_unit_test(a_file_comes_whole_and_goes),
    };

    return mkdtemp(dir) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
