#include "tests/unit/support.h"

#include "schemas/check.h"
#include "worker/wire/execute.h"

#define BEGUN "{\"type\": \"number_of_executions\", \"execution_count\": 16}\n"
#define OUT                                                                    \
    "{\"type\": \"stdout\", \"text\": \"hi\\n\", \"timestamp\": "              \
    "\"2026-11-21T07:44:33.382610+00:00\"}\n"
#define ERR "{\"type\": \"stderr\", \"text\": \"e\\u0000\\n\"}\n"
#define RESULT                                                                 \
    "{\"type\": \"result\", \"text\": \"{'a': 1}\", \"json\": {\"a\": 1.5}}\n"
#define DEEP                                                                   \
    "{\"type\": \"result\", \"json\": "                                        \
    "[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}\n"
#define RAISED                                                                 \
    "{\"type\": \"error\", \"name\": \"ZeroDivisionError\", \"value\": "       \
    "\"division by zero\", \"traceback\": \"----\"}\n"
#define ALIVE "{\"type\": \"keepalive\"}\n"
#define ENDED "{\"type\": \"end_of_execution\"}\n"

static const struct {
    const char *what;
    struct bf_slice body;
    bool started, failed, whole, broken;
    const char *out, *err_bytes, *name, *value;
} streams[] = {
    {"all that there is", LIT(BEGUN OUT ALIVE OUT RESULT ENDED), true, false,
     true, false, "hi\nhi\n", "", "", ""},
    {"an error", LIT(BEGUN RAISED ENDED), true, true, true, false, "", "",
     "ZeroDivisionError", "division by zero"},
    {"the first error counts",
     LIT("{\"type\":\"error\",\"name\":\"ContextRestarting\"}\n" RAISED ENDED),
     false, true, true, false, "", "", "ContextRestarting", ""},
    {"a value nested too deep is skipped", LIT(BEGUN DEEP OUT ENDED), true,
     false, true, false, "hi\n", "", "", ""},
    {"no last line", LIT(BEGUN OUT), true, false, false, false, "hi\n", "", "",
     ""},
    {"half a line is none", LIT(BEGUN "{\"type\": \"end_of_execution\"}"), true,
     false, false, false, "", "", "", ""},
    {"nothing", LIT(""), false, false, false, false, "", "", "", ""},
    {"another kind of line", LIT("{\"type\":\"new\"}\n" ENDED), false, false,
     true, false, "", "", "", ""},
    {"no type", LIT("{}\n" ENDED), false, false, false, true, "", "", "", ""},
    {"no object", LIT(BEGUN "oops\n" ENDED), true, false, false, true, "", "",
     "", ""},
    {"text of another type", LIT("{\"type\":\"stdout\",\"text\":1}\n" ENDED),
     false, false, true, false, "", "", "", ""},
    {"nothing after the end is read", LIT(ENDED OUT), false, false, true, false,
     "", "", "", ""},
};

static void streams_end_in_many_ways(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < bf_countof(streams); i++) {
        struct bf_execute execute = {.out = BF_BUF_INIT(64),
                                     .err = BF_BUF_INIT(64)};
        struct bf_err err = {0};

        print_message("%s\n", streams[i].what);
        assert_int_equal(bf_execute_read(streams[i].body, &execute, &err), 0);
        assert_int_equal(execute.started, streams[i].started);
        assert_int_equal(execute.failed, streams[i].failed);
        assert_int_equal(execute.whole, streams[i].whole);
        assert_int_equal(execute.broken, streams[i].broken);
        assert_slice(bf_buf_slice(&execute.out), streams[i].out);
        assert_slice(bf_buf_slice(&execute.err), streams[i].err_bytes);
        assert_string_equal(execute.error_name, streams[i].name);
        assert_string_equal(execute.error_value, streams[i].value);
        bf_execute_release(&execute);
    }
}

static void output_has_a_ceiling(void **unused)
{
    static const char body[] = BEGUN OUT ERR OUT OUT ENDED;
    struct bf_execute execute = {.out = BF_BUF_INIT(7), .err = BF_BUF_INIT(64)};
    struct bf_err err = {0};

    (void)unused;
    assert_int_equal(bf_execute_read(S(body), &execute, &err), 0);
    assert_true(execute.out_cut && execute.whole);
    assert_slice(bf_buf_slice(&execute.out), "hi\nhi\n");
    assert_int_equal(execute.err.len, 3);
    assert_memory_equal(execute.err.data, "e\0\n", 3);
    bf_execute_release(&execute);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_end_in_many_ways),
        cmocka_unit_test(output_has_a_ceiling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
