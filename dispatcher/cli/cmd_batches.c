/* blockfleet batches: how far they are. */

#include "dispatcher/cli/batches.h"
#include "dispatcher/cli/client.h"
#include "dispatcher/cli/commands.h"
#include "schemas/err.h"

#define MAX_LIST 100000U

struct list {
    json_t *rows;
    size_t limit;
    bool more;
};

static int on_batch(void *arg, json_t *doc, struct bf_err *err)
{
    struct list *list = arg;

    if (json_array_size(list->rows) == list->limit) {
        list->more = true;
        return 1;
    }
    return json_array_append(list->rows, doc) ? bf_err_oom(err) : 0;
}

static int gather_all(struct bf_cli *cli, struct bf_client *client,
                      const char *workspace, struct list *list,
                      struct bf_err *err)
{
    bf_autobuf struct bf_buf path = BF_BUF_INIT(1024);

    if (bf_buf_adds(&path, "/v1/batches", err) ||
        bf_client_query(&path, "workspace", workspace, err) ||
        bf_client_rows(client, path.data, on_batch, list, err))
        return -1;
    if (list->more)
        bf_cli_say(cli, "there are more: see --limit");
    return 0;
}

static int gather_named(struct bf_cli *cli, struct bf_client *client,
                        const char *workspace, struct list *list,
                        struct bf_err *err)
{
    for (size_t i = 0; i < cli->args.nwords; i++) {
        const struct bf_batches at = {client, workspace, cli->args.words[i]};
        json_t *doc = NULL;

        if (bf_batches_get(&at, &doc, err))
            return -1;
        if (!doc)
            return bf_err_set(err, BF_ERR_REJECT, "refused",
                              "there is no batch '%.80s'", at.batch);
        if (json_array_append_new(list->rows, doc))
            return bf_err_oom(err);
    }
    return 0;
}

static int gather(struct bf_cli *cli, struct list *list, struct bf_err *err)
{
    bf_autoclient struct bf_client *client = bf_cli_client(cli, err);
    const char *workspace = client ? bf_cli_workspace(cli, err) : NULL;

    if (!workspace)
        return -1;
    return cli->args.nwords > 0
               ? gather_named(cli, client, workspace, list, err)
               : gather_all(cli, client, workspace, list, err);
}

/* What ended otherwise than succeeded, in one figure. */
static int add_failures(json_t *rows, struct bf_err *err)
{
    size_t i;
    json_t *row;

    json_array_foreach(rows, i, row)
    {
        json_int_t ended = json_integer_value(json_object_get(row, "ended"));
        json_int_t succeeded =
            json_integer_value(json_object_get(row, "succeeded"));

        if (json_object_set_new(row, "others", json_integer(ended - succeeded)))
            return bf_err_oom(err);
    }
    return 0;
}

static int show(struct bf_cli *cli, json_t *rows, struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"batch", "BATCH", false, 0},        {"state", "STATE", false, 0},
        {"count", "SEALED AT", true, 0},     {"total", "JOBS", true, 0},
        {"waiting", "WAITING", true, 0},     {"running", "RUNNING", true, 0},
        {"succeeded", "SUCCEEDED", true, 0}, {"others", "NOT", true, 0},
        {"opened_at", "OPENED", false, 0},
    };

    if (!cli->json && add_failures(rows, err))
        return -1;
    return bf_cli_rows(cli, columns, bf_countof(columns), rows, err);
}

enum bf_exit bf_cmd_batches(struct bf_cli *cli)
{
    json_auto_t *rows = json_array();
    struct list list = {.rows = rows};
    struct bf_err err = {0};
    uint64_t limit;

    if (bf_cli_number(cli, "limit", MAX_LIST, 100, &limit, &err))
        return bf_cli_fail(cli, &err);
    list.limit = limit;
    if (gather(cli, &list, &err) || show(cli, rows, &err))
        return bf_cli_fail(cli, &err);
    return BF_EXIT_OK;
}
