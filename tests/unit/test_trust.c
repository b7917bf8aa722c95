#include "tests/unit/support.h"

#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "config/keys.h"
#include "config/trust.h"

static char dir[] = "/tmp/bf-trust-XXXXXX";
static int64_t now_ms; /* a clock of our own: nothing waits */

static enum bf_trust_news look(struct bf_trust *trust, struct bf_err *err)
{
    now_ms += 1000;
    return bf_trust_look(trust, now_ms, err);
}

/* Until what was written is taken up: it has to stay for two looks. */
static enum bf_trust_news settle(struct bf_trust *trust, struct bf_err *err)
{
    enum bf_trust_news news = look(trust, err);

    return news == BF_TRUST_SAME ? look(trust, err) : news;
}

static bool finds(struct bf_trust *trust, const char *id)
{
    struct bf_verify_key key;

    return bf_trust_find_key(trust, BF_PURPOSE_JOB, id, BF_SLICE_LIT("acme"),
                             &key);
}

static void make_key(char id[BF_KEY_ID_SIZE])
{
    struct bf_err err = {0};

    if (bf_keyring_generate(dir, BF_PURPOSE_JOB, NULL, NULL, id, &err))
        fail_msg("%s", err.msg);
}

/* In place, as a bad editor does it. */
static void append(const char *text)
{
    char path[64];
    FILE *file;

    snprintf(path, sizeof(path), "%s/trusted", dir);
    file = fopen(path, "a");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static struct bf_trust *open_trust(void)
{
    struct bf_err err = {0};
    struct bf_trust *trust = bf_trust_new(dir, &err);

    if (!trust)
        fail_msg("%s", err.msg);
    return trust;
}

static void a_change_is_taken_up(void **state)
{
    char first[BF_KEY_ID_SIZE], second[BF_KEY_ID_SIZE];
    bf_autotrust struct bf_trust *trust = NULL;
    struct bf_err err = {0};

    (void)state;
    make_key(first);
    trust = open_trust();
    assert_int_equal(settle(trust, &err), BF_TRUST_SAME);
    make_key(second);
    assert_false(finds(trust, second));
    assert_int_equal(look(trust, &err), BF_TRUST_SAME); /* still written? */
    assert_false(finds(trust, second));
    assert_int_equal(look(trust, &err), BF_TRUST_CHANGED);
    assert_true(finds(trust, first) && finds(trust, second));
    assert_int_equal(bf_keyring_revoke(dir, first, &err), 0);
    assert_int_equal(settle(trust, &err), BF_TRUST_CHANGED);
    assert_false(finds(trust, first));
    assert_true(finds(trust, second));
    assert_int_equal(look(trust, &err), BF_TRUST_SAME);
}

static void it_does_not_look_more_than_once_a_second(void **state)
{
    bf_autotrust struct bf_trust *trust = open_trust();
    char id[BF_KEY_ID_SIZE];
    struct bf_err err = {0};

    (void)state;
    look(trust, &err);
    make_key(id);
    for (int i = 1; i < 1000; i++)
        assert_int_equal(bf_trust_look(trust, now_ms + i, &err), BF_TRUST_SAME);
    assert_int_equal(look(trust, &err), BF_TRUST_SAME);
    assert_int_equal(look(trust, &err), BF_TRUST_CHANGED);
}

static void what_is_wrong_changes_nothing(void **state)
{
    bf_autotrust struct bf_trust *trust = NULL;
    char id[BF_KEY_ID_SIZE], path[64], away[64];
    struct bf_err err = {0};
    size_t before;

    (void)state;
    make_key(id);
    trust = open_trust();
    before = bf_trust_count(trust);
    append("job ed25519 AAAA\n");
    assert_int_equal(settle(trust, &err), BF_TRUST_BAD);
    assert_non_null(strstr(err.msg, "trusted:"));
    assert_int_equal(settle(trust, &err), BF_TRUST_SAME); /* said once */
    assert_true(finds(trust, id));
    assert_int_equal(bf_trust_count(trust), before);
    snprintf(path, sizeof(path), "%s/trusted", dir);
    snprintf(away, sizeof(away), "%s/away", dir);
    assert_int_equal(rename(path, away), 0);
    assert_int_equal(settle(trust, &err), BF_TRUST_BAD);
    assert_string_equal(err.code, "no_keys");
    assert_true(finds(trust, id));
    make_key(id); /* there again, with this key alone */
    assert_int_equal(settle(trust, &err), BF_TRUST_CHANGED);
    assert_true(finds(trust, id));
    assert_int_equal(bf_trust_count(trust), 1);
}

/* Nothing more can be opened. */
static void set_descriptors(rlim_t most)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = most ? most : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void a_reading_that_failed_is_tried_again(void **state)
{
    char first[BF_KEY_ID_SIZE], second[BF_KEY_ID_SIZE];
    bf_autotrust struct bf_trust *trust = NULL;
    struct bf_err err = {0};

    (void)state;
    make_key(first);
    trust = open_trust();
    make_key(second);
    set_descriptors(1);
    assert_int_equal(settle(trust, &err), BF_TRUST_BAD);
    assert_int_equal(settle(trust, &err), BF_TRUST_SAME); /* said once */
    set_descriptors(0);
    assert_false(finds(trust, second));
    assert_int_equal(look(trust, &err), BF_TRUST_CHANGED);
    assert_true(finds(trust, second));
    assert_int_equal(settle(trust, &err), BF_TRUST_SAME);
}

static void a_signer_learns_that_it_was_revoked(void **state)
{
    bf_autotrust struct bf_trust *trust = NULL;
    bf_autokeyring struct bf_keyring *ring = NULL;
    const struct bf_signer *signer;
    char id[BF_KEY_ID_SIZE];
    struct bf_err err = {0};

    (void)state;
    make_key(id);
    ring = bf_keyring_load(dir, &err);
    assert_non_null(ring);
    signer = bf_keyring_signer(ring, BF_PURPOSE_JOB);
    trust = open_trust();
    assert_true(bf_trust_has(trust, signer));
    assert_false(bf_trust_has(trust, NULL));
    assert_int_equal(bf_keyring_revoke(dir, signer->key_id, &err), 0);
    assert_int_equal(settle(trust, &err), BF_TRUST_CHANGED);
    assert_false(bf_trust_has(trust, signer));
}

struct asking {
    struct bf_trust *trust;
    const char *id;
    atomic_bool stop;
    int missed;
};

static void *ask(void *arg)
{
    struct asking *asking = arg;

    do
        asking->missed += !finds(asking->trust, asking->id);
    while (!atomic_load(&asking->stop));
    return NULL;
}

/* A key that is in every version of the file is found at every moment. */
static void threads_ask_while_it_changes(void **state)
{
    bf_autotrust struct bf_trust *trust = NULL;
    struct asking asking = {.stop = false};
    char id[BF_KEY_ID_SIZE], other[BF_KEY_ID_SIZE];
    struct bf_err err = {0};
    pthread_t thread;

    (void)state;
    make_key(id);
    trust = open_trust();
    asking.trust = trust;
    asking.id = id;
    assert_int_equal(pthread_create(&thread, NULL, ask, &asking), 0);
    for (int i = 0; i < 20; i++) {
        make_key(other);
        assert_int_equal(settle(trust, &err), BF_TRUST_CHANGED);
    }
    atomic_store(&asking.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(asking.missed, 0);
}

static void a_directory_without_keys_is_refused(void **state)
{
    struct bf_err err = {0};

    (void)state;
    assert_null(bf_trust_new("/nowhere", &err));
    assert_string_equal(err.code, "no_keys");
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_is_taken_up),
        cmocka_unit_test(it_does_not_look_more_than_once_a_second),
        cmocka_unit_test(what_is_wrong_changes_nothing),
        cmocka_unit_test(a_reading_that_failed_is_tried_again),
        cmocka_unit_test(a_signer_learns_that_it_was_revoked),
        cmocka_unit_test(threads_ask_while_it_changes),
        cmocka_unit_test(a_directory_without_keys_is_refused),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
