#include "tests/unit/support.h"

#include <stdio.h>

#include "schemas/record.h"

static void test_what_is_put_is_found(void **state)
{
    bf_autorecord struct bf_record rec;
    char scratch[] = "value";

    (void)state;
    bf_record_init(&rec, "bf.jobs", 3);
    assert_int_equal(bf_record_puts(&rec, "bf_job", scratch, NULL), 0);
    assert_int_equal(bf_record_putu(&rec, "bf_n", UINT64_MAX, NULL), 0);
    assert_int_equal(bf_record_put(&rec, "bf_null", NONE, NULL), 0);
    assert_int_equal(bf_record_put(&rec, "bf_empty", S(""), NULL), 0);
    memset(scratch, 'x', 5);
    assert_slice(bf_record_get(&rec, "bf_job"), "value");
    assert_slice(bf_record_get(&rec, "bf_n"), "18446744073709551615");
    assert_slice(bf_record_get(&rec, "bf_empty"), "");
    assert_null(bf_record_get(&rec, "bf_null").ptr);
    assert_null(bf_record_get(&rec, "bf_jo").ptr);
    assert_int_equal(rec.nheaders, 4);
    assert_int_equal(rec.offset, -1);
}

static void test_owned_bytes_stay_where_they_are(void **state)
{
    bf_autofree char *big = malloc(100000);
    bf_autorecord struct bf_record rec;
    struct bf_slice first, large, last;

    (void)state;
    assert_non_null(big);
    memset(big, 'b', 100000);
    bf_record_init(&rec, "bf.jobs", 0);
    assert_int_equal(bf_record_own(&rec, S("first"), &first, NULL), 0);
    assert_int_equal(
        bf_record_own(&rec, (struct bf_slice){big, 100000}, &large, NULL), 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(bf_record_own(&rec, S("some bytes"), &last, NULL), 0);
    assert_slice(first, "first");
    assert_slice(last, "some bytes");
    assert_int_equal(large.len, 100000);
    assert_memory_equal(large.ptr, big, 100000);
}

static void test_too_many_headers(void **state)
{
    bf_autorecord struct bf_record rec;
    struct bf_err err = {0};

    (void)state;
    bf_record_init(&rec, "bf.jobs", 0);
    for (int i = 0; i < BF_MAX_HEADERS; i++)
        assert_int_equal(bf_record_puts(&rec, "x", "y", &err), 0);
    assert_refused(bf_record_puts(&rec, "x", "y", &err), err,
                   "too_many_headers");
    assert_int_equal(rec.nheaders, BF_MAX_HEADERS);
}

static void test_too_many_bytes(void **state)
{
    bf_autorecord struct bf_record rec;
    struct bf_err err = {0};
    struct bf_slice out;

    (void)state;
    bf_record_init(&rec, "bf.jobs", 0);
    assert_refused(bf_record_own(&rec, (struct bf_slice){"", BF_MAX_RECORD + 1},
                                 &out, &err),
                   err, "too_large");
}

static void test_covered_names(void **state)
{
    static const char *const covered[] = {
        "ce_id",         "ce_",
        "bf_job",        "kafka_correlationId",
        "content-type",  "__connect.errors.topic",
        "bf_signature2",
    };
    static const char *const free_names[] = {
        "traceparent",
        "bf_signature",
        "Content-Type",
        "content-typ",
        "ce",
        "BF_job",
        "",
        "__connect.errors",
        "kafka",
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(covered); i++)
        assert_true(bf_record_covered(bf_slice_str(covered[i])));
    for (size_t i = 0; i < bf_countof(free_names); i++)
        assert_false(bf_record_covered(bf_slice_str(free_names[i])));
    assert_false(bf_record_covered(NONE));
}

/* As many names as a record may have, whatever they have in common. */
static void test_one_name_of_many_stands_twice(void **state)
{
    char names[BF_MAX_HEADERS][16];

    (void)state;
    for (size_t twice = 1; twice < BF_MAX_HEADERS; twice++) {
        bf_autorecord struct bf_record rec;
        struct bf_err err = {0};

        bf_record_init(&rec, "bf.jobs", 0);
        for (size_t i = 0; i < BF_MAX_HEADERS; i++) {
            snprintf(names[i], sizeof(names[i]), "bf_%02zu_x", i);
            bf_record_puts(&rec, names[i], "1", NULL);
        }
        assert_int_equal(bf_record_check(&rec, &err), 0);
        rec.headers[twice].name = S("bf_00_x");
        assert_refused(bf_record_check(&rec, &err), err, "duplicate_header");
    }
}

static void test_all_that_is_borrowed_becomes_owned(void **state)
{
    char key[] = "key", value[] = "value", name[] = "bf_job", bytes[] = "1";
    bf_autorecord struct bf_record rec;

    (void)state;
    bf_record_init(&rec, "bf.jobs", 0);
    rec.key = bf_slice_str(key);
    rec.value = bf_slice_str(value);
    bf_record_ref(&rec, bf_slice_str(name), bf_slice_str(bytes), NULL);
    bf_record_ref(&rec, S("bf_null"), NONE, NULL);
    bf_record_ref(&rec, S("bf_empty"), S(""), NULL);
    assert_int_equal(bf_record_own_all(&rec, NULL), 0);
    memset(key, 'x', 3);
    memset(value, 'x', 5);
    memset(name, 'x', 6);
    memset(bytes, 'x', 1);
    assert_slice(rec.key, "key");
    assert_slice(rec.value, "value");
    assert_slice(bf_record_get(&rec, "bf_job"), "1");
    assert_null(bf_record_get(&rec, "bf_null").ptr);
    assert_slice(bf_record_get(&rec, "bf_empty"), "");
    /* Further bytes do not disturb them. */
    assert_int_equal(bf_record_puts(&rec, "bf_more", "more", NULL), 0);
    assert_slice(bf_record_get(&rec, "bf_job"), "1");
}

static void test_too_much_stays_borrowed(void **state)
{
    bf_autorecord struct bf_record rec;
    struct bf_err err = {0};

    (void)state;
    bf_record_init(&rec, "bf.jobs", 0);
    rec.key = S("key");
    rec.value = (struct bf_slice){"", BF_MAX_RECORD};
    assert_refused(bf_record_own_all(&rec, &err), err, "too_large");
    assert_slice(rec.key, "key");
    rec.value = NONE;
}

static void test_names_that_stand_twice(void **state)
{
    static const struct {
        const char *name;
        bool ok;
    } cases[] = {
        {"traceparent", true},
        {"bf_job", false},
        {"bf_signature", false},
        {"content-type", false},
        {"__connect.errors.stage", false},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(cases); i++) {
        bf_autorecord struct bf_record rec;
        struct bf_err err = {0};

        bf_record_init(&rec, "bf.jobs", 0);
        bf_record_puts(&rec, "ce_id", "1", NULL);
        bf_record_puts(&rec, cases[i].name, "1", NULL);
        bf_record_puts(&rec, cases[i].name, "2", NULL);
        if (cases[i].ok)
            assert_int_equal(bf_record_check(&rec, &err), 0);
        else
            assert_refused(bf_record_check(&rec, &err), err,
                           "duplicate_header");
    }
}

static void test_size_is_an_upper_bound(void **state)
{
    bf_autorecord struct bf_record rec;

    (void)state;
    bf_record_init(&rec, "bf.jobs", 0);
    rec.key = S("acme");
    rec.value = S("{}");
    bf_record_puts(&rec, "name", "value", NULL);
    assert_in_range(bf_record_bytes(&rec), 4 + 2 + 9 + 70, 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_put_is_found),
        cmocka_unit_test(test_owned_bytes_stay_where_they_are),
        cmocka_unit_test(test_too_many_headers),
        cmocka_unit_test(test_too_many_bytes),
        cmocka_unit_test(test_covered_names),
        cmocka_unit_test(test_names_that_stand_twice),
        cmocka_unit_test(test_one_name_of_many_stands_twice),
        cmocka_unit_test(test_all_that_is_borrowed_becomes_owned),
        cmocka_unit_test(test_too_much_stays_borrowed),
        cmocka_unit_test(test_size_is_an_upper_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
