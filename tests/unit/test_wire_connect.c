#include "tests/unit/support.h"

#include "schemas/check.h"
#include "worker/wire/connect.h"

/* Frames as envd 0.6.13 sent them. */
#define START                                                                  \
    "\0\0\0\0\x21"                                                             \
    "{\"event\":{\"start\":{\"pid\":21600}}}"
#define ERR                                                                    \
    "\0\0\0\0\x28"                                                             \
    "{\"event\":{\"data\":{\"stderr\":\"ZXJyCg==\"}}}"
#define OUT                                                                    \
    "\0\0\0\0\x24"                                                             \
    "{\"event\":{\"data\":{\"stdout\":\"aGkK\"}}}"
#define ALIVE                                                                  \
    "\0\0\0\0\x1a"                                                             \
    "{\"event\":{\"keepalive\":{}}}"
#define EXIT3                                                                  \
    "\0\0\0\0\x5f"                                                             \
    "{\"event\":{\"end\":{\"exitCode\":3,\"exited\":true,\"status\":\"exit "   \
    "status 3\",\"error\":\"exit status 3\"}}}"
#define EXIT0                                                                  \
    "\0\0\0\0\x3a"                                                             \
    "{\"event\":{\"end\":{\"exited\":true,\"status\":\"exit status 0\"}}}"
#define KILLED                                                                 \
    "\0\0\0\0\x3b"                                                             \
    "{\"event\":{\"end\":{\"exitCode\":-1,\"status\":\"signal: killed\"}}}"
#define FINE "\2\0\0\0\2{}"
#define LATE                                                                   \
    "\2\0\0\0\x4c"                                                             \
    "{\"error\":{\"code\":\"deadline_exceeded\",\"message\":\"context "        \
    "deadline exceeded\"}}"

static struct bf_process read_all(struct bf_slice body)
{
    struct bf_process process = {.out = BF_BUF_INIT(64),
                                 .err = BF_BUF_INIT(64)};
    struct bf_err err = {0};

    assert_int_equal(bf_process_read(body, &process, &err), 0);
    return process;
}

static void a_process_that_exits(void **unused)
{
    static const char body[] = START ERR OUT ALIVE OUT EXIT3 FINE;
    struct bf_process process = read_all(S(body));

    (void)unused;
    assert_true(process.started && process.ended && process.exited);
    assert_true(process.whole);
    assert_false(process.broken);
    assert_int_equal(process.pid, 21600);
    assert_int_equal(process.exit_code, 3);
    assert_slice(bf_buf_slice(&process.out), "hi\nhi\n");
    assert_slice(bf_buf_slice(&process.err), "err\n");
    assert_int_equal(process.error.code, BF_CONNECT_OK);
    bf_process_release(&process);
}

static const struct {
    const char *what;
    struct bf_slice body;
    bool started, ended, exited, whole, broken;
    int exit_code;
    enum bf_connect_code code;
} streams[] = {
    {"exit 0 names no code", LIT(START EXIT0 FINE), true, true, true, true,
     false, 0, BF_CONNECT_OK},
    {"killed by a signal", LIT(START KILLED FINE), true, true, false, true,
     false, -1, BF_CONNECT_OK},
    {"its deadline", LIT(START OUT LATE), true, false, false, true, false, 0,
     BF_CONNECT_DEADLINE_EXCEEDED},
    {"no end frame", LIT(START EXIT0), true, true, true, false, false, 0,
     BF_CONNECT_OK},
    {"nothing", LIT(""), false, false, false, false, false, 0, BF_CONNECT_OK},
    {"compressed, which nobody offered", LIT("\1\0\0\0\2{}"), false, false,
     false, false, true, 0, BF_CONNECT_OK},
    {"a length over the ceiling", LIT(START "\0\x7f\0\0\0{}"), true, false,
     false, false, true, 0, BF_CONNECT_OK},
    {"no JSON", LIT("\0\0\0\0\2{]" FINE), false, false, false, false, true, 0,
     BF_CONNECT_OK},
    {"no event", LIT("\0\0\0\0\2{}" FINE), false, false, false, false, true, 0,
     BF_CONNECT_OK},
    {"more after the end", LIT(START EXIT0 FINE "\0"), true, true, true, true,
     true, 0, BF_CONNECT_OK},
    {"an error without a code", LIT("\2\0\0\0\x0c{\"error\":{}}"), false, false,
     false, true, false, 0, BF_CONNECT_UNKNOWN},
    {"an end that is no JSON", LIT(START "\2\0\0\0\1x"), true, false, false,
     false, true, 0, BF_CONNECT_OK},
};

static void streams_end_in_many_ways(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < bf_countof(streams); i++) {
        struct bf_process process = read_all(streams[i].body);

        print_message("%s\n", streams[i].what);
        assert_int_equal(process.started, streams[i].started);
        assert_int_equal(process.ended, streams[i].ended);
        assert_int_equal(process.exited, streams[i].exited);
        assert_int_equal(process.whole, streams[i].whole);
        assert_int_equal(process.broken, streams[i].broken);
        assert_int_equal(process.exit_code, streams[i].exit_code);
        assert_int_equal(process.error.code, streams[i].code);
        bf_process_release(&process);
    }
}

/* Wherever it is cut, nothing is read that did not come. */
static void a_cut_stream_is_not_whole(void **unused)
{
    static const char body[] = START OUT EXIT3 FINE;

    (void)unused;
    for (size_t len = 0; len < sizeof(body) - 1; len++) {
        struct bf_process process = read_all((struct bf_slice){body, len});

        assert_false(process.whole);
        assert_false(process.broken);
        assert_int_equal(process.started, len >= sizeof(START) - 1);
        bf_process_release(&process);
    }
}

static void output_has_a_ceiling(void **unused)
{
    static const char body[] = START OUT OUT ERR FINE;
    struct bf_process process = {.out = BF_BUF_INIT(5), .err = BF_BUF_INIT(64)};
    struct bf_err err = {0};

    (void)unused;
    assert_int_equal(bf_process_read(S(body), &process, &err), 0);
    assert_true(process.out_cut && process.whole);
    assert_false(process.err_cut);
    assert_slice(bf_buf_slice(&process.out), "hi\n");
    assert_slice(bf_buf_slice(&process.err), "err\n");
    bf_process_release(&process);
}

static const struct {
    int status;
    struct bf_slice body;
    enum bf_connect_code code;
    const char *message;
} errors[] = {
    {404, LIT("{\"code\":\"not_found\",\"message\":\"file not found\"}"),
     BF_CONNECT_NOT_FOUND, "file not found"},
    {401, LIT("{\"code\":401,\"message\":\"unauthorized access\"}"),
     BF_CONNECT_UNAUTHENTICATED, "unauthorized access"},
    {502, LIT("{\"sandboxId\":\"i\",\"message\":\"x\",\"code\":502}"),
     BF_CONNECT_UNAVAILABLE, "x"},
    {413, LIT("too large"), BF_CONNECT_RESOURCE_EXHAUSTED, ""},
    {429, LIT(""), BF_CONNECT_RESOURCE_EXHAUSTED, ""},
    {499, LIT(""), BF_CONNECT_CANCELED, ""},
    {504, LIT("<html>"), BF_CONNECT_DEADLINE_EXCEEDED, ""},
    {418, LIT("[]"), BF_CONNECT_UNKNOWN, ""},
    {0, LIT(""), BF_CONNECT_UNKNOWN, ""},
    {409, LIT("{\"code\":\"already_exists\"}"), BF_CONNECT_ALREADY_EXISTS, ""},
    {400, LIT("{\"code\":\"ok\"}"), BF_CONNECT_UNKNOWN, ""},
};

static void errors_have_codes(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < bf_countof(errors); i++) {
        struct bf_connect_error error;

        bf_connect_error_read(errors[i].status, errors[i].body, &error);
        assert_int_equal(error.code, errors[i].code);
        assert_string_equal(error.message, errors[i].message);
    }
    for (int code = 1; code < BF_CONNECT_CODES; code++) {
        const char *name = bf_connect_code_name((enum bf_connect_code)code);

        assert_int_equal(bf_connect_code_parse(bf_slice_str(name)), code);
    }
}

static void messages_are_cut_at_characters(void **unused)
{
    bf_autobuf struct bf_buf body = BF_BUF_INIT(1024);
    struct bf_connect_error error;
    struct bf_err err = {0};

    (void)unused;
    assert_int_equal(bf_buf_adds(&body, "{\"message\":\"", &err), 0);
    while (body.len < 900)
        assert_int_equal(bf_buf_adds(&body, "\xc3\xa9", &err), 0);
    assert_int_equal(bf_buf_adds(&body, "\"}", &err), 0);
    bf_connect_error_read(500, bf_buf_slice(&body), &error);
    assert_int_equal(strlen(error.message), BF_CONNECT_MESSAGE - 2);
}

static void a_prefix_is_read_back(void **unused)
{
    unsigned char head[BF_CONNECT_PREFIX];

    (void)unused;
    bf_connect_prefix(0x010203, head);
    assert_memory_equal(head, "\0\0\1\2\3", BF_CONNECT_PREFIX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_that_exits),
        cmocka_unit_test(streams_end_in_many_ways),
        cmocka_unit_test(a_cut_stream_is_not_whole),
        cmocka_unit_test(output_has_a_ceiling),
        cmocka_unit_test(errors_have_codes),
        cmocka_unit_test(messages_are_cut_at_characters),
        cmocka_unit_test(a_prefix_is_read_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
