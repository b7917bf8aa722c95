#include "dispatcher/cli/upload.h"

#include <errno.h>
#include <poll.h>

#include "dispatcher/cli/cli.h"
#include "dispatcher/cli/client.h"
#include "schemas/err.h"
#include "schemas/ids.h"

#define SEND_MS 300000
#define TRIES 8 /* a dispatcher may restart in the middle of a file */
#define PAUSE_MS 500
#define MAX_LINE (32U << 20)

int bf_part_init(struct bf_part *part, struct bf_err *err)
{
    *part = (struct bf_part){.bytes = BF_BUF_INIT(BF_PART_BYTES + MAX_LINE)};
    part->numbers = calloc(BF_PART_LINES, sizeof(*part->numbers));
    return part->numbers ? 0 : bf_err_oom(err);
}

void bf_part_release(struct bf_part *part)
{
    bf_buf_release(&part->bytes);
    free(part->numbers);
    free(part->spare);
    part->numbers = NULL;
    part->spare = NULL;
}

static bool blank(struct bf_slice line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (!strchr(" \t\r\n", line.ptr[i]) || line.ptr[i] == '\0')
            return false;
    }
    return true;
}

/* Into part->spare; 1: a line, 0: the end. */
static int read_line(struct bf_part *part, FILE *file, struct bf_err *err)
{
    ssize_t got;

    do {
        errno = 0;
        got = getline(&part->spare, &part->spare_cap, file);
        if (got < 0)
            return ferror(file) ? bf_cli_errno(err, "read", "the jobs") : 0;
        part->offset += (uint64_t)got;
        part->lines++;
    } while (blank((struct bf_slice){part->spare, (size_t)got}));
    part->spare_len = (size_t)got;
    if (part->spare_len > MAX_LINE)
        return bf_err_set(err, BF_ERR_REJECT, "local",
                          "line %llu is larger than %u bytes",
                          (unsigned long long)part->lines, MAX_LINE);
    return 1;
}

static int keep_line(struct bf_part *part, struct bf_err *err)
{
    bool ended = part->spare[part->spare_len - 1] == '\n';

    if (bf_buf_add(&part->bytes, part->spare, part->spare_len, err) ||
        (!ended && bf_buf_adds(&part->bytes, "\n", err)))
        return -1;
    part->numbers[part->nlines++] = part->lines;
    part->spare_len = 0;
    return 0;
}

void bf_part_clear(struct bf_part *part)
{
    if (part->bytes.len > 0)
        part->index++;
    bf_buf_clear(&part->bytes);
    part->nlines = 0;
}

int bf_part_put(struct bf_part *part, uint64_t number, struct bf_slice line,
                struct bf_err *err)
{
    bf_assert(part->nlines < BF_PART_LINES);
    if (bf_buf_reserve(&part->bytes, line.len + 1, err))
        return -1;
    bf_buf_add(&part->bytes, line.ptr, line.len, NULL);
    bf_buf_adds(&part->bytes, "\n", NULL);
    part->numbers[part->nlines++] = number;
    return 0;
}

int bf_part_next(struct bf_part *part, FILE *file, struct bf_err *err)
{
    bf_part_clear(part);
    for (;;) {
        int got = part->spare_len > 0 ? 1 : read_line(part, file, err);

        if (got < 0)
            return -1;
        if (got == 0 || part->nlines == BF_PART_LINES ||
            (part->nlines > 0 &&
             part->bytes.len + part->spare_len > BF_PART_BYTES))
            return part->nlines > 0;
        if (keep_line(part, err))
            return -1;
    }
}

/* How an answer says that trying again may help. */
static bool may_pass(const json_t *doc)
{
    const json_t *status = json_object_get(doc, "status");
    json_int_t number =
        json_is_integer(status) ? json_integer_value(status) : 0;

    return number == 429 || (number >= 502 && number <= 504);
}

static int answer_at(struct bf_slice *rest, json_t **ret, struct bf_err *err)
{
    const char *end = memchr(rest->ptr, '\n', rest->len);
    size_t len = end ? (size_t)(end - rest->ptr) : rest->len;
    json_t *doc = json_loadb(rest->ptr, len, JSON_ALLOW_NUL, NULL);

    if (!json_is_object(doc)) {
        json_decref(doc);
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "an answer of the dispatcher is not a JSON object");
    }
    rest->ptr += len + (end != NULL);
    rest->len -= len + (end != NULL);
    *ret = doc;
    return 0;
}

static int tell_one(const struct bf_part *part, size_t i, json_t *doc,
                    bf_answer_fn *tell, void *arg, struct bf_err *err)
{
    bf_autofree char *text = json_dumps(doc, JSON_COMPACT);
    struct bf_answer answer = {
        .number = part->numbers[i],
        .workspace = json_string_value(json_object_get(doc, "workspace")),
        .job = json_string_value(json_object_get(doc, "job")),
        .doc = doc,
    };
    char problem[200];

    if (!text)
        return bf_err_oom(err);
    answer.accepted = answer.job && !json_object_get(doc, "title");
    bf_client_problem(bf_slice_str(text), problem, sizeof(problem));
    answer.problem = problem;
    return tell(arg, &answer, err);
}

/* Which line an answer is for: its own word, else its place. */
static size_t line_of(const json_t *doc, size_t place)
{
    const json_t *line = json_object_get(doc, "line");

    if (!json_is_integer(line))
        return place;
    return json_integer_value(line) < 0 ? SIZE_MAX
                                        : (size_t)json_integer_value(line);
}

/* The answers of one exchange by line; null where there is none. */
static json_t *sort_answers(const struct bf_part *part, struct bf_slice body,
                            struct bf_err *err)
{
    json_auto_t *docs = json_array();

    for (size_t i = 0; i < part->nlines; i++) {
        if (json_array_append_new(docs, json_null())) {
            bf_err_oom(err);
            return NULL;
        }
    }
    for (size_t place = 0; body.len > 0; place++) {
        json_t *doc = NULL;

        if (answer_at(&body, &doc, err))
            return NULL;
        if (json_array_set_new(docs, line_of(doc, place), doc)) {
            bf_err_set(err, BF_ERR_REJECT, "refused",
                       "the dispatcher answered for a line that it was not "
                       "sent");
            return NULL;
        }
    }
    return bf_take(docs);
}

/* Lines that were not answered for, or may pass when sent again. */
static size_t count_open(const json_t *docs)
{
    size_t open = 0, i;
    json_t *doc;

    json_array_foreach(docs, i, doc)
    {
        open += json_is_null(doc) || may_pass(doc);
    }
    return open;
}

/* 1: send it again, nobody has been told of anything; 0: told. */
static int read_answers(const struct bf_part *part, struct bf_slice body,
                        bool last, bf_answer_fn *tell, void *arg,
                        struct bf_err *err)
{
    json_auto_t *docs = sort_answers(part, body, err);
    size_t unanswered = 0, i;
    json_t *doc;

    if (!docs)
        return -1;
    if (!last && count_open(docs) > 0)
        return 1;
    json_array_foreach(docs, i, doc)
    {
        unanswered += json_is_null(doc);
        if (!json_is_null(doc) && tell_one(part, i, doc, tell, arg, err))
            return -1;
    }
    if (unanswered > 0)
        return bf_err_set(err, BF_ERR_RETRY, "unreachable",
                          "the dispatcher did not answer for %zu of %zu lines",
                          unanswered, part->nlines);
    return 0;
}

int bf_part_send(struct bf_client *client, const struct bf_part *part,
                 const char *key, bf_answer_fn *tell, void *arg,
                 struct bf_err *err)
{
    bf_autoreply struct bf_client_reply reply = BF_CLIENT_REPLY;
    char number[24], hex[BF_HEX128_SIZE];
    struct bf_client_request request = {
        .method = "POST",
        .path = "/v1/jobs",
        .body = bf_buf_slice(&part->bytes),
        .content_type = "application/x-ndjson",
        .idempotency_key = hex,
        .timeout_ms = SEND_MS,
        .tries = TRIES,
    };

    snprintf(number, sizeof(number), "%llu", (unsigned long long)part->index);
    bf_hash_hex((struct bf_slice[]){BF_SLICE_LIT("blockfleet/cli/part"),
                                    key ? bf_slice_str(key) : request.body,
                                    bf_slice_str(number)},
                3, hex);
    for (int left = TRIES;; left--) {
        int status;

        if (bf_client_send(client, &request, &reply, err))
            return -1;
        status = read_answers(part, bf_buf_slice(&reply.body), left <= 1, tell,
                              arg, err);
        if (status <= 0)
            return status;
        poll(NULL, 0, PAUSE_MS);
    }
}
