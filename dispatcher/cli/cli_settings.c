/* How the command line meets config/settings.h. */

#include "dispatcher/cli/cli.h"

#include "config/option.h"
#include "config/secret.h"
#include "config/settings.h"
#include "dispatcher/cli/client.h"
#include "schemas/err.h"

#define MAX_NAME 128
#define KEY_VARIABLE "BLOCKFLEET_SECRET_API_KEY"

int bf_cli_setting_arity(const char *name, size_t len)
{
    static const char passed_on[] = "librdkafka.";
    const struct bf_option *option;
    char text[MAX_NAME];

    if (len >= sizeof(text))
        return -1;
    memcpy(text, name, len);
    text[len] = '\0';
    if (strncmp(text, passed_on, sizeof(passed_on) - 1) == 0)
        return 1;
    option = bf_option_find(text);
    return option && (option->programs & BF_PROGRAM_CLI) ? 1 : -1;
}

/* Settings that were on the command line, as a command line of their own. */
static int load(struct bf_cli *cli, char **argv, struct bf_err *err)
{
    static char program[] = "blockfleet", config[] = "--config";
    const char *path = bf_args_get(&cli->args, "config");
    bf_autofree char *copy = NULL;
    int argc = 0;

    argv[argc++] = program;
    if (path) {
        copy = strdup(path);
        if (!copy)
            return bf_err_oom(err);
        argv[argc++] = config;
        argv[argc++] = copy;
    }
    for (size_t i = 0; i < cli->args.nforeign; i++)
        argv[argc++] = cli->args.foreign[i];
    argv[argc] = NULL;
    return bf_settings_load(&cli->settings, BF_PROGRAM_CLI, argc, argv, err);
}

int bf_cli_settings_load(struct bf_cli *cli, struct bf_err *err)
{
    bf_autofree char **argv = calloc(cli->args.nforeign + 4, sizeof(*argv));

    if (!argv)
        return bf_err_oom(err);
    if (load(cli, argv, err)) {
        if (err->kind == BF_ERR_REJECT)
            err->code = "usage";
        return -1;
    }
    return 0;
}

void bf_cli_settings_release(struct bf_cli *cli)
{
    bf_settings_free(cli->settings);
    cli->settings = NULL;
}

/* *ret stays NULL when there is no key. */
static int api_key(const struct bf_settings *settings, struct bf_secret **ret,
                   struct bf_err *err)
{
    const char *url = settings->dispatcher.url;

    if (settings->dispatcher.key_file[0]) {
        *ret = bf_secret_from_file(settings->dispatcher.key_file, url, err);
        if (!*ret)
            return bf_err_prefix(err, "dispatcher.key_file");
        return 0;
    }
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread */
    if (!getenv(KEY_VARIABLE))
        return 0;
    *ret = bf_secret_from_env(KEY_VARIABLE, url, err);
    return *ret ? 0 : -1;
}

struct bf_client *bf_cli_client(struct bf_cli *cli, struct bf_err *err)
{
    const char *url = cli->settings->dispatcher.url;
    bf_autosecret struct bf_secret *key = NULL;
    struct bf_client *client;

    if (api_key(cli->settings, &key, err))
        return NULL;
    client =
        bf_client_new(url, key ? bf_secret_reveal(key, url).ptr : NULL, err);
    if (client)
        bf_client_trust(client, cli->settings->dispatcher.ca_file);
    return client;
}
