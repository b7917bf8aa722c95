#include "worker/runner_link.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/limits.h"

#define INPUT_BYTES (256U << 10) /* read at once */
/* What a runner may put in the head of a frame, and a result with its body. */
#define MAX_HEAD (256U << 10)
#define MAX_BODY (BF_MAX_RESULT + (64U << 10))
/* The rest of a whole frame, if it must be copied, and some of our own. */
#define MAX_OWNED (BF_MAX_INPUTS + (4U << 20))

void bf_runner_out_init(struct bf_runner_out *out, struct bf_slice head,
                        const struct bf_slice *body, size_t nbody)
{
    size_t len = 0;

    bf_assert(nbody <= BF_OUT_SLICES - 2);
    for (size_t i = 0; i < nbody; i++) {
        out->slices[2 + i] = body[i];
        len += body[i].len;
    }
    bf_frame_prefix(head.len, len, out->prefix);
    out->slices[0] =
        (struct bf_slice){(const char *)out->prefix, BF_FRAME_PREFIX};
    out->slices[1] = head;
    out->nslices = 2 + nbody;
    out->total = BF_FRAME_PREFIX + head.len + len;
    out->sent = 0;
}

int bf_runner_link_init(struct bf_runner_link *link, struct bf_err *err)
{
    *link = (struct bf_runner_link){
        .child = BF_CHILD_INIT,
        .owned = BF_BUF_INIT(MAX_OWNED),
        .reader = {.max_head = MAX_HEAD, .max_body = MAX_BODY},
        .input = malloc(INPUT_BYTES),
    };
    TAILQ_INIT(&link->outs);
    return link->input ? 0 : bf_err_oom(err);
}

void bf_runner_link_reset(struct bf_runner_link *link)
{
    bf_child_close(&link->child);
    bf_frame_reader_clear(&link->reader);
    bf_buf_release(&link->owned);
    link->in.len = 0;
    link->text_len = 0;
    link->text_taken = 0;
}

void bf_runner_link_release(struct bf_runner_link *link)
{
    bf_runner_link_reset(link);
    free(link->input);
}

int bf_runner_link_start(struct bf_runner_link *link,
                         const struct bf_child_want *want, struct bf_err *err)
{
    bf_assert(TAILQ_EMPTY(&link->outs) && link->child.pid == 0);
    return bf_child_spawn(want, &link->child, err);
}

/* ---- out ---- */

bool bf_runner_link_blocked(const struct bf_runner_link *link)
{
    return link->owned.len > 0 || !TAILQ_EMPTY(&link->outs);
}

void bf_runner_link_put(struct bf_runner_link *link, struct bf_runner_out *out)
{
    TAILQ_INSERT_TAIL(&link->outs, out, next);
}

/* What is left of a frame, as at most BF_OUT_SLICES pieces. */
static size_t rest_of(const struct bf_runner_out *out,
                      struct iovec iov[BF_OUT_SLICES])
{
    size_t skip = out->sent;
    size_t n = 0;

    for (size_t i = 0; i < out->nslices; i++) {
        const struct bf_slice *slice = &out->slices[i];
        size_t cut = skip < slice->len ? skip : slice->len;

        skip -= cut;
        if (slice->len > cut)
            iov[n++] = (struct iovec){(void *)(uintptr_t)(slice->ptr + cut),
                                      slice->len - cut};
    }
    return n;
}

int bf_runner_link_unput(struct bf_runner_link *link, struct bf_runner_out *out,
                         struct bf_err *err)
{
    struct bf_buf owned = BF_BUF_INIT(MAX_OWNED);
    struct iovec iov[BF_OUT_SLICES];
    size_t n = rest_of(out, iov);

    TAILQ_REMOVE(&link->outs, out, next);
    if (out->sent == 0)
        return 1;
    for (size_t i = 0; i < n; i++) {
        if (bf_buf_add(&owned, iov[i].iov_base, iov[i].iov_len, err))
            goto failed;
    }
    /* Owned bytes wait for the end of a frame that has begun: this one. */
    if (bf_buf_add(&owned, bf_buf_slice(&link->owned).ptr, link->owned.len,
                   err))
        goto failed;
    bf_buf_release(&link->owned);
    link->owned = owned;
    return 0;
failed:
    bf_buf_release(&owned);
    return -1;
}

int bf_runner_link_say(struct bf_runner_link *link, struct bf_slice head,
                       struct bf_err *err)
{
    unsigned char prefix[BF_FRAME_PREFIX];

    bf_frame_prefix(head.len, 0, prefix);
    return bf_buf_add(&link->owned, prefix, sizeof(prefix), err) ||
                   bf_buf_add(&link->owned, head.ptr, head.len, err)
               ? -1
               : 0;
}

/* Bytes written, 0 when the socket is full. */
static ssize_t write_some(struct bf_runner_link *link, struct iovec *iov,
                          size_t n, struct bf_err *err)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n};
    ssize_t sent = sendmsg(link->child.sock, &msg, MSG_NOSIGNAL);

    if (sent >= 0)
        return sent;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    return bf_err_set(err, BF_ERR_REJECT, "runner_gone", "write: %s",
                      strerrorname_np(errno));
}

static ssize_t write_owned(struct bf_runner_link *link, struct bf_err *err)
{
    struct iovec iov = {link->owned.data, link->owned.len};
    ssize_t sent = write_some(link, &iov, 1, err);

    if (sent > 0)
        bf_buf_consume(&link->owned, (size_t)sent);
    if (link->owned.len == 0)
        bf_buf_release(&link->owned);
    return sent;
}

static ssize_t write_out(struct bf_runner_link *link, struct bf_runner_out *out,
                         struct bf_err *err)
{
    struct iovec iov[BF_OUT_SLICES];
    ssize_t sent = write_some(link, iov, rest_of(out, iov), err);

    if (sent > 0)
        out->sent += (size_t)sent;
    if (out->sent == out->total)
        TAILQ_REMOVE(&link->outs, out, next);
    return sent;
}

int bf_runner_link_flush(struct bf_runner_link *link, struct bf_err *err)
{
    while (bf_runner_link_blocked(link)) {
        struct bf_runner_out *out = TAILQ_FIRST(&link->outs);
        bool begun = out && out->sent > 0;
        ssize_t sent = link->owned.len > 0 && !begun
                           ? write_owned(link, err)
                           : write_out(link, out, err);

        if (sent <= 0)
            return (int)sent;
    }
    return 0;
}

/* ---- in ---- */

static int receive(struct bf_runner_link *link, struct bf_err *err)
{
    ssize_t got = recv(link->child.sock, link->input, INPUT_BYTES, 0);

    if (got > 0) {
        link->in = (struct bf_slice){link->input, (size_t)got};
        return 1;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return bf_err_set(err, BF_ERR_REJECT, "runner_gone", "%s",
                      got == 0 ? "it closed its socket"
                               : strerrorname_np(errno));
}

int bf_runner_link_read(struct bf_runner_link *link, struct bf_frame *ret,
                        struct bf_err *err)
{
    for (;;) {
        int rc = bf_frame_feed(&link->reader, &link->in, ret, err);

        if (rc == 0)
            rc = receive(link, err);
        else
            return rc;
        if (rc <= 0)
            return rc;
    }
}

static struct bf_slice take_line(struct bf_runner_link *link)
{
    const char *end = memchr(link->text, '\n', link->text_len);
    size_t len = end ? (size_t)(end - link->text) : link->text_len;

    if (!end && link->text_len < sizeof(link->text))
        return (struct bf_slice){NULL, 0};
    link->text_taken = end ? len + 1 : len;
    return (struct bf_slice){link->text, len};
}

struct bf_slice bf_runner_link_line(struct bf_runner_link *link)
{
    struct bf_slice line;
    ssize_t got;

    link->text_len -= link->text_taken;
    memmove(link->text, link->text + link->text_taken, link->text_len);
    link->text_taken = 0;
    line = take_line(link);
    if (line.ptr || link->child.out < 0)
        return line;
    got = read(link->child.out, link->text + link->text_len,
               sizeof(link->text) - link->text_len);
    if (got > 0)
        link->text_len += (size_t)got;
    if (got == 0) { /* nobody holds it any more */
        close(link->child.out);
        link->child.out = -1;
    }
    return take_line(link);
}
