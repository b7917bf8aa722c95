#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dispatcher/apikeys.h"

#define ID "0123456789ab"
#define ID2 "ba9876543210"
#define HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define TIME "2026-11-21T13:00:00.000Z"
#define TIME_MS 1795266000000
#define HEAD ID " " HASH " workspaces="

static struct bf_apikeys *parse(const char *text)
{
    struct bf_err err = {0};
    struct bf_apikeys *keys = bf_apikeys_parse(bf_slice_str(text), &err);

    if (!keys)
        fail_msg("%s", err.msg);
    return keys;
}

static void a_line_is_a_key(void **state)
{
    bf_autoapikeys struct bf_apikeys *keys =
        parse("# two keys\n\n" HEAD "a,b_2 created=" TIME " whose it is\r\n"
              "revoked " ID2 " " HASH " workspaces=* created=" TIME
              " expires=2027-01-01T00:00:00.000Z");
    const struct bf_apikey *key = bf_apikeys_find(keys, S(ID));
    const struct bf_apikey *other = bf_apikeys_at(keys, 1);

    (void)state;
    assert_int_equal(bf_apikeys_count(keys), 2);
    assert_ptr_equal(key, bf_apikeys_at(keys, 0));
    assert_slice(key->workspaces, "a,b_2");
    assert_slice(key->comment, "whose it is");
    assert_int_equal(key->created_ms, TIME_MS);
    assert_int_equal(key->line, 3);
    assert_int_equal(key->hash[1], 0x11);
    assert_false(key->all || key->revoked);
    assert_true(other->all && other->revoked);
    assert_null(bf_apikeys_find(keys, S("0123456789ac")));
    assert_null(bf_apikeys_find(keys, S("0123")));
}

static void anything_else_is_refused(void **state)
{
    static const struct {
        const char *text, *told;
    } rows[] = {
        {"x", "line 1: must begin with an id"},
        {"0123456789AB " HASH " workspaces=a created=" TIME, "an id"},
        {"\n\n" ID " 00", "line 3: the hash"},
        {ID " " HASH, "workspaces= must follow"},
        {HEAD " created=" TIME, "names separated"},
        {HEAD "a, created=" TIME, "names separated"},
        {HEAD "a,* created=" TIME, "names separated"},
        {HEAD "a.b created=" TIME, "names separated"},
        {HEAD "a", "created="},
        {HEAD "a created=now", "created="},
        {HEAD "a created=" TIME " expires=never", "expires="},
        {HEAD "a created=" TIME "\n" HEAD "b created=" TIME, "twice"},
        {"revoked", "an id"},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        struct bf_err err = {0};

        assert_null(bf_apikeys_parse(bf_slice_str(rows[i].text), &err));
        assert_string_equal(err.code, "bad_api_key");
        if (!strstr(err.msg, rows[i].told))
            fail_msg("'%s' has no '%s'", err.msg, rows[i].told);
    }
}

static void a_key_is_for_its_workspaces(void **state)
{
    static const struct {
        const char *workspaces, *asked;
        bool may;
    } rows[] = {
        {"a", "a", true},        {"a", "b", false},     {"a", "aa", false},
        {"a", "", false},        {"aa", "a", false},    {"a,b,c", "b", true},
        {"a,b,c", "c", true},    {"a,b,c", "d", false}, {"a,b", "a,b", false},
        {"*", "whatever", true}, {"a", "*", false},
    };

    (void)state;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        struct bf_apikey key = {
            .workspaces = bf_slice_str(rows[i].workspaces),
            .all = strcmp(rows[i].workspaces, "*") == 0,
        };

        if (bf_apikey_may(&key, bf_slice_str(rows[i].asked)) != rows[i].may)
            fail_msg("%s, %s", rows[i].workspaces, rows[i].asked);
        assert_int_equal(bf_apikey_only(&key).ptr != NULL,
                         strlen(rows[i].workspaces) <= 2 && !key.all);
    }
}

static void a_key_lives_until_it_expires(void **state)
{
    struct bf_apikey key = {0};

    (void)state;
    assert_true(bf_apikey_live(&key, TIME_MS));
    key.expires_ms = TIME_MS;
    assert_true(bf_apikey_live(&key, TIME_MS - 1));
    assert_false(bf_apikey_live(&key, TIME_MS));
    key.expires_ms = 0;
    key.revoked = true;
    assert_false(bf_apikey_live(&key, TIME_MS));
}

/* ---- the file -------------------------------------------------------------*/

static struct {
    char dir[64];
    char path[96];
} rig;

static int make_folder(void **state)
{
    (void)state;
    snprintf(rig.dir, sizeof(rig.dir), "/tmp/bf-apikeys-XXXXXX");
    assert_non_null(mkdtemp(rig.dir));
    snprintf(rig.path, sizeof(rig.path), "%s/api_keys", rig.dir);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(rig.path);
    return rmdir(rig.dir); /* nothing else was left in it */
}

static void add(const char *workspaces, char id[BF_APIKEY_ID_SIZE],
                char token[BF_APIKEY_TOKEN_SIZE])
{
    const struct bf_apikey want = {
        .workspaces = bf_slice_str(workspaces),
        .created_ms = TIME_MS,
        .comment = S("a comment"),
    };
    struct bf_err err = {0};

    if (bf_apikeys_add(rig.path, &want, id, token, &err))
        fail_msg("%s", err.msg);
}

static void a_new_key_is_proved_by_its_token_alone(void **state)
{
    char id[BF_APIKEY_ID_SIZE], token[BF_APIKEY_TOKEN_SIZE];
    char other_id[BF_APIKEY_ID_SIZE], other[BF_APIKEY_TOKEN_SIZE];
    bf_autoapikeys struct bf_apikeys *keys = NULL;
    struct stat st;

    (void)state;
    add("a", id, token);
    add("*", other_id, other);
    assert_int_equal(stat(rig.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    keys = bf_apikeys_load(rig.path, false, NULL);
    assert_int_equal(bf_apikeys_count(keys), 2);
    assert_string_equal(bf_apikeys_prove(keys, bf_slice_str(token))->id, id);
    assert_true(bf_apikeys_prove(keys, bf_slice_str(other))->all);

    for (size_t i = 0; i < strlen(token); i++) {
        char changed[BF_APIKEY_TOKEN_SIZE];

        memcpy(changed, token, sizeof(changed));
        changed[i] = token[i] == 'a' ? 'b' : 'a';
        assert_null(bf_apikeys_prove(keys, bf_slice_str(changed)));
        assert_null(bf_apikeys_prove(keys, (struct bf_slice){token, i}));
    }
    /* One key's secret does not prove another's id. */
    memcpy(token + 3, other + 3, BF_APIKEY_ID_LEN);
    assert_null(bf_apikeys_prove(keys, bf_slice_str(token)));
}

static void the_file_holds_no_secret(void **state)
{
    char id[BF_APIKEY_ID_SIZE], token[BF_APIKEY_TOKEN_SIZE];
    char text[4096];
    FILE *file;

    (void)state;
    add("a", id, token);
    file = fopen(rig.path, "re");
    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    assert_non_null(strstr(text, id));
    assert_null(strstr(text, token + 3 + BF_APIKEY_ID_LEN + 1));
}

static void a_revoked_key_stays_in_the_file(void **state)
{
    char id[BF_APIKEY_ID_SIZE], token[BF_APIKEY_TOKEN_SIZE];
    bf_autoapikeys struct bf_apikeys *keys = NULL;
    const struct bf_apikey *key;
    struct bf_err err = {0};

    (void)state;
    add("a,b", id, token);
    assert_refused(bf_apikeys_revoke(rig.path, ID, &err), err, "unknown_key");
    assert_int_equal(bf_apikeys_revoke(rig.path, id, NULL), 0);
    assert_int_equal(bf_apikeys_revoke(rig.path, id, NULL), 0);
    keys = bf_apikeys_load(rig.path, false, NULL);
    key = bf_apikeys_prove(keys, bf_slice_str(token));
    assert_true(key && key->revoked);
    assert_slice(key->workspaces, "a,b");
    assert_slice(key->comment, "a comment");
    assert_int_equal(key->created_ms, TIME_MS);
}

static void a_file_that_others_may_read_is_refused(void **state)
{
    char id[BF_APIKEY_ID_SIZE], token[BF_APIKEY_TOKEN_SIZE];
    struct bf_err err = {0};
    struct bf_apikeys *none;

    (void)state;
    assert_null(bf_apikeys_load(rig.path, false, &err));
    none = bf_apikeys_load(rig.path, true, &err);
    assert_int_equal(bf_apikeys_count(none), 0);
    bf_apikeys_free(none);
    add("a", id, token);
    assert_int_equal(chmod(rig.path, 0640), 0);
    assert_null(bf_apikeys_load(rig.path, true, &err));
    assert_string_equal(err.code, "secret_mode");
}

static void expect_refused(const char *code)
{
    struct bf_err err = {0};

    assert_null(bf_apikeys_load(rig.path, true, &err));
    assert_string_equal(err.code, code);
}

static void a_file_that_others_may_write_is_refused(void **state)
{
    const struct bf_apikey want = {.workspaces = S("a")};
    char id[BF_APIKEY_ID_SIZE], token[BF_APIKEY_TOKEN_SIZE];
    struct bf_err err = {0};

    (void)state;
    assert_int_equal(chmod(rig.dir, 0777), 0);
    assert_refused(bf_apikeys_add(rig.path, &want, id, token, &err), err,
                   "keys_mode");
    assert_int_equal(chmod(rig.dir, 01777), 0);
    add("a", id, token);
    assert_int_equal(chmod(rig.dir, 0777), 0);
    expect_refused("keys_mode");
    assert_int_equal(chmod(rig.dir, 01777), 0);
    if (geteuid() == 0) {
        /* Anybody could have made it there. */
        assert_int_equal(chown(rig.path, 12345, 12345), 0);
        expect_refused("keys_owner");
    }
}

static void a_comment_cannot_add_a_line(void **state)
{
    const struct bf_apikey want = {.workspaces = S("a"),
                                   .comment = S("x\n" HEAD "*")};
    char id[BF_APIKEY_ID_SIZE], token[BF_APIKEY_TOKEN_SIZE];
    struct bf_err err = {0};

    (void)state;
    assert_refused(bf_apikeys_add(rig.path, &want, id, token, &err), err,
                   "bad_api_key");
}

static void a_comment_is_text_and_nothing_else(void **state)
{
    static const struct bf_slice comments[] = {
        LIT("caf\xe9"),
        LIT("expires=2099-01-01T00:00:00Z"),
    };
    char id[BF_APIKEY_ID_SIZE], token[BF_APIKEY_TOKEN_SIZE];
    struct bf_err err = {0};

    (void)state;
    for (size_t i = 0; i < bf_countof(comments); i++) {
        const struct bf_apikey want = {.workspaces = S("a"),
                                       .comment = comments[i]};

        assert_refused(bf_apikeys_add(rig.path, &want, id, token, &err), err,
                       "bad_api_key");
    }
}

#define WITH_FILE(test)                                                        \
    cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_a_key),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(a_key_is_for_its_workspaces),
        cmocka_unit_test(a_key_lives_until_it_expires),
        WITH_FILE(a_new_key_is_proved_by_its_token_alone),
        WITH_FILE(the_file_holds_no_secret),
        WITH_FILE(a_revoked_key_stays_in_the_file),
        WITH_FILE(a_file_that_others_may_read_is_refused),
        WITH_FILE(a_file_that_others_may_write_is_refused),
        WITH_FILE(a_comment_cannot_add_a_line),
        WITH_FILE(a_comment_is_text_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
