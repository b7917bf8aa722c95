/* blockfleet help, completion, version. */

#include "dispatcher/cli/commands.h"

#include <curl/curl.h>
#include <librdkafka/rdkafka.h>
#include <sodium.h>

#include "dispatcher/cli/completion.h"
#include "dispatcher/cli/manpage.h"
#include "schemas/err.h"

#define MAX_HELP (1U << 20)

static int make_help(struct bf_cli *cli, struct bf_buf *out, struct bf_err *err)
{
    const struct bf_command *command;
    size_t used;

    if (bf_args_has(&cli->args, "markdown"))
        return bf_command_markdown(out, err);
    if (bf_args_has(&cli->args, "man"))
        return bf_manpage(out, err);
    if (cli->args.nwords == 0)
        return bf_command_help_all(out, err);
    command = bf_command_find(cli->args.words, cli->args.nwords, &used);
    if (!command || used < cli->args.nwords)
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "there is no command '%.40s'", cli->args.words[0]);
    return bf_command_help(command, out, err);
}

enum bf_exit bf_cmd_help(struct bf_cli *cli)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(MAX_HELP);
    struct bf_err err = {0};

    if (make_help(cli, &text, &err) || bf_cli_print(cli, &text, &err))
        return bf_cli_fail(cli, &err);
    return BF_EXIT_OK;
}

enum bf_exit bf_cmd_completion(struct bf_cli *cli)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(MAX_HELP);
    struct bf_err err = {0};

    if (bf_completion(cli->args.words[0], &text, &err) ||
        bf_cli_print(cli, &text, &err))
        return bf_cli_fail(cli, &err);
    return BF_EXIT_OK;
}

enum bf_exit bf_cmd_version(struct bf_cli *cli)
{
    static const struct bf_column columns[] = {
        {"blockfleet", "blockfleet", false, 0},
        {"protocol", "protocol", false, 0},
        {"librdkafka", "librdkafka", false, 0},
        {"libcurl", "libcurl", false, 0},
        {"libsodium", "libsodium", false, 0},
    };
    json_auto_t *versions =
        json_pack("{s:s, s:i, s:s, s:s, s:s}", "blockfleet", BF_VERSION,
                  "protocol", 1, "librdkafka", rd_kafka_version_str(),
                  "libcurl", curl_version_info(CURLVERSION_NOW)->version,
                  "libsodium", sodium_version_string());
    struct bf_err err = {0};

    if (bf_cli_record(cli, columns, bf_countof(columns), versions, &err))
        return bf_cli_fail(cli, &err);
    return BF_EXIT_OK;
}
