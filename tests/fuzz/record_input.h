#ifndef BF_TESTS_FUZZ_RECORD_INPUT_H
#define BF_TESTS_FUZZ_RECORD_INPUT_H

/*
 * A record as a fuzz input: key and value, each behind u32be of its length
 * (0xffffffff: null), then headers as in bf_original_headers.
 */

#include <stddef.h>
#include <stdint.h>

#include "schemas/check.h"
#include "schemas/dead.h"
#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline int input_field(const uint8_t *data, size_t size, size_t *at,
                              struct bf_slice *ret)
{
    uint32_t len;

    if (size - *at < 4)
        return -1;
    len = bf_get_u32be(data + *at);
    *at += 4;
    *ret = (struct bf_slice){NULL, 0};
    if (len == UINT32_MAX)
        return 0;
    if (len > size - *at)
        return -1;
    *ret = (struct bf_slice){(const char *)data + *at, len};
    *at += len;
    return 0;
}

/* -1 when the bytes are no record; rec borrows from them. */
static inline int input_record(const uint8_t *data, size_t size,
                               const char *topic, struct bf_record *rec)
{
    size_t at = 0;

    bf_record_init(rec, topic, 3);
    rec->offset = 41;
    if (input_field(data, size, &at, &rec->key) ||
        input_field(data, size, &at, &rec->value))
        return -1;
    return bf_original_parse(
        (struct bf_slice){(const char *)data + at, size - at}, rec, NULL);
}

/* Same key, value and headers, in the same order. */
static inline bool records_same(const struct bf_record *a,
                                const struct bf_record *b)
{
    bool same = bf_slice_eq(a->key, b->key) && !a->value.ptr == !b->value.ptr &&
                bf_slice_eq(a->value, b->value) && a->nheaders == b->nheaders;

    for (size_t i = 0; same && i < a->nheaders; i++)
        same = bf_slice_eq(a->headers[i].name, b->headers[i].name) &&
               bf_slice_eq(a->headers[i].value, b->headers[i].value);
    return same;
}

#endif
