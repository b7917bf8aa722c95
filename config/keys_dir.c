#include "config/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/keys_private.h"
#include "config/writers.h"
#include "schemas/err.h"

#define TRUSTED "trusted"
#define TEMPORARY "trusted.new"
#define LINE_MAX_BYTES 65536

int bf_keys_path(char *out, size_t size, const char *dir, const char *name,
                 struct bf_err *err)
{
    int len = snprintf(out, size, "%s/%s", dir, name);

    if (len < 0 || (size_t)len >= size)
        return bf_err_set(err, BF_ERR_REJECT, "bad_path",
                          "the keys' directory has too long a name");
    return 0;
}

static int failed(struct bf_err *err, const char *what, const char *where)
{
    return bf_err_set(err, BF_ERR_REJECT, "keys_dir",
                      "cannot %s %.150s (errno %d)", what, where, errno);
}

static int read_all(int fd, struct bf_buf *ret, struct bf_err *err)
{
    char chunk[4096];
    ssize_t n;

    for (;;) {
        n = read(fd, chunk, sizeof(chunk));
        if (n == 0)
            return 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return failed(err, "read", TRUSTED);
        if (bf_buf_add(ret, chunk, (size_t)n, err))
            return -1;
    }
}

int bf_trusted_read(const char *dir, bool may_miss, struct bf_buf *ret,
                    struct bf_err *err)
{
    char path[4096];
    bf_autoclose int fd = -1;

    if (bf_keys_path(path, sizeof(path), dir, TRUSTED, err))
        return -1;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && may_miss)
        return 0;
    if (fd < 0)
        return bf_err_set(err, BF_ERR_REJECT, "no_keys",
                          "cannot open %.120s (errno %d); blockfleet keys new "
                          "makes one",
                          path, errno);
    return bf_writers_check(fd, path, err) ? -1 : read_all(fd, ret, err);
}

/* Closing the descriptor unlocks. -1 with *err set. */
static int open_locked(const char *dir, struct bf_err *err)
{
    bf_autoclose int fd = -1;

    if (mkdir(dir, 0700) && errno != EEXIST)
        return failed(err, "make", dir);
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return failed(err, "open", dir);
    if (flock(fd, LOCK_EX))
        return failed(err, "lock", dir);
    return bf_take_fd(fd);
}

static int write_new(int dir_fd, const char *name, mode_t mode,
                     struct bf_slice text, struct bf_err *err)
{
    bf_autoclose int fd =
        openat(dir_fd, name,
               O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);

    if (fd < 0)
        return failed(err, "make", name);
    for (size_t done = 0; done < text.len;) {
        ssize_t n = write(fd, text.ptr + done, text.len - done);

        if (n < 0 && errno != EINTR)
            return failed(err, "write", name);
        done += n > 0 ? (size_t)n : 0;
    }
    return fsync(fd) ? failed(err, "sync", name) : 0;
}

/* The new file takes the old one's place at once or not at all. */
static int replace_trusted(int dir_fd, struct bf_slice text, struct bf_err *err)
{
    struct bf_keyring *ring = bf_keyring_parse(text, err);

    if (!ring)
        return -1;
    bf_keyring_free(ring);
    if (unlinkat(dir_fd, TEMPORARY, 0) && errno != ENOENT)
        return failed(err, "remove", TEMPORARY);
    if (write_new(dir_fd, TEMPORARY, 0644, text, err))
        return -1;
    if (renameat(dir_fd, TEMPORARY, dir_fd, TRUSTED) || fsync(dir_fd))
        return failed(err, "replace", TRUSTED);
    return 0;
}

static int append_line(const char *dir, int dir_fd, struct bf_slice line,
                       struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(BF_TRUSTED_FILE_MAX);

    if (bf_trusted_read(dir, true, &text, err))
        return -1;
    if (text.len > 0 && text.data[text.len - 1] != '\n' &&
        bf_buf_adds(&text, "\n", err))
        return -1;
    if (bf_buf_add(&text, line.ptr, line.len, err) ||
        bf_buf_adds(&text, "\n", err))
        return -1;
    return replace_trusted(dir_fd, bf_buf_slice(&text), err);
}

int bf_keyring_trust(const char *dir, struct bf_slice line, struct bf_err *err)
{
    bf_autoclose int dir_fd = open_locked(dir, err);

    if (dir_fd < 0)
        return -1;
    if (line.len > LINE_MAX_BYTES || memchr(line.ptr, '\n', line.len))
        return bf_err_set(err, BF_ERR_REJECT, "bad_key",
                          "a key is one line of at most %d bytes",
                          LINE_MAX_BYTES);
    return append_line(dir, dir_fd, line, err);
}

/* ---- a new key ----------------------------------------------------------- */

/* In sodium's memory: wiped when freed. */
struct pair {
    unsigned char seed[crypto_sign_SEEDBYTES];
    unsigned char secret[crypto_sign_SECRETKEYBYTES];
    unsigned char public_key[crypto_sign_PUBLICKEYBYTES];
    char seed_text[sodium_base64_ENCODED_LEN(crypto_sign_SEEDBYTES,
                                             sodium_base64_VARIANT_ORIGINAL)];
    char line[128];
    char id[BF_KEY_ID_SIZE];
};

static void make_pair(struct pair *pair)
{
    randombytes_buf(pair->seed, sizeof(pair->seed));
    crypto_sign_seed_keypair(pair->public_key, pair->secret, pair->seed);
    sodium_bin2base64(pair->seed_text, sizeof(pair->seed_text), pair->seed,
                      sizeof(pair->seed), sodium_base64_VARIANT_ORIGINAL);
    bf_key_id(pair->public_key, pair->id);
}

static int trust_pair(const char *dir, int dir_fd, const struct pair *pair,
                      struct bf_slice head, struct bf_slice tail,
                      struct bf_err *err)
{
    bf_autobuf struct bf_buf line = BF_BUF_INIT(LINE_MAX_BYTES);
    char text[sodium_base64_ENCODED_LEN(crypto_sign_PUBLICKEYBYTES,
                                        sodium_base64_VARIANT_ORIGINAL)];

    sodium_bin2base64(text, sizeof(text), pair->public_key,
                      sizeof(pair->public_key), sodium_base64_VARIANT_ORIGINAL);
    if (bf_buf_add(&line, head.ptr, head.len, err) ||
        bf_buf_addf(&line, err, " ed25519 %s", text) ||
        bf_buf_add(&line, tail.ptr, tail.len, err))
        return -1;
    if (memchr(line.data, '\n', line.len))
        return bf_err_set(err, BF_ERR_REJECT, "bad_key",
                          "a comment is one line");
    return append_line(dir, dir_fd, bf_buf_slice(&line), err);
}

static int write_pair(int dir_fd, struct pair *pair, enum bf_purpose purpose,
                      struct bf_err *err)
{
    char name[64];
    int len = snprintf(pair->line, sizeof(pair->line), "ed25519 %s %s\n",
                       bf_purpose_name(purpose), pair->seed_text);

    snprintf(name, sizeof(name), "%s.%s.key", bf_purpose_name(purpose),
             pair->id);
    if (write_new(dir_fd, name, 0600,
                  (struct bf_slice){pair->line, (size_t)len}, err))
        return -1;
    return fsync(dir_fd) ? failed(err, "sync", name) : 0;
}

int bf_keyring_generate(const char *dir, enum bf_purpose purpose,
                        const char *workspaces, const char *comment,
                        char ret_id[static BF_KEY_ID_SIZE], struct bf_err *err)
{
    bf_autoclose int dir_fd = open_locked(dir, err);
    bf_autobuf struct bf_buf tail = BF_BUF_INIT(LINE_MAX_BYTES);
    struct pair *pair;
    int res;

    if (dir_fd < 0)
        return -1;
    if (workspaces && strpbrk(workspaces, " \t"))
        return bf_err_set(err, BF_ERR_REJECT, "bad_key",
                          "workspaces are separated by commas alone");
    if ((workspaces && bf_buf_addf(&tail, err, " workspaces=%s", workspaces)) ||
        (comment && bf_buf_addf(&tail, err, " %s", comment)))
        return -1;
    if (sodium_init() < 0)
        return bf_err_set(err, BF_ERR_FATAL, "sodium", "cannot start");
    pair = sodium_malloc(sizeof(*pair));
    if (!pair)
        return bf_err_oom(err);
    make_pair(pair);
    /* Trusted first: a key that signs before it is trusted breaks jobs. */
    res = trust_pair(dir, dir_fd, pair, bf_slice_str(bf_purpose_name(purpose)),
                     bf_buf_slice(&tail), err);
    if (res == 0)
        res = write_pair(dir_fd, pair, purpose, err);
    if (res == 0)
        memcpy(ret_id, pair->id, sizeof(pair->id));
    sodium_free(pair);
    return res;
}

/* ---- an old key ---------------------------------------------------------- */

/* The text with "revoked " before that line. */
static int mark_line(struct bf_slice text, unsigned number, struct bf_buf *ret,
                     struct bf_err *err)
{
    size_t at = 0;

    for (unsigned i = 1; i < number; i++) {
        const char *end = memchr(text.ptr + at, '\n', text.len - at);

        bf_assert(end);
        at = (size_t)(end - text.ptr) + 1;
    }
    if (bf_buf_add(ret, text.ptr, at, err) || bf_buf_adds(ret, "revoked ", err))
        return -1;
    return bf_buf_add(ret, text.ptr + at, text.len - at, err);
}

int bf_keyring_revoke(const char *dir, const char *key_id, struct bf_err *err)
{
    bf_autoclose int dir_fd = open_locked(dir, err);
    bf_autokeyring struct bf_keyring *ring = NULL;
    bf_autobuf struct bf_buf text = BF_BUF_INIT(BF_TRUSTED_FILE_MAX);
    bf_autobuf struct bf_buf marked = BF_BUF_INIT(BF_TRUSTED_FILE_MAX);
    const struct bf_trusted *key;

    if (dir_fd < 0 || bf_trusted_read(dir, true, &text, err))
        return -1;
    ring = bf_keyring_parse(bf_buf_slice(&text), err);
    if (!ring)
        return -1;
    key = bf_keyring_by_id(ring, key_id);
    if (!key)
        return bf_err_set(err, BF_ERR_REJECT, "unknown_key",
                          "%.100s/trusted has no key %.40s", dir, key_id);
    if (key->revoked)
        return 0;
    if (mark_line(bf_buf_slice(&text), key->line, &marked, err))
        return -1;
    return replace_trusted(dir_fd, bf_buf_slice(&marked), err);
}
