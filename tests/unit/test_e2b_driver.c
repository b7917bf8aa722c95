#include "tests/unit/support.h"

#include "schemas/check.h"
#include "worker/backend/e2b_driver.h"

/* {"op":"done"}, and what a run's body is made of */
#define HEAD "BF1 w0 head eyJvcCI6ImRvbmUifQ==\n"
#define BODY "BF1 w0 body e30=\n"

static const struct {
    const char *what;
    struct bf_slice out;
    bool ready, needs, begun, broken, ended;
} rows[] = {
    {"all of it", LIT("BF1 w0 begun\n" HEAD BODY "BF1 w0 end 2\n"), false,
     false, true, false, true},
    {"in two pieces",
     LIT("BF1 w0 begun\n" HEAD "BF1 w0 body ew==\nBF1 w0 body fQ==\n"
         "BF1 w0 end 2\n"),
     false, false, true, false, true},
    {"no result", LIT(HEAD "BF1 w0 end 0\n"), false, false, false, false, true},
    {"ready", LIT("noise\nBF1 w0 ready\n"), true, false, false, false, false},
    {"needs", LIT("BF1 w0 needs\n"), false, true, false, false, false},
    {"another run's words", LIT("BF1 w1 ready\nBF1 w1 needs\n"), false, false,
     false, false, false},
    {"half a line", LIT("BF1 w0 begun\nBF1 w0 nee"), false, false, true, false,
     false},
    {"bytes missing", LIT(HEAD BODY "BF1 w0 end 3\n"), false, false, false,
     true, false},
    {"an end without a head", LIT("BF1 w0 end 0\n"), false, false, false, true,
     false},
    {"two heads", LIT(HEAD HEAD), false, false, false, true, false},
    {"a head that is no base64", LIT("BF1 w0 head !\n"), false, false, false,
     true, false},
    {"a head that is no JSON", LIT("BF1 w0 head e30x\n"), false, false, false,
     true, false},
    {"a word that is not ours", LIT("BF1 w0 sorry\n"), false, false, false,
     true, false},
};

static void lines_are_read(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        struct bf_e2b_said said;
        struct bf_err err = {0};

        print_message("%s\n", rows[i].what);
        assert_int_equal(bf_e2b_said_read(rows[i].out, "w0", &said, &err), 0);
        assert_int_equal(said.ready, rows[i].ready);
        assert_int_equal(said.needs, rows[i].needs);
        assert_int_equal(said.begun, rows[i].begun);
        assert_int_equal(said.broken, rows[i].broken);
        assert_int_equal(said.ended, rows[i].ended);
        if (said.ended && said.body.len > 0)
            assert_slice(bf_buf_slice(&said.body), "{}");
        bf_e2b_said_release(&said);
    }
}

/* Wherever it is cut, it has not ended. */
static void what_is_cut_has_not_ended(void **unused)
{
    static const char out[] = "BF1 w0 begun\n" HEAD BODY "BF1 w0 end 2\n";

    (void)unused;
    for (size_t len = 0; len < sizeof(out) - 1; len++) {
        struct bf_e2b_said said;
        struct bf_err err = {0};

        assert_int_equal(
            bf_e2b_said_read((struct bf_slice){out, len}, "w0", &said, &err),
            0);
        assert_false(said.ended);
        assert_false(said.broken);
        bf_e2b_said_release(&said);
    }
}

static void the_package_has_a_name(void **unused)
{
    char path[BF_E2B_PATH];
    struct bf_slice zip = bf_e2b_package();

    (void)unused;
    bf_e2b_package_path(path);
    assert_memory_equal(path, "/tmp/.bf-", 9);
    assert_true(zip.len > 20000 && zip.len < 500000);
    assert_memory_equal(zip.ptr, "PK\3\4", 4);
}

static void code_for_the_kernel(void **unused)
{
    bf_autobuf struct bf_buf code = BF_BUF_INIT(1 << 20);
    struct bf_err err = {0};

    (void)unused;
    assert_int_equal(bf_e2b_run_code("w0", S("e30="), &code, &err), 0);
    assert_slice(bf_buf_slice(&code),
                 "if '_bf' in globals(): _bf.run('w0','e30=')\n"
                 "else: print('BF1 w0 needs',flush=True)\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_read),
        cmocka_unit_test(what_is_cut_has_not_ended),
        cmocka_unit_test(the_package_has_a_name),
        cmocka_unit_test(code_for_the_kernel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
