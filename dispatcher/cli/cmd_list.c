/* blockfleet jobs: what a workspace has sent. */

#include "dispatcher/cli/client.h"
#include "dispatcher/cli/commands.h"
#include "dispatcher/cli/jobs.h"
#include "dispatcher/cli/times.h"
#include "schemas/err.h"

#define MAX_LIST 100000U
#define PAGE 1000U

/* Options that are the query's parameters, under the same names. */
static const char *const filters[] = {"status", "batch", "order-key", "label"};

static int add_filter(struct bf_cli *cli, const char *name, struct bf_buf *path,
                      struct bf_err *err)
{
    char parameter[32];

    snprintf(parameter, sizeof(parameter), "%s", name);
    for (char *p = parameter; *p; p++) {
        if (*p == '-')
            *p = '_';
    }
    return bf_client_query(path, parameter, bf_args_get(&cli->args, name), err);
}

/* One more than is wanted tells that there are more. */
static int list_path(struct bf_cli *cli, const char *workspace, size_t limit,
                     struct bf_buf *path, struct bf_err *err)
{
    char number[24];

    snprintf(number, sizeof(number), "%zu", limit < PAGE ? limit + 1 : PAGE);
    if (bf_buf_adds(path, "/v1/jobs", err) ||
        bf_client_query(path, "workspace", workspace, err) ||
        bf_client_query(path, "limit", number, err))
        return -1;
    for (size_t i = 0; i < bf_countof(filters); i++) {
        if (add_filter(cli, filters[i], path, err))
            return -1;
    }
    return bf_times_query(cli, "from", 1, path, err) ||
                   bf_times_query(cli, "to", 1, path, err)
               ? -1
               : 0;
}

struct list {
    json_t *jobs;
    size_t limit;
    bool more;
};

static int on_job(void *arg, json_t *job, struct bf_err *err)
{
    struct list *list = arg;

    if (json_array_size(list->jobs) == list->limit) {
        list->more = true;
        return 1;
    }
    return json_array_append(list->jobs, job) ? bf_err_oom(err) : 0;
}

static int gather(struct bf_cli *cli, size_t limit, json_t *jobs,
                  struct bf_err *err)
{
    bf_autoclient struct bf_client *client = bf_cli_client(cli, err);
    const char *workspace = client ? bf_cli_workspace(cli, err) : NULL;
    bf_autobuf struct bf_buf path = BF_BUF_INIT(8192);
    struct list list = {jobs, limit, false};

    if (!workspace || list_path(cli, workspace, limit, &path, err) ||
        bf_client_rows(client, path.data, on_job, &list, err))
        return -1;
    if (list.more)
        bf_cli_say(cli, "there are more: see --limit, --status and --to");
    return 0;
}

enum bf_exit bf_cmd_jobs(struct bf_cli *cli)
{
    json_auto_t *jobs = json_array();
    struct bf_err err = {0};
    uint64_t limit = 0;

    if (bf_cli_number(cli, "limit", MAX_LIST, 100, &limit, &err) ||
        gather(cli, limit ? limit : 1, jobs, &err) ||
        bf_jobs_table(cli, jobs, &err))
        return bf_cli_fail(cli, &err);
    return BF_EXIT_OK;
}
