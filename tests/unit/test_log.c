#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>
#include <pthread.h>

#include "config/clock.h"
#include "config/log.h"
#include "schemas/err.h"

/* A pipe that takes the log; read with take_text(). */
static int pipe_fds[2];

static void start(enum bf_log_level level, enum bf_log_format format,
                  int64_t per_second)
{
    struct bf_log_conf conf = {level, format, pipe_fds[1], per_second};

    bf_clock_fake(1778311773186, 1000000);
    bf_log_init(&conf);
}

/* All that was logged so far; the caller's buffer of 64 KiB. */
static size_t take_text(char *text)
{
    ssize_t n;

    /* Never blocks: there is always at least this byte. */
    assert_int_equal(write(pipe_fds[1], "$", 1), 1);
    n = read(pipe_fds[0], text, 65535);
    assert_true(n > 0);
    text[n - 1] = '\0';
    return (size_t)n - 1;
}

static json_t *take_json(void)
{
    static char text[65536];
    json_error_t error;
    json_t *doc;
    size_t len = take_text(text);

    assert_true(len > 0 && text[len - 1] == '\n');
    assert_ptr_equal(strchr(text, '\n'), text + len - 1);
    doc = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!doc)
        fail_msg("not JSON (%s): %s", error.text, text);
    return doc;
}

static const char *get(const json_t *doc, const char *key)
{
    return json_string_value(json_object_get(doc, key));
}

static void test_json_line(void **state)
{
    json_t *doc;

    (void)state;
    start(BF_LOG_INFO, BF_LOG_JSON, 0);
    bf_log_warn("commit_slow", bf_kv_int("took_ms", -7),
                bf_kv_str("topic", "bf.jobs"), bf_kv_bool("idle", true),
                bf_kv_str("none", NULL),
                bf_kv_slice("part", (struct bf_slice){"abc", 2}));
    doc = take_json();
    assert_string_equal(get(doc, "time"), "2026-05-09T07:29:33.186Z");
    assert_string_equal(get(doc, "level"), "warn");
    assert_string_equal(get(doc, "event"), "commit_slow");
    assert_true(json_integer_value(json_object_get(doc, "took_ms")) == -7);
    assert_true(json_is_true(json_object_get(doc, "idle")));
    assert_true(json_is_null(json_object_get(doc, "none")));
    assert_string_equal(get(doc, "part"), "ab");
    assert_null(json_object_get(doc, "truncated"));
    json_decref(doc);
}

static void test_human_line(void **state)
{
    char text[65536];

    (void)state;
    start(BF_LOG_INFO, BF_LOG_HUMAN, 0);
    bf_log_info("started", bf_kv_str("a", "plain"), bf_kv_str("b", "two words"),
                bf_kv_str("c", "q\"\\\n\033[31m\x9b \xc2\x9b"),
                bf_kv_str("d", ""), bf_kv_int("n", 5));
    take_text(text);
    assert_string_equal(
        text, "2026-05-09T07:29:33.186Z info started a=plain b=\"two words\" "
              "c=\"q\\\"\\\\\\n\\x1b[31m\\x9b \\x9b\" d=\"\" n=5\n");
}

static void test_error_fields(void **state)
{
    struct bf_err err;
    json_t *doc;

    (void)state;
    start(BF_LOG_INFO, BF_LOG_JSON, 0);
    bf_err_set(&err, BF_ERR_RETRY, "oom", "out of \"memory\"");
    bf_log_err(BF_LOG_ERROR, "failed", &err, bf_kv_int("shard", 3));
    doc = take_json();
    assert_string_equal(get(doc, "kind"), "retry");
    assert_string_equal(get(doc, "code"), "oom");
    assert_string_equal(get(doc, "message"), "out of \"memory\"");
    assert_true(json_integer_value(json_object_get(doc, "shard")) == 3);
    json_decref(doc);
    bf_log_err(BF_LOG_ERROR, "alone", &err);
    json_decref(take_json());
}

static int evaluated(int *count)
{
    return ++*count;
}

static void test_level_off_costs_nothing(void **state)
{
    char text[65536];
    int count = 0;

    (void)state;
    start(BF_LOG_WARN, BF_LOG_JSON, 0);
    bf_log_info("quiet", bf_kv_int("n", evaluated(&count)));
    assert_int_equal(count, 0);
    assert_int_equal(take_text(text), 0);
    bf_log_warn("loud", bf_kv_int("n", evaluated(&count)));
    assert_int_equal(count, 1);
    assert_true(take_text(text) > 0);
}

/* Any bytes in any string still give one line of JSON. */
static void test_hostile_bytes(void **state)
{
    unsigned char bytes[300];
    uint32_t seed = 1;
    json_t *doc;

    (void)state;
    start(BF_LOG_INFO, BF_LOG_JSON, 0);
    for (int round = 0; round < 500; round++) {
        for (size_t i = 0; i < sizeof(bytes); i++) {
            seed = seed * 1664525 + 1013904223;
            bytes[i] =
                round == 0 ? (unsigned char)i : (unsigned char)(seed >> 24);
        }
        bf_log_info("x\n\"y",
                    bf_kv_slice("k\xff\"", (struct bf_slice){(char *)bytes,
                                                             sizeof(bytes)}));
        doc = take_json();
        assert_string_equal(get(doc, "event"), "x\n\"y");
        json_decref(doc);
    }
}

static void test_utf8_passes(void **state)
{
    const char *text = "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8e\xac";
    json_t *doc;

    (void)state;
    start(BF_LOG_INFO, BF_LOG_JSON, 0);
    bf_log_info("x", bf_kv_str("s", text));
    doc = take_json();
    assert_string_equal(get(doc, "s"), text);
    json_decref(doc);
}

/* Every length around the ceiling: still one line, at most PIPE_BUF bytes. */
static void test_too_long_is_cut(void **state)
{
    char big[1100], text[65536];
    size_t len, longest = 0;
    json_t *doc;

    (void)state;
    memset(big, '"', sizeof(big));
    for (int format = BF_LOG_HUMAN; format <= BF_LOG_JSON; format++) {
        for (size_t n = 0; n < sizeof(big); n++) {
            start(BF_LOG_INFO, (enum bf_log_format)format, 0);
            bf_log_info("x", bf_kv_slice("a", (struct bf_slice){big, 1000}),
                        bf_kv_slice("b", (struct bf_slice){big, n}),
                        bf_kv_int("c", 1),
                        bf_kv_slice("d", (struct bf_slice){big, n}),
                        bf_kv_bool("e", true));
            len = take_text(text);
            assert_in_range(len, 10, 4096);
            assert_int_equal(text[len - 1], '\n');
            longest = len > longest ? len : longest;
            if (format != BF_LOG_JSON)
                continue;
            doc = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
            assert_non_null(doc);
            assert_true(json_is_true(json_object_get(doc, "truncated")) ==
                        (!json_object_get(doc, "e") || n > 1024));
            json_decref(doc);
        }
    }
    assert_in_range(longest, 4000, 4096);
}

static void test_rate_limit(void **state)
{
    char text[65536];
    json_t *doc;

    (void)state;
    start(BF_LOG_INFO, BF_LOG_JSON, 3);
    for (int i = 0; i < 10; i++)
        bf_log_info("flood", bf_kv_int("i", i));
    bf_log_info("other");
    take_text(text);
    assert_non_null(strstr(text, "\"i\":2"));
    assert_null(strstr(text, "\"i\":3"));
    assert_non_null(strstr(text, "other"));
    bf_clock_fake_advance(999);
    bf_log_info("flood");
    assert_int_equal(take_text(text), 0);
    bf_clock_fake_advance(1);
    bf_log_info("flood");
    doc = take_json();
    assert_true(json_integer_value(json_object_get(doc, "suppressed")) == 8);
    json_decref(doc);
    bf_log_info("flood");
    doc = take_json();
    assert_null(json_object_get(doc, "suppressed"));
    json_decref(doc);
}

/* More events than the table remembers: limits get looser, lines stay right. */
static void test_many_events(void **state)
{
    char name[32], text[65536];

    (void)state;
    start(BF_LOG_INFO, BF_LOG_JSON, 1);
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof(name), "event_%d", i);
        bf_log_info(name);
        take_text(text);
        assert_non_null(strstr(text, name));
    }
}

static void *chatter(void *arg)
{
    char fill[200];

    memset(fill, *(const char *)arg, sizeof(fill));
    for (int i = 0; i < 100; i++)
        bf_log_info("chat",
                    bf_kv_slice("s", (struct bf_slice){fill, sizeof(fill)}));
    return NULL;
}

static void test_threads_do_not_interleave(void **state)
{
    char names[] = "abcd", text[65536];
    const char *fill;
    pthread_t threads[4];
    size_t lines = 0;
    json_t *doc;
    FILE *file = tmpfile();
    struct bf_log_conf conf = {BF_LOG_INFO, BF_LOG_JSON, fileno(file), 0};

    (void)state;
    bf_log_init(&conf);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, chatter, &names[i]),
                         0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    rewind(file);
    for (; fgets(text, sizeof(text), file); lines++) {
        doc = json_loads(text, 0, NULL);
        assert_non_null(doc);
        fill = get(doc, "s");
        assert_int_equal(strspn(fill, (char[]){fill[0], '\0'}), 200);
        json_decref(doc);
    }
    assert_int_equal(lines, 400);
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_line),
        cmocka_unit_test(test_human_line),
        cmocka_unit_test(test_error_fields),
        cmocka_unit_test(test_level_off_costs_nothing),
        cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_utf8_passes),
        cmocka_unit_test(test_too_long_is_cut),
        cmocka_unit_test(test_rate_limit),
        cmocka_unit_test(test_many_events),
        cmocka_unit_test(test_threads_do_not_interleave),
    };

    if (pipe(pipe_fds))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
