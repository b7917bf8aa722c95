#ifndef BF_WORKER_HTTP_KINDS_H
#define BF_WORKER_HTTP_KINDS_H

/* Words that a request is described with, from a backend down to libcurl. */

struct bf_secret;

enum bf_method {
    BF_POST,
    BF_GET,
    BF_PUT,
    BF_DELETE,
    BF_PATCH,
};

enum bf_http_version {
    BF_HTTP_ANY, /* HTTP/2 where TLS offers it, else HTTP/1.1 */
    BF_HTTP_1_1,
    BF_HTTP_2, /* without TLS: by prior knowledge */
};

/* "name: scheme secret"; scheme with its space ("Bearer "), or "". */
struct bf_secret_header {
    const char *name;
    const char *scheme;
    const struct bf_secret *secret;
};

#endif
