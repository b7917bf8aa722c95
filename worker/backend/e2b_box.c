#include "worker/backend/e2b_private.h"

#include "config/secret.h"
#include "schemas/err.h"
#include "schemas/limits.h"
#include "worker/url.h"
#include "worker/wire/execute.h"

#define PREPARED_BYTES 65536 /* of what the kernel says meanwhile */

unsigned int bf_e2b_run_port(const struct bf_e2b *e2b)
{
    switch (e2b->config.path) {
    case BF_E2B_BY_EXECUTE:
        return BF_E2B_PORT_EXECUTE;
    case BF_E2B_BY_ENVD:
        return BF_E2B_PORT_ENVD;
    case BF_E2B_BY_SERVER:
        break;
    }
    return e2b->config.port;
}

/* ---- secrets ---- */

void bf_e2b_box_free(void *box)
{
    struct bf_e2b_box *own = box;

    if (!own)
        return;
    bf_secret_free(own->envd_access);
    bf_secret_free(own->run_access);
    bf_secret_free(own->run_traffic);
    free(own);
}

/* No token, no secret: an older template, or one that anybody may speak to. */
static int bind(struct bf_slice token, const struct bf_buf *origin,
                struct bf_secret **ret, struct bf_err *err)
{
    if (token.len == 0)
        return 0;
    *ret = bf_secret_new(token, origin->data, err);
    return *ret ? 0 : -1;
}

static int origin_of(const struct bf_e2b *e2b, const struct bf_e2b_address *to,
                     unsigned int port, struct bf_buf *ret, struct bf_err *err)
{
    bf_autobuf struct bf_buf url = BF_BUF_INIT(BF_MAX_URL);

    return bf_e2b_origin(&e2b->site, to, port, &url, err) ||
                   bf_url_origin(url.data, ret, err)
               ? -1
               : 0;
}

static int bind_all(const struct bf_e2b *e2b,
                    const struct bf_e2b_created *created,
                    struct bf_e2b_box *box, struct bf_err *err)
{
    bf_autobuf struct bf_buf envd = BF_BUF_INIT(BF_MAX_URL);
    bf_autobuf struct bf_buf run = BF_BUF_INIT(BF_MAX_URL);
    struct bf_e2b_address to = {.id = created->id, .domain = box->domain};

    if (origin_of(e2b, &to, BF_E2B_PORT_ENVD, &envd, err) ||
        origin_of(e2b, &to, bf_e2b_run_port(e2b), &run, err) ||
        bind(created->access_token, &envd, &box->envd_access, err))
        return -1;
    /* The kernel's server asks envd with it; our own has no use for it. */
    if (e2b->config.path != BF_E2B_BY_SERVER &&
        bind(created->access_token, &run, &box->run_access, err))
        return -1;
    return e2b->config.path == BF_E2B_BY_ENVD
               ? 0
               : bind(created->traffic_token, &run, &box->run_traffic, err);
}

struct bf_e2b_box *bf_e2b_box_new(const struct bf_e2b *e2b,
                                  const struct bf_e2b_created *created,
                                  struct bf_err *err)
{
    struct bf_e2b_box *box = calloc(1, sizeof(*box));

    if (!box) {
        bf_err_oom(err);
        return NULL;
    }
    memcpy(box->domain, created->domain, sizeof(box->domain));
    if (bind_all(e2b, created, box, err)) {
        bf_e2b_box_free(box);
        return NULL;
    }
    return box;
}

struct bf_e2b_address bf_e2b_run_address(const struct bf_sandbox *sandbox)
{
    const struct bf_e2b_box *box = sandbox->own;

    return (struct bf_e2b_address){
        .id = sandbox->id,
        .domain = box->domain,
        .access = box->run_access,
        .traffic = box->run_traffic,
    };
}

struct bf_e2b_address bf_e2b_envd_address(const struct bf_sandbox *sandbox)
{
    const struct bf_e2b_box *box = sandbox->own;

    return (struct bf_e2b_address){
        .id = sandbox->id,
        .domain = box->domain,
        .access = box->envd_access,
    };
}

/* ---- our runner ---- */

int bf_e2b_prepare_put(const struct bf_e2b *e2b,
                       const struct bf_sandbox *sandbox, const char *word,
                       struct bf_e2b_request *ret, struct bf_err *err)
{
    bf_autobuf struct bf_buf code = BF_BUF_INIT(1U << 20);
    struct bf_e2b_address envd = bf_e2b_envd_address(sandbox);
    struct bf_e2b_address run = bf_e2b_run_address(sandbox);
    struct bf_slice zip = bf_e2b_package();
    char path[BF_E2B_PATH];

    if (e2b->config.path == BF_E2B_BY_SERVER) {
        if (bf_e2b_post(&e2b->site, &run, e2b->config.port, "/healthz", ret,
                        err))
            return -1;
        ret->method = BF_GET;
        return 0;
    }
    if (e2b->config.path == BF_E2B_BY_ENVD) {
        bf_e2b_package_path(path);
        return bf_e2b_file_put(&e2b->site, &envd, path, ret, err) ||
                       bf_buf_add(&ret->body, zip.ptr, zip.len, err)
                   ? -1
                   : 0;
    }
    return bf_e2b_prepare_code(word, &code, err) ||
                   bf_e2b_execute_put(&e2b->site, &run, bf_buf_slice(&code),
                                      ret, err)
               ? -1
               : 0;
}

static int read_kernel(const struct bf_reply *reply, const char *word,
                       struct bf_e2b_evidence *ret, struct bf_err *err)
{
    struct bf_execute execute = {.out = BF_BUF_INIT(PREPARED_BYTES),
                                 .err = BF_BUF_INIT(PREPARED_BYTES)};
    struct bf_e2b_said said = {.ready = false};
    int rc = bf_execute_read(reply->body, &execute, err);

    if (rc == 0)
        rc = bf_e2b_said_read(bf_buf_slice(&execute.out), word, &said, err);
    if (rc == 0)
        ret->stream = said.ready && execute.whole ? BF_E2B_STREAM_READY
                                                  : BF_E2B_STREAM_SILENT;
    bf_e2b_said_release(&said);
    bf_execute_release(&execute);
    return rc;
}

int bf_e2b_prepare_read(const struct bf_e2b *e2b, const struct bf_reply *reply,
                        const char *word, struct bf_e2b_evidence *ret,
                        struct bf_err *err)
{
    if (reply->kind != BF_REPLY_OK || reply->status != 200)
        return 0;
    if (e2b->config.path == BF_E2B_BY_EXECUTE)
        return read_kernel(reply, word, ret, err);
    ret->stream = BF_E2B_STREAM_READY;
    return 0;
}
