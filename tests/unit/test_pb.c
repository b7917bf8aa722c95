/* Against the bytes of Google's protobuf, and what it makes of bad ones. */

#include "tests/unit/golden.h"

#include "worker/wire/pb.h"

static uint64_t u64_of(const char *text, int base)
{
    char *end;
    uint64_t value = strtoull(text, &end, base);

    assert_true(*text && !*end);
    return value;
}

static void write_step(struct bf_pb_out *out, const json_t *step,
                       struct bf_record *arena, size_t *open, size_t *depth)
{
    const char *what = json_string_value(json_array_get(step, 0));
    uint32_t field = (uint32_t)json_integer_value(json_array_get(step, 1));
    const char *text = json_string_value(json_array_get(step, 2));

    if (strcmp(what, "u64") == 0)
        bf_pb_u64(out, field, u64_of(text, 10));
    else if (strcmp(what, "float") == 0)
        bf_pb_float(out, field, bf_pb_to_float(u64_of(text, 16)));
    else if (strcmp(what, "double") == 0)
        bf_pb_double(out, field, bf_pb_to_double(u64_of(text, 16)));
    else if (strcmp(what, "bytes") == 0)
        bf_pb_bytes(out, field, golden_unhex(json_array_get(step, 2), arena));
    else if (strcmp(what, "open") == 0)
        open[(*depth)++] = bf_pb_open(out, field);
    else
        bf_pb_close(out, open[--*depth]);
    assert_true(*depth < 8);
}

static json_t *op_write(const json_t *in, struct bf_record *arena,
                        struct bf_err *err)
{
    const json_t *steps = golden_get(in, "steps");
    bf_autobuf struct bf_buf buf = BF_BUF_INIT(1 << 20);
    size_t open[8], depth = 0;
    struct bf_pb_out out;

    bf_pb_start(&out, &buf, err);
    for (size_t i = 0; i < json_array_size(steps); i++)
        write_step(&out, json_array_get(steps, i), arena, open, &depth);
    if (bf_pb_done(&out))
        return NULL;
    return json_pack("{s:o}", "bytes_hex", golden_to_hex(buf.data, buf.len));
}

static json_t *field_text(const struct bf_pb_field *field)
{
    char text[BF_U64_SIZE];

    return field->wire == BF_PB_BYTES
               ? golden_to_hex(field->bytes.ptr, field->bytes.len)
               : golden_from_text(bf_u64_text(field->value, text));
}

static json_t *op_read(const json_t *in, struct bf_record *arena,
                       struct bf_err *err)
{
    struct bf_slice message = golden_hex(in, "bytes_hex", arena);
    bf_autojson json_t *fields = json_array();
    struct bf_pb_field field;
    int got = bf_pb_next(&message, &field, err);

    for (; got > 0; got = bf_pb_next(&message, &field, err))
        json_array_append_new(fields,
                              json_pack("[i,i,o]", (int)field.number,
                                        (int)field.wire, field_text(&field)));
    return got < 0 ? NULL : json_pack("{s:O}", "fields", fields);
}

static const struct golden_op ops[] = {
    {"write", op_write},
    {"read", op_read},
    {NULL, NULL},
};

static void test_golden(void **state)
{
    (void)state;
    assert_true(golden_vendor("pb", ops) > 100);
}

/* One failure is enough to know of: nothing is written after it. */
static void test_ceiling(void **state)
{
    bf_autobuf struct bf_buf buf = BF_BUF_INIT(6);
    struct bf_err err = {0};
    struct bf_pb_out out;
    size_t opened;

    (void)state;
    bf_pb_start(&out, &buf, &err);
    opened = bf_pb_open(&out, 1);
    bf_pb_bytes(&out, 2, S("abcde"));
    bf_pb_u64(&out, 3, 1);
    bf_pb_close(&out, opened);
    assert_refused(bf_pb_done(&out), err, "too_large");
    assert_true(buf.len <= 6);
}

/* The length of a message is itself 1, 2 or 3 bytes long. */
static void test_lengths_of_messages(void **state)
{
    static const size_t sizes[] = {0, 1, 126, 127, 128, 16383, 16384, 70000};

    (void)state;
    for (size_t i = 0; i < bf_countof(sizes); i++) {
        bf_autofree char *bytes = calloc(1, sizes[i] + 1);
        bf_autobuf struct bf_buf buf = BF_BUF_INIT(1 << 20);
        struct bf_slice message, inside;
        struct bf_pb_field field;
        struct bf_pb_out out;
        size_t outer;

        bf_pb_start(&out, &buf, NULL);
        outer = bf_pb_open(&out, 7);
        bf_pb_bytes(&out, 9, (struct bf_slice){bytes, sizes[i]});
        bf_pb_close(&out, outer);
        bf_pb_u64(&out, 8, 5);
        assert_int_equal(bf_pb_done(&out), 0);
        message = bf_buf_slice(&buf);
        assert_int_equal(bf_pb_next(&message, &field, NULL), 1);
        assert_int_equal(field.number, 7);
        inside = field.bytes;
        assert_int_equal(bf_pb_next(&inside, &field, NULL), 1);
        assert_int_equal(field.bytes.len, sizes[i]);
        assert_int_equal(bf_pb_next(&inside, &field, NULL), 0);
        assert_int_equal(bf_pb_next(&message, &field, NULL), 1);
        assert_int_equal(field.value, 5);
    }
}

static void test_packed(void **state)
{
    struct bf_slice list = S("\1\x80\1\4\x80");
    struct bf_err err = {0};
    uint64_t value = 0;

    (void)state;
    assert_int_equal(bf_pb_packed(&list, &value, &err), 1);
    assert_int_equal(value, 1);
    assert_int_equal(bf_pb_packed(&list, &value, &err), 1);
    assert_int_equal(value, 128);
    assert_int_equal(bf_pb_packed(&list, &value, &err), 1);
    assert_int_equal(value, 4);
    assert_refused(bf_pb_packed(&list, &value, &err), err, "protobuf");
    assert_int_equal(value, 4);
    list.len = 0;
    assert_int_equal(bf_pb_packed(&list, &value, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_lengths_of_messages),
        cmocka_unit_test(test_packed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
