#include "worker/backend.h"

#include "worker/http.h"

static const struct bf_backend *const backends[] = {
    &bf_backend_noop,  &bf_backend_http, &bf_backend_local,
    &bf_backend_modal, &bf_backend_e2b,
};

const struct bf_backend *bf_backend_find(struct bf_slice name)
{
    for (size_t i = 0; i < bf_countof(backends); i++) {
        if (bf_slice_is(name, backends[i]->name))
            return backends[i];
    }
    return NULL;
}

struct bf_slice bf_reply_header(const struct bf_reply *reply, const char *name)
{
    return bf_http_header(reply->headers, name);
}
