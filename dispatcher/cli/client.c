#include "dispatcher/cli/client.h"

#include <curl/curl.h>
#include <poll.h>
#include <sodium.h>

#include "schemas/err.h"

#define MAX_PATH 4096
#define CONNECT_MS 5000
#define MAX_PAUSE_MS 5000
#define PROBLEM_SIZE 200
#define GET_MS 120000
#define GET_TRIES 8

struct bf_client {
    CURL *easy;
    char why[CURL_ERROR_SIZE]; /* of the last transfer */
    char *base;                /* no slash at its end */
    char *token;
    const char *ca_file; /* borrowed; "": the system's */
};

/* What the callbacks of one transfer need. */
struct transfer {
    CURL *easy;
    const struct bf_client_request *request;
    struct bf_client_reply *reply;
    struct bf_err err; /* kind NONE while all is well */
};

struct bf_client *bf_client_new(const char *base, const char *token,
                                struct bf_err *err)
{
    bf_autoclient struct bf_client *client = NULL;
    size_t len = strlen(base);

    if (strncmp(base, "http://", 7) != 0 && strncmp(base, "https://", 8) != 0) {
        bf_err_set(err, BF_ERR_REJECT, "usage",
                   "the dispatcher's address must begin with http:// or "
                   "https://, not '%.80s'",
                   base);
        return NULL;
    }
    client = calloc(1, sizeof(*client));
    if (client) {
        client->easy = curl_easy_init();
        client->ca_file = "";
        client->base = strdup(base);
        client->token = token ? strdup(token) : NULL;
    }
    if (!client || !client->easy || !client->base ||
        (token && !client->token)) {
        bf_err_oom(err);
        return NULL;
    }
    while (len > 8 && client->base[len - 1] == '/')
        client->base[--len] = '\0';
    return bf_take(client);
}

void bf_client_trust(struct bf_client *client, const char *ca_file)
{
    client->ca_file = ca_file;
}

void bf_client_free(struct bf_client *client)
{
    if (!client)
        return;
    curl_easy_cleanup(client->easy);
    if (client->token)
        sodium_memzero(client->token, strlen(client->token));
    free(client->token);
    free(client->base);
    free(client);
}

void bf_client_reply_release(struct bf_client_reply *reply)
{
    bf_buf_release(&reply->body);
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct transfer *transfer = arg;
    size_t len = size * n;
    long status = 0;

    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    if (!transfer->request->sink || status >= 300)
        return bf_buf_add(&transfer->reply->body, data, len, &transfer->err)
                   ? 0
                   : len;
    if (fwrite(data, 1, len, transfer->request->sink) != len) {
        bf_err_set(&transfer->err, BF_ERR_REJECT, "local",
                   "cannot write the output file");
        return 0;
    }
    transfer->reply->sunk += (int64_t)len;
    return len;
}

/* The value of a header line when it has this name. */
static bool header_is(struct bf_slice line, const char *name,
                      struct bf_slice *ret)
{
    size_t len = strlen(name);

    if (line.len <= len || line.ptr[len] != ':' ||
        strncasecmp(line.ptr, name, len) != 0)
        return false;
    line.ptr += len + 1;
    line.len -= len + 1;
    while (line.len > 0 && (line.ptr[0] == ' ' || line.ptr[0] == '\t')) {
        line.ptr++;
        line.len--;
    }
    while (line.len > 0 && (unsigned char)line.ptr[line.len - 1] <= ' ')
        line.len--;
    *ret = line;
    return true;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
    struct transfer *transfer = arg;
    struct bf_client_reply *reply = transfer->reply;
    struct bf_slice line = {data, size * n}, value;
    uint64_t seconds;

    if (header_is(line, "bf-cursor", &value) &&
        value.len < sizeof(reply->cursor)) {
        memcpy(reply->cursor, value.ptr, value.len);
        reply->cursor[value.len] = '\0';
    }
    if (header_is(line, "retry-after", &value) &&
        bf_slice_u64(value, 3600, &seconds) == 0)
        reply->retry_after_ms = (int)seconds * 1000;
    return line.len;
}

static int add_header(struct curl_slist **list, const char *name,
                      const char *value, struct bf_err *err)
{
    bf_autobuf struct bf_buf line = BF_BUF_INIT(4096);
    struct curl_slist *longer;

    if (!value)
        return 0;
    if (bf_buf_addf(&line, err, "%s: %s", name, value))
        return -1;
    longer = curl_slist_append(*list, line.data);
    if (!longer)
        return bf_err_oom(err);
    *list = longer;
    return 0;
}

static void free_list(struct curl_slist **list)
{
    curl_slist_free_all(*list);
}

static int make_headers(struct bf_client *client,
                        const struct bf_client_request *request,
                        struct curl_slist **ret, struct bf_err *err)
{
    bf_autobuf struct bf_buf bearer = BF_BUF_INIT(4096);

    if (client->token && bf_buf_addf(&bearer, err, "Bearer %s", client->token))
        return -1;
    /* no "Expect: 100-continue": it costs a second where nobody answers it */
    if (add_header(ret, "Expect", "", err) ||
        add_header(ret, "Accept", "application/x-ndjson, application/json",
                   err) ||
        add_header(ret, "Content-Type", request->content_type, err) ||
        add_header(ret, "Idempotency-Key", request->idempotency_key, err) ||
        add_header(ret, "Authorization", bearer.data, err))
        return -1;
    if (bearer.data)
        sodium_memzero(bearer.data, bearer.len);
    return 0;
}

static void set_options(struct transfer *transfer,
                        const struct bf_client *client, const char *url,
                        struct curl_slist *headers)
{
    const struct bf_client_request *request = transfer->request;
    CURL *easy = transfer->easy;

    curl_easy_reset(easy); /* keeps the connection */
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "blockfleet/" BF_VERSION);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    if (client->ca_file[0])
        curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_file);
    if (request->body.ptr) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                         (curl_off_t)request->body.len);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body.ptr);
    }
}

/* One exchange. 0: there is an answer, of whatever status. */
static int exchange(struct bf_client *client,
                    const struct bf_client_request *request,
                    struct bf_client_reply *reply, struct bf_err *err)
{
    struct transfer transfer = {client->easy, request, reply, {0}};
    bf_autobuf struct bf_buf url = BF_BUF_INIT(MAX_PATH);
    bf_cleanup(free_list) struct curl_slist *headers = NULL;
    long status = 0;
    CURLcode code;

    bf_buf_clear(&reply->body);
    reply->status = 0;
    reply->cursor[0] = '\0';
    reply->retry_after_ms = 0;
    if (bf_buf_addf(&url, err, "%s%s", client->base, request->path) ||
        make_headers(client, request, &headers, err))
        return -1;
    set_options(&transfer, client, url.data, headers);
    client->why[0] = '\0';
    curl_easy_setopt(client->easy, CURLOPT_ERRORBUFFER, client->why);
    code = curl_easy_perform(client->easy);
    if (transfer.err.kind != BF_ERR_NONE) {
        *err = transfer.err;
        return -1;
    }
    if (code != CURLE_OK)
        return bf_err_set(
            err, BF_ERR_RETRY, "unreachable", "%s: %s", client->base,
            client->why[0] ? client->why : curl_easy_strerror(code));
    curl_easy_getinfo(client->easy, CURLINFO_RESPONSE_CODE, &status);
    reply->status = (unsigned)status;
    return 0;
}

static bool passes(unsigned status)
{
    return status == 429 || (status >= 502 && status <= 504);
}

void bf_client_problem(struct bf_slice body, char *out, size_t size)
{
    json_auto_t *doc = json_loadb(body.ptr, body.len, 0, NULL);
    const char *title = json_string_value(json_object_get(doc, "title"));
    const char *detail = json_string_value(json_object_get(doc, "detail"));
    const char *field = json_string_value(json_object_get(doc, "field"));

    const char *text = detail ? detail : title;
    bool named = field && text && strncmp(text, field, strlen(field)) != 0;

    snprintf(out, size, "%s%s%s", named ? field : "", named ? ": " : "",
             text ? text : "");
}

static int refusal(const struct bf_client_reply *reply, struct bf_err *err)
{
    char problem[PROBLEM_SIZE];

    bf_client_problem(bf_buf_slice(&reply->body), problem, sizeof(problem));
    return bf_err_set(err, passes(reply->status) ? BF_ERR_RETRY : BF_ERR_REJECT,
                      passes(reply->status) ? "unreachable" : "refused",
                      "HTTP %u%s%s", reply->status, problem[0] ? ": " : "",
                      problem);
}

int bf_client_send(struct bf_client *client,
                   const struct bf_client_request *request,
                   struct bf_client_reply *ret, struct bf_err *err)
{
    int pause_ms = 100;

    for (int left = request->tries;; left--) {
        int failed = exchange(client, request, ret, err);

        if (failed && err->kind != BF_ERR_RETRY)
            return -1;
        if (!failed && !passes(ret->status))
            return ret->status >= 400 ? refusal(ret, err) : 0;
        /* half of a body in the sink cannot be taken back */
        if (left <= 1 || ret->sunk > 0)
            return failed ? -1 : refusal(ret, err);
        pause_ms = pause_ms * 2 > MAX_PAUSE_MS ? MAX_PAUSE_MS : pause_ms * 2;
        if (ret->retry_after_ms > pause_ms)
            pause_ms = ret->retry_after_ms > MAX_PAUSE_MS ? MAX_PAUSE_MS
                                                          : ret->retry_after_ms;
        poll(NULL, 0, pause_ms);
    }
}

/* ---- GET ----------------------------------------------------------------- */

static int get(struct bf_client *client, const char *path,
               struct bf_client_reply *reply, struct bf_err *err)
{
    const struct bf_client_request request = {
        .method = "GET",
        .path = path,
        .timeout_ms = GET_MS,
        .tries = GET_TRIES,
    };

    return bf_client_send(client, &request, reply, err);
}

/* New reference. */
static json_t *object_of(struct bf_slice text, struct bf_err *err)
{
    json_t *doc = json_loadb(text.ptr, text.len, JSON_ALLOW_NUL, NULL);

    if (json_is_object(doc))
        return doc;
    json_decref(doc);
    bf_err_set(err, BF_ERR_REJECT, "refused",
               "the dispatcher's answer is not a JSON object");
    return NULL;
}

json_t *bf_client_get(struct bf_client *client, const char *path,
                      unsigned *ret_status, struct bf_err *err)
{
    bf_autoreply struct bf_client_reply reply = BF_CLIENT_REPLY;
    int failed = get(client, path, &reply, err);

    if (ret_status)
        *ret_status = reply.status;
    return failed ? NULL : object_of(bf_buf_slice(&reply.body), err);
}

/* What row() said last. */
static int each_line(struct bf_slice page, bf_client_row_fn *row, void *arg,
                     struct bf_err *err)
{
    int status = 0;

    while (page.len > 0 && status == 0) {
        const char *end = memchr(page.ptr, '\n', page.len);
        size_t len = end ? (size_t)(end - page.ptr) : page.len;

        if (len > 0) {
            json_auto_t *doc = object_of((struct bf_slice){page.ptr, len}, err);

            status = doc ? row(arg, doc, err) : -1;
        }
        len += end != NULL;
        page = (struct bf_slice){page.ptr + len, page.len - len};
    }
    return status;
}

int bf_client_rows(struct bf_client *client, const char *path,
                   bf_client_row_fn *row, void *arg, struct bf_err *err)
{
    bf_autoreply struct bf_client_reply reply = BF_CLIENT_REPLY;
    bf_autobuf struct bf_buf next = BF_BUF_INIT(MAX_PATH);

    for (;;) {
        char before[sizeof(reply.cursor)];
        int status;

        memcpy(before, reply.cursor, sizeof(before));
        bf_buf_clear(&next);
        if (bf_buf_adds(&next, path, err) ||
            bf_client_query(&next, "cursor", before[0] ? before : NULL, err) ||
            get(client, next.data, &reply, err))
            return -1;
        status = each_line(bf_buf_slice(&reply.body), row, arg, err);
        if (status != 0 || !reply.cursor[0])
            return status < 0 ? -1 : 0;
        if (strcmp(before, reply.cursor) == 0)
            return bf_err_set(err, BF_ERR_REJECT, "refused",
                              "the dispatcher gives the same page again");
    }
}

/* ---- paths --------------------------------------------------------------- */

static int add_escaped(struct bf_buf *path, const char *text,
                       struct bf_err *err)
{
    static const char hex[] = "0123456789ABCDEF";

    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        char escaped[3] = {'%', hex[c >> 4], hex[c & 15]};
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     (c >= '0' && c <= '9') || strchr("-._~", c);

        if (bf_buf_add(path, plain ? p : escaped, plain ? 1 : 3, err))
            return -1;
    }
    return 0;
}

int bf_client_query(struct bf_buf *path, const char *name, const char *value,
                    struct bf_err *err)
{
    bool first = !path->data || !strchr(path->data, '?');

    if (!value)
        return 0;
    if (bf_buf_addf(path, err, "%c%s=", first ? '?' : '&', name))
        return -1;
    return add_escaped(path, value, err);
}

int bf_client_segment(struct bf_buf *path, const char *segment,
                      struct bf_err *err)
{
    if (bf_buf_adds(path, "/", err))
        return -1;
    return add_escaped(path, segment, err);
}
