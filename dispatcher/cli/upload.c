#include "dispatcher/cli/upload.h"

#include <errno.h>
#include <poll.h>

#include "dispatcher/cli/cli.h"
#include "dispatcher/cli/client.h"
#include "schemas/err.h"
#include "schemas/ids.h"

#define SEND_MS 300000
#define TRIES 6
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

int bf_part_next(struct bf_part *part, FILE *file, struct bf_err *err)
{
    if (part->bytes.len > 0)
        part->index++;
    bf_buf_clear(&part->bytes);
    part->nlines = 0;
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
    json_t *doc = json_loadb(rest->ptr, len, 0, NULL);

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

static int tell_one(const struct bf_part *part, size_t i, const json_t *doc,
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

/*
 * All answers of one exchange. 1: some lines may pass when sent again (nobody
 * has been told of anything then, unless last), 0: told.
 */
static int read_answers(const struct bf_part *part, struct bf_slice body,
                        bool last, bf_answer_fn *tell, void *arg,
                        struct bf_err *err)
{
    json_auto_t *docs = json_array();
    bool again = false;
    json_t *doc;
    size_t i;

    for (i = 0; i < part->nlines && body.len > 0; i++) {
        doc = NULL;
        if (answer_at(&body, &doc, err))
            return -1;
        again = again || may_pass(doc);
        if (json_array_append_new(docs, doc))
            return bf_err_oom(err);
    }
    if ((i < part->nlines || again) && !last)
        return 1;
    json_array_foreach(docs, i, doc)
    {
        if (tell_one(part, i, doc, tell, arg, err))
            return -1;
    }
    if (json_array_size(docs) < part->nlines)
        return bf_err_set(err, BF_ERR_RETRY, "unreachable",
                          "the dispatcher answered for %zu of %zu lines",
                          json_array_size(docs), part->nlines);
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
