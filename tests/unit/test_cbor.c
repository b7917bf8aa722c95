/* Against the bytes of Python's cbor2. */

#include "tests/unit/golden.h"

#include "worker/wire/cbor.h"

static double real_of(const char *hex)
{
    uint64_t bits = strtoull(hex, NULL, 16);
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void write_step(struct bf_cbor_out *out, const json_t *step,
                       struct bf_record *arena)
{
    const char *what = json_string_value(json_array_get(step, 0));
    const json_t *with = json_array_get(step, 1);

    if (strcmp(what, "null") == 0)
        bf_cbor_null(out);
    else if (strcmp(what, "bool") == 0)
        bf_cbor_bool(out, json_is_true(with));
    else if (strcmp(what, "int") == 0)
        bf_cbor_int(out, strtoll(json_string_value(with), NULL, 10));
    else if (strcmp(what, "double") == 0)
        bf_cbor_double(out, real_of(json_string_value(with)));
    else if (strcmp(what, "text") == 0)
        bf_cbor_text(out, golden_unhex(with, arena));
    else if (strcmp(what, "bytes") == 0)
        bf_cbor_bytes(out, golden_unhex(with, arena));
    else if (strcmp(what, "array") == 0)
        bf_cbor_array(out, (size_t)json_integer_value(with));
    else
        bf_cbor_map(out, (size_t)json_integer_value(with));
}

static json_t *op_write(const json_t *in, struct bf_record *arena,
                        struct bf_err *err)
{
    const json_t *steps = golden_get(in, "steps");
    bf_autobuf struct bf_buf buf = BF_BUF_INIT(1 << 20);
    struct bf_cbor_out out;

    bf_cbor_start(&out, &buf, err);
    for (size_t i = 0; i < json_array_size(steps); i++)
        write_step(&out, json_array_get(steps, i), arena);
    if (bf_cbor_done(&out))
        return NULL;
    return json_pack("{s:o}", "bytes_hex", golden_to_hex(buf.data, buf.len));
}

static json_t *step_of_double(double value)
{
    uint64_t bits;
    char hex[17];

    memcpy(&bits, &value, sizeof(bits));
    snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)bits);
    return json_pack("[s,s]", "double", hex);
}

static json_t *step_of(const struct bf_cbor_item *item)
{
    char text[24];

    switch (item->kind) {
    case BF_CBOR_NULL:
        return json_pack("[s]", "null");
    case BF_CBOR_BOOL:
        return json_pack("[s,b]", "bool", item->truth);
    case BF_CBOR_INT:
        snprintf(text, sizeof(text), "%lld", (long long)item->number);
        return json_pack("[s,s]", "int", text);
    case BF_CBOR_DOUBLE:
        return step_of_double(item->real);
    case BF_CBOR_TEXT:
    case BF_CBOR_BYTES:
        return json_pack("[s,o]", item->kind == BF_CBOR_TEXT ? "text" : "bytes",
                         golden_to_hex(item->bytes.ptr, item->bytes.len));
    case BF_CBOR_ARRAY:
    case BF_CBOR_MAP:
        break;
    }
    return json_pack("[s,I]", item->kind == BF_CBOR_ARRAY ? "array" : "map",
                     (json_int_t)item->count);
}

static json_t *op_read(const json_t *in, struct bf_record *arena,
                       struct bf_err *err)
{
    struct bf_slice document = golden_hex(in, "bytes_hex", arena);
    bf_autojson json_t *steps = json_array();
    struct bf_cbor_item item;

    if (bf_cbor_check(document, err))
        return NULL;
    while (bf_cbor_next(&document, &item, err) > 0)
        json_array_append_new(steps, step_of(&item));
    assert_int_equal(document.len, 0);
    return json_pack("{s:O}", "steps", steps);
}

static const struct golden_op ops[] = {
    {"write", op_write},
    {"read", op_read},
    {NULL, NULL},
};

static void test_golden(void **state)
{
    (void)state;
    assert_true(golden_vendor("cbor", ops) > 100);
}

/* {"a": [1, [2]], "b": true}: from value to value, past what is inside. */
static void test_skip(void **state)
{
    struct bf_slice in = S("\xa2\x61\x61\x82\x01\x81\x02\x61\x62\xf5");
    struct bf_err err = {0};
    struct bf_cbor_item item;

    (void)state;
    assert_int_equal(bf_cbor_next(&in, &item, &err), 1);
    assert_int_equal(item.kind, BF_CBOR_MAP);
    assert_int_equal(item.count, 2);
    assert_int_equal(bf_cbor_next(&in, &item, &err), 1);
    assert_slice(item.bytes, "a");
    assert_int_equal(bf_cbor_next(&in, &item, &err), 1);
    assert_int_equal(bf_cbor_skip(&in, &item, &err), 0);
    assert_int_equal(bf_cbor_next(&in, &item, &err), 1);
    assert_slice(item.bytes, "b");
    assert_int_equal(bf_cbor_next(&in, &item, &err), 1);
    assert_true(item.truth);
    assert_int_equal(bf_cbor_next(&in, &item, &err), 0);
}

static void test_depth(void **state)
{
    char nested[BF_CBOR_DEPTH + 2];
    struct bf_err err = {0};

    (void)state;
    memset(nested, '\x81', sizeof(nested));
    nested[BF_CBOR_DEPTH] = 0;
    assert_int_equal(
        bf_cbor_check((struct bf_slice){nested, BF_CBOR_DEPTH + 1}, &err), 0);
    nested[BF_CBOR_DEPTH] = '\x81';
    nested[BF_CBOR_DEPTH + 1] = 0;
    assert_refused(
        bf_cbor_check((struct bf_slice){nested, BF_CBOR_DEPTH + 2}, &err), err,
        "cbor");
}

static void test_ceiling(void **state)
{
    bf_autobuf struct bf_buf buf = BF_BUF_INIT(4);
    struct bf_err err = {0};
    struct bf_cbor_out out;

    (void)state;
    bf_cbor_start(&out, &buf, &err);
    bf_cbor_text(&out, S("abcd"));
    bf_cbor_null(&out);
    assert_refused(bf_cbor_done(&out), err, "too_large");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_skip),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_ceiling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
