/* blockfleet verify: who signed what stands in a topic, or in an export. */

#include "dispatcher/cli/commands.h"

#include "config/clock.h"
#include "config/keys.h"
#include "config/settings.h"
#include "dispatcher/cli/export.h"
#include "dispatcher/cli/logs.h"
#include "dispatcher/lines.h"
#include "schemas/err.h"
#include "schemas/sign.h"
#include "schemas/time.h"

#define MAX_FAULTS 1000U
#define MAX_LINE (8U << 20)

BF_DEFINE_CLEANUP(verifier_freep, struct bf_verifier *, bf_verifier_free)

struct checking {
    const struct bf_topics *topics;
    struct bf_verifier *verifier;
    int64_t now_ms;
    json_int_t records;
    json_int_t untrusted;
    json_t *faults; /* the first of them */
};

/* Jobs are signed for their workspace, which is the key. */
static struct bf_slice signed_for(enum bf_purpose purpose,
                                  const struct bf_record *rec)
{
    return purpose == BF_PURPOSE_JOB || purpose == BF_PURPOSE_CONTROL
               ? rec->key
               : (struct bf_slice){NULL, 0};
}

static int add_fault(struct checking *checking, const struct bf_record *rec,
                     const struct bf_err *why, struct bf_err *err)
{
    checking->untrusted++;
    if (json_array_size(checking->faults) == MAX_FAULTS)
        return 0;
    return json_array_append_new(checking->faults,
                                 json_pack("{s:s, s:i, s:I, s:s, s:s}", "topic",
                                           rec->topic, "partition",
                                           (int)rec->partition, "offset",
                                           (json_int_t)rec->offset, "reason",
                                           why->code, "message", why->msg))
               ? bf_err_oom(err)
               : 0;
}

static int check(void *arg, const struct bf_record *rec,
                 const struct bf_err *bad, struct bf_err *err)
{
    struct checking *checking = arg;
    int which = bf_topic_of(checking->topics, rec->topic);
    struct bf_err why = {0};
    enum bf_purpose purpose;

    checking->records++;
    if (bad)
        return add_fault(checking, rec, bad, err);
    if (which < 0 || bf_topic_purpose((enum bf_topic)which) == BF_PURPOSES) {
        bf_err_set(&why, BF_ERR_REJECT, "unsigned",
                   "nothing in topic %.100s is signed", rec->topic);
        return add_fault(checking, rec, &why, err);
    }
    purpose = bf_topic_purpose((enum bf_topic)which);
    if (bf_verify(checking->verifier, purpose, rec, signed_for(purpose, rec),
                  checking->now_ms, &why))
        return add_fault(checking, rec, &why, err);
    return 0;
}

/* ---- one record, in full --------------------------------------------------*/

struct single {
    struct bf_cli *cli;
    struct checking *checking;
};

static json_t *single_row(const struct checking *checking,
                          const struct bf_record *rec)
{
    struct bf_signature signature;
    char at[BF_TIME_SIZE];
    json_t *row =
        json_pack("{s:s, s:i, s:I, s:b}", "topic", rec->topic, "partition",
                  (int)rec->partition, "offset", (json_int_t)rec->offset,
                  "trusted", checking->untrusted == 0);
    json_t *fault = json_array_get(checking->faults, 0);

    if (fault)
        json_object_update_missing(row, fault);
    if (bf_signature_parse(bf_record_get(rec, "bf_signature"), &signature,
                           NULL))
        return row;
    bf_time_format(signature.created_ms, at);
    json_object_set_new(row, "purpose",
                        json_string(bf_purpose_name(signature.purpose)));
    json_object_set_new(row, "key", json_string(signature.key_id));
    json_object_set_new(row, "signed_at", json_string(at));
    json_object_set_new(row, "leaf", json_integer(signature.index));
    json_object_set_new(row, "leaves", json_integer(signature.count));
    return row;
}

static int show_single(void *arg, const struct bf_record *rec,
                       const struct bf_err *bad, struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"topic", "topic", false, 0},
        {"partition", "partition", false, 0},
        {"offset", "offset", false, 0},
        {"trusted", "trusted", false, 0},
        {"reason", "reason", false, 0},
        {"message", "message", false, 0},
        {"purpose", "signed as", false, 0},
        {"key", "by key", false, 0},
        {"signed_at", "signed at", false, 0},
        {"leaf", "leaf", false, 0},
        {"leaves", "of leaves", false, 0},
    };
    struct single *single = arg;
    json_auto_t *row = NULL;

    if (check(single->checking, rec, bad, err))
        return -1;
    row = single_row(single->checking, rec);
    if (!row)
        return bf_err_oom(err);
    return bf_cli_record(single->cli, columns, bf_countof(columns), row, err);
}

/* ---- many -----------------------------------------------------------------*/

static int show_many(struct bf_cli *cli, const struct checking *checking,
                     struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"topic", "TOPIC", false, 0},      {"partition", "PARTITION", true, 0},
        {"offset", "OFFSET", true, 0},     {"reason", "REASON", false, 0},
        {"message", "MESSAGE", false, 80},
    };
    json_auto_t *all =
        json_pack("{s:I, s:I, s:O}", "records", checking->records, "untrusted",
                  checking->untrusted, "faults", checking->faults);

    if (cli->json)
        return bf_cli_record(cli, columns, 0, all, err);
    if (checking->untrusted > 0 &&
        bf_cli_rows(cli, columns, bf_countof(columns), checking->faults, err))
        return -1;
    bf_cli_say(cli, "%lld records, %lld of them not to be trusted%s",
               (long long)checking->records, (long long)checking->untrusted,
               checking->untrusted > (json_int_t)MAX_FAULTS
                   ? "; the first 1000 are listed"
                   : "");
    return 0;
}

/* The lines of `usage export`, as they come. */
struct input {
    struct checking *checking;
    struct bf_lines lines;
    json_int_t number;
};

static int check_line(struct input *input, const struct bf_line *line,
                      struct bf_err *err)
{
    bf_autorecord struct bf_record rec;
    char topic[BF_EXPORT_TOPIC];

    input->number++;
    bf_record_init(&rec, "", 0);
    if (line->too_long ? bf_err_set(err, BF_ERR_REJECT, "bad_line",
                                    "longer than %u bytes", MAX_LINE)
                       : bf_export_parse(line->text, topic, &rec, err))
        return bf_err_prefix(err, "line %lld", (long long)input->number);
    return check(input->checking, &rec, NULL, err);
}

static int check_chunk(struct input *input, struct bf_slice chunk,
                       struct bf_err *err)
{
    struct bf_line line;
    int more;

    while ((more = bf_lines_next(&input->lines, &chunk, &line, err)) > 0) {
        if (check_line(input, &line, err))
            return -1;
    }
    return more;
}

static int check_all(struct input *input, FILE *file, struct bf_err *err)
{
    char chunk[65536];
    struct bf_line line;
    size_t got;

    while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        if (check_chunk(input, (struct bf_slice){chunk, got}, err))
            return -1;
    }
    if (ferror(file))
        return bf_cli_errno(err, "read", "the lines");
    return bf_lines_last(&input->lines, &line) ? check_line(input, &line, err)
                                               : 0;
}

static int check_file(struct bf_cli *cli, struct checking *checking,
                      const char *path, struct bf_err *err)
{
    FILE *file = strcmp(path, "-") == 0 ? cli->in : fopen(path, "rbe");
    struct input input = {.checking = checking};
    int status;

    if (!file)
        return bf_cli_errno(err, "read", path);
    bf_lines_init(&input.lines, MAX_LINE);
    status = check_all(&input, file, err);
    bf_lines_release(&input.lines);
    if (file != cli->in)
        fclose(file);
    return status;
}

/* The topic that a word names, with or without the prefix. */
static int topic_word(const struct bf_topics *topics, const char *word,
                      struct bf_err *err)
{
    int which = bf_topic_of(topics, word);

    for (int i = 0; which < 0 && i < BF_TOPICS; i++) {
        if (strcmp(bf_topic_short((enum bf_topic)i), word) == 0)
            which = i;
    }
    if (which < 0)
        bf_err_set(err, BF_ERR_REJECT, "usage",
                   "'%.60s' is no topic of the fleet: jobs, jobs.batch, state, "
                   "results, usage, deadletter, callbacks or control",
                   word);
    return which;
}

static int check_topic(struct bf_cli *cli, struct checking *checking,
                       struct bf_err *err)
{
    struct single single = {cli, checking};
    bf_autologs struct bf_logs logs = {0};
    struct bf_log_range range;
    int which;

    if (cli->args.nwords == 2)
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "a record is TOPIC PARTITION OFFSET");
    if (bf_logs_open(&logs, cli, err))
        return -1;
    which = topic_word(&logs.topics, cli->args.words[0], err);
    if (which < 0)
        return -1;
    if (cli->args.nwords == 1)
        return bf_logs_since(&logs, cli, (enum bf_topic)which, &range, err) ||
                       bf_log_read(logs.kafka, &range, check, checking, err)
                   ? -1
                   : show_many(cli, checking, err);
    if (bf_logs_single(&logs, (enum bf_topic)which, cli->args.words + 1, &range,
                       err))
        return -1;
    return bf_log_read(logs.kafka, &range, show_single, &single, err);
}

static int verify(struct bf_cli *cli, struct checking *checking,
                  struct bf_err *err)
{
    const char *file = bf_args_get(&cli->args, "file");

    if (!file == (cli->args.nwords == 0))
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "name a topic, or a --file that 'usage export' made");
    if (!file)
        return check_topic(cli, checking, err);
    return check_file(cli, checking, file, err) || show_many(cli, checking, err)
               ? -1
               : 0;
}

enum bf_exit bf_cmd_verify(struct bf_cli *cli)
{
    struct bf_err err = {0};
    struct bf_topics topics;
    bf_autokeyring struct bf_keyring *ring =
        bf_keyring_load(cli->settings->keys.dir, &err);
    bf_cleanup(verifier_freep) struct bf_verifier *verifier =
        ring ? bf_verifier_new(bf_keyring_find_key, ring, &err) : NULL;
    json_auto_t *faults = json_array();
    struct checking checking = {
        .topics = &topics,
        .verifier = verifier,
        .now_ms = bf_now_ms(),
        .faults = faults,
    };

    if (!verifier ||
        bf_topics_init(&topics, cli->settings->topics.prefix, &err) ||
        verify(cli, &checking, &err))
        return bf_cli_fail(cli, &err);
    return checking.untrusted == 0 ? BF_EXIT_OK : BF_EXIT_UNHEALTHY;
}
