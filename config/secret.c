#include "config/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "schemas/err.h"

#define SECRET_MAGIC 0x5ec2e75eU
#define LEAST_SHOWN 4

struct bf_secret {
    unsigned magic;
    char *origin;
    char *bytes; /* sodium_malloc, len + 1 */
    size_t len;
};

struct bf_secret *bf_secret_new(struct bf_slice bytes, const char *origin,
                                struct bf_err *err)
{
    struct bf_secret *secret;

    if (bytes.len == 0 || bytes.len > BF_SECRET_MAX_BYTES) {
        bf_err_set(err, BF_ERR_REJECT, "bad_secret",
                   "the secret for %s must have 1 to %d bytes", origin,
                   BF_SECRET_MAX_BYTES);
        return NULL;
    }
    if (sodium_init() < 0) {
        bf_err_set(err, BF_ERR_FATAL, "sodium", "cannot start libsodium");
        return NULL;
    }
    secret = calloc(1, sizeof(*secret));
    if (!secret) {
        bf_err_oom(err);
        return NULL;
    }
    secret->magic = SECRET_MAGIC;
    secret->len = bytes.len;
    secret->origin = strdup(origin);
    secret->bytes = sodium_malloc(bytes.len + 1);
    if (!secret->origin || !secret->bytes) {
        bf_secret_free(secret);
        bf_err_oom(err);
        return NULL;
    }
    memcpy(secret->bytes, bytes.ptr, bytes.len);
    secret->bytes[bytes.len] = '\0';
    sodium_mprotect_readonly(secret->bytes);
    return secret;
}

struct bf_secret *bf_secret_from_env(const char *variable, const char *origin,
                                     struct bf_err *err)
{
    char *value = getenv(variable); /* NOLINT(concurrency-mt-unsafe): header */
    struct bf_secret *secret;

    if (!value) {
        bf_err_set(err, BF_ERR_REJECT, "secret_env",
                   "the environment has no %s", variable);
        return NULL;
    }
    secret = bf_secret_new(bf_slice_str(value), origin, err);
    if (!secret)
        return NULL;
    sodium_memzero(value, strlen(value));
    unsetenv(variable); /* NOLINT(concurrency-mt-unsafe): header */
    return secret;
}

static int check_file(int fd, const char *path, size_t size, struct bf_err *err)
{
    struct stat st;

    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        return bf_err_set(err, BF_ERR_REJECT, "secret_file",
                          "%s is not a regular file", path);
    if (st.st_mode & 0077)
        return bf_err_set(err, BF_ERR_REJECT, "secret_mode",
                          "%s has mode %03o: others may read it; chmod 600",
                          path, (unsigned)st.st_mode & 0777U);
    if (st.st_size < 0 || (size_t)st.st_size > size)
        return bf_err_set(err, BF_ERR_REJECT, "secret_size",
                          "%s has more than %zu bytes", path, size);
    return 0;
}

int bf_secret_read_file(const char *path, char *buf, size_t size,
                        size_t *ret_len, struct bf_err *err)
{
    bf_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t len = 0;
    ssize_t n = 1;

    if (fd < 0)
        return bf_err_set(err, BF_ERR_REJECT, "secret_file",
                          "cannot open %s (errno %d)", path, errno);
    if (check_file(fd, path, size, err))
        return -1;
    while (n != 0 && len < size) {
        n = read(fd, buf + len, size - len);
        if (n < 0 && errno != EINTR)
            return bf_err_set(err, BF_ERR_RETRY, "secret_file",
                              "cannot read %s (errno %d)", path, errno);
        len += n > 0 ? (size_t)n : 0;
    }
    *ret_len = len;
    return 0;
}

struct bf_secret *bf_secret_from_file(const char *path, const char *origin,
                                      struct bf_err *err)
{
    struct bf_secret *secret = NULL;
    char *buf;
    size_t len = 0;

    if (sodium_init() < 0) {
        bf_err_set(err, BF_ERR_FATAL, "sodium", "cannot start libsodium");
        return NULL;
    }
    buf = sodium_malloc(BF_SECRET_MAX_BYTES);
    if (!buf) {
        bf_err_oom(err);
        return NULL;
    }
    if (bf_secret_read_file(path, buf, BF_SECRET_MAX_BYTES, &len, err) == 0) {
        if (len > 0 && buf[len - 1] == '\n')
            len--;
        if (len > 0 && buf[len - 1] == '\r')
            len--;
        secret = bf_secret_new((struct bf_slice){buf, len}, origin, err);
    }
    sodium_free(buf);
    return secret;
}

/* Some tools write them into files of variables. */
static struct bf_slice unquoted(struct bf_slice text)
{
    char quote = '\0';

    if (text.len > 2)
        quote = text.ptr[0];
    if ((quote != '"' && quote != '\'') || text.ptr[text.len - 1] != quote)
        return text;
    return (struct bf_slice){text.ptr + 1, text.len - 2};
}

int bf_secret_find(const char *path, const char *variable, const char *origin,
                   struct bf_secret **ret, struct bf_err *err)
{
    const char *value = getenv(variable); /* NOLINT(concurrency-mt-unsafe) */
    bf_autosecret struct bf_secret *raw = NULL;
    struct bf_secret *secret;

    if (!path[0] && (!value || !value[0])) {
        *ret = NULL;
        return 0;
    }
    raw = path[0] ? bf_secret_from_file(path, origin, err)
                  : bf_secret_from_env(variable, origin, err);
    if (!raw)
        return -1;
    secret =
        bf_secret_new(unquoted(bf_secret_reveal(raw, origin)), origin, err);
    if (!secret)
        return -1;
    *ret = secret;
    return 0;
}

void bf_secret_free(struct bf_secret *secret)
{
    if (!secret)
        return;
    bf_assert(secret->magic == SECRET_MAGIC);
    sodium_free(secret->bytes); /* wipes */
    free(secret->origin);
    secret->magic = 0;
    free(secret);
}

struct bf_slice bf_secret_reveal(const struct bf_secret *secret,
                                 const char *origin)
{
    bf_assert(secret && secret->magic == SECRET_MAGIC);
    bf_assert(strcmp(secret->origin, origin) == 0);
    return (struct bf_slice){secret->bytes, secret->len};
}

bool bf_secret_is_for(const struct bf_secret *secret, const char *origin)
{
    bf_assert(secret && secret->magic == SECRET_MAGIC);
    return strcmp(secret->origin, origin) == 0;
}

bool bf_secret_equal(const struct bf_secret *secret, struct bf_slice bytes)
{
    bf_assert(secret && secret->magic == SECRET_MAGIC);
    return secret->len == bytes.len && bytes.ptr &&
           sodium_memcmp(secret->bytes, bytes.ptr, bytes.len) == 0;
}

/* How many bytes at the head of text are its own, up to the end of either. */
static size_t shown(const struct bf_secret *secret, const char *text,
                    size_t len)
{
    size_t n = len < secret->len ? len : secret->len;

    return (n == secret->len || n >= LEAST_SHOWN) &&
                   memcmp(text, secret->bytes, n) == 0
               ? n
               : 0;
}

void bf_secret_redact(const struct bf_secret *secret, char *text, size_t len)
{
    if (!secret)
        return;
    bf_assert(secret->magic == SECRET_MAGIC);
    for (size_t i = 0; i < len; i++) {
        size_t n = shown(secret, text + i, len - i);

        memset(text + i, '*', n);
        i += n > 0 ? n - 1 : 0;
    }
}
