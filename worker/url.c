#include "worker/url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "schemas/err.h"

struct url {
    const char *scheme; /* a literal */
    struct bf_slice host, port, rest;
};

static int split(const char *text, struct url *ret, struct bf_err *err)
{
    bool tls = strncasecmp(text, "https://", 8) == 0;
    const char *host = text + (tls ? 8 : 7);
    size_t len, host_len;

    if (!tls && strncasecmp(text, "http://", 7) != 0)
        return bf_err_set(err, BF_ERR_REJECT, "bad_url",
                          "neither http:// nor https://: %.100s", text);
    len = strcspn(host, "/?#");
    host_len = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");
    if (len == 0 || host_len > len || memchr(host, '@', len) ||
        (host_len < len && host[host_len] != ':'))
        return bf_err_set(err, BF_ERR_REJECT, "bad_url", "no host in %.100s",
                          text);
    ret->scheme = tls ? "https" : "http";
    ret->host = (struct bf_slice){host, host_len};
    ret->port = (struct bf_slice){host + host_len, len - host_len};
    ret->rest = (struct bf_slice){host + len, strcspn(host + len, "#")};
    /* Clients leave the scheme's own port out of the Host header. */
    if (bf_slice_is(ret->port, tls ? ":443" : ":80") || ret->port.len == 1)
        ret->port.len = 0;
    return 0;
}

int bf_target_uri(const char *url, struct bf_buf *out, struct bf_err *err)
{
    struct url u = {.scheme = "http"};

    if (split(url, &u, err))
        return -1;
    return bf_buf_addf(out, err, "%s://%.*s%.*s%s%.*s", u.scheme,
                       BF_SLICE_ARG(u.host), BF_SLICE_ARG(u.port),
                       u.rest.len > 0 && u.rest.ptr[0] == '/' ? "" : "/",
                       BF_SLICE_ARG(u.rest));
}

int bf_url_origin(const char *url, struct bf_buf *out, struct bf_err *err)
{
    struct url u = {.scheme = "http"};
    size_t from = out->len;

    if (split(url, &u, err) ||
        bf_buf_addf(out, err, "%s://%.*s%.*s", u.scheme, BF_SLICE_ARG(u.host),
                    BF_SLICE_ARG(u.port)))
        return -1;
    for (size_t i = from; i < out->len; i++)
        out->data[i] = (char)tolower((unsigned char)out->data[i]);
    return 0;
}

bool bf_url_is_loopback(const char *url)
{
    struct url u = {.scheme = "http"};
    struct bf_err ignored = {0};
    struct in_addr address;
    char text[64];

    if (split(url, &u, &ignored) || u.host.len >= sizeof(text))
        return false;
    snprintf(text, sizeof(text), "%.*s", BF_SLICE_ARG(u.host));
    if (strcasecmp(text, "localhost") == 0 || strcmp(text, "[::1]") == 0)
        return true;
    return inet_pton(AF_INET, text, &address) == 1 &&
           ntohl(address.s_addr) >> 24 == 127;
}

static bool is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
           c == '~';
}

int bf_url_escape(struct bf_slice text, struct bf_buf *out, struct bf_err *err)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (is_plain(c) ? bf_buf_add(out, &c, 1, err)
                        : bf_buf_addf(out, err, "%%%02X", (unsigned)c))
            return -1;
    }
    return 0;
}
