/*
 * Whatever Modal's server sends, or somebody in its place: every reply is read
 * or refused, and what was read lies inside of it and is fit for use.
 */

#include <stddef.h>
#include <stdint.h>

#include "schemas/err.h"
#include "schemas/utf8.h"
#include "worker/wire/modal_api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct bf_modal_name name = {"blockfleet", "Executor", "call", ""};

static void check_id(struct bf_slice id)
{
    bf_assert(id.len > 0 && id.len <= BF_MODAL_ID_MAX && bf_graphic_ok(id));
}

static void read_functions(struct bf_slice reply)
{
    struct bf_modal_function function = {0};

    if (bf_modal_read_function(reply, &name, &function, NULL) == 0)
        check_id(function.id);
    if (bf_modal_read_bound(reply, &name, &function, NULL) == 0)
        check_id(function.id);
}

static void read_calls(struct bf_slice reply)
{
    struct bf_modal_mapped mapped;
    struct bf_modal_outputs found;
    struct bf_modal_value value;

    if (bf_modal_read_mapped(reply, &mapped, NULL) == 0)
        check_id(mapped.call_id);
    if (bf_modal_read_outputs(reply, &found, NULL))
        return;
    bf_assert(found.status < BF_MODAL_STATUSES);
    bf_assert(found.started_us >= 0 && found.ended_us >= 0);
    if (found.task_id.ptr)
        check_id(found.task_id);
    if (found.status == BF_MODAL_SUCCESS && found.blob.len > 0)
        check_id(found.blob);
    if (bf_modal_read_value(found.data, &value, NULL) == 0)
        bf_assert(value.head.len + value.result.len < found.data.len);
}

static void read_blobs(struct bf_slice reply)
{
    struct bf_modal_upload upload;
    struct bf_slice url;

    if (bf_modal_read_upload(reply, &upload, NULL) == 0) {
        check_id(upload.blob_id);
        bf_assert(bf_graphic_ok(upload.url));
    }
    if (bf_modal_read_download(reply, &url, NULL) == 0)
        bf_assert(bf_graphic_ok(url));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct bf_slice reply = {(const char *)data, size};
    struct bf_slice token;

    if (bf_modal_read_token(reply, &token, NULL) == 0)
        bf_assert(bf_modal_token_ends_ms(token) >= 0);
    bf_assert(bf_modal_token_ends_ms(reply) >= 0);
    read_functions(reply);
    read_calls(reply);
    read_blobs(reply);
    return 0;
}
