/* blockfleet submit: one job from options, or many from a file. */

#include <inttypes.h>
#include <sodium.h>
#include <sys/stat.h>

#include "config/clock.h"
#include "dispatcher/cli/client.h"
#include "dispatcher/cli/commands.h"
#include "dispatcher/cli/job_body.h"
#include "dispatcher/cli/jobs.h"
#include "dispatcher/cli/progress.h"
#include "dispatcher/cli/splice.h"
#include "dispatcher/cli/upload.h"
#include "schemas/err.h"
#include "schemas/limits.h"

#define SEND_MS 60000
#define TRIES 4
#define FOR_EVER_S UINT64_C(604800) /* a week */
#define REFUSALS_SHOWN 10

static int until(struct bf_cli *cli, int64_t *ret_mono_ms, struct bf_err *err)
{
    uint64_t wait_s;

    if (bf_cli_number(cli, "timeout", FOR_EVER_S, FOR_EVER_S, &wait_s, err))
        return -1;
    *ret_mono_ms = bf_mono_ms() + (int64_t)wait_s * 1000;
    return 0;
}

/* ---- one job ------------------------------------------------------------- */

/* An answer lost on its way must not make a second job of the repeat. */
static const char *key_of(struct bf_cli *cli, char room[33])
{
    const char *key = bf_args_get(&cli->args, "key");
    unsigned char random[16];

    if (key || bf_args_get(&cli->args, "id"))
        return key;
    randombytes_buf(random, sizeof(random));
    sodium_bin2hex(room, 33, random, sizeof(random));
    return room;
}

static int post(struct bf_cli *cli, struct bf_client *client,
                struct bf_slice body, json_t **ret, struct bf_err *err)
{
    bf_autoreply struct bf_client_reply reply = BF_CLIENT_REPLY;
    char room[33];
    struct bf_client_request request = {
        .method = "POST",
        .path = "/v1/jobs",
        .body = body,
        .content_type = "application/json",
        .idempotency_key = key_of(cli, room),
        .timeout_ms = SEND_MS,
        .tries = TRIES,
    };
    json_t *doc;

    if (bf_client_send(client, &request, &reply, err))
        return -1;
    doc = json_loadb(reply.body.data ? reply.body.data : "", reply.body.len, 0,
                     NULL);
    if (!json_is_string(json_object_get(doc, "job"))) {
        json_decref(doc);
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "the dispatcher's answer names no job");
    }
    *ret = doc;
    return 0;
}

static int show_accepted(struct bf_cli *cli, const json_t *job,
                         struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"workspace", "workspace", false, 0},
        {"job", "job", false, 0},
        {"status", "status", false, 0},
        {"topic", "topic", false, 0},
        {"partition", "partition", false, 0},
        {"offset", "offset", false, 0},
        {"url", "url", false, 0},
    };

    return bf_cli_record(cli, columns, bf_countof(columns), job, err);
}

static int show_result(struct bf_cli *cli, struct bf_client *client,
                       const char *id, struct bf_err *err)
{
    int64_t bytes = 0;

    fputs("\nresult:\n", cli->out);
    if (bf_jobs_result(client, bf_args_get(&cli->args, "workspace"), id,
                       cli->out, &bytes, err))
        return -1;
    fputs("\n", cli->out);
    return 0;
}

static enum bf_exit wait_one(struct bf_cli *cli, struct bf_client *client,
                             const char *id, const char *code)
{
    const char *workspace = bf_args_get(&cli->args, "workspace");
    json_auto_t *job = NULL;
    struct bf_err err = {0};
    enum bf_exit number;
    int64_t until_ms;

    if (until(cli, &until_ms, &err) ||
        bf_jobs_wait(client, workspace, id, until_ms, &job, &err) ||
        bf_jobs_show(cli, job, code, &err))
        return bf_cli_fail(cli, &err);
    number = bf_jobs_exit(job);
    if (number == BF_EXIT_OK && !cli->json &&
        show_result(cli, client, id, &err))
        return bf_cli_fail(cli, &err);
    return number;
}

static int make_body(struct bf_cli *cli, struct bf_buf *code,
                     struct bf_buf *body, struct bf_err *err)
{
    bf_autobuf struct bf_buf inputs = BF_BUF_INIT(BF_MAX_INPUTS);
    json_auto_t *members = bf_job_body_members(cli, code, err);

    if (!members || bf_job_body_inputs(cli, &inputs, err))
        return -1;
    return bf_splice_job(members, bf_buf_slice(&inputs), body, err);
}

static enum bf_exit submit_one(struct bf_cli *cli, struct bf_client *client)
{
    bf_autobuf struct bf_buf code = BF_BUF_INIT(BF_MAX_BLOCK);
    bf_autobuf struct bf_buf body = BF_BUF_INIT(BF_SPLICE_MAX);
    bool waits = bf_args_has(&cli->args, "wait");
    json_auto_t *job = NULL;
    struct bf_err err = {0};

    if (make_body(cli, &code, &body, &err) ||
        post(cli, client, bf_buf_slice(&body), &job, &err) ||
        (!waits && show_accepted(cli, job, &err)))
        return bf_cli_fail(cli, &err);
    if (!waits)
        return BF_EXIT_OK;
    return wait_one(cli, client, json_string_value(json_object_get(job, "job")),
                    code.data);
}

/* ---- a file of jobs ------------------------------------------------------ */

struct upload {
    struct bf_cli *cli;
    uint64_t accepted;
    uint64_t refused;
    json_t *jobs; /* pairs [workspace, id], only when they are waited for */
};

static int on_answer(void *arg, const struct bf_answer *answer,
                     struct bf_err *err)
{
    struct upload *upload = arg;
    bf_autobuf struct bf_buf line = BF_BUF_INIT(1 << 20);

    if (answer->accepted)
        upload->accepted++;
    else
        upload->refused++;
    if (!answer->accepted && upload->refused <= REFUSALS_SHOWN)
        bf_cli_say(upload->cli, "line %" PRIu64 ": refused: %s", answer->number,
                   answer->problem);
    if (answer->accepted && upload->jobs && answer->workspace &&
        json_array_append_new(
            upload->jobs, json_pack("[s,s]", answer->workspace, answer->job)))
        return bf_err_oom(err);
    if (!upload->cli->json)
        return 0;
    if (json_object_set_new(answer->doc, "line",
                            json_integer((json_int_t)answer->number)))
        return bf_err_oom(err);
    if (bf_table_json(answer->doc, &line, err))
        return -1;
    return bf_cli_print(upload->cli, &line, err);
}

static int send_parts(struct upload *upload, struct bf_client *client,
                      FILE *file, struct bf_err *err)
{
    const char *key = bf_args_get(&upload->cli->args, "key");
    bf_autopart struct bf_part part = {0};
    struct bf_progress progress;
    struct stat stat;
    uint64_t total = 0;
    int got;

    if (fstat(fileno(file), &stat) == 0 && S_ISREG(stat.st_mode))
        total = (uint64_t)stat.st_size;
    if (bf_part_init(&part, err))
        return -1;
    bf_progress_init(&progress, upload->cli, "submitting", total);
    while ((got = bf_part_next(&part, file, err)) > 0) {
        char note[64];

        got = bf_part_send(client, &part, key, on_answer, upload, err);
        if (got)
            break;
        snprintf(note, sizeof(note), "%" PRIu64 " jobs", upload->accepted);
        bf_progress_set(&progress, total > 0 ? part.offset : part.lines, note);
    }
    bf_progress_end(&progress);
    if (got)
        bf_cli_say(upload->cli,
                   "up to line %" PRIu64 ", %" PRIu64 " jobs were accepted; "
                   "sending the same file again is safe",
                   part.lines, upload->accepted);
    return got;
}

static enum bf_exit wait_all(struct upload *upload, struct bf_client *client)
{
    enum bf_exit worst = BF_EXIT_OK;
    uint64_t counts[2] = {0, 0};
    struct bf_progress progress;
    struct bf_err err = {0};
    int64_t until_ms;
    json_t *pair;
    size_t i;

    if (until(upload->cli, &until_ms, &err))
        return bf_cli_fail(upload->cli, &err);
    bf_progress_init(&progress, upload->cli, "waiting   ",
                     json_array_size(upload->jobs));
    json_array_foreach(upload->jobs, i, pair)
    {
        json_auto_t *job = NULL;

        if (bf_jobs_wait(client, json_string_value(json_array_get(pair, 0)),
                         json_string_value(json_array_get(pair, 1)), until_ms,
                         &job, &err)) {
            bf_progress_end(&progress);
            return bf_cli_fail(upload->cli, &err);
        }
        counts[bf_jobs_exit(job) == BF_EXIT_OK ? 0 : 1]++;
        worst = bf_jobs_worse(worst, bf_jobs_exit(job));
        bf_progress_set(&progress, i + 1, "");
    }
    bf_progress_end(&progress);
    bf_cli_say(upload->cli, "%" PRIu64 " succeeded, %" PRIu64 " did not",
               counts[0], counts[1]);
    return worst;
}

static enum bf_exit submit_file(struct bf_cli *cli, struct bf_client *client,
                                FILE *file)
{
    bool waits = bf_args_has(&cli->args, "wait");
    json_auto_t *jobs = waits ? json_array() : NULL;
    struct upload upload = {.cli = cli, .jobs = jobs};
    struct bf_err err = {0};
    enum bf_exit number = BF_EXIT_OK;

    if (send_parts(&upload, client, file, &err))
        return bf_cli_fail(cli, &err);
    bf_cli_say(cli, "%" PRIu64 " jobs accepted, %" PRIu64 " lines refused",
               upload.accepted, upload.refused);
    if (waits)
        number = wait_all(&upload, client);
    return upload.refused > 0 ? BF_EXIT_REFUSED : number;
}

static enum bf_exit submit_path(struct bf_cli *cli, struct bf_client *client,
                                const char *path)
{
    struct bf_err err = {0};
    enum bf_exit number;
    FILE *file;

    if (bf_args_get(&cli->args, "code")) {
        bf_err_set(&err, BF_ERR_REJECT, "usage",
                   "--ndjson has whole jobs: --code does not go with it");
        return bf_cli_fail(cli, &err);
    }
    if (strcmp(path, "-") == 0)
        return submit_file(cli, client, cli->in);
    file = fopen(path, "rbe");
    if (!file) {
        bf_cli_errno(&err, "read", path);
        return bf_cli_fail(cli, &err);
    }
    number = submit_file(cli, client, file);
    fclose(file);
    return number;
}

enum bf_exit bf_cmd_submit(struct bf_cli *cli)
{
    const char *path = bf_args_get(&cli->args, "ndjson");
    struct bf_err err = {0};
    bf_autoclient struct bf_client *client = bf_cli_client(cli, &err);

    if (!client)
        return bf_cli_fail(cli, &err);
    return path ? submit_path(cli, client, path) : submit_one(cli, client);
}
