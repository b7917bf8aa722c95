/*
 * The whole way of a forwarded run: backend, signature, HTTP, and a provider
 * that is not ours to check them (tests/providers/block_server.py). Skipped
 * where Python has no `cryptography`.
 */

#include "tests/unit/support.h"

#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "config/clock.h"
#include "config/keys.h"
#include "worker/forward.h"

#define RUN_ID "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
#define PATIENCE_MS 60000

static struct {
    char dir[64];
    struct bf_keyring *ring;
    struct bf_forward forward;
    pid_t pid;
    FILE *from; /* what the server prints */
    char url[128];
} with;

static const char *python(void)
{
    static const char venv[] = BF_SOURCE_DIR "/.cache/venv/bin/python";
    const char *named = getenv("BF_TEST_PYTHON");

    if (named)
        return named;
    return access(venv, X_OK) == 0 ? venv : "python3";
}

/* Its rules, each JSON or NULL. Skips the test when it does not come up. */
static void serve(const char *rule)
{
    static const char script[] =
        BF_SOURCE_DIR "/tests/providers/block_server.py";
    char trusted[96], log[96];
    char *argv[] = {strdup(python()),
                    strdup(script),
                    strdup("--engine"),
                    strdup("echo"),
                    strdup("--trusted"),
                    trusted,
                    strdup("--log"),
                    log,
                    strdup("--rule"),
                    strdup(rule ? rule : "{\"fault\":\"status\",\"count\":0}"),
                    NULL};
    posix_spawn_file_actions_t files;
    int ends[2];

    snprintf(trusted, sizeof(trusted), "%s/trusted", with.dir);
    snprintf(log, sizeof(log), "%s/runs", with.dir);
    assert_int_equal(pipe(ends), 0);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&files, ends[0]);
    posix_spawn_file_actions_addclose(&files, ends[1]);
    assert_int_equal(
        posix_spawnp(&with.pid, argv[0], &files, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&files);
    close(ends[1]);
    for (size_t i = 0; argv[i]; i++) {
        if (argv[i] != trusted && argv[i] != log)
            free(argv[i]);
    }
    with.from = fdopen(ends[0], "r");
    assert_non_null(with.from);
    if (!fgets(with.url, sizeof(with.url), with.from))
        skip();
    with.url[strcspn(with.url, "\n")] = '\0';
}

static int set_up(void **state)
{
    struct bf_http_config config = {.max_connections = 4,
                                    .max_reply_bytes = 1 << 20,
                                    .connect_timeout_ms = 5000};
    struct bf_err err = {0};
    char id[BF_KEY_ID_SIZE];

    (void)state;
    memset(&with, 0, sizeof(with));
    assert_true(sodium_init() >= 0);
    snprintf(with.dir, sizeof(with.dir), "/tmp/bf-forward-XXXXXX");
    assert_non_null(mkdtemp(with.dir));
    assert_int_equal(
        bf_keyring_generate(with.dir, BF_PURPOSE_RUN, NULL, NULL, id, &err), 0);
    with.ring = bf_keyring_load(with.dir, &err);
    assert_non_null(with.ring);
    with.forward.signer = bf_keyring_signer(with.ring, BF_PURPOSE_RUN);
    assert_non_null(with.forward.signer);
    with.forward.pool = bf_http_pool_new(&config, &err);
    assert_non_null(with.forward.pool);
    return 0;
}

static int unlink_one(const char *path, const struct stat *info, int type,
                      struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

static int tear_down(void **state)
{
    int status;

    (void)state;
    bf_http_pool_free(with.forward.pool);
    bf_keyring_free(with.ring);
    if (with.pid > 0) {
        kill(with.pid, SIGTERM);
        waitpid(with.pid, &status, 0);
        fclose(with.from);
    }
    return nftw(with.dir, unlink_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- a run ---- */

struct whole {
    struct bf_job job;
    struct bf_block *block;
    struct bf_run_input input;
    struct bf_backend_config config;
    struct bf_run *run;
    struct bf_request request;
};

static const struct bf_slice inputs =
    LIT("{\"a\": NaN, \"b\": \"\\u0000 \xc3\xa9 \\\"\", \"c\": "
        "9223372036854775808}");

static void begin(struct whole *w)
{
    struct bf_reply none = {.kind = BF_REPLY_NONE};
    struct bf_run_end end;
    struct bf_err err = {0};

    *w = (struct whole){
        .job = {.workspace = LIT("acme"),
                .execution = BF_AT_LEAST_ONCE,
                .timeout_ms = 1500,
                .max_attempts = 2,
                .block = LIT("{\"run_function_code\":\"x\"}"),
                .inputs = inputs},
        .config = {.http_url = with.url},
    };
    w->block = bf_block_parse(w->job.block, &err);
    assert_non_null(w->block);
    w->input = (struct bf_run_input){
        .job = &w->job, .block = w->block, .run_id = RUN_ID, .attempt = 1};
    w->run = bf_backend_http.begin(&w->config, &w->input, &err);
    assert_non_null(w->run);
    assert_int_equal(
        bf_backend_http.step(w->run, &none, &w->request, &end, &err),
        BF_STEP_SEND);
}

static void finish(struct whole *w)
{
    bf_backend_http.free(w->run);
    bf_block_free(w->block);
}

static struct bf_http_call *wait_call(struct bf_http_done *ret)
{
    int64_t until = bf_mono_ms() + PATIENCE_MS;
    struct bf_http_pool *pool = with.forward.pool;
    struct bf_http_call *call = NULL;
    struct bf_err err = {0};

    while (!call && bf_mono_ms() < until) {
        struct pollfd fd = {.fd = bf_http_pool_fd(pool), .events = POLLIN};

        poll(&fd, 1, bf_http_pool_wait(pool, 100));
        assert_int_equal(bf_http_pool_serve(pool, &err), 0);
        call = bf_http_pool_take(pool, ret);
    }
    assert_non_null(call);
    return call;
}

static void take(struct whole *w, const struct bf_reply *reply,
                 struct bf_run_end *ret)
{
    struct bf_request request;
    struct bf_err err = {0};

    *ret = (struct bf_run_end){0};
    assert_int_equal(bf_backend_http.step(w->run, reply, &request, ret, &err),
                     BF_STEP_DONE);
}

static struct bf_http_call *send(struct whole *w)
{
    struct bf_err err = {0};
    struct bf_http_call *call =
        bf_forward_send(&with.forward, &w->input, &w->request, w, &err);

    assert_non_null(call);
    return call;
}

/* One run, to its end. */
static void run_once(struct whole *w, struct bf_run_end *ret)
{
    struct bf_http_done done;
    struct bf_http_call *call;
    struct bf_reply reply;

    begin(w);
    send(w);
    call = wait_call(&done);
    assert_ptr_equal(done.opaque, w);
    reply = bf_forward_reply(&done);
    take(w, &reply, ret);
    bf_http_call_free(call); /* the end must not borrow from it */
}

static void test_result_comes_back_exact(void **state)
{
    struct bf_run_end end;
    struct whole w;

    (void)state;
    serve(NULL);
    /* Twice: the second signature has a nonce of its own. */
    for (int i = 0; i < 2; i++) {
        run_once(&w, &end);
        assert_int_equal(end.outcome, BF_OUTCOME_SUCCEEDED);
        assert_true(bf_slice_eq(end.result, inputs));
        assert_int_equal(end.report.execution_us, 1);
        finish(&w);
    }
}

static void test_unsigned_is_refused(void **state)
{
    struct bf_run_end end;
    struct whole w;

    (void)state;
    serve(NULL);
    with.forward.signer = NULL;
    run_once(&w, &end);
    assert_int_equal(end.outcome, BF_OUTCOME_DEAD);
    assert_int_equal(end.reason, BF_REASON_BACKEND_REFUSED);
    assert_int_equal(end.delivery, BF_DELIVERY_DID_NOT_RUN);
    finish(&w);
}

static void test_busy(void **state)
{
    struct bf_run_end end;
    struct whole w;

    (void)state;
    serve("{\"fault\":\"status\",\"retry_after\":2}");
    run_once(&w, &end);
    assert_true(end.again);
    assert_int_equal(end.again_after_ms, 2000);
    finish(&w);
}

static void test_answer_is_lost(void **state)
{
    static const char *const rules[] = {"{\"fault\":\"close_after\"}",
                                        "{\"fault\":\"truncate\"}"};

    for (size_t i = 0; i < bf_countof(rules); i++) {
        struct bf_run_end end;
        struct whole w;

        if (i > 0) {
            tear_down(state);
            set_up(state);
        }
        serve(rules[i]);
        run_once(&w, &end);
        assert_int_equal(end.delivery, BF_DELIVERY_UNKNOWN);
        assert_true(end.more);
        finish(&w);
    }
}

static void test_answer_is_too_large(void **state)
{
    struct bf_run_end end;
    struct whole w;

    (void)state;
    serve("{\"fault\":\"oversize\",\"bytes\":4000000}");
    run_once(&w, &end);
    assert_int_equal(end.reason, BF_REASON_OUTPUT_TOO_LARGE);
    assert_int_equal(end.delivery, BF_DELIVERY_RAN);
    finish(&w);
}

static void test_nobody_there(void **state)
{
    struct bf_run_end end;
    struct whole w;

    (void)state;
    /* Nothing listens on this port: it is reserved. */
    snprintf(with.url, sizeof(with.url), "http://127.0.0.1:1/");
    run_once(&w, &end);
    assert_true(end.again);
    assert_int_equal(end.delivery, BF_DELIVERY_DID_NOT_RUN);
    finish(&w);
}

/* Has the provider begun a run? */
static bool is_running(void)
{
    struct stat info;
    char path[96];

    snprintf(path, sizeof(path), "%s/runs", with.dir);
    return stat(path, &info) == 0 && info.st_size > 0;
}

static void test_killed_at_the_deadline(void **state)
{
    int64_t until = bf_mono_ms() + PATIENCE_MS;
    struct bf_http_call *call;
    struct bf_reply reply;
    struct bf_run_end end;
    struct bf_err err = {0};
    struct whole w;

    (void)state;
    serve("{\"fault\":\"hang\"}");
    begin(&w);
    reply = bf_forward_kill(send(&w),
                            BF_REPLY_DEADLINE); /* before it was even begun */
    assert_true(reply.unsent);
    call = send(&w);
    while (!is_running() && bf_mono_ms() < until) {
        struct pollfd fd = {.fd = bf_http_pool_fd(with.forward.pool),
                            .events = POLLIN};

        poll(&fd, 1, bf_http_pool_wait(with.forward.pool, 10));
        assert_int_equal(bf_http_pool_serve(with.forward.pool, &err), 0);
    }
    reply = bf_forward_kill(call, BF_REPLY_DEADLINE);
    assert_false(reply.unsent);
    take(&w, &reply, &end);
    assert_int_equal(end.outcome, BF_OUTCOME_TIMED_OUT);
    assert_int_equal(end.delivery, BF_DELIVERY_RAN);
    finish(&w);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_result_comes_back_exact),
        T(test_unsigned_is_refused),
        T(test_busy),
        T(test_answer_is_lost),
        T(test_answer_is_too_large),
        T(test_nobody_there),
        T(test_killed_at_the_deadline),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
