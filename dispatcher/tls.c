#include "dispatcher/tls.h"

#include <errno.h>
#include <fcntl.h>

#include "config/print.h"
#include "config/secret.h"
#include "schemas/buf.h"
#include "schemas/err.h"

#define ORIGIN "tls"
#define CERT_BYTES (1U << 20)
#define LOOK_EVERY_MS 1000
#define AGAIN_MS 60000 /* between tries to take the same files */

struct bf_tls {
    struct bf_secret *key;
    struct bf_buf cert;
};

struct prints {
    struct bf_print cert, key;
};

struct bf_tls_files {
    const char *cert, *key;
    struct prints taken; /* of what the caller uses */
    struct prints seen;  /* at the last look */
    int64_t next_ms;
    int64_t again_ms; /* seen is not told of before this; 0: it was not yet */
};

/* ---- what is in them ------------------------------------------------------*/

static int read_cert(const char *path, struct bf_buf *ret, struct bf_err *err)
{
    bf_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 1;

    while (fd >= 0 && n > 0) {
        if (bf_buf_reserve(ret, 4096, err))
            return bf_err_prefix(err, "dispatcher.tls_cert");
        n = read(fd, ret->data + ret->len, 4096);
        ret->len += n > 0 ? (size_t)n : 0;
    }
    if (fd < 0 || n < 0)
        return bf_err_set(err, BF_ERR_FATAL, "tls",
                          "dispatcher.tls_cert: cannot read %.120s (errno %d)",
                          path, errno);
    return bf_buf_adds(ret, "", err);
}

struct bf_tls *bf_tls_read(const char *cert, const char *key,
                           struct bf_err *err)
{
    bf_autotls struct bf_tls *tls = calloc(1, sizeof(*tls));

    if (!tls) {
        bf_err_oom(err);
        return NULL;
    }
    tls->cert = (struct bf_buf)BF_BUF_INIT(CERT_BYTES);
    tls->key = bf_secret_from_file(key, ORIGIN, err);
    if (!tls->key) {
        bf_err_prefix(err, "dispatcher.tls_key");
        return NULL;
    }
    return read_cert(cert, &tls->cert, err) ? NULL : bf_take(tls);
}

void bf_tls_free(struct bf_tls *tls)
{
    if (!tls)
        return;
    bf_secret_free(tls->key);
    bf_buf_release(&tls->cert);
    free(tls);
}

const char *bf_tls_cert(const struct bf_tls *tls)
{
    return tls->cert.data;
}

const char *bf_tls_key(const struct bf_tls *tls)
{
    return bf_secret_reveal(tls->key, ORIGIN).ptr;
}

/* ---- whether they changed -------------------------------------------------*/

static struct prints look(const struct bf_tls_files *files)
{
    return (struct prints){bf_print_of(files->cert), bf_print_of(files->key)};
}

static bool same(const struct prints *a, const struct prints *b)
{
    return bf_print_same(&a->cert, &b->cert) && bf_print_same(&a->key, &b->key);
}

struct bf_tls_files *bf_tls_files_new(const char *cert, const char *key,
                                      struct bf_err *err)
{
    struct bf_tls_files *files = calloc(1, sizeof(*files));

    if (!files) {
        bf_err_oom(err);
        return NULL;
    }
    files->cert = cert;
    files->key = key;
    files->taken = files->seen = look(files);
    return files;
}

void bf_tls_files_free(struct bf_tls_files *files)
{
    free(files);
}

bool bf_tls_files_changed(struct bf_tls_files *files, int64_t now_ms)
{
    struct prints now;
    bool quiet;

    if (now_ms < files->next_ms)
        return false;
    files->next_ms = now_ms + LOOK_EVERY_MS;
    now = look(files);
    quiet = same(&now, &files->seen);
    files->seen = now;
    if (!quiet)
        files->again_ms = 0;
    if (!quiet || same(&now, &files->taken) || now_ms < files->again_ms)
        return false;
    files->again_ms = now_ms + AGAIN_MS;
    return true;
}

void bf_tls_files_taken(struct bf_tls_files *files)
{
    files->taken = files->seen;
}
