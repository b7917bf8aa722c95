/* blockfleet usage correct: a signed row of differences to a row. */

#include <poll.h>

#include "config/clock.h"
#include "config/keys.h"
#include "config/settings.h"
#include "dispatcher/cli/commands.h"
#include "dispatcher/cli/corrected.h"
#include "dispatcher/cli/log_writer.h"
#include "dispatcher/cli/logs.h"
#include "dispatcher/cli/progress.h"
#include "schemas/err.h"
#include "schemas/sign.h"

#define VISIBLE_S 60 /* what is written is to be seen by then */
#define MOST_S 86400
#define LOOK_MS 500

BF_DEFINE_CLEANUP(verifier_freep, struct bf_verifier *, bf_verifier_free)

struct correcting {
    struct bf_cli *cli;
    struct bf_keyring *ring;
    struct bf_verifier *verifier;
    struct bf_logs logs;
    struct bf_corrected row;
    struct bf_progress progress;
    uint64_t timeout_s;
    int64_t records; /* looked at */
    int64_t end;     /* of the row's partition, when it was looked at */
    int64_t at_ms;
    char id[BF_HEX128_SIZE]; /* of the correction; "": not made yet */
    json_t *made;            /* its value; owned */
    bool first;              /* of its id in the topic */
    bool found;
};

static void correcting_release(struct correcting *c)
{
    bf_corrected_release(&c->row);
    bf_logs_release(&c->logs);
    json_decref(c->made);
}

/* ---- the row ------------------------------------------------------------- */

/* What nobody may believe, or nobody can read, counts for no reader. */
static int set_aside(const struct correcting *c, const struct bf_record *rec,
                     const struct bf_err *why)
{
    bf_cli_say(c->cli, "%s/%d/%lld does not count: %s", rec->topic,
               (int)rec->partition, (long long)rec->offset, why->msg);
    return 0;
}

static int look_at(struct correcting *c, const struct bf_record *rec,
                   struct bf_err *err)
{
    struct bf_err why = {0};

    if (!bf_corrected_wants(&c->row, rec))
        return 0;
    if (bf_verify(c->verifier, BF_PURPOSE_RESULT, rec, rec->key, c->at_ms,
                  &why))
        return set_aside(c, rec, &why);
    if (bf_corrected_take(&c->row, rec, &why) == 0)
        return 0;
    if (why.kind != BF_ERR_REJECT || strcmp(why.code, "refused") == 0) {
        *err = why;
        return -1;
    }
    return set_aside(c, rec, &why);
}

static int on_record(void *arg, const struct bf_record *rec,
                     const struct bf_err *bad, struct bf_err *err)
{
    struct correcting *c = arg;
    char note[64];

    snprintf(note, sizeof(note), "%lld rows; less with --since",
             (long long)++c->records);
    bf_progress_set(&c->progress, 0, note);
    if (!bad && look_at(c, rec, err))
        return -1;
    if (c->row.row && c->row.partition == rec->partition)
        c->end = rec->offset + 1;
    return 0;
}

static int find_row(struct correcting *c, struct bf_err *err)
{
    struct bf_log_range range;
    int rc;

    if (bf_logs_open(&c->logs, c->cli, err) ||
        bf_logs_since(&c->logs, c->cli, BF_TOPIC_USAGE, &range, err))
        return -1;
    bf_progress_init(&c->progress, c->cli, "reading usage", 0);
    c->progress.plain = !c->cli->json;
    rc = bf_log_read(c->logs.kafka, &range, on_record, c, err);
    bf_progress_end(&c->progress);
    if (rc)
        return -1;
    if (c->row.row)
        return 0;
    return bf_err_set(err, BF_ERR_REJECT, "refused",
                      "no row %s that a trusted key has signed is in topic "
                      "%.100s",
                      c->row.id, range.topic);
}

/* ---- the correction ------------------------------------------------------ */

static json_t *differences_of(const struct correcting *c, struct bf_err *err)
{
    const struct bf_args *args = &c->cli->args;
    bool voids = bf_args_has(args, "void");

    if (voids == (args->nwords > 1)) {
        bf_err_set(err, BF_ERR_REJECT, "usage",
                   "name differences, or --void to take it all back");
        return NULL;
    }
    return voids ? bf_corrected_void(&c->row, err)
                 : bf_corrected_differences(&c->row, args->words + 1,
                                            args->nwords - 1, err);
}

/* What is shown, and looked for afterwards. */
static int keep(struct correcting *c, const struct bf_record *rec,
                struct bf_err *err)
{
    snprintf(c->id, sizeof(c->id), "%.*s",
             BF_SLICE_ARG(bf_record_get(rec, "ce_id")));
    c->made = json_loadb(rec->value.ptr, rec->value.len, 0, NULL);
    return c->made ? 0 : bf_err_oom(err);
}

static int build(struct correcting *c, const json_t *differences,
                 struct bf_record *rec, struct bf_err *err)
{
    return bf_corrected_build(&c->row, differences, c->at_ms, rec, err) ||
                   keep(c, rec, err)
               ? -1
               : 0;
}

static int try_it(struct correcting *c, const json_t *differences,
                  struct bf_err *err)
{
    bf_autorecord struct bf_record rec;

    bf_record_init(&rec, bf_topic_name(&c->logs.topics, BF_TOPIC_USAGE),
                   c->row.partition);
    return build(c, differences, &rec, err);
}

static int write_it(struct correcting *c, const json_t *differences,
                    struct bf_err *err)
{
    const struct bf_settings *settings = c->cli->settings;
    const struct bf_log_writing writing = {
        .settings = settings,
        .topic = bf_topic_name(&c->logs.topics, BF_TOPIC_USAGE),
        .fleet = c->row.fleet,
        .signer = bf_keyring_signer(c->ring, BF_PURPOSE_RESULT),
    };
    bf_autologwriter struct bf_log_writer *writer = NULL;
    struct bf_record *rec;

    if (!writing.signer)
        return bf_err_set(err, BF_ERR_REJECT, "no_key",
                          "no key signs usage in %.80s: run 'blockfleet keys "
                          "new result', and trust it where usage is read",
                          settings->keys.dir);
    writer = bf_log_writer_new(&writing, err);
    rec = writer ? bf_log_writer_next(writer, (uint32_t)c->row.partition, err)
                 : NULL;
    if (!rec || build(c, differences, rec, err))
        return -1;
    return bf_log_writer_flush(writer, err);
}

/* ---- was it the first of its number? ------------------------------------- */

static int on_made(void *arg, const struct bf_record *rec,
                   const struct bf_err *bad, struct bf_err *err)
{
    struct correcting *c = arg;
    struct bf_err why = {0};
    json_auto_t *value = NULL;

    (void)err;
    if (bad || c->found || !bf_slice_is(bf_record_get(rec, "ce_id"), c->id) ||
        bf_verify(c->verifier, BF_PURPOSE_RESULT, rec, rec->key, bf_now_ms(),
                  &why))
        return 0;
    value = json_loadb(rec->value.ptr, rec->value.len, 0, NULL);
    c->found = true;
    c->first = json_equal(value, c->made);
    return 0;
}

static int look_once(struct correcting *c, struct bf_err *err)
{
    struct bf_log_range range;

    if (bf_logs_since(&c->logs, c->cli, BF_TOPIC_USAGE, &range, err))
        return -1;
    range.partition = c->row.partition;
    range.offset = c->end; /* no correction with this number stands before */
    return bf_log_read(c->logs.kafka, &range, on_made, c, err);
}

/*
 * What is committed ends where the oldest transaction is open: a worker's, or,
 * until it times out, that of one that is dead. Ours may lie behind it.
 */
static int look_until_found(struct correcting *c, struct bf_err *err)
{
    int64_t until_ms = bf_mono_ms() + (int64_t)c->timeout_s * 1000;

    while (look_once(c, err) == 0) {
        if (c->found)
            return 0;
        if (bf_mono_ms() >= until_ms)
            return bf_err_set(err, BF_ERR_RETRY, "pending",
                              "an open transaction has hidden it for %u s",
                              (unsigned)c->timeout_s);
        poll(NULL, 0, LOOK_MS);
    }
    return -1;
}

/* Two that were made at once have one id, and only one of them counts. */
static int look_back(struct correcting *c, struct bf_err *err)
{
    if (look_until_found(c, err))
        return bf_err_prefix(err,
                             "it is written, as number %u, and not seen yet: "
                             "do nothing again before --dry-run shows a "
                             "higher number",
                             c->row.last + 1);
    return c->first ? 0
                    : bf_err_set(err, BF_ERR_REJECT, "refused",
                                 "it is written, and does not count: another "
                                 "correction of this row came first; look at "
                                 "what is left and do it again");
}

/* ---- what is told -------------------------------------------------------- */

static json_t *text_of(const struct correcting *c, int which, int64_t value)
{
    char text[BF_QUANTITY_SIZE];

    if (!c->row.known[which])
        return json_null();
    bf_quantity_text((enum bf_quantity)which, value, text);
    return json_string(text);
}

static json_t *quantity_rows(const struct correcting *c)
{
    json_t *rows = json_array();

    for (int i = 0; rows && i < BF_QUANTITIES; i++) {
        const char *name = bf_quantity_name((enum bf_quantity)i);
        const json_t *text = json_object_get(c->made, name);
        int64_t change = 0;

        if (!json_is_null(text))
            bf_quantity_parse((enum bf_quantity)i, json_string_value(text),
                              true, &change);
        json_array_append_new(
            rows, json_pack("{s:s, s:o, s:O, s:o}", "quantity", name, "was",
                            text_of(c, i, c->row.left[i]), "difference", text,
                            "is", text_of(c, i, c->row.left[i] + change)));
    }
    return rows;
}

static int show(const struct correcting *c, bool written, struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"quantity", "QUANTITY", false, 0},
        {"was", "WAS", true, 0},
        {"difference", "DIFFERENCE", true, 0},
        {"is", "IS", true, 0},
    };
    json_auto_t *rows = quantity_rows(c);
    json_auto_t *doc =
        json_pack("{s:s, s:b, s:i, s:O, s:O}", "id", c->id, "written", written,
                  "partition", (int)c->row.partition, "correction", c->made,
                  "quantities", rows);

    if (!doc)
        return bf_err_oom(err);
    if (c->cli->json)
        return bf_cli_record(c->cli, columns, 0, doc, err);
    if (bf_cli_rows(c->cli, columns, bf_countof(columns), rows, err))
        return -1;
    bf_cli_say(c->cli, "%s %s, number %u of row %s of %s",
               written ? "written:" : "not written:", c->id, c->row.last + 1,
               c->row.id,
               json_string_value(json_object_get(c->row.row, "workspace")));
    return 0;
}

static int correct(struct correcting *c, struct bf_err *err)
{
    bool dry = bf_args_has(&c->cli->args, "dry-run");
    json_auto_t *differences = NULL;

    if (bf_corrected_init(&c->row, c->cli->args.words[0], err) ||
        bf_cli_number(c->cli, "timeout", MOST_S, VISIBLE_S, &c->timeout_s,
                      err) ||
        find_row(c, err))
        return -1;
    differences = differences_of(c, err);
    if (!differences)
        return -1;
    if (dry ? try_it(c, differences, err)
            : write_it(c, differences, err) || look_back(c, err))
        return -1;
    return show(c, !dry, err);
}

enum bf_exit bf_cmd_usage_correct(struct bf_cli *cli)
{
    struct bf_err err = {0};
    bf_autokeyring struct bf_keyring *ring =
        bf_keyring_load(cli->settings->keys.dir, &err);
    bf_cleanup(verifier_freep) struct bf_verifier *verifier =
        ring ? bf_verifier_new(bf_keyring_find_key, ring, &err) : NULL;
    bf_cleanup(correcting_release) struct correcting c = {
        .cli = cli,
        .ring = ring,
        .verifier = verifier,
        .at_ms = bf_now_ms(),
    };

    return !verifier || correct(&c, &err) ? bf_cli_fail(cli, &err) : BF_EXIT_OK;
}
