#include "dispatcher/cli/batches.h"

#include <inttypes.h>
#include <poll.h>

#include "config/clock.h"
#include "dispatcher/cli/cli.h"
#include "dispatcher/cli/client.h"
#include "dispatcher/cli/progress.h"
#include "schemas/err.h"
#include "schemas/hash.h"

#define STEM 24 /* characters of the file's name in the batch's */
#define SAY_MS 60000
#define TRIES 8
#define POLL_MS 200
#define MAX_POLL_MS 2000
#define GAP_S 60

/* ---- names --------------------------------------------------------------- */

/* What is left of a file's name when it has to be part of an id. */
static void stem_of(const char *name, char out[STEM + 1])
{
    size_t len = strcspn(name, ".");

    len = len > STEM ? STEM : len;
    memcpy(out, name, len);
    for (size_t i = 0; i < len; i++) {
        char c = out[i];

        if ((c < 'a' || c > 'z') && (c < 'A' || c > 'Z') &&
            (c < '0' || c > '9'))
            out[i] = '-';
    }
    out[len] = '\0';
}

void bf_batches_name(const char *file, const char *hex, char out[BF_MAX_ID + 1])
{
    char stem[STEM + 1];

    stem_of(file, stem);
    snprintf(out, BF_MAX_ID + 1, "%s%s%.12s", stem, stem[0] ? "-" : "", hex);
}

int bf_batches_given(struct bf_cli *cli, size_t max, const char **ret,
                     struct bf_err *err)
{
    const char *given = bf_args_get(&cli->args, "batch");

    if (given && (strlen(given) > max || !bf_job_id_ok(bf_slice_str(given))))
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "--batch must be 1 to %zu of [A-Za-z0-9_.-]", max);
    *ret = given;
    return 0;
}

/* ---- ask ----------------------------------------------------------------- */

static int add_path(const struct bf_batches *at, const char *tail,
                    struct bf_buf *path, struct bf_err *err)
{
    if (bf_buf_adds(path, "/v1/batches", err) ||
        bf_client_segment(path, at->batch, err) || bf_buf_adds(path, tail, err))
        return -1;
    return bf_client_query(path, "workspace", at->workspace, err);
}

int bf_batches_get(const struct bf_batches *at, json_t **ret,
                   struct bf_err *err)
{
    bf_autobuf struct bf_buf path = BF_BUF_INIT(1024);
    unsigned status = 0;
    json_t *doc;

    if (add_path(at, "", &path, err))
        return -1;
    doc = bf_client_get(at->client, path.data, &status, err);
    if (!doc && status != 404)
        return -1;
    *ret = doc;
    return 0;
}

static uint64_t number_of(const json_t *doc, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(doc, name));

    return value > 0 ? (uint64_t)value : 0;
}

uint64_t bf_batches_total(const json_t *doc)
{
    return number_of(doc, "total");
}

uint64_t bf_batches_ended(const json_t *doc)
{
    return number_of(doc, "ended");
}

bool bf_batches_is(const json_t *doc, const char *state)
{
    const char *text = json_string_value(json_object_get(doc, "state"));

    return text && strcmp(text, state) == 0;
}

enum bf_exit bf_batches_exit(const json_t *doc)
{
    return !bf_batches_is(doc, "failed") &&
                   number_of(doc, "succeeded") == bf_batches_total(doc)
               ? BF_EXIT_OK
               : BF_EXIT_JOB;
}

static const struct bf_column columns[] = {
    {"batch", "batch", false, 0},         {"state", "state", false, 0},
    {"total", "jobs", false, 0},          {"waiting", "waiting", false, 0},
    {"running", "running", false, 0},     {"succeeded", "succeeded", false, 0},
    {"failed", "failed", false, 0},       {"timed_out", "timed out", false, 0},
    {"cancelled", "cancelled", false, 0}, {"expired", "expired", false, 0},
    {"rejected", "rejected", false, 0},   {"unknown", "unknown", false, 0},
    {"dead", "dead", false, 0},           {"took", "took", false, 0},
};

int bf_batches_show(struct bf_cli *cli, const json_t *doc, double took_s,
                    struct bf_err *err)
{
    json_auto_t *flat = json_copy((json_t *)(uintptr_t)doc);

    if (!flat)
        return bf_err_oom(err);
    for (size_t i = 3; !cli->json && i < bf_countof(columns); i++) {
        const json_t *value = json_object_get(flat, columns[i].key);

        if (value && json_integer_value(value) == 0)
            json_object_del(flat, columns[i].key);
    }
    if (took_s >= 0 && !cli->json &&
        json_object_set_new(flat, "took", json_sprintf("%.1f s", took_s)))
        return bf_err_oom(err);
    return bf_cli_record(cli, columns, bf_countof(columns), flat, err);
}

/* ---- say ----------------------------------------------------------------- */

static int say(const struct bf_batches *at, const char *path,
               const struct bf_buf *body, struct bf_err *err)
{
    bf_autoreply struct bf_client_reply reply = BF_CLIENT_REPLY;
    const struct bf_client_request request = {
        .method = "POST",
        .path = path,
        .body = bf_buf_slice(body),
        .content_type = "application/json",
        .timeout_ms = SAY_MS,
        .tries = TRIES,
    };

    if (bf_client_send(at->client, &request, &reply, err))
        return bf_err_prefix(err, "batch %s", at->batch);
    return 0;
}

int bf_batches_open(const struct bf_batches *at, const char *rate,
                    struct bf_err *err)
{
    bf_autobuf struct bf_buf path = BF_BUF_INIT(1024), body = BF_BUF_INIT(1024);

    if (bf_buf_adds(&path, "/v1/batches", err) ||
        bf_client_query(&path, "workspace", at->workspace, err) ||
        bf_buf_addf(&body, err, "{\"batch\":\"%s\"", at->batch) ||
        (rate && bf_buf_addf(&body, err, ",\"max_failure_rate\":%s", rate)) ||
        bf_buf_adds(&body, "}", err))
        return -1;
    return say(at, path.data, &body, err);
}

int bf_batches_seal(const struct bf_batches *at, uint64_t count,
                    struct bf_err *err)
{
    bf_autobuf struct bf_buf path = BF_BUF_INIT(1024), body = BF_BUF_INIT(64);

    if (add_path(at, "/seal", &path, err) ||
        bf_buf_addf(&body, err, "{\"count\":%" PRIu64 "}", count))
        return -1;
    return say(at, path.data, &body, err);
}

/* ---- wait ---------------------------------------------------------------- */

static bool has_ended(const json_t *doc, uint64_t jobs)
{
    uint64_t total = bf_batches_total(doc);

    return bf_batches_is(doc, "failed") ||
           (total >= jobs && bf_batches_ended(doc) == total);
}

/*
 * All that is there has ended, and nothing more has come: by the dispatcher's
 * own time of what it knows, which stands still while it cannot read.
 */
struct stall {
    uint64_t total;
    int64_t since_ms; /* -1: it is none */
};

static uint64_t gap_s(const struct bf_batches_goal *goal)
{
    return goal->gap_s > 0 ? goal->gap_s : GAP_S;
}

static bool is_stalled(struct stall *stall, const json_t *doc,
                       const struct bf_batches_goal *goal)
{
    const char *text = json_string_value(json_object_get(doc, "as_of"));
    uint64_t total = bf_batches_total(doc);
    int64_t at_ms;

    if (!text || bf_time_parse(bf_slice_str(text), &at_ms) ||
        bf_batches_ended(doc) < total) {
        stall->since_ms = -1;
        return false;
    }
    if (stall->since_ms < 0 || stall->total != total)
        *stall = (struct stall){total, at_ms};
    return at_ms - stall->since_ms >= (int64_t)gap_s(goal) * 1000;
}

static int too_few(const json_t *doc, const struct bf_batches_goal *goal,
                   struct bf_err *err)
{
    return bf_err_set(
        err, BF_ERR_REJECT, "refused",
        "%" PRIu64 " of %" PRIu64 " %s are there and have "
        "ended, and for %" PRIu64 " s no other has come: they were never "
        "sent, or two had one id",
        bf_batches_total(doc), goal->jobs, goal->things, gap_s(goal));
}

static void show(struct bf_progress *progress, const json_t *doc, uint64_t jobs)
{
    uint64_t ended = bf_batches_ended(doc);
    int64_t took_ms = bf_mono_ms() - progress->began_ms;
    char note[64];

    snprintf(note, sizeof(note), "%" PRIu64 " of %" PRIu64 ", %.0f s", ended,
             jobs, (double)took_ms / 1000);
    bf_progress_set(progress, ended, note);
}

int bf_batches_wait(struct bf_cli *cli, const struct bf_batches *at,
                    const struct bf_batches_goal *goal, json_t **ret,
                    struct bf_err *err)
{
    json_auto_t *doc = NULL;
    struct bf_progress progress;
    struct stall stall = {.since_ms = -1};
    int failed, pause_ms = POLL_MS;
    bool ended, stalled;

    bf_progress_init(&progress, cli, "running   ", goal->jobs);
    progress.plain = true;
    for (;;) {
        json_decref(doc);
        doc = NULL;
        failed = bf_batches_get(at, &doc, err);
        ended = !failed && has_ended(doc, goal->jobs);
        stalled = !failed && !ended && is_stalled(&stall, doc, goal);
        if (failed || ended || stalled || bf_mono_ms() >= goal->until_ms)
            break;
        show(&progress, doc, goal->jobs);
        poll(NULL, 0, pause_ms);
        if (pause_ms < MAX_POLL_MS)
            pause_ms += pause_ms / 10;
    }
    bf_progress_end(&progress);
    if (failed)
        return -1;
    if (stalled)
        return too_few(doc, goal, err);
    if (!ended)
        return bf_err_set(err, BF_ERR_RETRY, "pending",
                          "%" PRIu64 " of %" PRIu64 " %s have ended so far; "
                          "the same command again goes on",
                          bf_batches_ended(doc), goal->jobs, goal->things);
    *ret = bf_take(doc);
    return 0;
}
