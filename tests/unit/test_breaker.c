#include "tests/unit/support.h"

#include "worker/breaker.h"

static struct bf_breaker breaker;
static int64_t now;

static int set_up(void **state)
{
    (void)state;
    now = 1000000;
    bf_breaker_init(&breaker);
    return 0;
}

static enum bf_pass enter(int64_t *ret_wait)
{
    return bf_breaker_enter(&breaker, now, ret_wait);
}

static enum bf_breaker_news leave(enum bf_pass pass, enum bf_sign sign)
{
    return bf_breaker_leave(&breaker, now, pass, sign, 0);
}

/* One call, from start to end. */
static enum bf_breaker_news call(enum bf_sign sign)
{
    int64_t wait;
    enum bf_pass pass = enter(&wait);

    assert_int_not_equal(pass, BF_PASS_NO);
    return leave(pass, sign);
}

static void expect_shut(int64_t wait_ms)
{
    int64_t wait = -1;

    assert_int_equal(enter(&wait), BF_PASS_NO);
    assert_int_equal(wait, wait_ms);
}

static void open_by_faults(void)
{
    for (int i = 0; i < 9; i++)
        assert_int_equal(call(BF_SIGN_FAULT), BF_BREAKER_SAME);
    assert_int_equal(call(BF_SIGN_FAULT), BF_BREAKER_OPENED);
}

static void test_faults_in_a_row(void **state)
{
    (void)state;
    for (int i = 0; i < 9; i++)
        call(BF_SIGN_FAULT);
    call(BF_SIGN_NONE); /* says nothing */
    assert_int_equal(call(BF_SIGN_GOOD), BF_BREAKER_SAME);
    open_by_faults();
    expect_shut(1000);
}

static void test_half_of_a_window(void **state)
{
    enum bf_breaker_news news = BF_BREAKER_SAME;
    int calls = 0;

    (void)state;
    while (news == BF_BREAKER_SAME && calls < 100)
        news = call(calls++ % 2 ? BF_SIGN_FAULT : BF_SIGN_GOOD);
    assert_int_equal(news, BF_BREAKER_OPENED);
    assert_int_equal(calls, 40);
}

static void test_few_faults_do_not_open_it(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(call(i % 4 ? BF_SIGN_GOOD : BF_SIGN_FAULT),
                         BF_BREAKER_SAME);
        now += 50;
    }
}

static void test_probes(void **state)
{
    int64_t wait = 0;

    (void)state;
    open_by_faults();
    now += 999;
    expect_shut(1);
    now += 1;
    assert_int_equal(enter(&wait), BF_PASS_PROBE);
    assert_int_equal(enter(&wait), BF_PASS_PROBE);
    expect_shut(1000);
    /* One fails: open again, for longer; the other one's word still counts. */
    assert_int_equal(leave(BF_PASS_PROBE, BF_SIGN_FAULT), BF_BREAKER_SAME);
    expect_shut(2000);
    assert_int_equal(leave(BF_PASS_PROBE, BF_SIGN_GOOD), BF_BREAKER_CLOSED);
    assert_int_equal(enter(&wait), BF_PASS_YES);
}

static void test_backoff_is_bounded(void **state)
{
    static const int64_t waits[] = {1000,  2000,  4000,  8000,
                                    16000, 32000, 60000, 60000};

    (void)state;
    open_by_faults();
    for (size_t i = 0; i < bf_countof(waits); i++) {
        expect_shut(waits[i]);
        now += waits[i];
        assert_int_equal(call(BF_SIGN_FAULT), BF_BREAKER_SAME);
    }
    now += 60000;
    assert_int_equal(call(BF_SIGN_GOOD), BF_BREAKER_CLOSED);
    open_by_faults();
    expect_shut(1000);
}

static void test_retry_after(void **state)
{
    int64_t wait;

    (void)state;
    for (int i = 0; i < 9; i++)
        call(BF_SIGN_FAULT);
    assert_int_equal(enter(&wait), BF_PASS_YES);
    assert_int_equal(
        bf_breaker_leave(&breaker, now, BF_PASS_YES, BF_SIGN_FAULT, 17000),
        BF_BREAKER_OPENED);
    expect_shut(17000);
}

/* At once, told once, and only a slow probe goes on. */
static void test_credential(void **state)
{
    int64_t wait;

    (void)state;
    assert_int_equal(enter(&wait), BF_PASS_YES); /* under way meanwhile */
    assert_int_equal(call(BF_SIGN_CREDENTIAL), BF_BREAKER_STOPPED);
    expect_shut(60000);
    assert_int_equal(leave(BF_PASS_YES, BF_SIGN_CREDENTIAL), BF_BREAKER_SAME);
    now += 60000;
    assert_int_equal(call(BF_SIGN_CREDENTIAL), BF_BREAKER_SAME);
    expect_shut(60000);
    now += 60000;
    assert_int_equal(call(BF_SIGN_GOOD), BF_BREAKER_CLOSED);
}

/* One tenant's code may fake a refusal: not while others are served. */
static void test_few_refusals_among_successes(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        call(BF_SIGN_GOOD);
        assert_int_equal(call(BF_SIGN_CREDENTIAL), BF_BREAKER_SAME);
        assert_int_equal(call(BF_SIGN_CREDENTIAL), BF_BREAKER_SAME);
    }
    assert_int_equal(call(BF_SIGN_CREDENTIAL), BF_BREAKER_STOPPED);
    now += 60000;
    assert_int_equal(call(BF_SIGN_GOOD), BF_BREAKER_CLOSED);
    now += 10000;
    assert_int_equal(call(BF_SIGN_CREDENTIAL), BF_BREAKER_STOPPED);
}

/* What went before it opened neither closes it nor opens it for longer. */
static void test_stragglers(void **state)
{
    int64_t wait;

    (void)state;
    assert_int_equal(enter(&wait), BF_PASS_YES);
    assert_int_equal(enter(&wait), BF_PASS_YES);
    open_by_faults();
    assert_int_equal(leave(BF_PASS_YES, BF_SIGN_GOOD), BF_BREAKER_SAME);
    assert_int_equal(leave(BF_PASS_YES, BF_SIGN_FAULT), BF_BREAKER_SAME);
    expect_shut(1000);
}

#define T(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_faults_in_a_row),
        T(test_half_of_a_window),
        T(test_few_faults_do_not_open_it),
        T(test_probes),
        T(test_backoff_is_bounded),
        T(test_retry_after),
        T(test_credential),
        T(test_few_refusals_among_successes),
        T(test_stragglers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
