/*
 * Whatever bytes a user's code prints: quoted they are JSON, cut they stay
 * within the ceiling; and a JSON text that is taken has no more depth than it
 * may have.
 */

#include <stddef.h>
#include <stdint.h>

#include "schemas/err.h"
#include "schemas/json.h"
#include "schemas/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_quote(struct bf_slice bytes, size_t max)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(SIZE_MAX / 2);
    bf_autojson json_t *doc = NULL;
    struct bf_json_out out;
    bool cut;

    bf_json_start(&out, &text, NULL);
    bf_json_open(&out, NULL, '{');
    cut = bf_json_text_max(&out, "a", bytes, max);
    bf_json_close(&out, '}');
    bf_assert(bf_json_done(&out) == 0);
    bf_assert(text.len <= 8 + 6 * bytes.len);
    bf_assert(max > text.len || text.len <= 8 + max);
    bf_assert(bf_utf8_ok(bf_buf_slice(&text)));
    doc = bf_json_parse_nul(bf_buf_slice(&text), text.len, NULL);
    bf_assert(doc);
    if (!cut && bf_utf8_ok(bytes))
        bf_assert(bf_slice_eq(bf_json_slice(json_object_get(doc, "a")), bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bf_slice bytes = {(const char *)data, size};
    struct bf_err err = {0};
    bf_autojson json_t *doc = bf_json_parse(bytes, 1 << 20, &err);

    bf_assert(doc || err.kind == BF_ERR_REJECT);
    check_quote(bytes, SIZE_MAX);
    check_quote(bytes, size / 2);
    return 0;
}
