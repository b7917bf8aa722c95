#include "worker/backend/e2b_api.h"

#include <ctype.h>

#include "schemas/err.h"
#include "schemas/json.h"
#include "schemas/limits.h"
#include "schemas/time.h"
#include "schemas/utf8.h"
#include "worker/url.h"
#include "worker/wire/connect.h"

#define MAX_REPLY (4U << 20)
#define KEEPALIVE_S "10" /* envd says so often that it is there */

void bf_e2b_request_init(struct bf_e2b_request *request, size_t max_body)
{
    *request = (struct bf_e2b_request){
        .url = BF_BUF_INIT(BF_MAX_URL),
        .body = BF_BUF_INIT(max_body),
    };
}

void bf_e2b_request_release(struct bf_e2b_request *request)
{
    bf_buf_release(&request->url);
    bf_buf_release(&request->body);
}

static void add_line(struct bf_e2b_request *request, const char *name,
                     const char *value)
{
    char *line = request->lines[request->nlines];

    bf_assert(request->nlines < BF_E2B_LINES);
    bf_assert((size_t)snprintf(line, BF_E2B_LINE, "%s: %s", name, value) <
              BF_E2B_LINE);
    request->nlines++;
}

static void add_secret(struct bf_e2b_request *request, const char *name,
                       const struct bf_secret *secret)
{
    if (!secret)
        return;
    bf_assert(request->nsecrets < BF_E2B_SECRETS);
    request->secrets[request->nsecrets++] =
        (struct bf_secret_header){.name = name, .scheme = "", .secret = secret};
}

/* ---- the control plane ---- */

/* Ours from here on: what was in the request is forgotten. */
static int begin(const struct bf_e2b_site *site, enum bf_method method,
                 struct bf_e2b_request *ret, const char *path,
                 struct bf_err *err)
{
    bf_buf_clear(&ret->url);
    bf_buf_clear(&ret->body);
    ret->method = method;
    ret->version = BF_HTTP_ANY;
    ret->nlines = 0;
    ret->nsecrets = 0;
    add_secret(ret, "x-api-key", site->api_key);
    add_line(ret, "accept", "application/json");
    return bf_buf_addf(&ret->url, err, "%s%s", site->api_url, path);
}

static int begin_of(const struct bf_e2b_site *site, const char *id,
                    const char *what, struct bf_e2b_request *ret,
                    struct bf_err *err)
{
    char path[BF_E2B_ID + 64];

    snprintf(path, sizeof(path), "/sandboxes/%s%s", id, what);
    return begin(site, what[0] ? BF_POST : BF_DELETE, ret, path, err);
}

static int put_seconds(struct bf_e2b_request *ret, int64_t ttl_s,
                       struct bf_err *err)
{
    struct bf_json_out out;

    add_line(ret, "content-type", "application/json");
    bf_json_start(&out, &ret->body, err);
    bf_json_open(&out, NULL, '{');
    bf_json_int(&out, "timeout", ttl_s);
    bf_json_close(&out, '}');
    return bf_json_done(&out);
}

static void put_network(struct bf_json_out *out, bool internet)
{
    bf_json_bool(out, "allow_internet_access", internet);
    bf_json_open(out, "network", '{');
    /* Nobody but who has the token of the answer: not even with the id. */
    bf_json_bool(out, "allowPublicTraffic", false);
    bf_json_close(out, '}');
}

int bf_e2b_create_put(const struct bf_e2b_site *site,
                      const struct bf_e2b_create *what,
                      struct bf_e2b_request *ret, struct bf_err *err)
{
    struct bf_json_out out;

    if (begin(site, BF_POST, ret,
              site->old_routes ? "/sandboxes" : "/v2/sandboxes", err))
        return -1;
    add_line(ret, "content-type", "application/json");
    add_line(ret, "idempotency-key", what->idempotency_key);
    bf_json_start(&out, &ret->body, err);
    bf_json_open(&out, NULL, '{');
    bf_json_str(&out, "templateID", what->template_id);
    bf_json_int(&out, "timeout", what->ttl_s);
    bf_json_open(&out, "metadata", '{');
    for (size_t i = 0; i < what->nmetadata; i++)
        bf_json_text(&out, what->metadata[i].name, what->metadata[i].value);
    bf_json_close(&out, '}');
    put_network(&out, what->internet);
    if (site->old_routes) /* v2 knows no other */
        bf_json_bool(&out, "secure", true);
    bf_json_close(&out, '}');
    return bf_json_done(&out);
}

int bf_e2b_connect_put(const struct bf_e2b_site *site, const char *id,
                       int64_t ttl_s, struct bf_e2b_request *ret,
                       struct bf_err *err)
{
    char path[BF_E2B_ID + 64];

    snprintf(path, sizeof(path), "%s/sandboxes/%s/connect",
             site->old_routes ? "" : "/v2", id);
    return begin(site, BF_POST, ret, path, err) || put_seconds(ret, ttl_s, err)
               ? -1
               : 0;
}

int bf_e2b_ttl_put(const struct bf_e2b_site *site, const char *id,
                   int64_t ttl_s, struct bf_e2b_request *ret,
                   struct bf_err *err)
{
    return begin_of(site, id, "/timeout", ret, err) ||
                   put_seconds(ret, ttl_s, err)
               ? -1
               : 0;
}

int bf_e2b_kill_put(const struct bf_e2b_site *site, const char *id,
                    struct bf_e2b_request *ret, struct bf_err *err)
{
    return begin_of(site, id, "", ret, err);
}

/*
 * "k=v&k=v", escaped once: of the pairs' own characters none is escaped by the
 * escaping of each that comes before.
 */
static int put_pairs(struct bf_buf *url, const struct bf_e2b_pair *pairs,
                     size_t npairs, struct bf_err *err)
{
    for (size_t i = 0; i < npairs; i++) {
        if (bf_buf_addf(url, err, "%s%s%%3D%.*s", i ? "%26" : "?metadata=",
                        pairs[i].name, BF_SLICE_ARG(pairs[i].value)))
            return -1;
    }
    return 0;
}

int bf_e2b_list_put(const struct bf_e2b_site *site,
                    const struct bf_e2b_pair *pairs, size_t npairs,
                    struct bf_slice from, struct bf_e2b_request *ret,
                    struct bf_err *err)
{
    if (begin(site, BF_GET, ret,
              site->old_routes ? "/sandboxes" : "/v2/sandboxes", err) ||
        put_pairs(&ret->url, pairs, npairs, err))
        return -1;
    if (site->old_routes)
        return 0;
    if (bf_buf_adds(&ret->url,
                    npairs ? "&state=running&limit=100"
                           : "?state=running&limit=100",
                    err))
        return -1;
    if (!from.ptr)
        return 0;
    return bf_buf_adds(&ret->url, "&nextToken=", err) ||
                   bf_url_escape(from, &ret->url, err)
               ? -1
               : 0;
}

/* ---- its answers ---- */

/* Goes into paths and headers as it is. */
static bool id_ok(struct bf_slice id)
{
    for (size_t i = 0; i < id.len; i++) {
        if (!isalnum((unsigned char)id.ptr[i]) && id.ptr[i] != '-')
            return false;
    }
    return id.len >= 1 && id.len <= BF_E2B_ID;
}

static bool host_ok(struct bf_slice host)
{
    for (size_t i = 0; i < host.len; i++) {
        if (!isalnum((unsigned char)host.ptr[i]) && host.ptr[i] != '-' &&
            host.ptr[i] != '.')
            return false;
    }
    return host.len >= 1 && host.len <= BF_E2B_DOMAIN && host.ptr[0] != '.';
}

/* Code and inputs follow the answer there: not anywhere it likes. */
static bool is_within(struct bf_slice host, const char *domain)
{
    size_t len = strlen(domain);

    return host_ok(host) && len > 0 && host.len >= len &&
           memcmp(host.ptr + host.len - len, domain, len) == 0 &&
           (host.len == len || host.ptr[host.len - len - 1] == '.');
}

void bf_e2b_created_release(struct bf_e2b_created *created)
{
    json_decref(bf_take(created->doc));
}

static void copy(struct bf_slice from, char *to)
{
    memcpy(to, from.ptr, from.len);
    to[from.len] = '\0';
}

static int read_domain(const struct bf_e2b_site *site,
                       struct bf_e2b_created *created, struct bf_err *err)
{
    struct bf_slice domain =
        bf_json_slice(json_object_get(created->doc, "domain"));

    if (domain.len == 0 || bf_slice_is(domain, site->domain))
        return 0;
    if (!is_within(domain, site->domain))
        return bf_err_set(err, BF_ERR_REJECT, "foreign_domain",
                          "a sandbox outside of the domain %s", site->domain);
    copy(domain, created->domain);
    return 0;
}

int bf_e2b_created_read(const struct bf_e2b_site *site, struct bf_slice body,
                        struct bf_e2b_created *ret, struct bf_err *err)
{
    struct bf_slice id;

    *ret = (struct bf_e2b_created){.doc = bf_json_parse(body, MAX_REPLY, err)};
    if (!ret->doc)
        return bf_err_prefix(err, "a created sandbox");
    id = bf_json_slice(json_object_get(ret->doc, "sandboxID"));
    if (!id_ok(id)) {
        bf_e2b_created_release(ret);
        return bf_err_set(err, BF_ERR_REJECT, "bad_reply",
                          "a created sandbox without a sandboxID");
    }
    copy(id, ret->id);
    ret->access_token =
        bf_json_slice(json_object_get(ret->doc, "envdAccessToken"));
    ret->traffic_token =
        bf_json_slice(json_object_get(ret->doc, "trafficAccessToken"));
    return read_domain(site, ret, err);
}

void bf_e2b_list_release(struct bf_e2b_list *list)
{
    free(bf_take(list->rows));
    json_decref(bf_take(list->doc));
}

/* Their times have any number of decimals, or none. */
static int64_t read_time(const json_t *value)
{
    struct bf_slice text = bf_json_slice(value);
    char strict[BF_TIME_SIZE] = "0000-00-00T00:00:00.000Z";
    int64_t at_ms = 0;

    if (text.len < 20 || text.ptr[text.len - 1] != 'Z')
        return 0;
    memcpy(strict, text.ptr, 19);
    return bf_time_parse(bf_slice_str(strict), &at_ms) ? 0 : at_ms;
}

static int64_t read_number(const json_t *value, int64_t max)
{
    json_int_t number = json_integer_value(value);

    return number > 0 && number <= max ? number : 0;
}

static bool read_row(const json_t *object, struct bf_e2b_row *ret)
{
    struct bf_slice state = bf_json_slice(json_object_get(object, "state"));
    const json_t *metadata = json_object_get(object, "metadata");

    *ret = (struct bf_e2b_row){
        .id = bf_json_slice(json_object_get(object, "sandboxID")),
        .started_at_ms = read_time(json_object_get(object, "startedAt")),
        .end_at_ms = read_time(json_object_get(object, "endAt")),
        .vcpu = read_number(json_object_get(object, "cpuCount"), 4096),
        .memory_mb = read_number(json_object_get(object, "memoryMB"), 1 << 24),
        .metadata = bf_json_is_strings(metadata) ? metadata : NULL,
    };
    return id_ok(ret->id) && (!state.ptr || bf_slice_is(state, "running"));
}

/* Ours are objects alone: the array becomes a member of one. */
static json_t *parse_array(struct bf_slice body, struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(MAX_REPLY + 16);
    json_t *doc;

    if (bf_buf_adds(&text, "{\"rows\":", err) ||
        bf_buf_add(&text, body.ptr ? body.ptr : "", body.len, err) ||
        bf_buf_adds(&text, "}", err))
        return NULL;
    doc = bf_json_parse(bf_buf_slice(&text), text.max, err);
    if (doc && !json_is_array(json_object_get(doc, "rows"))) {
        json_decref(doc);
        bf_err_set(err, BF_ERR_REJECT, "bad_reply", "a list that is none");
        return NULL;
    }
    return doc;
}

int bf_e2b_list_read(struct bf_slice body, struct bf_e2b_list *ret,
                     struct bf_err *err)
{
    struct bf_e2b_list list = {.doc = parse_array(body, err)};
    const json_t *rows = json_object_get(list.doc, "rows");

    if (!list.doc)
        return -1;
    list.rows = calloc(json_array_size(rows) + 1, sizeof(*list.rows));
    if (!list.rows) {
        bf_e2b_list_release(&list);
        return bf_err_oom(err);
    }
    for (size_t i = 0; i < json_array_size(rows); i++)
        list.nrows +=
            read_row(json_array_get(rows, i), &list.rows[list.nrows]) ? 1 : 0;
    *ret = list;
    return 0;
}

/* ---- the data plane ---- */

int bf_e2b_origin(const struct bf_e2b_site *site,
                  const struct bf_e2b_address *to, unsigned int port,
                  struct bf_buf *ret, struct bf_err *err)
{
    const char *domain = to->domain[0] ? to->domain : site->domain;

    if (site->subdomain)
        return bf_buf_addf(ret, err, "https://%u-%s.%s", port, to->id, domain);
    if (site->sandbox_url[0])
        return bf_buf_adds(ret, site->sandbox_url, err);
    return bf_buf_addf(ret, err, "https://sandbox.%s", domain);
}

int bf_e2b_post(const struct bf_e2b_site *site, const struct bf_e2b_address *to,
                unsigned int port, const char *path, struct bf_e2b_request *ret,
                struct bf_err *err)
{
    char number[16];

    bf_buf_clear(&ret->url);
    bf_buf_clear(&ret->body);
    ret->method = BF_POST;
    ret->version = BF_HTTP_ANY;
    ret->nlines = 0;
    ret->nsecrets = 0;
    snprintf(number, sizeof(number), "%u", port);
    if (!site->subdomain) {
        add_line(ret, "e2b-sandbox-id", to->id);
        add_line(ret, "e2b-sandbox-port", number);
    }
    add_secret(ret, "x-access-token", to->access);
    add_secret(ret, "e2b-traffic-access-token", to->traffic);
    return bf_e2b_origin(site, to, port, &ret->url, err) ||
                   bf_buf_adds(&ret->url, path, err)
               ? -1
               : 0;
}

int bf_e2b_execute_put(const struct bf_e2b_site *site,
                       const struct bf_e2b_address *to, struct bf_slice code,
                       struct bf_e2b_request *ret, struct bf_err *err)
{
    struct bf_json_out out;

    if (bf_e2b_post(site, to, BF_E2B_PORT_EXECUTE, "/execute", ret, err))
        return -1;
    ret->version = BF_HTTP_1_1;
    add_line(ret, "content-type", "application/json");
    bf_json_start(&out, &ret->body, err);
    bf_json_open(&out, NULL, '{');
    bf_json_text(&out, "code", code);
    /* Without it a restarted default context cuts its answers short. */
    bf_json_str(&out, "language", "python");
    bf_json_close(&out, '}');
    return bf_json_done(&out);
}

int bf_e2b_file_put(const struct bf_e2b_site *site,
                    const struct bf_e2b_address *to, const char *path,
                    struct bf_e2b_request *ret, struct bf_err *err)
{
    if (bf_e2b_post(site, to, BF_E2B_PORT_ENVD, "/files?path=", ret, err) ||
        bf_url_escape(bf_slice_str(path), &ret->url, err))
        return -1;
    add_line(ret, "content-type", "application/octet-stream");
    return 0;
}

static void put_process(struct bf_json_out *out,
                        const struct bf_e2b_start *what)
{
    bf_json_open(out, "process", '{');
    bf_json_text(out, "cmd", what->argv[0]);
    bf_json_open(out, "args", '[');
    for (size_t i = 1; i < what->nargv; i++)
        bf_json_text(out, NULL, what->argv[i]);
    bf_json_close(out, ']');
    bf_json_close(out, '}');
    bf_json_bool(out, "stdin", false);
}

int bf_e2b_start_put(const struct bf_e2b_site *site,
                     const struct bf_e2b_address *to,
                     const struct bf_e2b_start *what,
                     struct bf_e2b_request *ret, struct bf_err *err)
{
    static const char room[BF_CONNECT_PREFIX] = {0};
    char number[24];
    struct bf_json_out out;

    if (bf_e2b_post(site, to, BF_E2B_PORT_ENVD, "/process.Process/Start", ret,
                    err) ||
        bf_buf_add(&ret->body, room, sizeof(room), err))
        return -1;
    snprintf(number, sizeof(number), "%lld", (long long)what->timeout_ms);
    add_line(ret, "content-type", "application/connect+json");
    add_line(ret, "connect-protocol-version", "1");
    add_line(ret, "connect-timeout-ms", number);
    add_line(ret, "keepalive-ping-interval", KEEPALIVE_S);
    bf_json_start(&out, &ret->body, err);
    bf_json_open(&out, NULL, '{');
    put_process(&out, what);
    bf_json_close(&out, '}');
    if (bf_json_done(&out))
        return -1;
    bf_connect_prefix(ret->body.len - sizeof(room),
                      (unsigned char *)ret->body.data);
    return 0;
}

/* ---- errors ---- */

static void keep(struct bf_slice text, char *out, size_t size)
{
    struct bf_slice cut = bf_utf8_cut(text, size - 1);

    memcpy(out, cut.ptr ? cut.ptr : "", cut.len);
    out[cut.len] = '\0';
}

void bf_e2b_error_read(struct bf_slice body, struct bf_e2b_error *ret)
{
    bf_autojson json_t *doc = NULL;

    *ret = (struct bf_e2b_error){.about_port = false};
    doc = bf_json_parse(body, MAX_REPLY, NULL);
    if (!doc)
        return;
    keep(bf_json_slice(json_object_get(doc, "message")), ret->message,
         sizeof(ret->message));
    keep(bf_json_slice(json_object_get(doc, "error_code")), ret->error_code,
         sizeof(ret->error_code));
    ret->about_port = json_is_integer(json_object_get(doc, "port"));
    ret->did_not_run = bf_slice_is(
        bf_json_slice(json_object_get(doc, "delivery")), "did_not_run");
}
