/* blockfleet jobs: what a workspace has sent. */

#include "dispatcher/cli/client.h"
#include "dispatcher/cli/commands.h"
#include "dispatcher/cli/jobs.h"
#include "schemas/err.h"

#define MAX_LIST 100000U
#define PAGE 1000U
#define PAGE_MS 60000
#define TRIES 6

/* Options that are the query's parameters, under the same names. */
static const char *const filters[] = {"status", "batch", "order-key",
                                      "label",  "from",  "to"};

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

static int page_path(struct bf_cli *cli, const char *workspace,
                     const char *cursor, size_t limit, struct bf_buf *path,
                     struct bf_err *err)
{
    char number[24];

    snprintf(number, sizeof(number), "%zu", limit < PAGE ? limit : PAGE);
    bf_buf_clear(path);
    if (bf_buf_adds(path, "/v1/jobs", err) ||
        bf_client_query(path, "workspace", workspace, err) ||
        bf_client_query(path, "limit", number, err) ||
        bf_client_query(path, "cursor", cursor[0] ? cursor : NULL, err))
        return -1;
    for (size_t i = 0; i < bf_countof(filters); i++) {
        if (add_filter(cli, filters[i], path, err))
            return -1;
    }
    return 0;
}

/* One page, a job a line, behind the jobs that are there. */
static int take_page(struct bf_slice page, json_t *jobs, struct bf_err *err)
{
    while (page.len > 0) {
        const char *end = memchr(page.ptr, '\n', page.len);
        size_t len = end ? (size_t)(end - page.ptr) : page.len;
        json_t *job = json_loadb(page.ptr, len, JSON_ALLOW_NUL, NULL);

        if (!job)
            return bf_err_set(err, BF_ERR_REJECT, "refused",
                              "the dispatcher's answer is not a job a line");
        if (json_array_append_new(jobs, job))
            return bf_err_oom(err);
        len += end != NULL;
        page = (struct bf_slice){page.ptr + len, page.len - len};
    }
    return 0;
}

static int gather(struct bf_cli *cli, size_t limit, json_t *jobs,
                  struct bf_err *err)
{
    bf_autoclient struct bf_client *client = bf_cli_client(cli, err);
    const char *workspace = client ? bf_cli_workspace(cli, err) : NULL;
    bf_autobuf struct bf_buf path = BF_BUF_INIT(8192);
    char cursor[160] = "";

    if (!workspace)
        return -1;
    do {
        bf_autoreply struct bf_client_reply reply = BF_CLIENT_REPLY;
        struct bf_client_request request = {
            .method = "GET", .timeout_ms = PAGE_MS, .tries = TRIES};

        if (page_path(cli, workspace, cursor, limit - json_array_size(jobs),
                      &path, err))
            return -1;
        request.path = path.data;
        if (bf_client_send(client, &request, &reply, err) ||
            take_page(bf_buf_slice(&reply.body), jobs, err))
            return -1;
        if (cursor[0] && strcmp(cursor, reply.cursor) == 0)
            return bf_err_set(err, BF_ERR_REJECT, "refused",
                              "the dispatcher gives the same page again");
        memcpy(cursor, reply.cursor, sizeof(cursor));
    } while (cursor[0] && json_array_size(jobs) < limit);
    if (cursor[0])
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
