/*
 * blockfleet usage: sums, from the dispatcher; usage export: metering events
 * themselves, from Kafka, that anybody can verify.
 */

#include "dispatcher/cli/commands.h"

#include "config/clock.h"
#include "dispatcher/cli/client.h"
#include "dispatcher/cli/export.h"
#include "dispatcher/cli/logs.h"
#include "dispatcher/cli/target.h"
#include "dispatcher/cli/times.h"
#include "schemas/err.h"
#include "schemas/json.h"

#define MAX_LINE (8U << 20)
#define HOUR_MS 3600000
#define SKEW_MS HOUR_MS /* the clock of a run's end may be ahead */
#define USAGE_MS 60000
#define TRIES 6

struct exporting {
    struct bf_cli *cli;
    FILE *file;
    struct bf_buf line;
    int64_t rows;
    int64_t from_ms, to_ms; /* by when the run ended: [from, to) */
};

/* What says no time is for 'verify' to judge. */
static bool is_asked_for(const struct exporting *exporting,
                         const struct bf_record *rec)
{
    const char *workspace = bf_args_get(&exporting->cli->args, "workspace");
    json_auto_t *doc = NULL;
    int64_t ended_ms;

    if (workspace && !bf_slice_is(rec->key, workspace))
        return false;
    if (exporting->from_ms < 0 && exporting->to_ms == INT64_MAX)
        return true;
    doc = bf_json_parse(rec->value, MAX_LINE, NULL);
    return bf_clock_parse(bf_json_slice(json_object_get(doc, "ended_at")),
                          &ended_ms, NULL) ||
           (ended_ms >= exporting->from_ms && ended_ms < exporting->to_ms);
}

static int export_one(void *arg, const struct bf_record *rec,
                      const struct bf_err *bad, struct bf_err *err)
{
    struct exporting *exporting = arg;

    (void)bad; /* `verify` says so of what is exported of it */
    if (!is_asked_for(exporting, rec))
        return 0;
    bf_buf_clear(&exporting->line);
    if (bf_export_line(rec, &exporting->line, err))
        return -1;
    exporting->rows++;
    return fwrite(exporting->line.data, 1, exporting->line.len,
                  exporting->file) == exporting->line.len
               ? 0
               : bf_cli_errno(err, "write", "the output");
}

static int export(struct bf_cli *cli, struct exporting *exporting,
                  struct bf_err *err)
{
    bf_autotarget struct bf_target target = {0};
    bf_autologs struct bf_logs logs = {0};
    struct bf_log_range range;

    if (bf_times_option(cli, "from", &exporting->from_ms, err) ||
        bf_times_option(cli, "to", &exporting->to_ms, err) ||
        bf_logs_open(&logs, cli, err) ||
        bf_logs_since(&logs, cli, BF_TOPIC_USAGE, &range, err) ||
        bf_target_open(&target, cli, err))
        return -1;
    /* A row is written after its run, its corrections any time later. */
    if (range.from_ms < 0 && exporting->from_ms > SKEW_MS)
        range.from_ms = exporting->from_ms - SKEW_MS;
    exporting->file = target.file;
    if (bf_log_read(logs.kafka, &range, export_one, exporting, err) ||
        bf_target_close(&target, err))
        return -1;
    bf_cli_say(cli, "%lld rows", (long long)exporting->rows);
    return 0;
}

enum bf_exit bf_cmd_usage_export(struct bf_cli *cli)
{
    struct exporting exporting = {.cli = cli,
                                  .line = BF_BUF_INIT(MAX_LINE),
                                  .from_ms = -1,
                                  .to_ms = INT64_MAX};
    struct bf_err err = {0};
    int status = export(cli, &exporting, &err);

    bf_buf_release(&exporting.line);
    return status ? bf_cli_fail(cli, &err) : BF_EXIT_OK;
}

/* ---- sums -----------------------------------------------------------------*/

static int usage_path(struct bf_cli *cli, struct bf_buf *path,
                      struct bf_err *err)
{
    const struct bf_args *args = &cli->args;
    const char *by = bf_args_get(args, "by");

    if (bf_buf_adds(path, "/v1/usage", err) ||
        bf_client_query(path, "workspace", bf_args_get(args, "workspace"),
                        err) ||
        bf_client_query(path, "group_by", by ? by : "workspace,day", err) ||
        bf_times_query(cli, "from", HOUR_MS, path, err))
        return -1;
    return bf_times_query(cli, "to", HOUR_MS, path, err);
}

static json_t *ask(struct bf_cli *cli, struct bf_err *err)
{
    bf_autoclient struct bf_client *client = bf_cli_client(cli, err);
    bf_autoreply struct bf_client_reply reply = BF_CLIENT_REPLY;
    bf_autobuf struct bf_buf path = BF_BUF_INIT(4096);
    struct bf_client_request request = {
        .method = "GET", .timeout_ms = USAGE_MS, .tries = TRIES};
    json_t *doc;

    if (!client || usage_path(cli, &path, err))
        return NULL;
    request.path = path.data;
    if (bf_client_send(client, &request, &reply, err))
        return NULL;
    doc = json_loadb(reply.body.data ? reply.body.data : "", reply.body.len, 0,
                     NULL);
    if (!json_is_array(json_object_get(doc, "groups")) ||
        !json_is_string(json_object_get(doc, "complete_until"))) {
        json_decref(doc);
        bf_err_set(err, BF_ERR_REJECT, "refused",
                   "the dispatcher's answer has no groups, or no "
                   "complete_until");
        return NULL;
    }
    return doc;
}

/* A table is flat: what is billable stands beside the sums of all. */
static void flatten(json_t *group)
{
    const json_t *billable = json_object_get(group, "billable");

    json_object_set(group, "billable_runs", json_object_get(billable, "runs"));
    json_object_set(group, "billable_seconds",
                    json_object_get(billable, "duration_seconds"));
}

static int show_usage(struct bf_cli *cli, struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"workspace", "WORKSPACE", false, 40},
        {"block_type", "BLOCK", false, 40},
        {"fingerprint", "FINGERPRINT", false, 0},
        {"day", "DAY", false, 0},
        {"hour", "HOUR", false, 0},
        {"is_billable", "IS BILLABLE", false, 0},
        {"runs", "RUNS", true, 0},
        {"duration_seconds", "SECONDS", true, 0},
        {"billable_runs", "BILLABLE RUNS", true, 0},
        {"billable_seconds", "BILLABLE SECONDS", true, 0},
        {"input_bytes", "BYTES IN", true, 0},
        {"output_bytes", "BYTES OUT", true, 0},
    };
    json_auto_t *doc = ask(cli, err);
    json_t *groups = json_object_get(doc, "groups");
    json_t *group;
    size_t i;

    if (!doc)
        return -1;
    if (cli->json)
        return bf_cli_record(cli, columns, 0, doc, err);
    json_array_foreach(groups, i, group)
    {
        flatten(group);
    }
    if (bf_cli_rows(cli, columns, bf_countof(columns), groups, err))
        return -1;
    bf_cli_say(cli, "complete until %s",
               json_string_value(json_object_get(doc, "complete_until")));
    return 0;
}

enum bf_exit bf_cmd_usage(struct bf_cli *cli)
{
    struct bf_err err = {0};

    return show_usage(cli, &err) ? bf_cli_fail(cli, &err) : BF_EXIT_OK;
}
