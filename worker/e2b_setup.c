#include "worker/e2b_setup.h"

#include <stdio.h>
#include <strings.h>

#include "config/secret.h"
#include "schemas/err.h"
#include "schemas/limits.h"
#include "worker/sign_request.h"
#include "worker/url.h"

static struct bf_e2b_config config_of(const struct bf_e2b_setup *setup)
{
    static const enum bf_e2b_path paths[] = {
        [BF_E2B_EXECUTE] = BF_E2B_BY_EXECUTE,
        [BF_E2B_ENVD] = BF_E2B_BY_ENVD,
        [BF_E2B_SERVER] = BF_E2B_BY_SERVER,
    };
    const struct bf_settings *s = setup->settings;

    return (struct bf_e2b_config){
        .api_url = s->e2b.api_url,
        .sandbox_url = s->e2b.sandbox_url,
        .domain = s->e2b.domain,
        .subdomain = s->e2b.subdomain,
        .template_id = s->e2b.template_id,
        .path = paths[s->e2b.path],
        .port = (unsigned int)s->e2b.port,
        .ttl_ms = s->e2b.timeout_ms,
        .idle_ms = s->e2b.idle_timeout_ms,
        .internet = s->e2b.internet,
        .strict = s->e2b.strict,
        .adopt = s->e2b.adopt,
        .max = (size_t)s->e2b.sandboxes,
        .creates_per_s = s->e2b.creates,
        .vcpu = s->e2b.vcpu,
        .memory_mb = (int64_t)(s->e2b.memory_bytes >> 20),
        .fleet = s->fleet,
        .shards = setup->shards,
        .owner = setup->owner,
        .owner_arg = setup->owner_arg,
    };
}

/* Nothing that a stranger on the way could read, or write, goes out. */
static int check_url(const char *option, const char *url, struct bf_err *err)
{
    if (url[0] && strncasecmp(url, "https:", 6) != 0 &&
        !bf_url_is_loopback(url))
        return bf_err_set(err, BF_ERR_REJECT, "cleartext",
                          "%s must be https:// beyond this machine", option);
    return 0;
}

static int check(const struct bf_e2b_setup *setup, struct bf_err *err)
{
    const struct bf_settings *s = setup->settings;

    if (check_url("e2b.api_url", s->e2b.api_url, err) ||
        check_url("e2b.sandbox_url", s->e2b.sandbox_url, err))
        return -1;
    return s->e2b.path == BF_E2B_SERVER
               ? bf_sign_request_check(s->e2b.sandbox_url[0]
                                           ? s->e2b.sandbox_url
                                           : "https://sandbox.e2b.app",
                                       setup->signer, err)
               : 0;
}

static int find_key(const struct bf_settings *s, struct bf_secret **ret,
                    struct bf_err *err)
{
    bf_autobuf struct bf_buf origin = BF_BUF_INIT(BF_MAX_URL + 16);
    char url[BF_MAX_URL];

    snprintf(url, sizeof(url), "%s%s", s->e2b.api_url[0] ? "" : "https://api.",
             s->e2b.api_url[0] ? s->e2b.api_url : s->e2b.domain);
    if (bf_url_origin(url, &origin, err) ||
        bf_secret_find(s->e2b.key_file, "E2B_API_KEY", origin.data, ret, err))
        return -1;
    return *ret ? 0
                : bf_err_set(err, BF_ERR_REJECT, "no_key",
                             "worker.backend e2b needs E2B_API_KEY in the "
                             "environment, or e2b.key_file");
}

struct bf_e2b *bf_e2b_open(const struct bf_e2b_setup *setup, struct bf_err *err)
{
    struct bf_e2b_config config = config_of(setup);
    struct bf_secret *key = NULL;

    if (check(setup, err) || find_key(setup->settings, &key, err))
        return NULL;
    return bf_e2b_new(&config, key, err);
}
