/*
 * The first byte is a size of pieces, the rest is a stream: however it is cut,
 * the same images come out of it, one behind the other from its beginning, and
 * it is refused at the same place.
 */

#include <stddef.h>
#include <stdint.h>

#include "dispatcher/cli/jpegs.h"
#include "schemas/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    size_t images;
    size_t bytes; /* of all images */
    int status;   /* of the last call */
    bool cut;
};

static void check(struct bf_slice image, struct bf_slice stream, size_t at)
{
    bf_assert(image.len >= 4 && at + image.len <= stream.len);
    bf_assert(memcmp(image.ptr, stream.ptr + at, image.len) == 0);
    bf_assert(memcmp(image.ptr, "\xff\xd8", 2) == 0);
    bf_assert(memcmp(image.ptr + image.len - 2, "\xff\xd9", 2) == 0);
}

static void take(struct bf_jpegs *jpegs, struct bf_slice stream,
                 struct outcome *outcome)
{
    struct bf_slice image;
    struct bf_err err;

    while ((outcome->status = bf_jpegs_next(jpegs, &image, &err)) > 0) {
        check(image, stream, outcome->bytes);
        outcome->images++;
        outcome->bytes += image.len;
    }
    bf_assert(outcome->status == 0 || err.kind == BF_ERR_REJECT);
}

static struct outcome split(struct bf_slice stream, size_t piece)
{
    bf_autojpegs struct bf_jpegs jpegs;
    struct outcome outcome = {0};

    bf_jpegs_init(&jpegs, stream.len);
    for (size_t at = 0; at < stream.len && outcome.status == 0; at += piece) {
        size_t left = stream.len - at;
        struct bf_slice more = {stream.ptr + at, left < piece ? left : piece};

        bf_assert(bf_jpegs_add(&jpegs, more, NULL) == 0);
        take(&jpegs, stream, &outcome);
    }
    outcome.cut = bf_jpegs_cut(&jpegs);
    if (outcome.status == 0)
        bf_assert(outcome.cut == (outcome.bytes < stream.len));
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bf_slice stream = {(const char *)data + 1, size - 1};
    struct outcome whole, pieces;

    if (size == 0)
        return 0;
    whole = split(stream, BF_JPEGS_READ);
    pieces = split(stream, (size_t)data[0] + 1);
    bf_assert(whole.images == pieces.images && whole.bytes == pieces.bytes);
    bf_assert(whole.status == pieces.status);
    return 0;
}
