/*
 * Whatever is given as inputs, or as NAME=VALUE: what is made of it is a job in
 * which the scanner finds just these bytes, or it is refused.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "dispatcher/cli/splice.h"
#include "dispatcher/scan.h"
#include "schemas/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_found(struct bf_slice job, struct bf_slice inputs)
{
    bf_autobuf struct bf_buf rest = BF_BUF_INIT(BF_SCAN_REST);
    struct bf_slice found;
    struct bf_err err;

    bf_assert(bf_scan(job, &found, &rest, &err) == 0);
    bf_assert(found.len <= inputs.len);
    bf_assert(memmem(inputs.ptr, inputs.len, found.ptr, found.len) != NULL);
    /* only white space is left out, and only around it */
    for (size_t i = 0; found.len < inputs.len && i < inputs.len; i++) {
        if (inputs.ptr[i] && strchr(" \t\r\n", inputs.ptr[i]))
            continue;
        bf_assert(memcmp(inputs.ptr + i, found.ptr, found.len) == 0);
        break;
    }
}

/* Did inputs become a job? */
static bool splice(struct bf_slice inputs)
{
    bf_autobuf struct bf_buf job = BF_BUF_INIT(BF_SPLICE_MAX);
    json_auto_t *members = json_pack("{s:s}", "workspace", "w");
    struct bf_err err = {0};

    if (bf_splice_job(members, inputs, &job, &err)) {
        bf_assert(err.kind == BF_ERR_REJECT);
        bf_assert(strcmp(err.code, "usage") == 0);
        return false;
    }
    check_found(bf_buf_slice(&job), inputs);
    return true;
}

/* Nobody gets a second member in by way of a value. */
static void check_one_name(struct bf_slice inputs)
{
    json_auto_t *doc = json_loadb(inputs.ptr, inputs.len, 0, NULL);

    bf_assert(!doc || json_object_size(doc) == 1);
}

static void pair(struct bf_slice text)
{
    bf_autobuf struct bf_buf inputs = BF_BUF_INIT(BF_SPLICE_MAX);
    bf_autofree char *string = strndup(text.ptr, text.len);
    struct bf_err err = {0};

    bf_assert(string && bf_buf_adds(&inputs, "{", NULL) == 0);
    for (int i = 0; i < 2; i++) {
        if (bf_splice_pair(string, &inputs, &err)) {
            bf_assert(err.kind == BF_ERR_REJECT);
            return;
        }
    }
    bf_assert(bf_buf_adds(&inputs, "}", NULL) == 0);
    bf_assert(splice(bf_buf_slice(&inputs)));
    check_one_name(bf_buf_slice(&inputs));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bf_slice text = {(const char *)data, size};

    if (size > 1 << 16)
        return 0;
    splice(text);
    pair(text);
    return 0;
}
