/* blockfleet deadletter list, show: records that could not be done, and why. */

#include "dispatcher/cli/commands.h"

#include "dispatcher/cli/logs.h"
#include "schemas/dead.h"
#include "schemas/err.h"

#define CONNECT "__connect.errors."
#define MAX_LETTERS 100000U

static json_t *letter_row(const struct bf_record *rec, struct bf_err *err)
{
    static const struct {
        const char *member, *header;
    } texts[] = {
        {"at", "ce_time"},
        {"workspace", "bf_workspace"},
        {"job", "bf_job"},
        {"generation", "bf_generation"},
        {"trust", "bf_trust"},
        {"stage", CONNECT "stage"},
        {"reason", CONNECT "exception.class.name"},
        {"message", CONNECT "exception.message"},
        {"source_topic", CONNECT "topic"},
        {"source_partition", CONNECT "partition"},
        {"source_offset", CONNECT "offset"},
        {"truncated", "bf_truncated"},
        {"id", "ce_id"},
    };
    json_t *row =
        json_pack("{s:i, s:I, s:I}", "partition", (int)rec->partition, "offset",
                  (json_int_t)rec->offset, "bytes", (json_int_t)rec->value.len);

    for (size_t i = 0; row && i < bf_countof(texts); i++)
        json_object_set_new(row, texts[i].member,
                            bf_logs_header(rec, texts[i].header));
    if (!row)
        bf_err_oom(err);
    return row;
}

/* ---- list -----------------------------------------------------------------*/

struct listing {
    struct bf_cli *cli;
    json_t *rows;
};

/* Has the row what the option of this name wants, if it was given? */
static bool is_wanted(const struct listing *listing, const json_t *row,
                      const char *member)
{
    const char *want = bf_args_get(&listing->cli->args, member);
    const char *is = json_string_value(json_object_get(row, member));

    return !want || (is && strcmp(is, want) == 0);
}

static int list_one(void *arg, const struct bf_record *rec,
                    const struct bf_err *bad, struct bf_err *err)
{
    struct listing *listing = arg;
    json_auto_t *row = letter_row(rec, err);

    (void)bad; /* what is there is shown */
    if (!row)
        return -1;
    if (!is_wanted(listing, row, "workspace") ||
        !is_wanted(listing, row, "reason"))
        return 0;
    if (json_array_size(listing->rows) == MAX_LETTERS)
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "more than %u letters: narrow it by --since, "
                          "--workspace or --reason",
                          MAX_LETTERS);
    return json_array_append(listing->rows, row) ? bf_err_oom(err) : 0;
}

struct dated {
    const char *at;
    json_t *row;
};

static int by_time(const void *a, const void *b)
{
    const struct dated *left = a, *right = b;

    return strcmp(left->at, right->at);
}

/* Partitions come in any order; people read by time. */
static json_t *sorted(const json_t *rows, struct bf_err *err)
{
    size_t n = json_array_size(rows);
    bf_autofree struct dated *list = calloc(n + 1, sizeof(*list));
    json_t *ret = list ? json_array() : NULL;

    if (!ret) {
        bf_err_oom(err);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        const char *at =
            json_string_value(json_object_get(json_array_get(rows, i), "at"));

        list[i] = (struct dated){at ? at : "", json_array_get(rows, i)};
    }
    qsort(list, n, sizeof(*list), by_time);
    for (size_t i = 0; i < n; i++)
        json_array_append(ret, list[i].row);
    return ret;
}

static int list(struct bf_cli *cli, struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"at", "AT", false, 0},         {"partition", "PARTITION", true, 0},
        {"offset", "OFFSET", true, 0},  {"workspace", "WORKSPACE", false, 24},
        {"job", "JOB", false, 36},      {"stage", "STAGE", false, 0},
        {"reason", "REASON", false, 0}, {"message", "MESSAGE", false, 60},
    };
    bf_autologs struct bf_logs logs = {0};
    json_auto_t *found = json_array(), *rows = NULL;
    struct listing listing = {cli, found};
    struct bf_log_range range;

    if (bf_logs_open(&logs, cli, err) ||
        bf_logs_since(&logs, cli, BF_TOPIC_DEADLETTER, &range, err) ||
        bf_log_read(logs.kafka, &range, list_one, &listing, err))
        return -1;
    rows = sorted(found, err);
    return rows ? bf_cli_rows(cli, columns, bf_countof(columns), rows, err)
                : -1;
}

enum bf_exit bf_cmd_deadletter_list(struct bf_cli *cli)
{
    struct bf_err err = {0};

    return list(cli, &err) ? bf_cli_fail(cli, &err) : BF_EXIT_OK;
}

/* ---- show -----------------------------------------------------------------*/

/* The dead record's own headers, as name and value. */
static json_t *original_headers(const struct bf_record *rec, struct bf_err *err)
{
    bf_autorecord struct bf_record original;
    json_auto_t *list = json_array();

    bf_record_init(&original, rec->topic, rec->partition);
    if (!list || bf_original_parse(bf_record_get(rec, "bf_original_headers"),
                                   &original, NULL))
        return json_null();
    for (size_t i = 0; i < original.nheaders; i++) {
        struct bf_slice name = original.headers[i].name;
        bf_autorecord struct bf_record one;
        json_t *pair;

        bf_record_init(&one, rec->topic, 0);
        if (bf_record_ref(&one, BF_SLICE_LIT("value"),
                          original.headers[i].value, err))
            return NULL;
        pair = json_pack("{s:s%, s:o}", "name", name.ptr, name.len, "value",
                         bf_logs_header(&one, "value"));
        /* a name that is no UTF-8 has no place in JSON */
        json_array_append_new(list, pair ? pair : json_null());
    }
    return json_incref(list);
}

static int print_headers(struct bf_cli *cli, const json_t *headers,
                         struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"name", "ITS HEADER", false, 40},
        {"value", "VALUE", false, 100},
    };
    bf_autobuf struct bf_buf line = BF_BUF_INIT(16);

    if (json_array_size(headers) == 0)
        return 0;
    if (bf_buf_adds(&line, "\n", err) || bf_cli_print(cli, &line, err))
        return -1;
    return bf_cli_rows(cli, columns, bf_countof(columns), headers, err);
}

static int show_one(void *arg, const struct bf_record *rec,
                    const struct bf_err *bad, struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"at", "at", false, 0},
        {"stage", "stage", false, 0},
        {"reason", "reason", false, 0},
        {"message", "message", false, 0},
        {"trust", "trust", false, 0},
        {"workspace", "workspace", false, 0},
        {"job", "job", false, 0},
        {"generation", "generation", false, 0},
        {"source_topic", "its topic", false, 0},
        {"source_partition", "its partition", false, 0},
        {"source_offset", "its offset", false, 0},
        {"bytes", "bytes of its value", false, 0},
        {"truncated", "truncated", false, 0},
        {"id", "event id", false, 0},
    };
    struct bf_cli *cli = arg;
    json_auto_t *row = NULL;
    json_t *headers;

    (void)bad;
    if (bf_args_has(&cli->args, "raw")) {
        const struct bf_buf value = {.data = (char *)(uintptr_t)rec->value.ptr,
                                     .len = rec->value.len};

        return bf_cli_print(cli, &value, err);
    }
    row = letter_row(rec, err);
    headers = row ? original_headers(rec, err) : NULL;
    if (!headers || json_object_set_new(row, "headers", headers))
        return -1;
    if (bf_cli_record(cli, columns, bf_countof(columns), row, err))
        return -1;
    return cli->json ? 0 : print_headers(cli, headers, err);
}

static int show(struct bf_cli *cli, struct bf_err *err)
{
    bf_autologs struct bf_logs logs = {0};
    struct bf_log_range range;

    if (bf_logs_open(&logs, cli, err) ||
        bf_logs_single(&logs, BF_TOPIC_DEADLETTER, cli->args.words, &range,
                       err))
        return -1;
    return bf_log_read(logs.kafka, &range, show_one, cli, err);
}

enum bf_exit bf_cmd_deadletter_show(struct bf_cli *cli)
{
    struct bf_err err = {0};

    return show(cli, &err) ? bf_cli_fail(cli, &err) : BF_EXIT_OK;
}
