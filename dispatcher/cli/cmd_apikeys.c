/* blockfleet apikeys: who may use the HTTP API. */

#include "dispatcher/cli/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>

#include "config/clock.h"
#include "config/settings.h"
#include "dispatcher/apikeys.h"
#include "dispatcher/cli/text.h"
#include "schemas/err.h"
#include "schemas/ids.h"

#define MAX_NAMES 65536

static int usage(struct bf_err *err, const char *text)
{
    return bf_err_set(err, BF_ERR_REJECT, "usage", "%s", text);
}

/* --workspace a --workspace b: "a,b"; --all-workspaces: "*". */
static int names(struct bf_cli *cli, struct bf_buf *out, struct bf_err *err)
{
    const char *name = bf_args_get(&cli->args, "workspace");
    bool all = bf_args_has(&cli->args, "all-workspaces");

    if (all == (name != NULL))
        return usage(err, "for which workspaces? --workspace NAME, once or "
                          "more, or --all-workspaces");
    if (all)
        return bf_buf_adds(out, "*", err);
    for (size_t i = 0; (name = bf_args_nth(&cli->args, "workspace", i)); i++) {
        if (!bf_workspace_ok(bf_slice_str(name)))
            return usage(err, "--workspace must be 1 to 64 of [A-Za-z0-9_-]");
        if ((i > 0 && bf_buf_adds(out, ",", err)) ||
            bf_buf_adds(out, name, err))
            return -1;
    }
    return 0;
}

static int expiry(struct bf_cli *cli, int64_t *ret, struct bf_err *err)
{
    const char *text = bf_args_get(&cli->args, "expires-at");

    if (!text)
        return 0;
    if (bf_clock_parse(bf_slice_str(text), ret, NULL) || *ret <= bf_now_ms())
        return usage(err, "--expires-at must be a time to come, as "
                          "2027-01-31T00:00:00Z");
    return 0;
}

/* ---- new ------------------------------------------------------------------*/

/* Made before the key is, so that no key is made that cannot be kept. */
static int open_output(const char *path, struct bf_err *err)
{
    int fd =
        open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    return fd < 0 ? bf_cli_errno(err, "make", path) : fd;
}

static int write_token(int fd, const char *token, const char *path,
                       struct bf_err *err)
{
    char line[BF_APIKEY_TOKEN_SIZE + 1];
    int len = snprintf(line, sizeof(line), "%s\n", token);
    bool failed = write(fd, line, (size_t)len) != len || fsync(fd) != 0;

    sodium_memzero(line, sizeof(line));
    return failed ? bf_cli_errno(err, "write", path) : 0;
}

static json_t *key_row(const struct bf_apikey *key, const char *token)
{
    bf_autobuf struct bf_buf comment = BF_BUF_INIT(BF_APIKEYS_FILE_MAX);
    char created[BF_RFC3339_LEN], expires[BF_RFC3339_LEN];
    json_t *row;

    bf_clock_rfc3339(key->created_ms, created);
    bf_clock_rfc3339(key->expires_ms, expires);
    /* Of a line that people wrote: it may be in any encoding. */
    if (bf_text_add(&comment, key->comment, 0, false, NULL))
        return NULL;
    row = json_pack("{s:s, s:s%, s:s, s:s?, s:b, s:b, s:s}", "id", key->id,
                    "workspaces", key->workspaces.ptr, key->workspaces.len,
                    "created_at", created, "expires_at",
                    key->expires_ms ? expires : NULL, "revoked", key->revoked,
                    "valid", bf_apikey_live(key, bf_now_ms()), "comment",
                    comment.data ? comment.data : "");
    if (row && token && json_object_set_new(row, "key", json_string(token))) {
        json_decref(row);
        return NULL;
    }
    return row;
}

static int show_new(struct bf_cli *cli, const struct bf_apikey *key,
                    const char *token, struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"id", "id", false, 0},
        {"workspaces", "workspaces", false, 0},
        {"expires_at", "expires", false, 0},
        {"key", "key", false, 0},
    };
    const char *output = bf_args_get(&cli->args, "output");
    json_auto_t *row = key_row(key, output ? NULL : token);

    if (!row)
        return bf_err_oom(err);
    if (bf_cli_record(cli, columns, bf_countof(columns) - (output ? 1 : 0), row,
                      err))
        return -1;
    if (output)
        bf_cli_say(cli, "the key is in %s: dispatcher.key_file", output);
    else
        bf_cli_say(cli, "the key is shown this once; only its hash is kept");
    bf_cli_say(cli,
               "a Roboflow inference server gets MODAL_TOKEN_ID=%s, the key in "
               "MODAL_TOKEN_SECRET",
               key->id);
    return 0;
}

static int make(struct bf_cli *cli, struct bf_apikey *key, char *token,
                struct bf_err *err)
{
    const char *output = bf_args_get(&cli->args, "output");
    bf_autoclose int fd = output ? open_output(output, err) : -1;

    if (output && fd < 0)
        return -1;
    if (bf_apikeys_add(cli->settings->dispatcher.api_keys, key, key->id, token,
                       err)) {
        if (output)
            unlink(output);
        return -1;
    }
    if (output && write_token(fd, token, output, err))
        return -1;
    return show_new(cli, key, token, err);
}

enum bf_exit bf_cmd_apikeys_new(struct bf_cli *cli)
{
    bf_autobuf struct bf_buf workspaces = BF_BUF_INIT(MAX_NAMES);
    struct bf_apikey key = {
        .created_ms = bf_now_ms(),
        .comment = bf_slice_str(bf_args_get(&cli->args, "comment")),
    };
    char token[BF_APIKEY_TOKEN_SIZE] = "";
    struct bf_err err = {0};
    int rc;

    if (names(cli, &workspaces, &err) || expiry(cli, &key.expires_ms, &err))
        return bf_cli_fail(cli, &err);
    key.workspaces = bf_buf_slice(&workspaces);
    rc = make(cli, &key, token, &err);
    sodium_memzero(token, sizeof(token));
    return rc ? bf_cli_fail(cli, &err) : BF_EXIT_OK;
}

/* ---- list, revoke ---------------------------------------------------------*/

static int list(struct bf_cli *cli, struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"id", "ID", false, 0},
        {"workspaces", "WORKSPACES", false, 40},
        {"valid", "VALID", false, 0},
        {"created_at", "CREATED", false, 0},
        {"expires_at", "EXPIRES", false, 0},
        {"comment", "COMMENT", false, 40},
    };
    bf_autoapikeys struct bf_apikeys *keys =
        bf_apikeys_load(cli->settings->dispatcher.api_keys, true, err);
    json_auto_t *rows = json_array();

    if (!keys)
        return -1;
    for (size_t i = 0; i < bf_apikeys_count(keys); i++) {
        if (json_array_append_new(rows, key_row(bf_apikeys_at(keys, i), NULL)))
            return bf_err_oom(err);
    }
    return bf_cli_rows(cli, columns, bf_countof(columns), rows, err);
}

enum bf_exit bf_cmd_apikeys_list(struct bf_cli *cli)
{
    struct bf_err err = {0};

    return list(cli, &err) ? bf_cli_fail(cli, &err) : BF_EXIT_OK;
}

enum bf_exit bf_cmd_apikeys_revoke(struct bf_cli *cli)
{
    const char *path = cli->settings->dispatcher.api_keys;
    struct bf_err err = {0};

    if (bf_apikeys_revoke(path, cli->args.words[0], &err))
        return bf_cli_fail(cli, &err);
    bf_cli_say(cli, "%s opens nothing any more, a second from now",
               cli->args.words[0]);
    return BF_EXIT_OK;
}
