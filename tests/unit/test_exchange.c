#include "support.h"

#include <poll.h>
#include <pthread.h>

#include "dispatcher/exchange.h"
#include "dispatcher/loop.h"

static struct {
    int fd;
    struct bf_exchange *exchange;
} rig;

static int set_up(void **unused)
{
    (void)unused;
    rig.fd = bf_wake_new(NULL);
    rig.exchange = bf_exchange_new(rig.fd, NULL);
    return rig.exchange ? 0 : -1;
}

static int tear_down(void **unused)
{
    (void)unused;
    bf_exchange_free(rig.exchange);
    close(rig.fd);
    return 0;
}

static bool was_woken(void)
{
    struct pollfd fd = {.fd = rig.fd, .events = POLLIN};
    bool woken = poll(&fd, 1, 0) > 0;

    bf_wake_clear(rig.fd);
    return woken;
}

static void accept_job(const char *job, const char *labels)
{
    struct bf_row row = {.has_job = true, .offset = 7};

    snprintf(row.labels, sizeof(row.labels), "%s", labels);
    bf_exchange_accepted(rig.exchange, "w", job, &row);
}

static void accepted_jobs_are_handed_on_in_order(void **unused)
{
    struct bf_accepted *first, *second;
    struct bf_row row;
    uint64_t ticket;

    (void)unused;
    accept_job("a", "{\"x\":\"y\"}");
    accept_job("b", "");
    assert_int_equal(bf_exchange_ticket(rig.exchange), 2);
    first = bf_exchange_take(rig.exchange, &ticket);
    assert_int_equal(ticket, 2);
    second = first->next;
    assert_string_equal(first->job, "a");
    assert_string_equal(second->job, "b");
    assert_null(second->next);
    bf_accepted_row(first, &row);
    assert_string_equal(row.labels, "{\"x\":\"y\"}");
    assert_int_equal(row.offset, 7);
    free(first);
    free(second);
    assert_null(bf_exchange_take(rig.exchange, &ticket));
    accept_job("left behind", "");
}

static void *apply(void *arg)
{
    uint64_t ticket;

    (void)arg;
    free(bf_exchange_take(rig.exchange, &ticket));
    bf_exchange_applied(rig.exchange, ticket);
    return NULL;
}

static void a_reader_waits_for_what_was_accepted(void **unused)
{
    pthread_t thread;

    (void)unused;
    bf_exchange_wait(rig.exchange, 0, 60000); /* nothing to wait for */
    accept_job("a", "");
    bf_exchange_wait(rig.exchange, 1, 1); /* nobody applies it */
    assert_int_equal(pthread_create(&thread, NULL, apply, NULL), 0);
    bf_exchange_wait(rig.exchange, bf_exchange_ticket(rig.exchange), 60000);
    pthread_join(thread, NULL);
}

static void ends_are_told_to_who_waits(void **unused)
{
    uint64_t keys[4];
    bool all;

    (void)unused;
    bf_exchange_note_end(rig.exchange, S("w"), S("nobody"));
    bf_exchange_publish(rig.exchange);
    assert_false(was_woken());
    assert_int_equal(bf_exchange_ended(rig.exchange, keys, 4, &all), 0);

    bf_exchange_expect(rig.exchange, 1);
    bf_exchange_publish(rig.exchange);
    assert_false(was_woken());
    bf_exchange_note_end(rig.exchange, S("w"), S("a"));
    bf_exchange_note_end(rig.exchange, S("w"), S("b"));
    assert_false(was_woken());
    bf_exchange_publish(rig.exchange);
    assert_true(was_woken());
    assert_int_equal(bf_exchange_ended(rig.exchange, keys, 1, &all), 1);
    assert_int_equal(keys[0], bf_exchange_key("w", "b"));
    assert_int_equal(bf_exchange_ended(rig.exchange, keys, 4, &all), 1);
    assert_int_equal(keys[0], bf_exchange_key("w", "a"));
    assert_false(all);
}

static void too_many_ends_wake_everybody(void **unused)
{
    uint64_t keys[4];
    bool all;

    (void)unused;
    bf_exchange_expect(rig.exchange, 1);
    for (int i = 0; i < 70000; i++)
        bf_exchange_note_end(rig.exchange, S("w"), S("a"));
    bf_exchange_publish(rig.exchange);
    assert_int_equal(bf_exchange_ended(rig.exchange, keys, 4, &all), 4);
    assert_true(all);
    assert_int_equal(bf_exchange_ended(rig.exchange, keys, 4, &all), 4);
    assert_false(all);
}

static void state_is_news_once(void **unused)
{
    struct bf_feed_state state;

    (void)unused;
    bf_exchange_state(rig.exchange, &state);
    assert_int_equal(state.shards, 0);
    assert_false(state.caught_up);
    assert_true(bf_exchange_set_shards(rig.exchange, 12, ""));
    assert_false(bf_exchange_set_shards(rig.exchange, 12, ""));
    assert_true(bf_exchange_set_shards(rig.exchange, 0, "gone"));
    bf_exchange_set_broken(rig.exchange, "no disk");
    assert_true(was_woken());
    bf_exchange_state(rig.exchange, &state);
    assert_true(state.broken);
    assert_string_equal(state.view_why, "no disk");
    assert_string_equal(state.why, "gone");
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(accepted_jobs_are_handed_on_in_order),
        test(a_reader_waits_for_what_was_accepted),
        test(ends_are_told_to_who_waits),
        test(too_many_ends_wake_everybody),
        test(state_is_news_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
