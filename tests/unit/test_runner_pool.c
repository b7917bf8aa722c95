#include "tests/unit/support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "config/clock.h"
#include "config/log.h"
#include "schemas/json.h"
#include "worker/runner_pool.h"

#define FAKE BF_SOURCE_DIR "/tests/support/fake_runner.py"
#define REAL BF_SOURCE_DIR "/worker/runner/bfrunner"
#define PYTHON "/usr/bin/python3"
#define MAX_CALLS 64
#define PATIENCE_MS 60000 /* of a test, for a runner on a busy machine */

struct run {
    char id[16];
    char head[512];
    struct bf_request request;
    struct bf_runner_call *call;
    size_t started; /* times; and how it ended */
    size_t ended;
    enum bf_reply_kind kind;
    char *body;
    size_t body_len;
    char text[4096]; /* of the reply's head, or its error */
};

struct world {
    struct bf_runner_pool *pool;
    struct run runs[MAX_CALLS];
    size_t nruns;
};

static struct world *world_new(struct bf_runner_pool_config config)
{
    struct world *w = calloc(1, sizeof(*w));
    struct bf_err err = {0};

    assert_non_null(w);
    config.python = PYTHON;
    w->pool = bf_runner_pool_new(&config, &err);
    if (!w->pool)
        fail_msg("%s", err.msg);
    return w;
}

static struct world *fakes(size_t runners, size_t slots)
{
    return world_new((struct bf_runner_pool_config){
        .path = FAKE, .runners = runners, .slots = slots, .queue = 40});
}

static void world_free(struct world *w)
{
    bf_clock_real();
    bf_runner_pool_free(w->pool);
    for (size_t i = 0; i < w->nruns; i++)
        free(w->runs[i].body);
    free(w);
    /* Nobody is left: whoever was ours has been reaped. */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static struct run *send_head(struct world *w, struct bf_slice body)
{
    struct run *run = &w->runs[w->nruns++];
    struct bf_err err = {0};

    run->request = (struct bf_request){.by = BF_BY_RUNNER,
                                       .head = bf_slice_str(run->head),
                                       .body = {body},
                                       .nbody = 1};
    run->call = bf_runner_pool_send(w->pool, run->id, &run->request, run, &err);
    if (!run->call)
        fail_msg("%s", err.msg);
    return run;
}

static struct run *give(struct world *w, const char *what, struct bf_slice body)
{
    struct run *run = &w->runs[w->nruns];

    assert_true(w->nruns < MAX_CALLS);
    snprintf(run->id, sizeof(run->id), "r%zu", w->nruns);
    snprintf(run->head, sizeof(run->head),
             "{\"op\":\"run\",\"run_id\":\"r%zu\",\"do\":\"%s\"}", w->nruns,
             what);
    return send_head(w, body);
}

static void on_event(const struct bf_runner_event *event)
{
    struct run *run = event->opaque;
    const struct bf_reply *reply = &event->reply;

    assert_int_equal(run->ended, 0);
    if (event->news == BF_RUNNER_STARTED) {
        run->started++;
        return;
    }
    run->ended++;
    run->call = NULL;
    run->kind = reply->kind;
    run->body = malloc(reply->body.len + 1);
    assert_non_null(run->body);
    run->body_len = reply->body.len;
    if (reply->body.len > 0)
        memcpy(run->body, reply->body.ptr, reply->body.len);
    run->body[run->body_len] = '\0';
    snprintf(run->text, sizeof(run->text), "%.*s",
             reply->error ? 4095 : (int)reply->head.len,
             reply->error ? reply->error : reply->head.ptr);
}

static void turn(struct world *w)
{
    struct pollfd fd = {.fd = bf_runner_pool_fd(w->pool), .events = POLLIN};
    struct bf_runner_event event;

    poll(&fd, 1, bf_runner_pool_wait(w->pool, 100));
    bf_runner_pool_serve(w->pool);
    while (bf_runner_pool_take(w->pool, &event) != BF_RUNNER_QUIET)
        on_event(&event);
}

static int64_t machine_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void turn_by(struct world *w, int64_t end_ms, const char *what)
{
    if (machine_ms() > end_ms)
        fail_msg("in vain: %s", what);
    turn(w);
}

#define until(w, condition)                                                    \
    for (int64_t end_ = machine_ms() + PATIENCE_MS; !(condition);)             \
    turn_by(w, end_, #condition)

static struct bf_runner_count count(const struct world *w)
{
    struct bf_runner_count count;

    bf_runner_pool_count(w->pool, &count);
    return count;
}

static void it_answers(struct world *w)
{
    struct run *run = give(w, "echo", S("still"));

    until(w, run->ended);
    assert_int_equal(run->kind, BF_REPLY_OK);
    assert_string_equal(run->body, "still");
}

/* ---- with a runner that does what it is told ---- */

static void runs_are_spread_and_answered(void **unused)
{
    struct world *w = fakes(2, 3);
    struct run *runs[20];

    (void)unused;
    for (size_t i = 0; i < 20; i++)
        runs[i] = give(w, "echo", bf_slice_str(i % 2 ? "odd" : ""));
    assert_int_equal(count(w).queued, 20);
    for (size_t i = 0; i < 20; i++) {
        until(w, runs[i]->ended);
        assert_int_equal(runs[i]->started, 1);
        assert_int_equal(runs[i]->kind, BF_REPLY_OK);
        assert_string_equal(runs[i]->body, i % 2 ? "odd" : "");
    }
    until(w, count(w).ready == 2);
    runs[0] = give(w, "hold", NONE);
    runs[1] = give(w, "who", NONE);
    runs[2] = give(w, "who", NONE);
    until(w, runs[1]->ended && runs[2]->ended);
    /* The second goes where nothing runs, the third to either. */
    assert_int_equal(count(w).running, 1);
    assert_int_equal(runs[0]->ended, 0);
    world_free(w);
}

static void slots_and_the_queue_have_ceilings(void **unused)
{
    struct world *w = fakes(1, 2);
    struct bf_err err = {0};

    (void)unused;
    until(w, count(w).ready == 1);
    for (size_t i = 0; i < 42; i++)
        give(w, "hold", NONE);
    assert_int_equal(count(w).running, 2);
    assert_int_equal(count(w).queued, 40);
    assert_null(
        bf_runner_pool_send(w->pool, "more", &w->runs[0].request, NULL, &err));
    assert_int_equal(err.kind, BF_ERR_RETRY);
    until(w, w->runs[1].started);
    assert_int_equal(w->runs[2].started, 0);
    bf_runner_pool_cancel(w->pool, bf_take(w->runs[0].call));
    until(w, w->runs[2].started);
    assert_int_equal(w->runs[0].ended, 0);
    world_free(w);
}

static char *pattern(size_t len)
{
    char *bytes = malloc(len);

    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(i * 2654435761U >> 24);
    return bytes;
}

static void large_inputs_go_both_ways(void **unused)
{
    size_t len = 15 << 20;
    struct world *w = fakes(2, 2);
    char *bytes = pattern(len);
    struct run *runs[4];

    (void)unused;
    for (size_t i = 0; i < 4; i++)
        runs[i] = give(w, "echo", (struct bf_slice){bytes, len - i});
    for (size_t i = 0; i < 4; i++) {
        until(w, runs[i]->ended);
        assert_int_equal(runs[i]->body_len, len - i);
        assert_memory_equal(runs[i]->body, bytes, len - i);
    }
    free(bytes);
    world_free(w);
}

static void a_run_given_up_in_the_middle_costs_nobody_else(void **unused)
{
    size_t len = 15 << 20;
    struct world *w = fakes(1, 3);
    char *bytes = pattern(len);
    struct run *who, *big, *unsent, *after;
    pid_t runner;

    (void)unused;
    until(w, count(w).ready == 1);
    who = give(w, "who", NONE);
    until(w, who->ended);
    /* One that reads as we write could have all of it before we think again. */
    runner = (pid_t)strtol(who->body, NULL, 10);
    assert_return_code(kill(runner, SIGSTOP), errno);
    big = give(w, "echo", (struct bf_slice){bytes, len});
    unsent = give(w, "echo", (struct bf_slice){bytes, len});
    after = give(w, "killed", NONE);
    bf_runner_pool_cancel(w->pool, bf_take(big->call));
    bf_runner_pool_cancel(w->pool, bf_take(unsent->call));
    /* The bytes are ours again at once. */
    memset(bytes, 0, len);
    free(bytes);
    assert_return_code(kill(runner, SIGCONT), errno);
    until(w, after->ended);
    assert_string_equal(after->body, big->id);
    until(w, count(w).running == 0);
    assert_int_equal(big->ended + unsent->ended, 0);
    assert_int_equal(count(w).died, 0);
    world_free(w);
}

static void a_runner_gets_nothing_of_ours(void **unused)
{
    static const char *const args[] = {"--preload", "none", NULL};
    struct world *w;
    struct run *run;
    struct bf_err err = {0};
    int leak = open("/dev/zero", O_RDONLY); /* without O_CLOEXEC */
    sigset_t some;

    (void)unused;
    sigemptyset(&some);
    sigaddset(&some, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &some, NULL);
    setenv("BLOCKFLEET_SECRET", "hush", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "hush", 1);
    w = world_new((struct bf_runner_pool_config){
        .path = FAKE, .runners = 1, .slots = 7, .queue = 1, .args = args});
    run = give(w, "world", NONE);
    until(w, run->ended);
    {
        bf_autojson json_t *told =
            bf_json_parse(bf_slice_str(run->body), 65536, &err);
        bf_autofree char *fds =
            json_dumps(json_object_get(told, "fds"), JSON_COMPACT);
        bf_autofree char *list =
            json_dumps(json_object_get(told, "args"), JSON_COMPACT);
        const json_t *env = json_object_get(told, "env");

        assert_non_null(told);
        assert_string_equal(fds, "[0,1,2,3]");
        assert_string_equal(list, "[\"--fd\",\"3\",\"--slots\",\"7\","
                                  "\"--input-bytes\",\"15728640\","
                                  "\"--result-bytes\",\"15728640\","
                                  "\"--preload\",\"none\"]");
        assert_null(strstr(run->body, "hush"));
        assert_slice(bf_json_slice(json_object_get(env, "HOME")),
                     "/nonexistent");
        assert_non_null(json_object_get(env, "PATH"));
        assert_slice(bf_json_slice(json_object_get(told, "stdin")),
                     "/dev/null");
        assert_true(json_is_true(json_object_get(told, "leader")));
        assert_int_equal(json_integer_value(json_object_get(told, "blocked")),
                         0);
    }
    pthread_sigmask(SIG_UNBLOCK, &some, NULL);
    close(leak);
    world_free(w);
}

/* ---- with one that does not ---- */

static void a_dead_runner_loses_what_it_had_and_comes_back(void **unused)
{
    struct world *w = fakes(1, 2);
    struct run *held = give(w, "hold", NONE);
    struct run *dies = give(w, "die", NONE);
    struct run *queued = give(w, "echo", S("later"));

    (void)unused;
    until(w, held->ended && dies->ended);
    assert_int_equal(held->kind, BF_REPLY_LOST);
    assert_int_equal(dies->kind, BF_REPLY_LOST);
    assert_int_equal(dies->started, 1);
    assert_string_equal(dies->text, "the runner killed by signal 9");
    assert_int_equal(count(w).died, 1);
    until(w, queued->ended);
    assert_int_equal(queued->kind, BF_REPLY_OK);
    it_answers(w);
    world_free(w);
}

static void last_words_are_heard(void **unused)
{
    struct world *w = fakes(1, 1);
    struct run *run = give(w, "answer_and_die", S("bye"));

    (void)unused;
    until(w, run->ended);
    assert_int_equal(run->kind, BF_REPLY_OK);
    assert_string_equal(run->body, "bye");
    until(w, count(w).died == 1);
    it_answers(w);
    world_free(w);
}

static void what_was_not_written_was_not_sent(void **unused)
{
    size_t len = 15 << 20;
    struct world *w = fakes(1, 3);
    char *bytes = pattern(len);
    struct run *who = give(w, "who", NONE);
    struct run *whole, *half;

    (void)unused;
    until(w, who->ended);
    kill((pid_t)strtol(who->body, NULL, 10), SIGSTOP);
    whole = give(w, "echo", NONE);
    half = give(w, "echo", (struct bf_slice){bytes, len});
    kill((pid_t)strtol(who->body, NULL, 10), SIGKILL);
    until(w, whole->ended && half->ended);
    assert_int_equal(whole->kind, BF_REPLY_LOST);
    assert_int_equal(half->kind, BF_REPLY_UNSENT);
    assert_string_equal(half->text, "the runner killed by signal 9");
    free(bytes);
    it_answers(w);
    world_free(w);
}

static void nonsense_ends_a_runner(void **unused)
{
    static const char *const what[] = {"huge",     "huge_body", "garbage",
                                       "stranger", "unknown",   "ready"};
    struct world *w = fakes(1, 1);

    (void)unused;
    bf_clock_fake(0, 1000000);
    for (size_t i = 0; i < bf_countof(what); i++) {
        struct run *run = give(w, what[i], NONE);

        until(w, run->ended);
        assert_int_equal(run->kind, BF_REPLY_LOST);
        assert_int_equal(count(w).died, i + 1);
        bf_clock_fake_advance(5000); /* it need not wait any longer */
    }
    it_answers(w);
    world_free(w);
}

static void one_that_hangs_up_has_time_to_end(void **unused)
{
    struct world *w = fakes(1, 1);
    struct run *run = give(w, "close", NONE);

    (void)unused;
    bf_clock_fake(0, 1000000);
    until(w, run->started && count(w).ready == 0);
    bf_clock_fake_advance(4999);
    turn(w);
    assert_int_equal(count(w).died, 0);
    bf_clock_fake_advance(1);
    until(w, run->ended);
    assert_int_equal(run->kind, BF_REPLY_LOST);
    world_free(w);
}

static void a_second_answer_is_nonsense(void **unused)
{
    struct world *w = fakes(1, 1);
    struct run *run = give(w, "twice", S("once"));

    (void)unused;
    until(w, run->ended && count(w).died == 1);
    assert_int_equal(run->kind, BF_REPLY_OK);
    assert_string_equal(run->body, "once");
    world_free(w);
}

static void one_that_does_not_begin_is_killed(void **unused)
{
    struct world *w = fakes(1, 2);
    struct run *run;

    (void)unused;
    bf_clock_fake(0, 1000000);
    until(w, count(w).ready == 1);
    run = give(w, "silent", NONE);
    bf_clock_fake_advance(29999);
    turn(w);
    assert_int_equal(count(w).running, 1);
    bf_clock_fake_advance(1);
    until(w, run->ended);
    assert_int_equal(run->kind, BF_REPLY_LOST);
    world_free(w);
}

static void one_that_has_begun_something_may_be_quiet(void **unused)
{
    struct world *w = fakes(1, 2);
    struct run *held, *run;

    (void)unused;
    bf_clock_fake(0, 1000000);
    until(w, count(w).ready == 1);
    held = give(w, "hold", NONE);
    run = give(w, "silent", NONE);
    until(w, held->started);
    bf_clock_fake_advance(3600000);
    turn(w);
    assert_int_equal(count(w).running, 2);
    assert_int_equal(held->ended + run->ended, 0);
    world_free(w);
}

static void one_that_does_not_kill_is_killed(void **unused)
{
    struct world *w = fakes(1, 2);
    struct run *held, *stops;
    struct run *who = give(w, "who", NONE);

    (void)unused;
    bf_clock_fake(0, 1000000);
    until(w, who->ended);
    held = give(w, "hold", NONE);
    stops = give(w, "hold", NONE);
    until(w, held->started && stops->started);
    kill((pid_t)strtol(who->body, NULL, 10), SIGSTOP);
    bf_runner_pool_cancel(w->pool, bf_take(stops->call));
    bf_clock_fake_advance(4999);
    turn(w);
    assert_int_equal(count(w).running, 2);
    bf_clock_fake_advance(1);
    until(w, held->ended);
    assert_int_equal(held->kind, BF_REPLY_LOST);
    assert_int_equal(stops->ended, 0);
    world_free(w);
}

static void a_flood_of_words_does_no_harm(void **unused)
{
    struct world *w = fakes(1, 1);
    struct run *run = give(w, "shout", S("heard"));

    (void)unused;
    until(w, run->ended);
    assert_string_equal(run->body, "heard");
    world_free(w);
}

static void a_runner_that_never_comes_up_is_told_of(void **unused)
{
    static const char *const args[] = {"--broken", NULL};
    struct world *w = world_new((struct bf_runner_pool_config){
        .path = FAKE, .runners = 2, .slots = 1, .queue = 4, .args = args});
    struct run *run = give(w, "echo", NONE);

    (void)unused;
    until(w, run->ended);
    assert_int_equal(run->kind, BF_REPLY_UNSENT);
    assert_string_equal(run->text, "the runner exited with status 1");
    /* It is tried again, and again. */
    until(w, count(w).died > 4);
    world_free(w);
}

static void what_is_not_there_is_told_at_once(void **unused)
{
    static const struct {
        const char *python, *path, *words;
    } rows[] = {
        {"no-such-python", FAKE, "no-such-python is not on PATH"},
        {"/no/python", FAKE, "no program: /no/python"},
        {PYTHON, "/nonexistent", "no runner in /nonexistent"},
        {PYTHON, BF_SOURCE_DIR, "no runner in " BF_SOURCE_DIR},
    };

    (void)unused;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        struct bf_runner_pool_config config = {.python = rows[i].python,
                                               .path = rows[i].path,
                                               .runners = 1,
                                               .slots = 1};
        struct bf_err err = {0};

        assert_null(bf_runner_pool_new(&config, &err));
        assert_int_equal(err.kind, BF_ERR_FATAL);
        assert_string_equal(err.msg, rows[i].words);
    }
}

/* It is the kernel that kills it: we are gone, and cannot. */
static void no_runner_outlives_us(void **unused)
{
    int out[2];
    pid_t child, runner = 0;
    siginfo_t info;

    (void)unused;
    assert_int_equal(pipe(out), 0);
    /* Whoever is left behind becomes ours, and is seen to die. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    child = fork();
    if (child == 0) {
        struct world *w = fakes(1, 1);
        struct run *who = give(w, "who", NONE);

        until(w, who->ended);
        runner = (pid_t)strtol(who->body, NULL, 10);
        kill(runner, SIGSTOP); /* deaf to its socket */
        if (write(out[1], &runner, sizeof(runner)) == sizeof(runner))
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    close(out[1]);
    assert_int_equal(read(out[0], &runner, sizeof(runner)), sizeof(runner));
    close(out[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(waitid(P_PID, (id_t)runner, &info, WEXITED), 0);
    assert_int_equal(info.si_status, SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}

/* ---- with the real one ---- */

#define CODE_SLEEP                                                             \
    "import time\\ndef run(self, s):\\n    time.sleep(s)\\n    return {}\\n"
#define CODE_ECHO "def run(self, a):\\n    return {'a': a}\\n"

static struct world *reals(size_t runners, size_t slots)
{
    static const char *const args[] = {"--preload", "none", NULL};

    return world_new((struct bf_runner_pool_config){.path = REAL,
                                                    .runners = runners,
                                                    .slots = slots,
                                                    .queue = 40,
                                                    .args = args});
}

static struct run *execute(struct world *w, const char *code,
                           struct bf_slice inputs, int timeout_ms)
{
    struct run *run = &w->runs[w->nruns];

    snprintf(run->id, sizeof(run->id), "r%zu", w->nruns);
    snprintf(run->head, sizeof(run->head),
             "{\"op\":\"run\",\"run_id\":\"r%zu\",\"workspace\":\"w\","
             "\"timeout_ms\":%d,\"code_str\":\"%s\"}",
             w->nruns, timeout_ms, code);
    return send_head(w, inputs);
}

static void real_runs_are_parallel(void **unused)
{
    struct world *w = reals(2, 2);
    struct run *runs[4];
    int64_t begin;

    (void)unused;
    /* Load the block everywhere first. */
    for (size_t i = 0; i < 4; i++)
        runs[i] = execute(w, CODE_SLEEP, S("{\"s\":1}"), 20000);
    for (size_t i = 0; i < 4; i++)
        until(w, runs[i]->ended);
    begin = machine_ms();
    for (size_t i = 0; i < 4; i++)
        runs[i] = execute(w, CODE_SLEEP, S("{\"s\":1}"), 20000);
    for (size_t i = 0; i < 4; i++) {
        until(w, runs[i]->ended);
        assert_int_equal(runs[i]->started, 1);
        assert_string_equal(runs[i]->body, "{}");
    }
    assert_true(machine_ms() - begin < 3500);
    world_free(w);
}

static void a_real_run_is_killed_at_its_deadline(void **unused)
{
    struct world *w = reals(1, 2);
    struct run *slow = execute(w, CODE_SLEEP, S("{\"s\":60}"), 300);
    struct run *quick = execute(w, CODE_ECHO, S("{\"a\":NaN}"), 20000);

    (void)unused;
    until(w, slow->ended && quick->ended);
    assert_int_equal(slow->kind, BF_REPLY_OK);
    assert_int_equal(slow->body_len, 0);
    assert_non_null(strstr(slow->text, "\"success\": false"));
    assert_string_equal(quick->body, "{\"a\": NaN}");
    world_free(w);
}

static void a_real_run_is_killed_on_request(void **unused)
{
    struct world *w = reals(1, 1);
    struct run *slow = execute(w, CODE_SLEEP, S("{\"s\":60}"), 100000);
    struct run *next = execute(w, CODE_ECHO, S("{\"a\":1}"), 20000);

    (void)unused;
    until(w, slow->started);
    bf_runner_pool_cancel(w->pool, bf_take(slow->call));
    until(w, next->ended);
    assert_string_equal(next->body, "{\"a\": 1}");
    assert_int_equal(slow->ended, 0);
    assert_int_equal(count(w).died, 0);
    world_free(w);
}

static void a_real_run_takes_15_megabytes(void **unused)
{
    size_t len = (15 << 20) - 1; /* a space comes with the result */
    struct world *w = reals(1, 1);
    char *inputs = malloc(len + 1);
    struct run *run;

    (void)unused;
    assert_non_null(inputs);
    snprintf(inputs, len + 1, "{\"a\":\"%*s\"}", (int)len - 8, "x");
    run = execute(w, CODE_ECHO, (struct bf_slice){inputs, len}, 60000);
    until(w, run->ended);
    assert_int_equal(run->body_len, len + 1);
    assert_memory_equal(run->body + 6, inputs + 5, len - 5);
    free(inputs);
    world_free(w);
}

static void real_runs_die_with_their_runner(void **unused)
{
    struct world *w = reals(1, 1);
    struct run *suicide = execute(
        w,
        "import os\\ndef run(self):\\n    os.kill(int(open('/proc/%d/status' "
        "% os.getppid()).read().split('PPid:')[1].split()[0]), 9)\\n"
        "    import time\\n    time.sleep(60)\\n",
        S("{}"), 20000);
    struct run *next = execute(w, CODE_ECHO, S("{\"a\":2}"), 20000);

    (void)unused;
    until(w, suicide->ended && next->ended);
    assert_int_equal(suicide->kind, BF_REPLY_LOST);
    assert_int_equal(suicide->started, 1);
    assert_string_equal(next->body, "{\"a\": 2}");
    world_free(w);
}

/* What runners say is for people, not for the log of the tests. */
static int hush(void **unused)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    struct bf_log_conf conf = {.level = BF_LOG_INFO,
                               .format = BF_LOG_JSON,
                               .fd = getenv("BF_LOUD") ? 2 : null,
                               .per_second = 20};

    (void)unused;
    bf_log_init(&conf);
    return null < 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_are_spread_and_answered),
        cmocka_unit_test(slots_and_the_queue_have_ceilings),
        cmocka_unit_test(large_inputs_go_both_ways),
        cmocka_unit_test(a_run_given_up_in_the_middle_costs_nobody_else),
        cmocka_unit_test(a_runner_gets_nothing_of_ours),
        cmocka_unit_test(a_dead_runner_loses_what_it_had_and_comes_back),
        cmocka_unit_test(last_words_are_heard),
        cmocka_unit_test(what_was_not_written_was_not_sent),
        cmocka_unit_test(nonsense_ends_a_runner),
        cmocka_unit_test(one_that_hangs_up_has_time_to_end),
        cmocka_unit_test(a_second_answer_is_nonsense),
        cmocka_unit_test(one_that_does_not_begin_is_killed),
        cmocka_unit_test(one_that_has_begun_something_may_be_quiet),
        cmocka_unit_test(one_that_does_not_kill_is_killed),
        cmocka_unit_test(a_flood_of_words_does_no_harm),
        cmocka_unit_test(a_runner_that_never_comes_up_is_told_of),
        cmocka_unit_test(what_is_not_there_is_told_at_once),
        cmocka_unit_test(no_runner_outlives_us),
        cmocka_unit_test(real_runs_are_parallel),
        cmocka_unit_test(a_real_run_is_killed_at_its_deadline),
        cmocka_unit_test(a_real_run_is_killed_on_request),
        cmocka_unit_test(a_real_run_takes_15_megabytes),
        cmocka_unit_test(real_runs_die_with_their_runner),
    };

    return cmocka_run_group_tests(tests, hush, NULL);
}
