#include "worker/backend/grpc_call.h"

#include <stdarg.h>

#include "schemas/check.h"
#include "worker/wire/modal_api.h"

#define RETRIES 3
#define FIRST_WAIT_MS 100
#define MOST_WAIT_MS 1000

/*
 * Which client we say to be: the server knows its own ones alone, and all of
 * these speak what modal_fields.h has. The version is the one that Modal's
 * JavaScript client names, too.
 */
#define CLIENT_TYPE "8"
#define CLIENT_VERSION "1.0.0"
#define LIBMODAL_VERSION "modal-js/0.11.1"

void bf_grpc_call_init(struct bf_grpc_call *call, const char *rpc,
                       const char key[BF_HEX128_SIZE])
{
    *call = (struct bf_grpc_call){.rpc = rpc};
    /* As their clients spell it: a UUID. */
    snprintf(call->key, sizeof(call->key), "%.8s-%.4s-%.4s-%.4s-%.12s", key,
             key + 8, key + 12, key + 16, key + 20);
}

struct lines {
    struct bf_grpc_call *call;
    size_t n;
};

__attribute__((format(printf, 2, 3))) static void line(struct lines *lines,
                                                       const char *fmt, ...)
{
    char *out;
    va_list args;

    bf_assert(lines->n < BF_GRPC_LINES);
    out = lines->call->lines[lines->n];
    va_start(args, fmt);
    vsnprintf(out, BF_GRPC_LINE, fmt, args);
    va_end(args);
    lines->call->headers[lines->n++] = out;
}

static void literal(struct lines *lines, const char *text)
{
    bf_assert(lines->n < BF_GRPC_LINES);
    lines->call->headers[lines->n++] = text;
}

static void seconds(struct lines *lines, const char *name, int64_t ms)
{
    line(lines, "%s: %lld.%03lld", name, (long long)(ms / 1000),
         (long long)(ms % 1000));
}

static size_t write_lines(struct bf_grpc_call *call,
                          const struct bf_grpc_peer *peer, int64_t timeout_ms,
                          int64_t since_ms)
{
    struct lines lines = {.call = call};

    literal(&lines, "content-type: application/grpc");
    literal(&lines, "te: trailers");
    line(&lines, "grpc-timeout: %lldm", (long long)timeout_ms);
    literal(&lines, "x-modal-client-type: " CLIENT_TYPE);
    literal(&lines, "x-modal-client-version: " CLIENT_VERSION);
    literal(&lines, "x-modal-libmodal-version: " LIBMODAL_VERSION);
    snprintf(call->host, sizeof(call->host), "x-modal-host: %s", peer->host);
    literal(&lines, call->host);
    line(&lines, "x-idempotency-key: %s", call->key);
    line(&lines, "x-retry-attempt: %d", call->retries);
    line(&lines, "x-throttle-retry-attempt: %d", call->throttled);
    if (call->retries > 0)
        seconds(&lines, "x-retry-delay", since_ms);
    if (call->throttled > 0)
        seconds(&lines, "x-throttle-retry-delay", since_ms);
    return lines.n;
}

void bf_grpc_call_send(struct bf_grpc_call *call,
                       const struct bf_grpc_peer *peer, struct bf_slice body,
                       int64_t timeout_ms, int64_t mono_ms,
                       struct bf_request *ret)
{
    if (!call->started)
        call->began_ms = mono_ms;
    call->started = true;
    snprintf(call->url, sizeof(call->url), "%s" BF_MODAL_SERVICE "%s",
             peer->url, call->rpc);
    *ret = (struct bf_request){
        .by = BF_BY_HTTP,
        .method = BF_POST,
        .url = call->url,
        .headers = call->headers,
        .nheaders =
            write_lines(call, peer, timeout_ms, mono_ms - call->began_ms),
        .secrets = peer->secrets,
        .nsecrets = peer->nsecrets,
        .version = BF_HTTP_2,
        .timeout_ms = timeout_ms,
        .body = {body},
        .nbody = 1,
    };
}

/* ---- what came of it ----------------------------------------------------- */

static struct bf_grpc_outcome failed(enum bf_grpc_status status)
{
    return (struct bf_grpc_outcome){.news = BF_GRPC_FAILED,
                                    .status = status,
                                    .follows = bf_grpc_follows(status)};
}

/* A whole answer: what gRPC says, and the message if it says OK. */
static struct bf_grpc_outcome read_answer(struct bf_grpc_call *call,
                                          const struct bf_reply *reply,
                                          size_t max_bytes)
{
    struct bf_slice text = bf_reply_header(reply, "grpc-status");
    enum bf_grpc_status status = bf_grpc_status_of(reply->status, text);
    struct bf_grpc_outcome outcome = failed(status);

    if (status != BF_GRPC_OK) {
        outcome.wait_ms = bf_grpc_retry_after_ms(
            bf_reply_header(reply, "grpc-status-details-bin"));
        /* Of these nobody can say how far they came. */
        call->maybe = call->maybe || outcome.follows == BF_GRPC_AGAIN;
        return outcome;
    }
    outcome.news = BF_GRPC_ANSWERED;
    if (bf_grpc_unary(reply->body, max_bytes, &outcome.message, NULL)) {
        call->maybe = true;
        return failed(BF_GRPC_INTERNAL);
    }
    return outcome;
}

static struct bf_grpc_outcome read_reply(struct bf_grpc_call *call,
                                         const struct bf_reply *reply,
                                         size_t max_bytes)
{
    switch (reply->kind) {
    case BF_REPLY_OK:
        return read_answer(call, reply, max_bytes);
    case BF_REPLY_UNSENT:
        return failed(BF_GRPC_UNAVAILABLE);
    case BF_REPLY_LATE:
        call->maybe = call->maybe || !reply->unsent;
        return failed(BF_GRPC_DEADLINE_EXCEEDED);
    case BF_REPLY_LOST:
        call->maybe = true;
        return failed(BF_GRPC_UNAVAILABLE);
    case BF_REPLY_TOO_LARGE:
        call->maybe = true;
        return failed(BF_GRPC_INTERNAL);
    case BF_REPLY_NONE:
    case BF_REPLY_DEADLINE:
        break;
    }
    bf_assert(!"a reply that is none of a call");
    return failed(BF_GRPC_UNKNOWN);
}

struct bf_grpc_outcome bf_grpc_call_take(struct bf_grpc_call *call,
                                         const struct bf_reply *reply,
                                         size_t max_bytes)
{
    struct bf_grpc_outcome outcome = read_reply(call, reply, max_bytes);

    if (outcome.news != BF_GRPC_FAILED)
        return outcome;
    /* The server's own wish, whatever the status; it does not count. */
    if (outcome.wait_ms > 0) {
        call->throttled++;
        outcome.news = BF_GRPC_WAIT;
        return outcome;
    }
    if (outcome.follows != BF_GRPC_AGAIN || call->retries >= RETRIES)
        return outcome;
    outcome.news = BF_GRPC_WAIT;
    outcome.wait_ms = (int64_t)FIRST_WAIT_MS << call->retries;
    if (outcome.wait_ms > MOST_WAIT_MS)
        outcome.wait_ms = MOST_WAIT_MS;
    call->retries++;
    return outcome;
}
