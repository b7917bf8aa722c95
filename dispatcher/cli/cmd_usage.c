/* blockfleet usage export: metering events that anybody can verify. */

#include "dispatcher/cli/commands.h"

#include "dispatcher/cli/export.h"
#include "dispatcher/cli/logs.h"
#include "dispatcher/cli/target.h"
#include "schemas/err.h"

#define MAX_LINE (8U << 20)

struct exporting {
    struct bf_cli *cli;
    FILE *file;
    struct bf_buf line;
    int64_t rows;
};

static int export_one(void *arg, const struct bf_record *rec,
                      const struct bf_err *bad, struct bf_err *err)
{
    struct exporting *exporting = arg;
    const char *workspace = bf_args_get(&exporting->cli->args, "workspace");

    (void)bad; /* `verify` says so of what is exported of it */
    if (workspace && !bf_slice_is(rec->key, workspace))
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

    if (bf_logs_open(&logs, cli, err) ||
        bf_logs_since(&logs, cli, BF_TOPIC_USAGE, &range, err) ||
        bf_target_open(&target, cli, err))
        return -1;
    exporting->file = target.file;
    if (bf_log_read(logs.kafka, &range, export_one, exporting, err) ||
        bf_target_close(&target, err))
        return -1;
    bf_cli_say(cli, "%lld rows", (long long)exporting->rows);
    return 0;
}

enum bf_exit bf_cmd_usage_export(struct bf_cli *cli)
{
    struct exporting exporting = {.cli = cli, .line = BF_BUF_INIT(MAX_LINE)};
    struct bf_err err = {0};
    int status = export(cli, &exporting, &err);

    bf_buf_release(&exporting.line);
    return status ? bf_cli_fail(cli, &err) : BF_EXIT_OK;
}
