#include "worker/backend/e2b_private.h"

#include <sodium.h>

#include "config/secret.h"
#include "schemas/err.h"
#include "schemas/hash.h"

#define MAX_STARTING 16

/* Equal ones may share a sandbox, also across owners and restarts. */
static uint32_t policy_of(const struct bf_e2b_config *config)
{
    char text[256];
    int len = snprintf(text, sizeof(text), "%d %d %u %s", config->internet,
                       (int)config->path, config->port, config->template_id);

    len = len < (int)sizeof(text) ? len : (int)sizeof(text) - 1;
    return (uint32_t)bf_hash64((struct bf_slice){text, (size_t)len});
}

/* A copy of prefix and url, without slashes at the end; NULL: no memory. */
static char *clean_url(const char *prefix, const char *url)
{
    char *copy = NULL;
    size_t len;

    if (asprintf(&copy, "%s%s", prefix, url) < 0)
        return NULL;
    for (len = strlen(copy); len > 0 && copy[len - 1] == '/'; len--)
        copy[len - 1] = '\0';
    return copy;
}

static int open_site(struct bf_e2b *e2b, struct bf_err *err)
{
    const struct bf_e2b_config *config = &e2b->config;

    e2b->api_url = config->api_url[0]
                       ? clean_url("", config->api_url)
                       : clean_url("https://api.", config->domain);
    e2b->sandbox_url = clean_url("", config->sandbox_url);
    if (!e2b->api_url || !e2b->sandbox_url)
        return bf_err_oom(err);
    e2b->site = (struct bf_e2b_site){
        .api_url = e2b->api_url,
        .sandbox_url = e2b->sandbox_url,
        .domain = config->domain,
        .subdomain = config->subdomain,
        .api_key = e2b->api_key,
    };
    return 0;
}

static int open_pool(struct bf_e2b *e2b, struct bf_err *err)
{
    const struct bf_e2b_config *config = &e2b->config;
    struct bf_sandbox_pool_config pool = {
        .max = config->max,
        .max_starting = MAX_STARTING,
        .creates_per_s = config->creates_per_s,
        .idle_ms = config->idle_ms,
        .renew_below_ms = config->ttl_ms / 2,
        .strict = config->strict,
        .free_own = bf_e2b_box_free,
    };

    e2b->pool = bf_sandbox_pool_new(&pool, err);
    e2b->shards = calloc(config->shards, sizeof(*e2b->shards));
    if (!e2b->shards && e2b->pool)
        return bf_err_oom(err);
    return e2b->pool ? 0 : -1;
}

struct bf_e2b *bf_e2b_new(const struct bf_e2b_config *config,
                          struct bf_secret *api_key, struct bf_err *err)
{
    struct bf_e2b *e2b = calloc(1, sizeof(*e2b));

    if (!e2b) {
        bf_secret_free(api_key);
        bf_err_oom(err);
        return NULL;
    }
    e2b->config = *config;
    e2b->api_key = api_key;
    e2b->policy = policy_of(config);
    snprintf(e2b->policy_text, sizeof(e2b->policy_text), "%08x", e2b->policy);
    bf_breaker_init(&e2b->breaker);
    if (open_site(e2b, err) || open_pool(e2b, err)) {
        bf_e2b_free(e2b);
        return NULL;
    }
    return e2b;
}

void bf_e2b_free(struct bf_e2b *e2b)
{
    if (!e2b)
        return;
    bf_sandbox_pool_free(e2b->pool);
    bf_secret_free(e2b->api_key);
    free(e2b->api_url);
    free(e2b->sandbox_url);
    free(e2b->shards);
    free(e2b);
}

void bf_e2b_count(const struct bf_e2b *e2b, struct bf_e2b_count *ret)
{
    const struct bf_sandbox_pool *pool = e2b->pool;

    *ret = (struct bf_e2b_count){
        .starting = bf_sandbox_pool_count(pool, BF_SANDBOX_STARTING),
        .busy = bf_sandbox_pool_count(pool, BF_SANDBOX_BUSY),
        .idle = bf_sandbox_pool_count(pool, BF_SANDBOX_IDLE),
        .leaving = bf_sandbox_pool_count(pool, BF_SANDBOX_DOOMED) +
                   bf_sandbox_pool_count(pool, BF_SANDBOX_DELETING),
        .ghosts = bf_sandbox_pool_count(pool, BF_SANDBOX_GHOST),
    };
}

/* ---- shared by runs and chores ---- */

void bf_e2b_word(char out[BF_HEX128_SIZE])
{
    unsigned char random[BF_HEX128_LEN / 2];

    randombytes_buf(random, sizeof(random));
    sodium_bin2hex(out, BF_HEX128_SIZE, random, sizeof(random));
}

void bf_e2b_see(struct bf_e2b *e2b, const struct bf_reply *reply)
{
    e2b->mono_ms = reply->mono_ms;
    e2b->wall_ms = reply->now_ms;
}

struct bf_request bf_e2b_http(const struct bf_e2b_request *request,
                              const char *lines[BF_E2B_LINES])
{
    for (size_t i = 0; i < request->nlines; i++)
        lines[i] = request->lines[i];
    return (struct bf_request){
        .by = BF_BY_HTTP,
        .method = request->method,
        .version = request->version,
        .url = request->url.data,
        .headers = lines,
        .nheaders = request->nlines,
        .secrets = request->secrets,
        .nsecrets = request->nsecrets,
        .body = {bf_buf_slice(&request->body)},
        .nbody = request->body.len > 0,
    };
}

struct bf_e2b_evidence bf_e2b_evidence(enum bf_e2b_ask ask,
                                       const struct bf_reply *reply,
                                       struct bf_e2b_error *error)
{
    *error = (struct bf_e2b_error){.about_port = false};
    if (reply->status >= 300)
        bf_e2b_error_read(reply->body, error);
    return (struct bf_e2b_evidence){
        .ask = ask,
        .kind = reply->kind,
        .unsent = reply->unsent,
        .status = reply->status,
        .message = error->message,
        .error_code = error->error_code,
        .about_port = error->about_port,
    };
}

enum bf_sign bf_e2b_sign(const struct bf_e2b_evidence *what,
                         const struct bf_e2b_cause *cause)
{
    if (cause->stop)
        return BF_SIGN_CREDENTIAL;
    if (cause->next == BF_E2B_GO_ON)
        return BF_SIGN_GOOD;
    return what->kind != BF_REPLY_OK || what->status >= 500 ? BF_SIGN_FAULT
                                                            : BF_SIGN_NONE;
}

static const struct {
    const char *cause, *alarm;
} alarms[] = {
    {"credential", "E2B refuses E2B_API_KEY (401)"},
    {"credential_unpaid", "E2B wants to be paid (402)"},
    {"credential_forbidden",
     "E2B forbids it (403): the team is blocked or over its quota"},
    {"create_no_route",
     "E2B has no such template, or e2b.api_url is not E2B's (404)"},
    {"create_refused",
     "E2B refuses to create sandboxes: look at e2b.template and e2b.timeout"},
    {"wrong_template",
     "the sandbox does not answer as e2b.path expects: another template?"},
    {"foreign_domain", "E2B made a sandbox outside of e2b.domain"},
};

const char *bf_e2b_alarm(const struct bf_e2b_cause *cause)
{
    if (!cause->stop)
        return NULL;
    for (size_t i = 0; i < bf_countof(alarms); i++) {
        if (strcmp(alarms[i].cause, cause->name) == 0)
            return alarms[i].alarm;
    }
    return "E2B answers with a redirect to elsewhere";
}

/* ---- the table ---- */

static int e2b_step(struct bf_run *run, const struct bf_reply *reply,
                    struct bf_request *ret_request, struct bf_run_end *ret_end,
                    struct bf_err *err)
{
    return run->magic == BF_E2B_CHORE_MAGIC
               ? bf_e2b_chore_step(run, reply, ret_request, ret_end, err)
               : bf_e2b_run_step(run, reply, ret_request, ret_end, err);
}

static void e2b_free(struct bf_run *run)
{
    if (run && run->magic == BF_E2B_CHORE_MAGIC)
        bf_e2b_chore_free(run);
    else
        bf_e2b_run_free(run);
}

const struct bf_backend bf_backend_e2b = {
    .name = "e2b",
    .weigh = bf_e2b_weigh,
    .begin = bf_e2b_run_begin,
    .step = e2b_step,
    .free = e2b_free,
    .chore = bf_e2b_chore,
};
