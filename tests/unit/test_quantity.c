#include "support.h"

#include "dispatcher/quantity.h"

static const struct {
    const char *text;
    int rc;
    int64_t micros;
} quantities[] = {
    {"0", 0, 0},
    {"1", 0, 1000000},
    {"1.5", 0, 1500000},
    {"0.000001", 0, 1},
    {"", -1, 0},
    {NULL, -1, 0},
    {".5", -1, 0},
    {"1.", -1, 0},
    {"1.0000001", -1, 0},
    {"-1", -1, 0},
    {"1e3", -1, 0},
    {"01", -1, 0},
    {"99999999999", -1, 0},
    {"1.2.3", -1, 0},
};

static void quantities_are_decimal(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < bf_countof(quantities); i++) {
        int64_t micros = 0;

        assert_int_equal(bf_quantity_micros(quantities[i].text, &micros),
                         quantities[i].rc);
        assert_int_equal(micros, quantities[i].micros);
    }
}

static void what_is_read_is_written_the_same(void **unused)
{
    static const struct {
        enum bf_quantity which;
        const char *text, *again;
        bool is_signed;
        int rc;
        int64_t value;
    } rows[] = {
        {BF_QUANTITY_RUNS, "1", "1", false, 0, 1},
        {BF_QUANTITY_RUNS, "-1", "-1", true, 0, -1},
        {BF_QUANTITY_RUNS, "-1", NULL, false, -1, 0},
        {BF_QUANTITY_RUNS, "1.0", NULL, true, -1, 0},
        {BF_QUANTITY_RUNS, "--1", NULL, true, -1, 0},
        {BF_QUANTITY_RUNS, NULL, NULL, true, -1, 0},
        {BF_QUANTITY_DURATION, "-0.25", "-0.250000", true, 0, -250000},
        {BF_QUANTITY_DURATION, "-0.0", "0.000000", true, 0, 0},
        {BF_QUANTITY_MEMORY, "12", "12.000000", true, 0, 12000000},
    };

    (void)unused;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        char text[BF_QUANTITY_SIZE];
        int64_t value = 0;

        assert_int_equal(bf_quantity_parse(rows[i].which, rows[i].text,
                                           rows[i].is_signed, &value),
                         rows[i].rc);
        assert_int_equal(value, rows[i].value);
        if (!rows[i].again)
            continue;
        bf_quantity_text(rows[i].which, value, text);
        assert_string_equal(text, rows[i].again);
    }
}

static void each_has_its_name(void **unused)
{
    (void)unused;
    for (int i = 0; i < BF_QUANTITIES; i++)
        assert_int_equal(bf_quantity_find(bf_slice_str(
                             bf_quantity_name((enum bf_quantity)i))),
                         i);
    assert_int_equal(bf_quantity_find(S("billable")), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantities_are_decimal),
        cmocka_unit_test(what_is_read_is_written_the_same),
        cmocka_unit_test(each_has_its_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
