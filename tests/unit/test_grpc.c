/* Frames, and what is written in trailers by grpclib and Modal's client. */

#include "tests/unit/golden.h"

#include "worker/wire/grpc.h"

static json_t *op_message(const json_t *in, struct bf_record *arena,
                          struct bf_err *err)
{
    bf_autobuf struct bf_buf buf = BF_BUF_INIT(1024);

    if (bf_grpc_message(&buf, golden_hex(in, "text_hex", arena), 1000, err))
        return NULL;
    return json_pack("{s:o}", "text", golden_from_text(bf_buf_slice(&buf)));
}

static json_t *op_wait(const json_t *in, struct bf_record *arena,
                       struct bf_err *err)
{
    (void)arena;
    (void)err;
    return json_pack(
        "{s:I}", "ms",
        (json_int_t)bf_grpc_retry_after_ms(golden_text(in, "text")));
}

static const struct golden_op ops[] = {
    {"message", op_message},
    {"wait", op_wait},
    {NULL, NULL},
};

static void test_golden(void **state)
{
    (void)state;
    assert_true(golden_vendor("grpc", ops) > 20);
}

static void test_frames(void **state)
{
    struct bf_slice all = S("\0\0\0\0\3abc\0\0\0\0\0\0\0\0\0\2d");
    struct bf_slice in = all, message = NONE;
    struct bf_err err = {0};

    (void)state;
    for (in.len = 0; in.len < 8; in.len++)
        assert_int_equal(bf_grpc_next(&in, 3, &message, &err), 0);
    assert_int_equal(in.len, 8);
    in = all;
    assert_int_equal(bf_grpc_next(&in, 3, &message, &err), 1);
    assert_slice(message, "abc");
    assert_int_equal(bf_grpc_next(&in, 3, &message, &err), 1);
    assert_int_equal(message.len, 0);
    assert_int_equal(bf_grpc_next(&in, 3, &message, &err), 0);
    assert_int_equal(in.len, 6);
}

static void test_bad_frames(void **state)
{
    struct bf_slice message = NONE;
    struct bf_err err = {0};
    struct bf_slice in = S("\1\0\0\0\1a");

    (void)state;
    assert_refused(bf_grpc_next(&in, 9, &message, &err), err, "grpc");
    in = S("\x80");
    assert_refused(bf_grpc_next(&in, 9, &message, &err), err, "grpc");
    in = S("\0\0\0\0\4");
    assert_refused(bf_grpc_next(&in, 3, &message, &err), err, "grpc");
    in = S("\0\xff\xff\xff\xff");
    assert_refused(bf_grpc_next(&in, 1 << 20, &message, &err), err, "grpc");
    assert_null(message.ptr);
}

static void test_unary(void **state)
{
    unsigned char prefix[BF_GRPC_PREFIX];
    struct bf_slice message = NONE;
    struct bf_err err = {0};

    (void)state;
    bf_grpc_prefix(0x010203, prefix);
    assert_memory_equal(prefix, "\0\0\1\2\3", BF_GRPC_PREFIX);
    assert_int_equal(bf_grpc_unary(S("\0\0\0\0\1a"), 9, &message, &err), 0);
    assert_slice(message, "a");
    assert_refused(bf_grpc_unary(S(""), 9, &message, &err), err, "grpc");
    assert_refused(bf_grpc_unary(S("\0\0\0\0\1"), 9, &message, &err), err,
                   "grpc");
    assert_refused(bf_grpc_unary(S("\0\0\0\0\1ab"), 9, &message, &err), err,
                   "grpc");
}

/* A row each: what a reply says, its status, and what follows. */
static const struct {
    int http;
    struct bf_slice text;
    const char *name;
    enum bf_grpc_follows follows;
} rows[] = {
    {200, LIT("0"), "OK", BF_GRPC_DONE},
    {200, LIT("1"), "CANCELLED", BF_GRPC_AGAIN},
    {200, LIT("2"), "UNKNOWN", BF_GRPC_AGAIN},
    {200, LIT("3"), "INVALID_ARGUMENT", BF_GRPC_REFUSED},
    {200, LIT("4"), "DEADLINE_EXCEEDED", BF_GRPC_AGAIN},
    {200, LIT("5"), "NOT_FOUND", BF_GRPC_GONE},
    {200, LIT("6"), "ALREADY_EXISTS", BF_GRPC_REFUSED},
    {200, LIT("7"), "PERMISSION_DENIED", BF_GRPC_STOP},
    {200, LIT("8"), "RESOURCE_EXHAUSTED", BF_GRPC_LATER},
    {200, LIT("9"), "FAILED_PRECONDITION", BF_GRPC_STOP},
    {200, LIT("10"), "ABORTED", BF_GRPC_LATER},
    {200, LIT("11"), "OUT_OF_RANGE", BF_GRPC_REFUSED},
    {200, LIT("12"), "UNIMPLEMENTED", BF_GRPC_STOP},
    {200, LIT("13"), "INTERNAL", BF_GRPC_AGAIN},
    {200, LIT("14"), "UNAVAILABLE", BF_GRPC_AGAIN},
    {200, LIT("15"), "DATA_LOSS", BF_GRPC_LATER},
    {200, LIT("16"), "UNAUTHENTICATED", BF_GRPC_STOP},
    /* what no status is */
    {200, LIT("17"), "UNKNOWN", BF_GRPC_AGAIN},
    {200, LIT("-1"), "UNKNOWN", BF_GRPC_AGAIN},
    {200, LIT(""), "UNKNOWN", BF_GRPC_AGAIN},
    {200, LIT("0 "), "UNKNOWN", BF_GRPC_AGAIN},
    /* none: whoever answered in its place */
    {200, {NULL, 0}, "UNAVAILABLE", BF_GRPC_AGAIN},
    {400, {NULL, 0}, "INTERNAL", BF_GRPC_AGAIN},
    {401, {NULL, 0}, "UNAUTHENTICATED", BF_GRPC_STOP},
    {403, {NULL, 0}, "PERMISSION_DENIED", BF_GRPC_STOP},
    {404, {NULL, 0}, "UNIMPLEMENTED", BF_GRPC_STOP},
    {429, {NULL, 0}, "UNAVAILABLE", BF_GRPC_AGAIN},
    {500, {NULL, 0}, "UNKNOWN", BF_GRPC_AGAIN},
    {502, {NULL, 0}, "UNAVAILABLE", BF_GRPC_AGAIN},
    {503, {NULL, 0}, "UNAVAILABLE", BF_GRPC_AGAIN},
    {504, {NULL, 0}, "UNAVAILABLE", BF_GRPC_AGAIN},
    /* the trailers have the word */
    {503, LIT("5"), "NOT_FOUND", BF_GRPC_GONE},
};

static void test_statuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        enum bf_grpc_status status =
            bf_grpc_status_of(rows[i].http, rows[i].text);

        assert_string_equal(bf_grpc_status_name(status), rows[i].name);
        assert_int_equal(bf_grpc_follows(status), rows[i].follows);
    }
}

static void test_message_ceiling(void **state)
{
    bf_autobuf struct bf_buf buf = BF_BUF_INIT(1024);

    (void)state;
    assert_int_equal(bf_grpc_message(&buf, S("abc%C3%A9f"), 4, NULL), 0);
    assert_true(buf.len <= 4);
    assert_memory_equal(buf.data, "abc", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_bad_frames),
        cmocka_unit_test(test_unary),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_message_ceiling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
