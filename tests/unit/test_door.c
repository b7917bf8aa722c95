#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/clock.h"
#include "dispatcher/door.h"

#define NOW 1795266000000

static struct {
    char dir[64];
    char path[96];
    struct bf_door *door;
} rig;

static int set_up(void **state)
{
    (void)state;
    bf_clock_fake(NOW, 1000000);
    snprintf(rig.dir, sizeof(rig.dir), "/tmp/bf-door-XXXXXX");
    assert_non_null(mkdtemp(rig.dir));
    snprintf(rig.path, sizeof(rig.path), "%s/api_keys", rig.dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bf_door_free(rig.door);
    rig.door = NULL;
    bf_clock_real();
    unlink(rig.path);
    return rmdir(rig.dir);
}

static void open_door(bool anonymous)
{
    const struct bf_door_conf conf = {rig.path, anonymous};
    struct bf_err err = {0};

    rig.door = bf_door_new(&conf, &err);
    if (!rig.door)
        fail_msg("%s", err.msg);
}

/* The header of a new key for these workspaces. */
static void add(const char *workspaces, int64_t expires_ms, char *ret_id,
                char header[128])
{
    const struct bf_apikey want = {.workspaces = bf_slice_str(workspaces),
                                   .created_ms = NOW,
                                   .expires_ms = expires_ms};
    char id[BF_APIKEY_ID_SIZE], token[BF_APIKEY_TOKEN_SIZE];

    assert_int_equal(bf_apikeys_add(rig.path, &want, id, token, NULL), 0);
    snprintf(header, 128, "Bearer %s", token);
    if (ret_id)
        memcpy(ret_id, id, sizeof(id));
}

#define assert_kept_out(rc, problem, with)                                     \
    do {                                                                       \
        assert_int_equal((rc), -1);                                            \
        assert_int_equal((problem).code, (with));                              \
    } while (0)

static void a_key_opens_its_workspaces(void **state)
{
    char one[128], two[128], all[128];
    struct bf_caller caller;
    struct bf_problem why;

    (void)state;
    add("a", 0, NULL, one);
    add("a,b", 0, NULL, two);
    add("*", 0, NULL, all);
    open_door(false);
    assert_int_equal(bf_door_keys(rig.door), 3);

    assert_int_equal(bf_door_enter(rig.door, one, &caller, &why), 0);
    assert_slice(bf_door_usual(rig.door, &caller), "a");
    assert_int_equal(bf_door_check(rig.door, &caller, S("a"), &why), 0);
    assert_kept_out(bf_door_check(rig.door, &caller, S("b"), &why), why,
                    BF_PROBLEM_FORBIDDEN);
    assert_string_equal(why.field, "workspace");
    assert_kept_out(bf_door_check_operator(rig.door, &caller, &why), why,
                    BF_PROBLEM_FORBIDDEN);

    assert_int_equal(bf_door_enter(rig.door, two, &caller, &why), 0);
    assert_null(bf_door_usual(rig.door, &caller).ptr);
    assert_int_equal(bf_door_check(rig.door, &caller, S("b"), &why), 0);

    assert_int_equal(bf_door_enter(rig.door, all, &caller, &why), 0);
    assert_int_equal(bf_door_check(rig.door, &caller, S("z"), &why), 0);
    assert_int_equal(bf_door_check_operator(rig.door, &caller, &why), 0);
}

static void whoever_has_no_key_stays_out(void **state)
{
    static const char *const headers[] = {
        NULL,
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer bf_0123456789ab_",
        "Bearer bf_0123456789ab_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    };
    struct bf_caller caller;
    struct bf_problem why;
    char key[128], twice[260];

    (void)state;
    add("a", 0, NULL, key);
    open_door(false);
    for (size_t i = 0; i < bf_countof(headers); i++)
        assert_kept_out(bf_door_enter(rig.door, headers[i], &caller, &why), why,
                        BF_PROBLEM_UNAUTHORIZED);
    snprintf(twice, sizeof(twice), "%s %s", key, key);
    assert_kept_out(bf_door_enter(rig.door, twice, &caller, &why), why,
                    BF_PROBLEM_UNAUTHORIZED);
    /* The scheme is a token, in any case (RFC 9110 §11.1). */
    snprintf(twice, sizeof(twice), "bEARER   %s", key + 7);
    assert_int_equal(bf_door_enter(rig.door, twice, &caller, &why), 0);
}

static void anonymous_is_everybody_but_a_bad_key(void **state)
{
    struct bf_caller caller;
    struct bf_problem why;
    char key[128];

    (void)state;
    add("a", 0, NULL, key);
    open_door(true);
    assert_int_equal(bf_door_enter(rig.door, NULL, &caller, &why), 0);
    assert_int_equal(bf_door_check(rig.door, &caller, S("z"), &why), 0);
    assert_int_equal(bf_door_check_operator(rig.door, &caller, &why), 0);
    assert_null(bf_door_usual(rig.door, &caller).ptr);
    /* Whoever shows a key means it. */
    assert_int_equal(bf_door_enter(rig.door, key, &caller, &why), 0);
    assert_kept_out(bf_door_check(rig.door, &caller, S("z"), &why), why,
                    BF_PROBLEM_FORBIDDEN);
    assert_kept_out(bf_door_enter(rig.door, "Bearer x", &caller, &why), why,
                    BF_PROBLEM_UNAUTHORIZED);
}

static void a_key_ends_while_it_is_used(void **state)
{
    char brief[128], revoked[128], id[BF_APIKEY_ID_SIZE];
    struct bf_caller first, second;
    struct bf_problem why;

    (void)state;
    add("a", NOW + 5000, NULL, brief);
    add("a", 0, id, revoked);
    open_door(false);
    assert_int_equal(bf_door_enter(rig.door, brief, &first, &why), 0);
    assert_int_equal(bf_door_enter(rig.door, revoked, &second, &why), 0);
    bf_clock_fake_advance(5000);
    assert_kept_out(bf_door_check(rig.door, &first, S("a"), &why), why,
                    BF_PROBLEM_UNAUTHORIZED);
    assert_kept_out(bf_door_enter(rig.door, brief, &first, &why), why,
                    BF_PROBLEM_UNAUTHORIZED);
    assert_null(bf_door_usual(rig.door, &first).ptr);

    assert_int_equal(bf_apikeys_revoke(rig.path, id, NULL), 0);
    assert_int_equal(bf_door_check(rig.door, &second, S("a"), &why), 0);
    assert_int_equal(bf_door_refresh(rig.door, NULL), 1);
    assert_kept_out(bf_door_check(rig.door, &second, S("a"), &why), why,
                    BF_PROBLEM_UNAUTHORIZED);
    assert_int_equal(bf_door_keys(rig.door), 0);
}

static void the_file_is_read_again_when_it_changes(void **state)
{
    struct bf_caller caller;
    struct bf_err err = {0};
    struct bf_problem why;
    char key[128];

    (void)state;
    open_door(false);
    assert_int_equal(bf_door_keys(rig.door), 0);
    add("a", 0, NULL, key);
    assert_int_equal(bf_door_refresh(rig.door, &err), 0); /* too early */
    bf_clock_fake_advance(1000);
    assert_int_equal(bf_door_refresh(rig.door, &err), 1);
    assert_int_equal(bf_door_enter(rig.door, key, &caller, &why), 0);
    bf_clock_fake_advance(1000);
    assert_int_equal(bf_door_refresh(rig.door, &err), 0);
    /* What cannot be read changes nothing, and is told once. */
    assert_int_equal(chmod(rig.path, 0644), 0);
    bf_clock_fake_advance(1000);
    assert_int_equal(bf_door_refresh(rig.door, &err), -1);
    assert_string_equal(err.code, "secret_mode");
    bf_clock_fake_advance(1000);
    assert_int_equal(bf_door_refresh(rig.door, &err), 0);
    assert_int_equal(bf_door_enter(rig.door, key, &caller, &why), 0);
    assert_int_equal(unlink(rig.path), 0);
    bf_clock_fake_advance(1000);
    assert_int_equal(bf_door_refresh(rig.door, &err), -1);
    assert_int_equal(bf_door_enter(rig.door, key, &caller, &why), 0);
}

/* Nothing more can be opened, as when too many connections are there. */
static void set_descriptors(rlim_t most)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = most ? most : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void a_revocation_outlasts_a_reading_that_failed(void **state)
{
    struct bf_caller caller;
    struct bf_err err = {0};
    struct bf_problem why;
    char key[128], id[BF_APIKEY_ID_SIZE];

    (void)state;
    add("a", 0, id, key);
    open_door(false);
    assert_int_equal(bf_apikeys_revoke(rig.path, id, NULL), 0);
    bf_clock_fake_advance(1000);
    set_descriptors(1);
    assert_int_equal(bf_door_refresh(rig.door, &err), -1);
    bf_clock_fake_advance(1000);
    assert_int_equal(bf_door_refresh(rig.door, &err), 0); /* told once */
    set_descriptors(0);
    assert_int_equal(bf_door_enter(rig.door, key, &caller, &why), 0);
    bf_clock_fake_advance(1000);
    assert_int_equal(bf_door_refresh(rig.door, &err), 1);
    assert_kept_out(bf_door_enter(rig.door, key, &caller, &why), why,
                    BF_PROBLEM_UNAUTHORIZED);
    bf_clock_fake_advance(1000);
    assert_int_equal(bf_door_refresh(rig.door, &err), 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static void a_key_is_shown_in_modals_headers_too(void **state)
{
    char one[128], two[128], id[BF_APIKEY_ID_SIZE];
    struct bf_caller caller;
    struct bf_problem why;

    (void)state;
    add("a", 0, id, one);
    add("b", 0, NULL, two);
    open_door(false);
    assert_int_equal(bf_door_enter_modal(rig.door, id, one + 7, &caller, &why),
                     0);
    assert_int_equal(bf_door_check(rig.door, &caller, S("a"), &why), 0);
    assert_kept_out(bf_door_check(rig.door, &caller, S("b"), &why), why,
                    BF_PROBLEM_FORBIDDEN);
    /* All that is missing, another's, or nobody's. */
    assert_kept_out(bf_door_enter_modal(rig.door, NULL, NULL, &caller, &why),
                    why, BF_PROBLEM_UNAUTHORIZED);
    assert_kept_out(bf_door_enter_modal(rig.door, id, NULL, &caller, &why), why,
                    BF_PROBLEM_UNAUTHORIZED);
    assert_kept_out(bf_door_enter_modal(rig.door, NULL, one + 7, &caller, &why),
                    why, BF_PROBLEM_UNAUTHORIZED);
    assert_kept_out(bf_door_enter_modal(rig.door, id, two + 7, &caller, &why),
                    why, BF_PROBLEM_UNAUTHORIZED);
    assert_kept_out(bf_door_enter_modal(rig.door, id, "", &caller, &why), why,
                    BF_PROBLEM_UNAUTHORIZED);
    assert_kept_out(
        bf_door_enter_modal(rig.door, BF_DOOR_ANONYMOUS, "x", &caller, &why),
        why, BF_PROBLEM_UNAUTHORIZED);
}

static void an_open_door_wants_no_modal_token(void **state)
{
    struct bf_caller caller;
    struct bf_problem why;

    (void)state;
    open_door(true);
    assert_int_equal(
        bf_door_enter_modal(rig.door, BF_DOOR_ANONYMOUS, "x", &caller, &why),
        0);
    assert_int_equal(bf_door_enter_modal(rig.door, NULL, NULL, &caller, &why),
                     0);
    assert_kept_out(bf_door_enter_modal(rig.door, "ak-1", "x", &caller, &why),
                    why, BF_PROBLEM_UNAUTHORIZED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_key_opens_its_workspaces),
        TEST(whoever_has_no_key_stays_out),
        TEST(anonymous_is_everybody_but_a_bad_key),
        TEST(a_key_ends_while_it_is_used),
        TEST(the_file_is_read_again_when_it_changes),
        TEST(a_revocation_outlasts_a_reading_that_failed),
        TEST(a_key_is_shown_in_modals_headers_too),
        TEST(an_open_door_wants_no_modal_token),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
