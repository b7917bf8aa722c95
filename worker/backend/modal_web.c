#include "worker/backend/modal_web.h"

#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/limits.h"
#include "worker/url.h"

#define POST (1U << BF_MODAL_POST)
#define RESULT (1U << BF_MODAL_RESULT)
#define BOTH (POST | RESULT)
#define TURNED_AWAY "\"delivery\":\"did_not_run\"" /* bfrunner/execute.py */
#define LOOK_AT 4096U /* of a body: its words stand at the start */

/*
 * Rows: it ends like this; it ends until an operator puts something right; it
 * goes on.
 */
#define END(phases, from, to, text, cause, what, sign)                         \
    {                                                                          \
        phases, from, to, text,                                                \
        {                                                                      \
            cause, BF_MODAL_END, BF_TRY_##what, BF_SIGN_##sign, NULL           \
        }                                                                      \
    }
#define STOP(phases, from, to, text, cause, words)                             \
    {                                                                          \
        phases, from, to, text,                                                \
        {                                                                      \
            cause, BF_MODAL_END, BF_TRY_CREDENTIAL, BF_SIGN_CREDENTIAL, words  \
        }                                                                      \
    }
#define GO(phases, from, to, text, cause, next, sign)                          \
    {                                                                          \
        phases, from, to, text,                                                \
        {                                                                      \
            cause, BF_MODAL_##next, BF_TRY_NOBODY_KNOWS, BF_SIGN_##sign, NULL  \
        }                                                                      \
    }

struct row {
    unsigned phases;
    int from, to;
    const char *text; /* in the body; NULL: any */
    struct bf_modal_fact fact;
};

/*
 * The first that fits. An answer to the POST that comes from the edge, before
 * a container had the request, says that nothing ran; once there was a 303,
 * only the result's own words say how it ended, and asking again is free.
 * Whatever an operator has to put right stops the credential and lets jobs
 * wait: no job is to die of a missing key.
 */
static const struct row rows[] = {
    GO(BOTH, 200, 200, NULL, "answered", READ, GOOD),
    GO(BOTH, 303, 303, NULL, "runs_on", FOLLOW, GOOD),

    /*
     * The edge sent a 303 before our app had decided. What the app says then
     * is given out once: asked again, nobody knows of it any more.
     */
    STOP(RESULT, 401, 401, TURNED_AWAY, "app_refuses_us",
         "the app refuses our signature (401)"),
    END(RESULT, 400, 499, TURNED_AWAY, "refused", REFUSED, NONE),
    END(RESULT, 503, 503, TURNED_AWAY, "unavailable", NOT_STARTED, FAULT),

    STOP(POST, 401, 401, NULL, "bad_credentials",
         "Modal refuses MODAL_TOKEN_ID and MODAL_TOKEN_SECRET, or the app our "
         "signature (401)"),
    STOP(POST, 402, 402, NULL, "payment_required",
         "Modal wants to be paid (402)"),
    STOP(POST, 403, 403, NULL, "forbidden",
         "this proxy token, or this key, may not call this endpoint (403)"),
    STOP(POST, 404, 404, "app for invoked web endpoint is stopped",
         "app_stopped", "the app behind modal.url is stopped"),
    STOP(POST, 404, 404, "is disabled", "workspace_disabled",
         "the Modal workspace behind modal.url is disabled"),
    STOP(POST, 429, 429, "spend limit", "spend_limit",
         "the Modal workspace has reached its spend limit"),
    STOP(POST, 300, 399, NULL, "redirected",
         "modal.url answers with a redirect to elsewhere"),

    END(POST, 400, 400, "bad redirect method", "bad_redirect_method", REFUSED,
        NONE),
    /* In the moments in which a container that crashed starts again, too. */
    END(POST, 404, 404, NULL, "no_function", NOT_STARTED, FAULT),
    END(POST, 408, 408, NULL, "missing_request", NOT_STARTED, FAULT),
    END(POST, 425, 425, NULL, "too_early", NOT_STARTED, NONE),
    END(POST, 429, 429, NULL, "rate_limited", NOT_STARTED, NONE),
    END(POST, 400, 499, NULL, "refused", REFUSED, NONE),
    END(POST, 503, 503, NULL, "unavailable", NOT_STARTED, FAULT),

    END(BOTH, 500, 500, "function execution timed out", "timed_out", TIMED_OUT,
        GOOD),
    END(BOTH, 500, 500, "terminated by signal", "terminated_by_signal", CRASHED,
        GOOD),
    END(BOTH, 500, 500, "lost track of input", "lost_input", NOBODY_KNOWS,
        FAULT),
    END(BOTH, 500, 500, "status Failure", "container_failure", NOBODY_KNOWS,
        FAULT),

    END(RESULT, 401, 403, NULL, "result_refused", NOBODY_KNOWS, CREDENTIAL),
    /* Also while a container that crashed starts again. */
    GO(RESULT, 404, 404, "invalid function call", "result_gone", ASK_A_FEW,
       NONE),
    END(RESULT, 404, 404, NULL, "result_gone", NOBODY_KNOWS, NONE),
    GO(RESULT, 408, 408, NULL, "result_not_yet", ASK, NONE),
    GO(RESULT, 425, 429, NULL, "result_rate_limited", ASK, NONE),
    GO(RESULT, 502, 504, NULL, "result_unavailable", ASK, FAULT),
    END(RESULT, 300, 499, NULL, "result_denied", NOBODY_KNOWS, NONE),
    END(BOTH, 500, 599, NULL, "server_error", NOBODY_KNOWS, FAULT),
    END(BOTH, 0, 999, NULL, "no_sense", NOBODY_KNOWS, FAULT),
};

static bool says(struct bf_slice body, const char *text)
{
    size_t len = body.len < LOOK_AT ? body.len : LOOK_AT;

    return !text || (len > 0 && memmem(body.ptr, len, text, strlen(text)));
}

static const struct row *find(enum bf_modal_phase phase, int status,
                              struct bf_slice body)
{
    size_t i = 0;

    while (i < bf_countof(rows) - 1 &&
           (!(rows[i].phases & (1U << phase)) || status < rows[i].from ||
            status > rows[i].to || !says(body, rows[i].text)))
        i++;
    return &rows[i];
}

const struct bf_modal_fact *bf_modal_fact(enum bf_modal_phase phase, int status,
                                          struct bf_slice body)
{
    return &find(phase, status, body)->fact;
}

const struct bf_modal_fact *bf_modal_fact_at(size_t i)
{
    return i < bf_countof(rows) ? &rows[i].fact : NULL;
}

/* ---- ids and URLs ---- */

bool bf_modal_is_call_id(struct bf_slice id)
{
    if (id.len < 4 || id.len > 64 || memcmp(id.ptr, "fc-", 3) != 0)
        return false;
    for (size_t i = 3; i < id.len; i++) {
        char c = id.ptr[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
            !(c >= '0' && c <= '9') && c != '-' && c != '_')
            return false;
    }
    return true;
}

static bool has_origin(const char *url, const char *origin)
{
    bf_autobuf struct bf_buf other = BF_BUF_INIT(BF_MAX_URL + 16);
    struct bf_err ignored = {0};

    return bf_url_origin(url, &other, &ignored) == 0 &&
           strcmp(other.data, origin) == 0;
}

/* RFC 3986 §5.2 of what an edge sends: a URL, a path, or a query alone. */
static int resolve(const char *called, const char *origin,
                   struct bf_slice location, struct bf_buf *out,
                   struct bf_err *err)
{
    if (location.ptr[0] == '?')
        return bf_buf_add(out, called, strcspn(called, "?#"), err) ||
                       bf_buf_add(out, location.ptr, location.len, err)
                   ? -1
                   : 0;
    if (location.ptr[0] == '/' && !(location.len > 1 && location.ptr[1] == '/'))
        return bf_buf_adds(out, origin, err) ||
                       bf_buf_add(out, location.ptr, location.len, err)
                   ? -1
                   : 0;
    return bf_buf_add(out, location.ptr, location.len, err);
}

static bool is_clean(struct bf_slice location)
{
    for (size_t i = 0; i < location.len; i++) {
        unsigned char c = (unsigned char)location.ptr[i];

        if (c <= 0x20 || c >= 0x7f || c == '#' || c == '\\')
            return false;
    }
    return location.len > 0 && location.len <= BF_MAX_URL;
}

static struct bf_slice find_call_id(const char *url)
{
    static const char name[] = "__modal_function_call_id=";
    const char *at = strstr(url, name);
    struct bf_slice id = {NULL, 0};

    if (at && (at[-1] == '?' || at[-1] == '&')) {
        id.ptr = at + strlen(name);
        id.len = strcspn(id.ptr, "&");
    }
    return id;
}

int bf_modal_result_url(const char *called, struct bf_slice location,
                        struct bf_buf *ret_url, struct bf_slice *ret_call_id,
                        struct bf_err *err)
{
    bf_autobuf struct bf_buf origin = BF_BUF_INIT(BF_MAX_URL + 16);
    struct bf_slice id;

    if (!is_clean(location))
        return bf_err_set(err, BF_ERR_REJECT, "bad_location",
                          "the answer does not say where its result is");
    if (bf_url_origin(called, &origin, err) ||
        resolve(called, origin.data, location, ret_url, err))
        return -1;
    if (!has_origin(ret_url->data, origin.data))
        return bf_err_set(err, BF_ERR_REJECT, "bad_location",
                          "the result is said to be at another host");
    id = find_call_id(ret_url->data);
    if (!bf_modal_is_call_id(id))
        return bf_err_set(err, BF_ERR_REJECT, "bad_location",
                          "the result's address names no function call");
    *ret_call_id = id;
    return 0;
}

int bf_modal_call_url(const char *url, struct bf_slice workspace,
                      struct bf_buf *ret, struct bf_err *err)
{
    size_t len = strcspn(url, "#");
    bool has_query = memchr(url, '?', len);

    return bf_buf_add(ret, url, len, err) ||
                   bf_buf_adds(
                       ret,
                       has_query ? "&workspace_id=" : "?workspace_id=", err) ||
                   bf_url_escape(workspace, ret, err)
               ? -1
               : 0;
}
