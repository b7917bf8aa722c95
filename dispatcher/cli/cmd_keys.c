/* blockfleet keys: whose signatures are trusted, and what we sign with. */

#include "dispatcher/cli/commands.h"

#include <sodium.h>

#include "config/keys.h"
#include "config/settings.h"
#include "dispatcher/cli/text.h"
#include "schemas/err.h"

#define MAX_LINE 8192
#define PUBLIC_SIZE                                                            \
    sodium_base64_ENCODED_LEN(32, sodium_base64_VARIANT_ORIGINAL)

/* --workspace a --workspace b: "a,b"; data stays NULL without any. */
static int workspaces(struct bf_cli *cli, struct bf_buf *out,
                      struct bf_err *err)
{
    const char *name;

    for (size_t i = 0; (name = bf_args_nth(&cli->args, "workspace", i)); i++) {
        if ((i > 0 && bf_buf_adds(out, ",", err)) ||
            bf_buf_adds(out, name, err))
            return -1;
    }
    return 0;
}

static int purpose_of(const char *word, enum bf_purpose *ret,
                      struct bf_err *err)
{
    int purpose = bf_purpose_parse(bf_slice_str(word));

    if (purpose < 0)
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "'%.40s' is no purpose: job, control, state, result "
                          "or run",
                          word);
    *ret = (enum bf_purpose)purpose;
    return 0;
}

/* The line that another machine would trust this key by. */
static int trusted_line(const struct bf_trusted *key, struct bf_buf *out,
                        struct bf_err *err)
{
    char public_key[PUBLIC_SIZE];

    sodium_bin2base64(public_key, sizeof(public_key), key->public_key, 32,
                      sodium_base64_VARIANT_ORIGINAL);
    return bf_buf_addf(
        out, err, "%s ed25519 %s%s%.*s%s%.*s", bf_purpose_name(key->purpose),
        public_key, key->workspaces.len > 0 ? " workspaces=" : "",
        BF_SLICE_ARG(key->workspaces), key->comment.len > 0 ? " " : "",
        BF_SLICE_ARG(key->comment));
}

static json_t *key_row(const struct bf_keyring *ring,
                       const struct bf_trusted *key, struct bf_err *err)
{
    const struct bf_signer *signer = bf_keyring_signer(ring, key->purpose);
    bf_autobuf struct bf_buf raw = BF_BUF_INIT(MAX_LINE);
    bf_autobuf struct bf_buf line = BF_BUF_INIT((size_t)4 * MAX_LINE);
    bf_autobuf struct bf_buf comment = BF_BUF_INIT((size_t)4 * MAX_LINE);
    json_t *row;

    /* Of a line that people wrote: a comment may be in any encoding. */
    if (trusted_line(key, &raw, err) ||
        bf_text_add(&line, bf_buf_slice(&raw), 0, false, err) ||
        bf_text_add(&comment, key->comment, 0, false, err))
        return NULL;
    row = json_pack(
        "{s:s, s:s, s:b, s:b, s:s%, s:s, s:s}", "purpose",
        bf_purpose_name(key->purpose), "id", key->id, "revoked", key->revoked,
        "signs", signer && strcmp(signer->key_id, key->id) == 0, "workspaces",
        key->workspaces.len > 0 ? key->workspaces.ptr : "all",
        key->workspaces.len > 0 ? key->workspaces.len : 3, "comment",
        comment.data ? comment.data : "", "line", line.data);
    if (!row)
        bf_err_oom(err);
    return row;
}

static int list(struct bf_cli *cli, struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"purpose", "PURPOSE", false, 0},
        {"id", "KEY ID", false, 0},
        {"revoked", "REVOKED", false, 0},
        {"signs", "SIGNS", false, 0},
        {"workspaces", "WORKSPACES", false, 40},
        {"comment", "COMMENT", false, 40},
    };
    bf_autokeyring struct bf_keyring *ring =
        bf_keyring_load(cli->settings->keys.dir, err);
    json_auto_t *rows = json_array();

    if (!ring)
        return -1;
    for (size_t i = 0; i < bf_keyring_count(ring); i++) {
        json_t *row = key_row(ring, bf_keyring_at(ring, i), err);

        if (!row)
            return -1;
        json_array_append_new(rows, row);
    }
    return bf_cli_rows(cli, columns, bf_countof(columns), rows, err);
}

enum bf_exit bf_cmd_keys_list(struct bf_cli *cli)
{
    struct bf_err err = {0};

    return list(cli, &err) ? bf_cli_fail(cli, &err) : BF_EXIT_OK;
}

/* What a runner far away checks our runs by: lines of a trusted file, those
 * revoked left out. */
static int print_public(struct bf_cli *cli, struct bf_err *err)
{
    bf_autokeyring struct bf_keyring *ring =
        bf_keyring_load(cli->settings->keys.dir, err);
    bf_autobuf struct bf_buf text = BF_BUF_INIT(BF_KEYS_MAX * (size_t)MAX_LINE);
    enum bf_purpose purpose = BF_PURPOSE_RUN;

    if (!ring ||
        (cli->args.nwords > 0 && purpose_of(cli->args.words[0], &purpose, err)))
        return -1;
    for (size_t i = 0; i < bf_keyring_count(ring); i++) {
        const struct bf_trusted *key = bf_keyring_at(ring, i);

        if (key->purpose == purpose && !key->revoked &&
            (trusted_line(key, &text, err) || bf_buf_adds(&text, "\n", err)))
            return -1;
    }
    if (text.len == 0)
        return bf_err_set(err, BF_ERR_REJECT, "local",
                          "no key of purpose %s is trusted in %.150s",
                          bf_purpose_name(purpose), cli->settings->keys.dir);
    return bf_cli_print(cli, &text, err);
}

enum bf_exit bf_cmd_keys_public(struct bf_cli *cli)
{
    struct bf_err err = {0};

    return print_public(cli, &err) ? bf_cli_fail(cli, &err) : BF_EXIT_OK;
}

static int show_new(struct bf_cli *cli, enum bf_purpose purpose, const char *id,
                    struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"purpose", "purpose", false, 0},
        {"id", "key id", false, 0},
        {"workspaces", "workspaces", false, 0},
        {"line", "to trust it elsewhere", false, 0},
    };
    bf_autokeyring struct bf_keyring *ring =
        bf_keyring_load(cli->settings->keys.dir, err);
    const struct bf_trusted *key =
        ring ? bf_keyring_find(ring, purpose, id) : NULL;
    json_auto_t *row = key ? key_row(ring, key, err) : NULL;

    return row ? bf_cli_record(cli, columns, bf_countof(columns), row, err)
               : -1;
}

enum bf_exit bf_cmd_keys_new(struct bf_cli *cli)
{
    bf_autobuf struct bf_buf names = BF_BUF_INIT(MAX_LINE);
    char id[BF_KEY_ID_SIZE];
    enum bf_purpose purpose = BF_PURPOSES;
    struct bf_err err = {0};

    if (purpose_of(cli->args.words[0], &purpose, &err) ||
        workspaces(cli, &names, &err) ||
        bf_keyring_generate(cli->settings->keys.dir, purpose, names.data,
                            bf_args_get(&cli->args, "comment"), id, &err) ||
        show_new(cli, purpose, id, &err))
        return bf_cli_fail(cli, &err);
    return BF_EXIT_OK;
}

/* The words of a trusted line, which may also have come as one word. */
static int join(struct bf_cli *cli, struct bf_buf *out, struct bf_err *err)
{
    for (size_t i = 0; i < cli->args.nwords; i++) {
        if ((i > 0 && bf_buf_adds(out, " ", err)) ||
            bf_buf_adds(out, cli->args.words[i], err))
            return -1;
    }
    return 0;
}

enum bf_exit bf_cmd_keys_trust(struct bf_cli *cli)
{
    bf_autobuf struct bf_buf line = BF_BUF_INIT(MAX_LINE);
    struct bf_err err = {0};

    if (join(cli, &line, &err) ||
        bf_keyring_trust(cli->settings->keys.dir, bf_buf_slice(&line), &err))
        return bf_cli_fail(cli, &err);
    bf_cli_say(cli, "trusted; what runs with %s sees it within seconds",
               cli->settings->keys.dir);
    return BF_EXIT_OK;
}

enum bf_exit bf_cmd_keys_revoke(struct bf_cli *cli)
{
    struct bf_err err = {0};

    if (bf_keyring_revoke(cli->settings->keys.dir, cli->args.words[0], &err))
        return bf_cli_fail(cli, &err);
    bf_cli_say(cli,
               "%s is trusted no longer; what runs with %s sees it within "
               "seconds",
               cli->args.words[0], cli->settings->keys.dir);
    return BF_EXIT_OK;
}
