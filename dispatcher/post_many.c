/*
 * POST /v1/jobs with many jobs as NDJSON, taken as it streams: a line is
 * parsed, produced and forgotten; what is kept is its answer. The answers go
 * out after the last byte: HTTP/1.1 clients do not read while they send.
 */

#include <inttypes.h>

#include "config/clock.h"
#include "dispatcher/answers.h"
#include "dispatcher/lines.h"
#include "dispatcher/post.h"
#include "dispatcher/scan.h"

#define MAX_FIRST_LINE ((uint64_t)1 << 53)

struct bf_upload {
    struct bf_post post; /* first */
    struct bf_lines lines;
    struct bf_answers *answers; /* NULL: the response's now */
    struct bf_buf text;         /* of one answer, kept for its memory */
    uint64_t first_line;        /* what the first line is called */
    uint64_t count;             /* lines so far */
    uint64_t body_bytes;
    int64_t until_ms; /* bf_mono_ms(): a workspace has submitted too fast */
    bool full;        /* no more lines are read */
    bool ended;       /* the body is complete, or longer than it may be */
    struct bf_upload *next_stalled;
    bool stalled;
    struct bf_upload *next, *prev; /* of all; not before it has an api */
    bool listed;
};

static struct bf_upload *upload_from(struct bf_handler *handler)
{
    return (struct bf_upload *)handler;
}

static void list(struct bf_upload *upload)
{
    struct bf_api *api = upload->post.api;

    if (upload->listed)
        return;
    upload->next = api->uploads;
    if (upload->next)
        upload->next->prev = upload;
    api->uploads = upload;
    upload->listed = true;
}

static void unlist(struct bf_upload *upload)
{
    struct bf_api *api = upload->post.api;

    if (!api || !upload->listed)
        return;
    if (upload->next)
        upload->next->prev = upload->prev;
    if (upload->prev)
        upload->prev->next = upload->next;
    else
        api->uploads = upload->next;
    upload->listed = false;
}

static void upload_free(struct bf_upload *upload)
{
    bf_assert(upload->post.pending == 0 && !upload->stalled);
    unlist(upload);
    if (upload->post.api)
        bf_post_hold(&upload->post, 0);
    bf_lines_release(&upload->lines);
    bf_answers_free(upload->answers);
    bf_buf_release(&upload->text);
    free(upload);
}

/* ---- answers --------------------------------------------------------------*/

static ssize_t read_answers(void *arg, uint64_t pos, char *out, size_t size)
{
    return bf_answers_read(arg, pos, out, size);
}

static void free_answers(void *arg)
{
    bf_answers_free(arg);
}

static void maybe_answer(struct bf_upload *upload)
{
    struct bf_answer answer = {
        .status = 200,
        .content_type = "application/x-ndjson",
    };

    if (!upload->ended || upload->post.pending > 0 || !upload->post.req ||
        !upload->answers)
        return;
    answer.stream = (struct bf_answer_stream){
        .bytes = bf_answers_bytes(upload->answers),
        .read = read_answers,
        .free = free_answers,
        .arg = bf_take(upload->answers),
    };
    bf_request_answer(upload->post.req, &answer);
}

static void begin_text(struct bf_upload *upload, struct bf_json_out *out,
                       uint64_t line, unsigned status)
{
    bf_buf_clear(&upload->text);
    bf_json_start(out, &upload->text, NULL);
    bf_json_open(out, NULL, '{');
    bf_json_int(out, "line", (int64_t)(upload->first_line + line));
    bf_json_int(out, "status", status);
}

/* Without memory the line is missing from the answer. */
static void end_text(struct bf_upload *upload, struct bf_json_out *out,
                     uint64_t line)
{
    bf_json_close(out, '}');
    bf_answers_put(upload->answers, line,
                   bf_json_done(out) ? (struct bf_slice){0}
                                     : bf_buf_slice(&upload->text));
}

static void refuse_line(struct bf_upload *upload, uint64_t line,
                        const struct bf_problem *problem)
{
    struct bf_json_out out;

    begin_text(upload, &out, line, bf_problem_status(problem->code));
    bf_json_str(&out, "detail", problem->detail);
    if (problem->field[0])
        bf_json_str(&out, "field", problem->field);
    end_text(upload, &out, line);
}

static void accept_line(struct bf_upload *upload,
                        const struct bf_shipment *shipment)
{
    struct bf_json_out out;

    begin_text(upload, &out, (uint64_t)shipment->tag, 202);
    bf_json_str(&out, "workspace", shipment->workspace);
    bf_json_str(&out, "job", shipment->job);
    bf_json_int(&out, "generation", shipment->generation);
    bf_post_put_place(&upload->post, &out, shipment);
    end_text(upload, &out, (uint64_t)shipment->tag);
}

/* The report on one line; on the loop. */
static void on_report(void *arg, struct bf_shipment *taken)
{
    bf_autoshipment struct bf_shipment *shipment = taken;
    struct bf_upload *upload = arg;
    struct bf_problem problem;

    upload->post.pending--;
    if (shipment->status == BF_ACK_STORED)
        bf_post_tell_view(&upload->post, shipment);
    if (!upload->post.req) {
        if (upload->post.pending == 0)
            upload_free(upload);
        return;
    }
    if (shipment->status == BF_ACK_STORED) {
        accept_line(upload, shipment);
    } else {
        bf_post_ack_problem(shipment, &problem);
        refuse_line(upload, (uint64_t)shipment->tag, &problem);
    }
    maybe_answer(upload);
}

/* ---- lines ----------------------------------------------------------------*/

static bool is_blank(struct bf_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != ' ' && text.ptr[i] != '\t')
            return false;
    }
    return true;
}

static struct bf_shipment *read_line(struct bf_upload *upload,
                                     const struct bf_line *line,
                                     struct bf_problem *problem)
{
    struct bf_intake_ctx *ctx = &upload->post.ctx;

    if (line->too_long) {
        bf_problem_set(problem, BF_PROBLEM_TOO_LARGE, NULL,
                       "the line is longer than %u bytes", BF_MAX_LINE_BYTES);
        return NULL;
    }
    ctx->line = (int64_t)(upload->first_line + upload->count);
    return bf_post_read(&upload->post, line->text, problem);
}

static void take_line(struct bf_upload *upload, const struct bf_line *line)
{
    struct bf_post *post = &upload->post;
    struct bf_problem problem;
    struct bf_shipment *shipment = NULL;
    uint64_t number = upload->count;
    uint32_t shards = bf_api_shards(post->api, &problem);

    bf_answers_expect(upload->answers);
    if (!line->too_long && is_blank(line->text)) {
        upload->count++;
        bf_answers_put(upload->answers, number, (struct bf_slice){0});
        return;
    }
    if (shards > 0)
        shipment = read_line(upload, line, &problem);
    upload->count++;
    if (!shipment) {
        refuse_line(upload, number, &problem);
        return;
    }
    shipment->tag = (int64_t)number;
    bf_post_charge(post, shipment);
    upload->until_ms = bf_mono_ms() + bf_post_wait_ms(post, shipment);
    post->pending++;
    bf_outbox_add(post->api->conf.outbox, shipment, shards, on_report, upload);
}

/* The rest is not read: its first line says why, and how to go on. */
static void stop_reading(struct bf_upload *upload, enum bf_problem_code code,
                         const char *why)
{
    struct bf_problem problem;

    bf_problem_set(&problem, code, NULL,
                   "%s: this line and those after it were not read; go on "
                   "from here with first_line=%" PRIu64 " in the query",
                   why, upload->first_line + upload->count);
    bf_answers_expect(upload->answers);
    refuse_line(upload, upload->count, &problem);
    upload->count++;
    upload->full = true;
}

/* ---- back-pressure --------------------------------------------------------*/

static void stall(struct bf_upload *upload)
{
    struct bf_api *api = upload->post.api;

    if (upload->stalled)
        return;
    upload->stalled = true;
    upload->next_stalled = api->stalled;
    api->stalled = upload;
}

static void unstall(struct bf_upload *upload)
{
    struct bf_upload **link = &upload->post.api->stalled;

    if (!upload->stalled)
        return;
    while (*link != upload)
        link = &(*link)->next_stalled;
    *link = upload->next_stalled;
    upload->stalled = false;
}

static bool may_go_on(const struct bf_upload *upload)
{
    const struct bf_api *api = upload->post.api;

    return (api->stopping || upload->until_ms <= bf_mono_ms()) &&
           bf_outbox_has_room(upload->post.api->conf.outbox, 0) &&
           bf_answers_room(upload->answers) != BF_ANSWERS_WAIT;
}

/* The rest of it will be read away: nobody else waits for its memory. */
static void refuse_rest(struct bf_upload *upload)
{
    stop_reading(upload, BF_PROBLEM_BUSY,
                 "dispatcher.inflight_bytes are on their way");
    bf_lines_release(&upload->lines);
    bf_post_hold(&upload->post, 0);
    unstall(upload);
    bf_request_resume(upload->post.req);
}

/*
 * Lines that have begun hold memory, too. When it is they alone that fill it,
 * all wait for room that only those give who wait as well, or who send nothing:
 * the longest has to go.
 */
static void break_deadlock(struct bf_api *api)
{
    struct bf_upload *longest = NULL;
    size_t held = 0;

    if (bf_outbox_has_room(api->conf.outbox, 0) ||
        !bf_outbox_is_idle(api->conf.outbox))
        return;
    for (struct bf_upload *one = api->uploads; one; one = one->next) {
        if (one->full || one->ended || !one->post.req)
            continue;
        held += one->post.held_bytes;
        if (!longest || one->post.held_bytes > longest->post.held_bytes)
            longest = one;
    }
    if (longest && held >= api->conf.max_inflight_bytes / 2)
        refuse_rest(longest);
}

int bf_post_resume(struct bf_api *api)
{
    int64_t now = bf_mono_ms(), soonest = INT64_MAX;
    struct bf_upload *next;

    break_deadlock(api);
    for (struct bf_upload *upload = api->stalled; upload; upload = next) {
        next = upload->next_stalled;
        if (!may_go_on(upload)) {
            if (upload->until_ms > now && upload->until_ms < soonest)
                soonest = upload->until_ms;
            continue;
        }
        unstall(upload);
        bf_request_resume(upload->post.req);
    }
    return soonest == INT64_MAX ? -1 : (int)(soonest - now);
}

/* Is there room for one more line now? Else the upload stalls or is full. */
static bool make_room(struct bf_upload *upload)
{
    if (!may_go_on(upload)) {
        stall(upload);
        return false;
    }
    switch (bf_answers_room(upload->answers)) {
    case BF_ANSWERS_ROOM:
    case BF_ANSWERS_WAIT: /* not after may_go_on() */
        return true;
    case BF_ANSWERS_FULL:
        stop_reading(upload, BF_PROBLEM_TOO_LARGE,
                     "the answers are over dispatcher.max_answers");
        return false;
    case BF_ANSWERS_BROKEN:
        stop_reading(upload, BF_PROBLEM_UNAVAILABLE,
                     "the answers cannot be kept in run_dir");
        return false;
    }
    return true;
}

/* ---- the request ----------------------------------------------------------*/

static void take_lines(struct bf_upload *upload, struct bf_slice *piece)
{
    while (piece->len > 0 && !upload->full && make_room(upload)) {
        struct bf_line line;
        int got = bf_lines_next(&upload->lines, piece, &line, NULL);

        if (got < 0)
            stop_reading(upload, BF_PROBLEM_UNAVAILABLE, "out of memory");
        else if (got > 0)
            take_line(upload, &line);
    }
}

static size_t on_body(struct bf_handler *handler, struct bf_slice piece)
{
    struct bf_upload *upload = upload_from(handler);
    uint64_t max_bytes = upload->post.api->conf.max_upload_bytes;
    size_t all = piece.len, taken;

    if (!upload->full && upload->body_bytes > max_bytes && make_room(upload))
        stop_reading(upload, BF_PROBLEM_TOO_LARGE,
                     "the body is over dispatcher.max_upload");
    list(upload);
    take_lines(upload, &piece);
    bf_lines_trim(&upload->lines);
    bf_post_hold(&upload->post, upload->lines.part.cap);
    taken = upload->full ? all : all - piece.len;
    upload->body_bytes += taken;
    /* What is over the ceiling is read away to its end, but not for ever. */
    if (upload->full && upload->body_bytes > max_bytes) {
        upload->ended = true;
        maybe_answer(upload);
    }
    return taken;
}

static void on_end(struct bf_handler *handler)
{
    struct bf_upload *upload = upload_from(handler);
    struct bf_line line;

    /* There is room for one line more than bf_answers_room() says. */
    if (!upload->full && bf_lines_last(&upload->lines, &line))
        take_line(upload, &line);
    upload->ended = true;
    bf_lines_trim(&upload->lines);
    bf_post_hold(&upload->post, upload->lines.part.cap);
    maybe_answer(upload);
}

static void on_gone(struct bf_handler *handler)
{
    struct bf_upload *upload = upload_from(handler);

    if (upload->post.api)
        unstall(upload);
    upload->post.req = NULL;
    if (upload->post.pending == 0)
        upload_free(upload);
}

/* How long it will be, if that is said; 0: it is not. */
static uint64_t declared_bytes(const struct bf_request *req)
{
    const char *text = bf_request_header(req, "Content-Length");
    uint64_t bytes = 0;

    if (text && bf_slice_u64(bf_slice_str(text), UINT64_MAX, &bytes))
        return UINT64_MAX;
    return bytes;
}

static int read_request(struct bf_upload *upload, const struct bf_api *api,
                        const struct bf_request *req,
                        struct bf_problem *problem)
{
    const char *first = bf_request_query(req, "first_line");

    if (first &&
        bf_slice_u64(bf_slice_str(first), MAX_FIRST_LINE, &upload->first_line))
        return bf_problem_set(problem, BF_PROBLEM_BAD_REQUEST, "first_line",
                              "first_line: must be a number up to %llu",
                              (unsigned long long)MAX_FIRST_LINE);
    if (declared_bytes(req) > api->conf.max_upload_bytes)
        return bf_problem_set(problem, BF_PROBLEM_TOO_LARGE, NULL,
                              "the body is over dispatcher.max_upload, %llu "
                              "bytes",
                              (unsigned long long)api->conf.max_upload_bytes);
    return 0;
}

struct bf_post *bf_post_many_new(const struct bf_api *api,
                                 struct bf_request *req,
                                 struct bf_problem *problem)
{
    struct bf_upload *upload = calloc(1, sizeof(*upload));

    if (upload)
        upload->answers = bf_answers_new(api->conf.run_dir,
                                         api->conf.max_answers_bytes, NULL);
    if (!upload || !upload->answers) {
        free(upload);
        bf_problem_set(problem, BF_PROBLEM_UNAVAILABLE, NULL, "out of memory");
        return NULL;
    }
    upload->post.handler =
        (struct bf_handler){.body = on_body, .end = on_end, .gone = on_gone};
    upload->text = (struct bf_buf)BF_BUF_INIT(BF_ANSWER_BYTES - 1);
    bf_lines_init(&upload->lines, BF_MAX_LINE_BYTES);
    if (read_request(upload, api, req, problem)) {
        upload_free(upload);
        return NULL;
    }
    bf_request_unlimit(req);
    return &upload->post;
}
