#include "dispatcher/answers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "config/log.h"
#include "schemas/err.h"

struct answers_slot {
    char *text; /* NULL: awaited, or the line has none */
    bool done;
};

struct bf_answers {
    const char *dir;
    uint64_t max_bytes;
    uint64_t bytes; /* of all texts, those too that wait for earlier ones */
    /* what is in order: the file's bytes, then those in memory */
    int fd;
    uint64_t file_bytes;
    struct bf_buf tail;
    bool broken; /* the file is not written any more */
    /* lines from first on, before next */
    uint64_t first, next;
    size_t awaited;
    struct answers_slot slots[BF_ANSWERS_WINDOW];
};

struct bf_answers *bf_answers_new(const char *dir, uint64_t max_bytes,
                                  struct bf_err *err)
{
    struct bf_answers *answers = calloc(1, sizeof(*answers));

    if (!answers) {
        bf_err_oom(err);
        return NULL;
    }
    answers->dir = dir;
    answers->max_bytes = max_bytes;
    answers->fd = -1;
    /* Without a file, what is awaited then still has to go somewhere. */
    answers->tail.max =
        BF_ANSWERS_HELD + (BF_ANSWERS_WINDOW + 2) * BF_ANSWER_BYTES;
    return answers;
}

void bf_answers_free(struct bf_answers *answers)
{
    if (!answers)
        return;
    for (size_t i = 0; i < BF_ANSWERS_WINDOW; i++)
        free(answers->slots[i].text);
    bf_closep_(&answers->fd);
    bf_buf_release(&answers->tail);
    free(answers);
}

enum bf_answers_room bf_answers_room(const struct bf_answers *answers)
{
    /* Those that are awaited, the next one, and the refusal of the rest. */
    uint64_t reserved = (answers->awaited + 2) * BF_ANSWER_BYTES;

    if (answers->broken)
        return BF_ANSWERS_BROKEN;
    /* One slot is left for the refusal. */
    if (answers->next - answers->first >= BF_ANSWERS_WINDOW - 1)
        return BF_ANSWERS_WAIT;
    if (answers->bytes + reserved <= answers->max_bytes)
        return BF_ANSWERS_ROOM;
    return answers->awaited > 0 ? BF_ANSWERS_WAIT : BF_ANSWERS_FULL;
}

size_t bf_answers_awaited(const struct bf_answers *answers)
{
    return answers->awaited;
}

static struct answers_slot *slot_of(struct bf_answers *answers, uint64_t line)
{
    bf_assert(line >= answers->first && line < answers->next);
    return &answers->slots[line % BF_ANSWERS_WINDOW];
}

void bf_answers_expect(struct bf_answers *answers)
{
    bf_assert(answers->next - answers->first < BF_ANSWERS_WINDOW);
    answers->next++;
    answers->awaited++;
}

/* ---- the file -------------------------------------------------------------*/

/* Nobody else finds it, and it goes when its descriptor does. */
static int open_nameless(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    char path[4096];

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd;
    snprintf(path, sizeof(path), "%s/answers.XXXXXX", dir);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static int write_all(int fd, struct bf_slice bytes, uint64_t pos)
{
    while (bytes.len > 0) {
        ssize_t n = pwrite(fd, bytes.ptr, bytes.len, (off_t)pos);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        bytes.ptr += n;
        bytes.len -= (size_t)n;
        pos += (uint64_t)n;
    }
    return 0;
}

/* What fails stays in memory, and no more lines are taken. */
static void spill(struct bf_answers *answers)
{
    char why[128];

    if (answers->fd < 0)
        answers->fd = open_nameless(answers->dir);
    if (answers->fd >= 0 && write_all(answers->fd, bf_buf_slice(&answers->tail),
                                      answers->file_bytes) == 0) {
        answers->file_bytes += answers->tail.len;
        bf_buf_clear(&answers->tail);
        return;
    }
    answers->broken = true;
    bf_log_warn("answers_not_kept", bf_kv_str("dir", answers->dir),
                bf_kv_str("why", strerror_r(errno, why, sizeof(why))));
}

/* ---- texts ----------------------------------------------------------------*/

static void append(struct bf_answers *answers, struct bf_slice text)
{
    /* Without memory the line is missing; better than half of it. */
    if (bf_buf_reserve(&answers->tail, text.len + 1, NULL)) {
        answers->broken = true;
        return;
    }
    bf_buf_add(&answers->tail, text.ptr, text.len, NULL);
    bf_buf_adds(&answers->tail, "\n", NULL);
    if (answers->tail.len >= BF_ANSWERS_HELD && !answers->broken)
        spill(answers);
}

/* Those that waited for this one only. */
static void advance(struct bf_answers *answers)
{
    while (answers->first < answers->next) {
        struct answers_slot *slot = slot_of(answers, answers->first);

        if (!slot->done)
            return;
        if (slot->text)
            append(answers, bf_slice_str(slot->text));
        free(slot->text);
        *slot = (struct answers_slot){0};
        answers->first++;
    }
}

void bf_answers_put(struct bf_answers *answers, uint64_t line,
                    struct bf_slice text)
{
    struct answers_slot *slot = slot_of(answers, line);

    bf_assert(!slot->done && text.len < BF_ANSWER_BYTES);
    slot->done = true;
    answers->awaited--;
    if (text.len > 0)
        answers->bytes += text.len + 1;
    if (text.len > 0 && line == answers->first)
        append(answers, text);
    else if (text.len > 0)
        slot->text = strndup(text.ptr, text.len);
    advance(answers);
}

/* ---- reading --------------------------------------------------------------*/

uint64_t bf_answers_bytes(const struct bf_answers *answers)
{
    bf_assert(answers->awaited == 0);
    return answers->file_bytes + answers->tail.len;
}

ssize_t bf_answers_read(const struct bf_answers *answers, uint64_t pos,
                        char *out, size_t size)
{
    size_t left;

    if (pos < answers->file_bytes) {
        left = answers->file_bytes - pos < size
                   ? (size_t)(answers->file_bytes - pos)
                   : size;
        return pread(answers->fd, out, left, (off_t)pos);
    }
    pos -= answers->file_bytes;
    bf_assert(pos <= answers->tail.len);
    left = answers->tail.len - pos;
    if (left > size)
        left = size;
    if (left > 0)
        memcpy(out, answers->tail.data + pos, left);
    return (ssize_t)left;
}
