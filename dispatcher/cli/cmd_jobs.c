/* blockfleet status, wait, results: what became of jobs. */

#include "dispatcher/cli/commands.h"

#include "config/clock.h"
#include "dispatcher/cli/batches.h"
#include "dispatcher/cli/client.h"
#include "dispatcher/cli/jobs.h"
#include "dispatcher/cli/target.h"
#include "schemas/err.h"
#include "schemas/limits.h"

#define PAGE "1000"
#define PAGE_MS 120000
#define TRIES 6
#define FOR_EVER_S UINT64_C(604800) /* a week */

/* All jobs named on the command line; wait_s 0: as they are now. */
static int gather(struct bf_cli *cli, uint64_t wait_s, json_t *jobs,
                  struct bf_err *err)
{
    bf_autoclient struct bf_client *client = bf_cli_client(cli, err);
    const char *workspace = client ? bf_cli_workspace(cli, err) : NULL;
    int64_t until_ms = bf_mono_ms() + (int64_t)wait_s * 1000;

    if (!workspace)
        return -1;
    for (size_t i = 0; i < cli->args.nwords; i++) {
        json_t *job = NULL;

        if (bf_jobs_wait(client, workspace, cli->args.words[i], until_ms, &job,
                         err))
            return -1;
        json_array_append_new(jobs, job);
    }
    return 0;
}

static int show(struct bf_cli *cli, const json_t *jobs, struct bf_err *err)
{
    bf_autobuf struct bf_buf code = BF_BUF_INIT(BF_MAX_BLOCK);
    const char *path = bf_args_get(&cli->args, "code");

    if (path && bf_cli_read(cli, path, &code, err))
        return -1;
    if (json_array_size(jobs) == 1 && !cli->json)
        return bf_jobs_show(cli, json_array_get(jobs, 0), code.data, err);
    return bf_jobs_table(cli, jobs, err);
}

enum bf_exit bf_cmd_status(struct bf_cli *cli)
{
    json_auto_t *jobs = json_array();
    struct bf_err err = {0};

    if (gather(cli, 0, jobs, &err) || show(cli, jobs, &err))
        return bf_cli_fail(cli, &err);
    return BF_EXIT_OK;
}

/* All jobs of a batch; how many those are, its seal says. */
static int wait_batch(struct bf_cli *cli, const char *name, uint64_t wait_s,
                      json_t **ret, struct bf_err *err)
{
    bf_autoclient struct bf_client *client = bf_cli_client(cli, err);
    const struct bf_batches at = {
        client, client ? bf_cli_workspace(cli, err) : NULL, name};
    struct bf_batches_goal goal = {
        .things = "jobs",
        .until_ms = bf_mono_ms() + (int64_t)wait_s * 1000,
    };
    json_auto_t *batch = NULL;
    const json_t *count;

    if (!at.workspace ||
        bf_cli_number(cli, "gap", FOR_EVER_S, 0, &goal.gap_s, err) ||
        bf_batches_get(&at, &batch, err))
        return -1;
    count = json_object_get(batch, "count");
    if (!batch)
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "there is no batch '%.80s'", name);
    if (!json_is_integer(count))
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "batch '%.80s' is not sealed: nobody knows how many "
                          "jobs it will have",
                          name);
    goal.jobs = (uint64_t)json_integer_value(count);
    return bf_batches_wait(cli, &at, &goal, ret, err);
}

static enum bf_exit wait_for_batch(struct bf_cli *cli, const char *name,
                                   uint64_t wait_s)
{
    json_auto_t *batch = NULL;
    struct bf_err err = {0};

    if (cli->args.nwords > 0) {
        bf_err_set(&err, BF_ERR_REJECT, "usage",
                   "wait for jobs or for a --batch, not for both");
        return bf_cli_fail(cli, &err);
    }
    if (wait_batch(cli, name, wait_s, &batch, &err) ||
        bf_batches_show(cli, batch, -1, &err))
        return bf_cli_fail(cli, &err);
    return bf_batches_exit(batch);
}

enum bf_exit bf_cmd_wait(struct bf_cli *cli)
{
    const char *batch = bf_args_get(&cli->args, "batch");
    json_auto_t *jobs = json_array();
    enum bf_exit worst = BF_EXIT_OK;
    struct bf_err err = {0};
    uint64_t wait_s = 0;
    json_t *job;
    size_t i;

    if (bf_cli_number(cli, "timeout", FOR_EVER_S, FOR_EVER_S, &wait_s, &err))
        return bf_cli_fail(cli, &err);
    if (batch)
        return wait_for_batch(cli, batch, wait_s);
    if (cli->args.nwords == 0) {
        bf_err_set(&err, BF_ERR_REJECT, "usage",
                   "blockfleet wait needs ID... or --batch");
        return bf_cli_fail(cli, &err);
    }
    if (gather(cli, wait_s, jobs, &err) || show(cli, jobs, &err))
        return bf_cli_fail(cli, &err);
    json_array_foreach(jobs, i, job)
    {
        worst = bf_jobs_worse(worst, bf_jobs_exit(job));
    }
    return worst;
}

static int page_path(struct bf_cli *cli, const char *workspace,
                     const char *cursor, struct bf_buf *path,
                     struct bf_err *err)
{
    const char *batch = bf_args_get(&cli->args, "batch");

    bf_buf_clear(path);
    if (bf_buf_adds(path, "/v1/results", err) ||
        bf_client_query(path, "workspace", workspace, err) ||
        bf_client_query(path, "batch", batch, err) ||
        bf_client_query(path, "cursor", cursor[0] ? cursor : NULL, err))
        return -1;
    return bf_client_query(path, "limit", PAGE, err);
}

/* Page after page until one is empty or names no next one. */
static int pages(struct bf_cli *cli, struct bf_client *client,
                 const char *workspace, FILE *sink, struct bf_err *err)
{
    bf_autoreply struct bf_client_reply reply = BF_CLIENT_REPLY;
    bf_autobuf struct bf_buf path = BF_BUF_INIT(4096);
    const char *from = bf_args_get(&cli->args, "cursor");
    struct bf_client_request request = {
        .method = "GET",
        .timeout_ms = PAGE_MS,
        .tries = TRIES,
        .sink = sink,
    };

    if (from)
        snprintf(reply.cursor, sizeof(reply.cursor), "%s", from);
    for (;;) {
        char before[sizeof(reply.cursor)];

        memcpy(before, reply.cursor, sizeof(before));
        reply.sunk = 0;
        if (page_path(cli, workspace, reply.cursor, &path, err))
            return -1;
        request.path = path.data;
        if (bf_client_send(client, &request, &reply, err))
            return -1;
        if (reply.sunk == 0 || !reply.cursor[0] ||
            strcmp(before, reply.cursor) == 0) {
            if (reply.cursor[0])
                bf_cli_say(cli, "next time: --cursor %s", reply.cursor);
            return 0;
        }
    }
}

static int results(struct bf_cli *cli, struct bf_err *err)
{
    bf_autotarget struct bf_target target = {0};
    bf_autoclient struct bf_client *client = bf_cli_client(cli, err);
    const char *workspace = client ? bf_cli_workspace(cli, err) : NULL;
    const char *raw = bf_args_get(&cli->args, "raw");
    int64_t bytes;

    if (!workspace || bf_target_open(&target, cli, err))
        return -1;
    if (raw ? bf_jobs_result(client, workspace, raw, target.file, &bytes, err)
            : pages(cli, client, workspace, target.file, err))
        return -1;
    return bf_target_close(&target, err);
}

enum bf_exit bf_cmd_results(struct bf_cli *cli)
{
    struct bf_err err = {0};

    return results(cli, &err) ? bf_cli_fail(cli, &err) : BF_EXIT_OK;
}
