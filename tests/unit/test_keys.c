#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fcntl.h>

#include <cmocka.h>
#include <sodium.h>

#include "config/keys.h"
#include "schemas/err.h"

/* RFC 8032 §7.1, test 2: seed, public key, message 0x72, signature. */
#define SEED_B64 "TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs="
#define PUBLIC_B64 "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="
static const char signature_hex[] =
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

/* Another valid point: RFC 8032 §7.1, test 1. */
#define OTHER_B64 "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

static char dir[] = "/tmp/bf-keys-XXXXXX";

static char *path_of(const char *name)
{
    static char path[300];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
    FILE *file = fopen(path_of(name), "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path_of(name), mode), 0);
}

static size_t read_file(const char *name, char *text, size_t size)
{
    FILE *file = fopen(path_of(name), "r");
    size_t len;

    assert_non_null(file);
    len = fread(text, 1, size - 1, file);
    fclose(file);
    text[len] = '\0';
    return len;
}

/* An empty directory before every test. */
static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/bf-keys-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    char command[100];
    FILE *done;

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    done = popen(command, "r");
    return done ? pclose(done) : -1;
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in: %s", part, text);
}

static void test_known_vector(void **state)
{
    bf_autokeyring struct bf_keyring *ring = NULL;
    unsigned char signature[BF_SIGNATURE_SIZE];
    char hex[2 * BF_SIGNATURE_SIZE + 1], name[64], id[BF_KEY_ID_SIZE];
    const struct bf_trusted *key;
    struct bf_err err = {0};
    const struct bf_signer *signer;

    (void)state;
    ring = bf_keyring_parse(bf_slice_str("job ed25519 " PUBLIC_B64), NULL);
    memcpy(id, bf_keyring_at(ring, 0)->id, sizeof(id));
    bf_keyring_free(ring);
    snprintf(name, sizeof(name), "job.%s.key", id);
    write_file("trusted", "# ours\n\njob ed25519 " PUBLIC_B64 " the gateway\n",
               0644);
    write_file(name, "ed25519 job " SEED_B64 "\n", 0600);
    ring = bf_keyring_load(dir, &err);
    if (!ring)
        fail_msg("%s", err.msg);
    signer = bf_keyring_signer(ring, BF_PURPOSE_JOB);
    assert_non_null(signer);
    assert_null(bf_keyring_signer(ring, BF_PURPOSE_RESULT));
    bf_sign(signer, bf_slice_str("\x72"), signature);
    sodium_bin2hex(hex, sizeof(hex), signature, sizeof(signature));
    assert_string_equal(hex, signature_hex);
    key = bf_keyring_find(ring, BF_PURPOSE_JOB, signer->key_id);
    assert_non_null(key);
    assert_int_equal(key->line, 3);
    assert_true(bf_slice_is(key->comment, "the gateway"));
    assert_int_equal(crypto_sign_verify_detached(signature,
                                                 (const unsigned char *)"\x72",
                                                 1, key->public_key),
                     0);
    assert_null(bf_keyring_find(ring, BF_PURPOSE_RESULT, key->id));
}

/* BLAKE2b-128 of RFC 8032's second key, by Python's hashlib. */
static void test_key_id(void **state)
{
    bf_autokeyring struct bf_keyring *ring =
        bf_keyring_parse(bf_slice_str("job ed25519 " PUBLIC_B64), NULL);

    (void)state;
    assert_string_equal(bf_keyring_at(ring, 0)->id, "a704f70b2e6621fc");
}

static const struct {
    const char *text;
    const char *part;
} bad_lines[] = {
    {"jobs ed25519 " PUBLIC_B64, "trusted:1: a line begins with job"},
    {"\n#\njob rsa " PUBLIC_B64, "trusted:3: the word after the purpose"},
    {"job ed25519", "32 bytes in base64"},
    {"job ed25519 AAAA", "32 bytes in base64"},
    {"job ed25519 " PUBLIC_B64 "AAAA", "32 bytes in base64"},
    {"job ed25519 PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zg==",
     "32 bytes in base64"},
    {"job ed25519 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
     "no Ed25519 public key"},
    {"job ed25519 " PUBLIC_B64 " workspaces=", "at least one"},
    {"job ed25519 " PUBLIC_B64 " workspaces=a,", "at least one"},
    {"job ed25519 " PUBLIC_B64 " workspaces=a,,b", "that is none"},
    {"job ed25519 " PUBLIC_B64 " workspaces=a/b", "that is none"},
    {"job ed25519 " PUBLIC_B64 " workspace=a", "expected workspaces="},
    {"job ed25519 " PUBLIC_B64 "\nrun ed25519 " PUBLIC_B64,
     "trusted:2: this key is already in line 1"},
    {"revoked job ed25519 " PUBLIC_B64 "\njob ed25519 " PUBLIC_B64,
     "already in line 1"},
    {"revoked revoked job ed25519 " PUBLIC_B64, "a line begins with"},
    {"job ed25519 " PUBLIC_B64 " c\x01", "not text"},
};

static void test_bad_lines(void **state)
{
    struct bf_err err;

    (void)state;
    for (size_t i = 0; i < bf_countof(bad_lines); i++) {
        if (bf_keyring_parse(bf_slice_str(bad_lines[i].text), &err))
            fail_msg("passed: %s", bad_lines[i].text);
        assert_int_equal(err.kind, BF_ERR_REJECT);
        assert_string_equal(err.code, "bad_key");
        assert_has(err.msg, bad_lines[i].part);
    }
    assert_null(bf_keyring_parse((struct bf_slice){"#\0", 2}, &err));
}

static void test_workspaces(void **state)
{
    bf_autokeyring struct bf_keyring *ring = bf_keyring_parse(
        bf_slice_str("job ed25519 " PUBLIC_B64 " workspaces=a,bc note\r\n"
                     "\t control  ed25519 " OTHER_B64),
        NULL);
    const struct bf_trusted *some = bf_keyring_at(ring, 0);
    const struct bf_trusted *all = bf_keyring_at(ring, 1);
    struct bf_verify_key found;

    (void)state;
    assert_int_equal(bf_keyring_count(ring), 2);
    assert_true(bf_slice_is(some->comment, "note"));
    assert_true(bf_trusted_allows(some, bf_slice_str("a")));
    assert_true(bf_trusted_allows(some, bf_slice_str("bc")));
    assert_false(bf_trusted_allows(some, bf_slice_str("b")));
    assert_false(bf_trusted_allows(some, bf_slice_str("a,bc")));
    assert_false(bf_trusted_allows(some, bf_slice_str("")));
    assert_true(bf_trusted_allows(all, bf_slice_str("anything")));
    assert_true(bf_keyring_find_key(ring, BF_PURPOSE_JOB, some->id,
                                    bf_slice_str("a"), &found));
    assert_memory_equal(found.public_key, some->public_key, 32);
    assert_false(bf_keyring_find_key(ring, BF_PURPOSE_JOB, some->id,
                                     bf_slice_str("b"), &found));
    assert_false(bf_keyring_find_key(ring, BF_PURPOSE_JOB, all->id,
                                     bf_slice_str("a"), &found));
    assert_false(bf_keyring_find_key(ring, BF_PURPOSE_JOB, "0123",
                                     bf_slice_str("a"), &found));
}

static void test_generate_sign_revoke(void **state)
{
    bf_autokeyring struct bf_keyring *ring = NULL, *after = NULL;
    char id[BF_KEY_ID_SIZE], name[64], text[1000], seed[100];
    unsigned char signature[BF_SIGNATURE_SIZE];
    const struct bf_signer *signer;
    struct bf_err err = {0};
    struct stat st;

    (void)state;
    if (bf_keyring_generate(dir, BF_PURPOSE_JOB, "a,b", "for tests", id, &err))
        fail_msg("%s", err.msg);
    snprintf(name, sizeof(name), "job.%s.key", id);
    assert_int_equal(stat(path_of(name), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    ring = bf_keyring_load(dir, &err);
    if (!ring)
        fail_msg("%s", err.msg);
    signer = bf_keyring_signer(ring, BF_PURPOSE_JOB);
    assert_string_equal(signer->key_id, id);
    assert_int_equal(signer->sign(signer->key, (const unsigned char *)"x", 1,
                                  signature, &err),
                     0);
    assert_int_equal(
        crypto_sign_verify_detached(signature, (const unsigned char *)"x", 1,
                                    bf_keyring_at(ring, 0)->public_key),
        0);
    assert_true(bf_slice_is(bf_keyring_at(ring, 0)->workspaces, "a,b"));

    /* The private half is in the one file and nowhere else. */
    read_file(name, seed, sizeof(seed));
    seed[strcspn(seed, "\n")] = '\0';
    read_file("trusted", text, sizeof(text));
    assert_null(strstr(text, strrchr(seed, ' ') + 1));

    assert_int_equal(bf_keyring_revoke(dir, id, &err), 0);
    assert_int_equal(bf_keyring_revoke(dir, id, &err), 0);
    assert_int_equal(bf_keyring_revoke(dir, "0000000000000000", &err), -1);
    assert_string_equal(err.code, "unknown_key");
    after = bf_keyring_load(dir, &err);
    assert_non_null(after);
    assert_true(bf_keyring_at(after, 0)->revoked);
    assert_null(bf_keyring_find(after, BF_PURPOSE_JOB, id));
    assert_null(bf_keyring_signer(after, BF_PURPOSE_JOB));
    /* What was loaded before is as it was. */
    assert_non_null(bf_keyring_find(ring, BF_PURPOSE_JOB, id));
}

/* Youngest, then name; a .signing file decides; it must be sound. */
static void test_which_key_signs(void **state)
{
    char ids[3][BF_KEY_ID_SIZE], name[64], text[64];
    const struct timespec old[2] = {{1000, 0}, {1000, 0}};
    const struct timespec young[2] = {{2000, 0}, {2000, 0}};
    struct bf_keyring *ring;
    struct bf_err err;
    const char *want;

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(bf_keyring_generate(dir, BF_PURPOSE_RESULT, NULL, NULL,
                                             ids[i], NULL),
                         0);
        snprintf(name, sizeof(name), "result.%s.key", ids[i]);
        assert_int_equal(
            utimensat(AT_FDCWD, path_of(name), i == 0 ? old : young, 0), 0);
    }
    want = strcmp(ids[1], ids[2]) > 0 ? ids[1] : ids[2];
    ring = bf_keyring_load(dir, NULL);
    assert_string_equal(bf_keyring_signer(ring, BF_PURPOSE_RESULT)->key_id,
                        want);
    bf_keyring_free(ring);

    snprintf(text, sizeof(text), "%s\n", ids[0]);
    write_file("result.signing", text, 0644);
    ring = bf_keyring_load(dir, NULL);
    assert_string_equal(bf_keyring_signer(ring, BF_PURPOSE_RESULT)->key_id,
                        ids[0]);
    bf_keyring_free(ring);

    assert_int_equal(bf_keyring_revoke(dir, ids[0], NULL), 0);
    assert_null(bf_keyring_load(dir, &err));
    assert_string_equal(err.code, "untrusted_signer");
    write_file("result.signing", "0123456789abcdeX\n", 0644);
    assert_null(bf_keyring_load(dir, &err));
    assert_has(err.msg, "must hold one key id");
}

static const struct {
    const char *text;
    mode_t mode;
    const char *code;
} bad_seeds[] = {
    {"ed25519 job " SEED_B64 "\n", 0640, "secret_mode"},
    {"ed25519 run " SEED_B64 "\n", 0600, "bad_key"},
    {"ed25519 job \n", 0600, "bad_key"},
    {"ed25519 job " SEED_B64 " x\n", 0600, "bad_key"},
    {"ed25519 job " OTHER_B64 "\n", 0600, "bad_key"}, /* another key's */
    {"", 0600, "bad_key"},
};

static void test_bad_private_files(void **state)
{
    bf_autokeyring struct bf_keyring *ring =
        bf_keyring_parse(bf_slice_str("job ed25519 " PUBLIC_B64), NULL);
    char name[64];
    struct bf_err err;

    (void)state;
    write_file("trusted", "job ed25519 " PUBLIC_B64 "\n", 0644);
    snprintf(name, sizeof(name), "job.%s.key", bf_keyring_at(ring, 0)->id);
    for (size_t i = 0; i < bf_countof(bad_seeds); i++) {
        write_file(name, bad_seeds[i].text, bad_seeds[i].mode);
        if (bf_keyring_load(dir, &err))
            fail_msg("row %zu passed", i);
        assert_string_equal(err.code, bad_seeds[i].code);
        assert_null(strstr(err.msg, "TM0Im"));
    }
    /* A stranger's private key, trusted by nobody here. */
    write_file(name, "ed25519 job " SEED_B64 "\n", 0600);
    write_file("trusted", "# empty\n", 0644);
    assert_null(bf_keyring_load(dir, &err));
    assert_string_equal(err.code, "untrusted_signer");
}

static void assert_refused(const char *code)
{
    struct bf_err err = {0};

    assert_null(bf_keyring_load(dir, &err));
    assert_string_equal(err.code, code);
}

static void assert_read(void)
{
    struct bf_err err = {0};
    bf_autokeyring struct bf_keyring *ring = bf_keyring_load(dir, &err);

    if (!ring)
        fail_msg("%s", err.msg);
}

static void test_what_others_may_write_is_not_read(void **state)
{
    char alone[64];

    (void)state;
    snprintf(alone, sizeof(alone), "%s/trusted", dir);
    write_file("trusted", "# empty\n", 0646);
    assert_refused("keys_mode");
    assert_int_equal(chmod(alone, 0664), 0); /* a group may share it */
    assert_read();
    assert_int_equal(chmod(dir, 0757), 0);
    assert_refused("keys_mode");
    assert_int_equal(chmod(dir, 01777), 0); /* as Kubernetes mounts secrets */
    assert_read();
    if (geteuid() == 0) {
        /* Anybody could have made it there. */
        assert_int_equal(chown(alone, 12345, 12345), 0);
        assert_refused("keys_owner");
        assert_int_equal(chown(dir, 12345, 12345), 0);
        assert_read();
        assert_int_equal(chown(alone, 0, 0), 0);
        assert_read();
        assert_int_equal(chown(dir, 0, 0), 0);
    }
    assert_int_equal(chmod(dir, 0700), 0);
}

static void test_missing(void **state)
{
    struct bf_err err;

    (void)state;
    assert_null(bf_keyring_load(dir, &err));
    assert_string_equal(err.code, "no_keys");
    assert_null(bf_keyring_load("/nonexistent", &err));
    assert_string_equal(err.code, "no_keys");
}

static void test_trust(void **state)
{
    bf_autokeyring struct bf_keyring *ring = NULL;
    char id[BF_KEY_ID_SIZE];
    struct bf_err err;

    (void)state;
    write_file("trusted", "job ed25519 " PUBLIC_B64, 0644); /* no line end */
    assert_int_equal(
        bf_keyring_trust(dir, bf_slice_str("run ed25519 " OTHER_B64), &err), 0);
    assert_int_equal(
        bf_keyring_trust(dir, bf_slice_str("run ed25519 " OTHER_B64), &err),
        -1);
    assert_has(err.msg, "already in line 2");
    assert_int_equal(
        bf_keyring_trust(dir, bf_slice_str("#\nrun ed25519 x"), &err), -1);
    assert_int_equal(bf_keyring_generate(dir, BF_PURPOSE_JOB, NULL,
                                         "x\njob ed25519 y", id, &err),
                     -1);
    assert_int_equal(
        bf_keyring_generate(dir, BF_PURPOSE_JOB, "a b", NULL, id, &err), -1);
    ring = bf_keyring_load(dir, &err);
    assert_int_equal(bf_keyring_count(ring), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_vector),
        cmocka_unit_test(test_key_id),
        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_workspaces),
        cmocka_unit_test(test_generate_sign_revoke),
        cmocka_unit_test(test_which_key_signs),
        cmocka_unit_test(test_bad_private_files),
        cmocka_unit_test(test_what_others_may_write_is_not_read),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_trust),
    };

    /* Every test gets its own directory. */
    struct CMUnitTest each[bf_countof(tests)];

    memcpy(each, tests, sizeof(tests));
    for (size_t i = 0; i < bf_countof(each); i++) {
        each[i].setup_func = setup;
        each[i].teardown_func = teardown;
    }
    return cmocka_run_group_tests(each, NULL, NULL);
}
