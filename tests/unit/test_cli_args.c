#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "dispatcher/cli/args.h"
#include "schemas/check.h"
#include "schemas/err.h"

static const struct bf_flag own[] = {
    {"output", 'o', false, "FILE", ""},
    {"set", 's', true, "NAME=VALUE", ""},
    {"wait", 'w', false, NULL, ""},
};
static const struct bf_flag common[] = {{"json", 'j', false, NULL, ""}};

static int arity(const char *name, size_t len)
{
    return len == 3 && memcmp(name, "a.b", 3) == 0 ? 1 : -1;
}

static const struct bf_args_rules rules = {{own, 3}, {common, 1}, arity};

/* Parse a line of words split at single spaces; returns what parse returned. */
static int parse(struct bf_args *args, char *line, size_t max_words,
                 struct bf_err *err)
{
    char *argv[32];
    int argc = 0;

    for (char *next; line; line = next) {
        next = strchr(line, ' ');
        if (next)
            *next++ = '\0';
        argv[argc++] = line;
    }
    assert_int_equal(bf_args_init(args, argc, err), 0);
    return bf_args_parse(args, &rules, argc, argv, max_words, err);
}

static void test_every_spelling(void **state)
{
    char line[] =
        "one -o x --set=a=1 --set b=2 -sc=3 -wj --a.b v --a.b=u -- -z";
    bf_autoargs struct bf_args args;
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(parse(&args, line, 9, &err), 13);
    assert_string_equal(bf_args_get(&args, "output"), "x");
    assert_string_equal(bf_args_nth(&args, "set", 0), "a=1");
    assert_string_equal(bf_args_nth(&args, "set", 1), "b=2");
    assert_string_equal(bf_args_nth(&args, "set", 2), "c=3");
    assert_null(bf_args_nth(&args, "set", 3));
    assert_true(bf_args_has(&args, "wait"));
    assert_true(bf_args_has(&args, "json"));
    assert_int_equal(args.nforeign, 3);
    assert_string_equal(args.foreign[1], "v");
    assert_string_equal(args.foreign[2], "--a.b=u");
    assert_int_equal(args.nwords, 2);
    assert_string_equal(args.words[1], "-z");
}

static void test_value_may_begin_with_a_dash(void **state)
{
    char line[] = "--output -";
    bf_autoargs struct bf_args args;
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(parse(&args, line, 0, &err), 2);
    assert_string_equal(bf_args_get(&args, "output"), "-");
}

static void test_stops_before_a_word_too_many(void **state)
{
    char line[] = "-w a b -j";
    bf_autoargs struct bf_args args;
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(parse(&args, line, 1, &err), 2);
    assert_false(bf_args_has(&args, "json"));
}

static void test_refusals(void **state)
{
    static const struct {
        const char *line, *words;
    } rows[] = {
        {"--nothing", "no option --nothing"},
        {"-x", "no option -x"},
        {"--output", "--output needs FILE"},
        {"-o", "--output needs FILE"},
        {"--wait=1", "--wait takes no value"},
        {"-o a -o b", "--output is given twice"},
        {"--a.b", "--a.b needs a value"},
        {"--a.c 1", "no option --a.c"},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        bf_autoargs struct bf_args args;
        struct bf_err err = {0};
        char line[64];

        assert_true(strlen(rows[i].line) < sizeof(line));
        memcpy(line, rows[i].line, strlen(rows[i].line) + 1);
        assert_int_equal(parse(&args, line, 9, &err), -1);
        assert_string_equal(err.code, "usage");
        assert_non_null(strstr(err.msg, rows[i].words));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_spelling),
        cmocka_unit_test(test_value_may_begin_with_a_dash),
        cmocka_unit_test(test_stops_before_a_word_too_many),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
