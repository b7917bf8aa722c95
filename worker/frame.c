#include "worker/frame.h"

#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/hash.h"

void bf_frame_prefix(size_t head_len, size_t body_len,
                     unsigned char out[BF_FRAME_PREFIX])
{
    bf_assert(head_len <= UINT32_MAX);
    bf_put_u32be(out, (uint32_t)head_len);
    bf_put_u64be(out + 4, body_len);
}

void bf_frame_clear(struct bf_frame *frame)
{
    free(frame->head);
    free(frame->body);
    *frame = (struct bf_frame){0};
}

void bf_frame_reader_clear(struct bf_frame_reader *reader)
{
    bf_frame_clear(&reader->frame);
    reader->got = 0;
}

static int begin(struct bf_frame_reader *reader, struct bf_err *err)
{
    uint64_t head = bf_get_u32be(reader->prefix);
    uint64_t body = bf_get_u64be(reader->prefix + 4);
    struct bf_frame *frame = &reader->frame;

    if (head > reader->max_head || body > reader->max_body)
        return bf_err_set(err, BF_ERR_REJECT, "frame",
                          "a frame of %llu and %llu bytes is over its ceiling",
                          (unsigned long long)head, (unsigned long long)body);
    frame->head = malloc((size_t)head + 1);
    frame->body = malloc((size_t)body + 1);
    if (!frame->head || !frame->body) {
        bf_frame_clear(frame);
        return bf_err_oom(err);
    }
    frame->head_len = (size_t)head;
    frame->body_len = (size_t)body;
    frame->head[head] = '\0';
    return 0;
}

/* Fills dst[0..len), which begins at byte `from` of the frame. */
static void fill(struct bf_frame_reader *reader, struct bf_slice *data,
                 void *dst, size_t from, size_t len)
{
    size_t at = reader->got - from;
    size_t n = len - at < data->len ? len - at : data->len;

    if (n == 0)
        return;
    bf_assert(dst);
    memcpy((char *)dst + at, data->ptr, n);
    reader->got += n;
    data->ptr += n;
    data->len -= n;
}

int bf_frame_feed(struct bf_frame_reader *reader, struct bf_slice *data,
                  struct bf_frame *ret, struct bf_err *err)
{
    struct bf_frame *frame = &reader->frame;
    size_t body = BF_FRAME_PREFIX;

    if (reader->got < BF_FRAME_PREFIX) {
        fill(reader, data, reader->prefix, 0, BF_FRAME_PREFIX);
        if (reader->got < BF_FRAME_PREFIX)
            return 0;
        if (begin(reader, err))
            return -1;
    }
    body += frame->head_len;
    if (reader->got < body)
        fill(reader, data, frame->head, BF_FRAME_PREFIX, frame->head_len);
    if (reader->got < body)
        return 0;
    fill(reader, data, frame->body, body, frame->body_len);
    if (reader->got < body + frame->body_len)
        return 0;
    *ret = *frame;
    *frame = (struct bf_frame){0};
    reader->got = 0;
    return 1;
}
