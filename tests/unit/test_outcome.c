#include "tests/unit/support.h"

#include <stdio.h>

#include "schemas/outcome.h"

static void test_every_word_parses_to_itself(void **state)
{
    (void)state;
    for (int i = 0; i < BF_OUTCOMES; i++)
        assert_int_equal(bf_outcome_parse(bf_slice_str(bf_outcome_name(i))), i);
    for (int i = 0; i < BF_REASONS; i++)
        assert_int_equal(bf_reason_parse(bf_slice_str(bf_reason_name(i))), i);
    for (int i = 0; i < BF_DELIVERIES; i++)
        assert_int_equal(bf_delivery_parse(bf_slice_str(bf_delivery_name(i))),
                         i);
    assert_int_equal(bf_execution_parse(S("at_least_once")), BF_AT_LEAST_ONCE);
    assert_int_equal(bf_execution_parse(S("at_most_once")), BF_AT_MOST_ONCE);
    assert_int_equal(bf_id_origin_parse(S("client")), BF_ID_CLIENT);
    assert_int_equal(bf_id_origin_parse(S("key")), BF_ID_KEY);
    assert_int_equal(bf_id_origin_parse(S("server")), BF_ID_SERVER);
    assert_string_equal(bf_id_origin_name(BF_ID_KEY), "key");
    assert_string_equal(bf_execution_name(BF_AT_MOST_ONCE), "at_most_once");
}

static void test_other_words_do_not(void **state)
{
    static const struct bf_slice words[] = {
        {NULL, 0},           {"succeeded ", 10},  {"Succeeded", 9},
        {"succeede", 8},     {"succeeded\0", 10}, {"ran\0", 4},
        {"at_least_on", 11},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(words); i++) {
        assert_int_equal(bf_outcome_parse(words[i]), -1);
        assert_int_equal(bf_reason_parse(words[i]), -1);
        assert_int_equal(bf_delivery_parse(words[i]), -1);
        assert_int_equal(bf_execution_parse(words[i]), -1);
        assert_int_equal(bf_id_origin_parse(words[i]), -1);
    }
}

/* The whole of PROTOCOL.md; the caller frees it. */
static char *protocol(void)
{
    FILE *file = fopen(BF_SOURCE_DIR "/schemas/PROTOCOL.md", "re");
    char *text = calloc(1, 1 << 20);

    assert_non_null(file);
    assert_non_null(text);
    assert_in_range(fread(text, 1, (1 << 20) - 1, file), 1, (1 << 20) - 2);
    fclose(file);
    return text;
}

static void test_the_protocol_has_the_table(void **state)
{
    bf_autobuf struct bf_buf want = BF_BUF_INIT(64 << 10);
    bf_autofree char *text = protocol();
    char *begin = strstr(text, "<!-- outcomes:begin -->\n");
    char *end = strstr(text, "<!-- outcomes:end -->");

    (void)state;
    assert_int_equal(bf_outcome_markdown(&want, NULL), 0);
    assert_non_null(begin);
    assert_non_null(end);
    begin += strlen("<!-- outcomes:begin -->\n");
    *end = '\0';
    assert_string_equal(begin, want.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_word_parses_to_itself),
        cmocka_unit_test(test_other_words_do_not),
        cmocka_unit_test(test_the_protocol_has_the_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
