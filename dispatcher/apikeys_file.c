/* The file of API keys: read, and replaced whole. */

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "config/secret.h"
#include "config/writers.h"
#include "dispatcher/apikeys_private.h"
#include "schemas/err.h"
#include "schemas/time.h"
#include "schemas/utf8.h"

#define MAX_PATH 4096
#define MAX_LINE 65536U
#define EXPIRES "expires="

static const char header[] =
    "# API keys, as hashes. Written by blockfleet apikeys new and revoke;\n"
    "# a dispatcher reads it again when it changes.\n";

static int failed(struct bf_err *err, const char *verb, const char *path)
{
    const char *why = strerrordesc_np(errno);

    return bf_err_set(err, BF_ERR_REJECT, "api_keys_file",
                      "cannot %s %.120s: %s", verb, path, why ? why : "errno");
}

/* ---- reading --------------------------------------------------------------*/

struct bf_apikeys *bf_apikeys_load(const char *path, bool may_miss,
                                   struct bf_err *err)
{
    bf_autoclose int fd = open(path, O_PATH | O_CLOEXEC);
    bf_autofree char *text = NULL;
    struct bf_apikeys *keys;
    size_t len = 0;

    if (fd < 0 && errno == ENOENT && may_miss)
        return bf_apikeys_parse((struct bf_slice){"", 0}, err);
    if (fd >= 0 && bf_writers_check(fd, path, err))
        return NULL;
    text = malloc(BF_APIKEYS_FILE_MAX);
    if (!text) {
        bf_err_oom(err);
        return NULL;
    }
    if (bf_secret_read_file(path, text, BF_APIKEYS_FILE_MAX, &len, err))
        return NULL;
    keys = bf_apikeys_parse((struct bf_slice){text, len}, err);
    if (!keys)
        bf_err_prefix(err, "%.120s", path);
    return keys;
}

/* ---- replacing ------------------------------------------------------------*/

struct place {
    char dir[MAX_PATH];
    char name[MAX_PATH];
    char partial[MAX_PATH];
    int fd; /* of the directory, locked: closing unlocks */
};

static void place_release(struct place *place)
{
    bf_closep_(&place->fd);
}

static int place_open(struct place *place, const char *path, struct bf_err *err)
{
    const char *slash = strrchr(path, '/');
    int dir_len = slash ? (int)(slash - path) + 1 : 1;
    int len;

    place->fd = -1;
    if (strlen(path) >= MAX_PATH)
        return bf_err_set(err, BF_ERR_REJECT, "api_keys_file",
                          "the file of API keys has too long a name");
    snprintf(place->dir, sizeof(place->dir), "%.*s", dir_len,
             slash ? path : ".");
    snprintf(place->name, sizeof(place->name), "%s", slash ? slash + 1 : path);
    len =
        snprintf(place->partial, sizeof(place->partial), "%s.new", place->name);
    if (len < 5 || len >= MAX_PATH)
        return bf_err_set(err, BF_ERR_REJECT, "api_keys_file",
                          "%.120s is no name of a file", path);
    if (mkdir(place->dir, 0700) && errno != EEXIST)
        return failed(err, "make", place->dir);
    place->fd = open(place->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (place->fd < 0 || flock(place->fd, LOCK_EX))
        return failed(err, "lock", place->dir);
    return bf_writers_check_dir(place->dir, err);
}

static int write_all(int fd, struct bf_slice text)
{
    for (size_t done = 0; done < text.len;) {
        ssize_t n = write(fd, text.ptr + done, text.len - done);

        if (n < 0 && errno != EINTR)
            return -1;
        done += n > 0 ? (size_t)n : 0;
    }
    return fsync(fd);
}

/* What root writes must stay readable to whom the directory belongs. */
static int give(const struct place *place, int fd)
{
    struct stat st;

    if (geteuid() != 0)
        return 0;
    return fstat(place->fd, &st) || fchown(fd, st.st_uid, st.st_gid) ? -1 : 0;
}

static int replace(const struct place *place, struct bf_slice text,
                   struct bf_err *err)
{
    bf_autoapikeys struct bf_apikeys *check = bf_apikeys_parse(text, err);
    bf_autoclose int fd = -1;

    if (!check)
        return -1;
    if (unlinkat(place->fd, place->partial, 0) && errno != ENOENT)
        return failed(err, "remove", place->partial);
    fd = openat(place->fd, place->partial,
                O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || give(place, fd) || write_all(fd, text))
        return failed(err, "write", place->partial);
    if (renameat(place->fd, place->partial, place->fd, place->name) ||
        fsync(place->fd))
        return failed(err, "replace", place->name);
    return 0;
}

static void add_line(struct bf_buf *out, const struct bf_apikey *key,
                     int *failed_too)
{
    char hash[2 * BF_APIKEY_HASH_BYTES + 1];
    char created[BF_TIME_SIZE], expires[BF_TIME_SIZE];

    sodium_bin2hex(hash, sizeof(hash), key->hash, sizeof(key->hash));
    bf_time_format(key->created_ms, created);
    bf_time_format(key->expires_ms, expires);
    *failed_too |= bf_buf_addf(
        out, NULL, "%s%s %s workspaces=%.*s created=%s%s%s%s%.*s\n",
        key->revoked ? "revoked " : "", key->id, hash,
        BF_SLICE_ARG(key->workspaces), created,
        key->expires_ms ? " expires=" : "", key->expires_ms ? expires : "",
        key->comment.len ? " " : "", BF_SLICE_ARG(key->comment));
}

/* What stands there, written anew; more: one that is new. */
static int rewrite(const struct place *place, const struct bf_apikeys *keys,
                   const struct bf_apikey *more, const char *revoked,
                   struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(BF_APIKEYS_FILE_MAX);
    int failure = bf_buf_adds(&text, header, err);

    for (size_t i = 0; i < bf_apikeys_count(keys); i++) {
        struct bf_apikey key = *bf_apikeys_at(keys, i);

        if (revoked && strcmp(key.id, revoked) == 0)
            key.revoked = true;
        add_line(&text, &key, &failure);
    }
    if (more)
        add_line(&text, more, &failure);
    if (failure)
        return bf_err_set(err, BF_ERR_REJECT, "api_keys_file",
                          "%.120s would become too large", place->name);
    return replace(place, bf_buf_slice(&text), err);
}

/* ---- a new key ------------------------------------------------------------*/

/* In sodium's memory: wiped when freed. */
struct fresh {
    unsigned char id[BF_APIKEY_ID_LEN / 2];
    unsigned char secret[BF_APIKEY_SECRET_BYTES];
    char text[sodium_base64_ENCODED_LEN(
        BF_APIKEY_SECRET_BYTES, sodium_base64_VARIANT_URLSAFE_NO_PADDING)];
};

static void make_token(struct fresh *fresh, struct bf_apikey *key,
                       char ret_token[static BF_APIKEY_TOKEN_SIZE])
{
    randombytes_buf(fresh, sizeof(*fresh));
    sodium_bin2hex(key->id, sizeof(key->id), fresh->id, sizeof(fresh->id));
    bf_apikey_hash(bf_slice_str(key->id), fresh->secret, key->hash);
    sodium_bin2base64(fresh->text, sizeof(fresh->text), fresh->secret,
                      sizeof(fresh->secret),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    snprintf(ret_token, BF_APIKEY_TOKEN_SIZE, "bf_%s_%s", key->id, fresh->text);
}

static int check_want(const struct bf_apikey *want, struct bf_err *err)
{
    if (want->workspaces.len + want->comment.len > MAX_LINE)
        return bf_err_set(err, BF_ERR_REJECT, "bad_api_key",
                          "workspaces and comment are too long");
    for (size_t i = 0; i < want->comment.len; i++) {
        if ((unsigned char)want->comment.ptr[i] < ' ')
            return bf_err_set(err, BF_ERR_REJECT, "bad_api_key",
                              "a comment is one line of text");
    }
    if (!bf_utf8_ok(want->comment))
        return bf_err_set(err, BF_ERR_REJECT, "bad_api_key",
                          "a comment is text in UTF-8");
    /* Before it, that word would be read as the key's own. */
    if (want->comment.len >= strlen(EXPIRES) &&
        memcmp(want->comment.ptr, EXPIRES, strlen(EXPIRES)) == 0)
        return bf_err_set(err, BF_ERR_REJECT, "bad_api_key",
                          "a comment does not begin with " EXPIRES);
    return 0;
}

int bf_apikeys_add(const char *path, const struct bf_apikey *want,
                   char ret_id[static BF_APIKEY_ID_SIZE],
                   char ret_token[static BF_APIKEY_TOKEN_SIZE],
                   struct bf_err *err)
{
    bf_cleanup(place_release) struct place place = {.fd = -1};
    bf_autoapikeys struct bf_apikeys *keys = NULL;
    char token[BF_APIKEY_TOKEN_SIZE];
    struct bf_apikey key = *want;
    struct fresh *fresh;
    int rc;

    if (check_want(want, err) || place_open(&place, path, err))
        return -1;
    keys = bf_apikeys_load(path, true, err);
    if (!keys)
        return -1;
    fresh = sodium_init() < 0 ? NULL : sodium_malloc(sizeof(*fresh));
    if (!fresh)
        return bf_err_oom(err);
    make_token(fresh, &key, token);
    sodium_free(fresh);
    rc = rewrite(&place, keys, &key, NULL, err);
    if (rc == 0) {
        memcpy(ret_id, key.id, sizeof(key.id));
        memcpy(ret_token, token, sizeof(token));
    }
    sodium_memzero(token, sizeof(token));
    return rc;
}

int bf_apikeys_revoke(const char *path, const char *id, struct bf_err *err)
{
    bf_cleanup(place_release) struct place place = {.fd = -1};
    bf_autoapikeys struct bf_apikeys *keys = NULL;
    const struct bf_apikey *key;

    if (place_open(&place, path, err))
        return -1;
    keys = bf_apikeys_load(path, true, err);
    if (!keys)
        return -1;
    key = bf_apikeys_find(keys, bf_slice_str(id));
    if (!key)
        return bf_err_set(err, BF_ERR_REJECT, "unknown_key",
                          "%.120s has no key %.40s", path, id);
    return key->revoked ? 0 : rewrite(&place, keys, NULL, id, err);
}
